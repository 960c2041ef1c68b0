"""Writes the submissions that a pull request changes into a folder, out of git's objects.

Nothing is checked out: files are read with ``git cat-file``, so neither attributes, filters,
hooks, links nor submodules of the pull request have a say. What is no plain file below
``leaderboard/submissions/ID/`` refuses the pull request.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

BELOW = "leaderboard/submissions/"
PATH = re.compile(BELOW + r"[a-z0-9][a-z0-9.-]{2,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,4}")
MAX_FILES, MAX_BYTES, MAX_SUBMISSIONS = 400, 64 * 2**20, 5


def git(*arguments: str) -> bytes:
    """Runs git and gives its output."""
    done = subprocess.run(["git", *arguments], check=True, capture_output=True)  # noqa: S603, S607
    return done.stdout


def refuse(sentence: str) -> None:
    """Ends with a sentence."""
    sys.exit(f"refused: {sentence}")


def changed_ids(base: str, head: str) -> list[str]:
    """Names the submissions that differ from where the pull request branched off."""
    start = git("merge-base", base, head).decode().strip()
    names = git("diff", "--name-only", "-z", "--no-renames", start, head)
    paths = [path for path in names.decode("utf-8", "replace").split("\0") if path]
    if others := [path for path in paths if not path.startswith(BELOW)]:
        refuse(f"it changes {others[0]!r}, which is no submission; send that by itself")
    if wrong := [path for path in paths if not PATH.fullmatch(path)]:
        refuse(f"{wrong[0]!r} is no allowed path in a submission")
    ids = sorted({path.split("/")[2] for path in paths})
    if len(ids) > MAX_SUBMISSIONS:
        refuse(f"it changes {len(ids)} submissions, and the most is {MAX_SUBMISSIONS}")
    return ids


def export(head: str, name: str, out: Path) -> None:
    """Writes the files of one submission as the pull request has them."""
    listing = git("ls-tree", "-r", "-z", "-l", head, f"{BELOW}{name}/").decode("utf-8", "replace")
    entries = [entry for entry in listing.split("\0") if entry]
    if not entries:
        refuse(f"it removes {name}; a withdrawal stays visible, so ask the maintainers for one")
    if len(entries) > MAX_FILES:
        refuse(f"{name} has more than {MAX_FILES} files")
    for entry in entries:
        fields, path = entry.split("\t", 1)
        mode, kind, blob, size = fields.split()
        if mode != "100644" or kind != "blob":
            refuse(f"{path!r} is a link, a submodule or executable; send plain files")
        if not PATH.fullmatch(path):
            refuse(f"{path!r} is no allowed path in a submission")
        if int(size) > MAX_BYTES:
            refuse(f"{path!r} has more than {MAX_BYTES >> 20} MiB")
        target = out / path.removeprefix(BELOW)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(git("cat-file", "blob", blob))


def main() -> None:
    """Exports all changed submissions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True)
    parser.add_argument("--head", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for commit in (arguments.base, arguments.head):
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            refuse("base and head are commits")
    for name in changed_ids(arguments.base, arguments.head):
        export(arguments.head, name, arguments.out)


if __name__ == "__main__":
    main()
