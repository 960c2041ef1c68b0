"""Checks the submissions in a folder and writes the verdict for a comment: Markdown, escaped."""

import argparse
import json
from pathlib import Path

from dojobench.leaderboard.check import CheckConfig, check
from dojobench.leaderboard.comment import comment, worst


def main() -> None:
    """Checks all and writes ``comment.md``, ``verdict.json`` and ``outcome``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("incoming", type=Path)
    parser.add_argument("--board", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    folders = sorted(each for each in arguments.incoming.iterdir() if each.is_dir())
    verdicts = {each: check(each, CheckConfig(board=arguments.board)) for each in folders}
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps([verdict.to_json() for verdict in verdicts.values()], indent=1)
    (arguments.out / "verdict.json").write_text(text, encoding="utf-8")
    told = comment(verdicts, arguments.board)
    (arguments.out / "comment.md").write_text(told, encoding="utf-8")
    (arguments.out / "outcome").write_text(worst(list(verdicts.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
