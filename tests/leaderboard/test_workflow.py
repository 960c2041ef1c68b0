"""The workflow for submissions: what a pull request can make it read, run and say."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dojobench.leaderboard.comment import comment, worst
from dojobench.leaderboard.verdict import Finding, Verdict

ROOT = Path(__file__).resolve().parents[2]
FETCH = ROOT / ".github" / "fetch_submission.py"
WORKFLOWS = ROOT / ".github" / "workflows"
Make = Callable[..., Any]


class Repository:
    """A repository with a base commit, in which a pull request is made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.email", "somebody@example.org")
        self.git("config", "user.name", "Somebody")
        self.write("README.md", "base")
        self.write("leaderboard/submissions/old-one/submission.json", "{}")
        self.base = self.commit()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a commit")
        return self.git("rev-parse", "HEAD")

    def fetch(self, out: Path) -> subprocess.CompletedProcess[str]:
        head = self.commit()
        return subprocess.run(
            [sys.executable, str(FETCH), "--base", self.base, "--head", head, "--out", str(out)],
            cwd=self.root,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_a_submission_comes_out_as_it_went_in(
    repository: Repository, honest: Path, tmp_path: Path
) -> None:
    shutil.copytree(honest, repository.root / "leaderboard" / "submissions" / honest.name)
    done = repository.fetch(tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [each.name for each in (tmp_path / "out").iterdir()] == [honest.name]
    for file in honest.rglob("*"):
        if file.is_file():
            found = tmp_path / "out" / honest.name / file.relative_to(honest)
            assert found.read_bytes() == file.read_bytes()


NEW = "leaderboard/submissions/new-one"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda r: r.write("README.md", "changed"), "is no submission"),
        (lambda r: r.write(".github/workflows/evil.yml", "on: push"), "is no submission"),
        (lambda r: r.write(f"{NEW}/.gitattributes", "* filter=evil"), "no allowed path"),
        (lambda r: r.write("leaderboard/submissions/loose.json", "{}"), "no allowed path"),
        (lambda r: (r.root / NEW / "card.toml").symlink_to("/etc/passwd"), "is a link"),
        (lambda r: (r.root / NEW / "submission.json").chmod(0o755), "is a link"),
        (lambda r: shutil.rmtree(r.root / "leaderboard/submissions/old-one"), "it removes old-one"),
        (lambda r: [r.write(f"{NEW}-{k}/submission.json", "") for k in range(9)], "the most is 5"),
        (lambda r: [r.write(f"{NEW}/runs/f{k}", "") for k in range(500)], "more than 400 files"),
    ],
)
def test_what_is_no_plain_submission_is_refused(
    repository: Repository, tmp_path: Path, spoil: Callable[[Repository], object], told: str
) -> None:
    repository.write(f"{NEW}/submission.json", "{}")
    spoil(repository)
    done = repository.fetch(tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("refused: ")
    assert told in done.stderr


def test_strangers_code_never_meets_a_secret_or_a_token() -> None:
    checking = (WORKFLOWS / "submission.yml").read_text()
    code = "\n".join(line for line in checking.splitlines() if not line.strip().startswith("#"))
    assert "pull_request_target" not in code
    assert "secrets." not in code
    assert re.search(r"^permissions:\n  contents: read$", code, re.MULTILINE)
    assert "write" not in code
    assert "ref: ${{ github.event.pull_request.base.sha }}" in code
    for each in re.findall(r"run: \|\n((?: {10}.*\n)+)", code):
        assert "${{" not in each  # an expression in a script is how strangers inject commands
    telling = (WORKFLOWS / "submission-comment.yml").read_text()
    assert "actions/checkout" not in telling
    assert "secrets." not in telling
    assert "pull.head.sha !== process.env.HEAD_SHA" in telling


def test_the_comment_has_the_verdict_and_the_rows(
    fake_run: Make, submit: Make, verdict_of: Make
) -> None:
    other = submit(fake_run(seed=3, quality=0.3), name="other-1", where="board")
    mine = submit(fake_run(seed=4, quality=0.6))
    verdict = verdict_of(mine, board=other.parent)
    told = comment({mine: verdict}, other.parent)
    assert "**accepted**" in told
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert "PSNR" in rows[0]
    assert rows[2].startswith("| **my\\-model\\-1**")
    assert rows[3].startswith("| other\\-1")
    assert re.search(r"\d\.\d\d \[\d+\.\d\d, \d+\.\d\d\]", rows[2])


def test_the_comment_of_a_refusal_names_the_codes(tmp_path: Path) -> None:
    finding = Finding(code="DB-S008", sentence="[click](https://evil) @everyone <b>")
    verdict = Verdict(id="", submission_sha256="", findings=(finding,))
    told = comment({tmp_path / "x": verdict}, tmp_path)
    assert "**refused**" in told
    assert "DB-S008" in told
    assert "](https" not in told
    assert "<b>" not in told
    assert worst([verdict]) == worst([]) == "refused"
