"""Exporting, verifying and analysing the log, by the commands that a user types."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.human_eval.app import create_app
from dojobench.human_eval.vote_export import read_vote_log

MEASURED = {
    "break_at": {"left": 0.25, "right": None}, "drift_frames": 0.1, "seconds": 4.0, "plays": 1,
    "dropped_frames": 0, "flags": [],
}  # fmt: skip
MakeStudy = Callable[..., Path]


def voted(folder: Path, database: str | None, raters: int = 2, trials: int = 4) -> list[str]:
    """Serves a study, takes votes, and closes it."""
    app = create_app(folder, database=database, organiser_token="open-sesame")  # noqa: S106
    running = app.state.site.running
    ids = []
    for number in range(raters):
        rater = running.store.enter(f"{number:064x}", "en", "1", now=1.0).id
        running.store.train(rater, passed=True, tries=2)
        for _ in range(trials):
            found = running.next_trial(rater, now=2.0, lease=60)
            answers = {"physics": "left", "action": "tie"}
            running.store.vote(found.trial, answers, MEASURED, now=3.0)
        ids.append(rater)
    running.store.erase(ids[-1])
    running.store.close()
    return ids


def where(database: str | None) -> list[str]:
    return [] if database is None else ["--database", database]


def test_an_export_is_whole_repeatable_and_impersonal(
    make_study: MakeStudy, database: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study()
    kept, _ = voted(folder, database)
    outs = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for out in outs:
        arguments = ["study", "export", str(folder), "--out", str(out), *where(database)]
        assert main(arguments) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert main(["study", "verify", str(outs[0])]) == 0
    assert main(["study", "verify", str(folder), *where(database)]) == 0
    assert "whole: 17 events" in capsys.readouterr().out
    log = read_vote_log(outs[0])
    assert log.faults == ()
    assert (len(log.votes), log.erased) == (8, 8)
    assert {vote.rater for vote in log.votes} == {kept}
    lines = [json.loads(line) for line in outs[0].read_text().splitlines()]
    assert lines[0]["kind"] == "dojobench-votes"
    assert lines[0]["end"]["hash"] == lines[-1]["hash"]
    expected = {
        "n", "prev", "hash", "time", "type", "rater", "trial", "pair", "clip", "left", "right",
        "kind", "gold_answer", "arm", "axis", "answer", "break_at", "drift_frames", "seconds",
        "plays", "dropped_frames", "flags", "salt",
    }  # fmt: skip
    assert set(lines[1]) == expected


def test_the_log_can_be_analysed(
    make_study: MakeStudy, database: str | None, tmp_path: Path
) -> None:
    folder = make_study(models=2)
    voted(folder, database, raters=4, trials=8)
    out = tmp_path / "votes.jsonl"
    assert main(["study", "export", str(folder), "--out", str(out), *where(database)]) == 0
    results = tmp_path / "results"
    assert main(["study", "analyze", str(out), "--study", str(folder), "--out", str(results)]) == 0
    found = json.loads((results / "preferences.json").read_text())
    assert found["counts"]["votes"] == 48
    assert found["log"]["whole"] is True


@pytest.mark.parametrize("line", [1, 5, -1])
def test_an_edited_or_shortened_export_is_found(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: int
) -> None:
    folder = make_study()
    voted(folder, None)
    out = tmp_path / "votes.jsonl"
    assert main(["study", "export", str(folder), "--out", str(out)]) == 0
    text = out.read_text().splitlines(keepends=True)
    out.write_text("".join(part for part in text if part != text[line]))
    assert main(["study", "verify", str(out)]) == 1
    assert "removed" in capsys.readouterr().out
    out.write_text("".join(text).replace('"seconds":4.0', '"seconds":5.0', 1))
    assert main(["study", "verify", str(out)]) == 1
    assert "event 1 was changed" in capsys.readouterr().out


def test_an_edited_database_is_found_and_its_export_says_so(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study()
    voted(folder, None)
    with sqlite3.connect(folder / "votes.db") as connection:
        connection.execute("DELETE FROM votes WHERE n = 3")
    assert main(["study", "verify", str(folder)]) == 1
    assert capsys.readouterr().out == "event 3 was removed\n"
    out = tmp_path / "votes.jsonl"
    assert main(["study", "export", str(folder), "--out", str(out)]) == 1
    assert "event 3 was removed" in capsys.readouterr().err
    assert main(["study", "verify", str(out)]) == 1


def test_a_noted_hash_shows_whether_the_log_was_exchanged(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study()
    voted(folder, None)
    out = tmp_path / "votes.jsonl"
    main(["study", "export", str(folder), "--out", str(out)])
    noted = json.loads(out.read_text().splitlines()[4])["hash"]
    for place in (folder, out):
        assert main(["study", "verify", str(place), "--holds", noted]) == 0
        assert main(["study", "verify", str(place), "--holds", "0" * 64]) == 1
    assert "was exchanged" in capsys.readouterr().out


def test_wrong_input_is_one_sentence(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study()
    out = str(tmp_path / "votes.jsonl")
    for arguments, words in (
        (["export", str(folder), "--out", out], "serve"),
        (["export", str(tmp_path / "none"), "--out", out], "study create"),
        (["verify", str(tmp_path / "none.jsonl")], "cannot be read"),
        (["serve", str(tmp_path / "none")], "study create"),
        (["serve", str(folder), "--port", "70000"], "--port"),
        (["serve", str(folder), "--workers", "0"], "--workers"),
        (["links", str(folder), "--count", "0"], "--count"),
    ):
        assert main(["study", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
    assert not Path(out).exists()


def test_a_missing_medium_is_named(
    make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study()
    gone = next((folder / "media").glob("*.mp4"))
    gone.unlink()
    assert main(["study", "serve", str(folder)]) == 2
    assert gone.name in capsys.readouterr().err


def test_links_are_personal_and_last(
    make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study()
    found = []
    for first in ("1", "1", "4"):
        arguments = ["study", "links", str(folder), "--count", "3", "--first", first]
        assert main([*arguments, "--base-url", "https://study.test/"]) == 0
        found.append(capsys.readouterr().out.split())
    assert found[0] == found[1]
    assert len({*found[0], *found[2]}) == 6
    assert found[0][0].startswith("https://study.test/r/")


def test_the_key_is_its_owners_alone(make_study: MakeStudy) -> None:
    folder = make_study()
    voted(folder, None)
    assert (folder / "secret.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "catalog.json").stat().st_mode & 0o777 == 0o600
