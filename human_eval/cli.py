"""``dojobench study``: one command whose subcommands carry a study from plan to report.

Each subcommand lives in its own file and is imported only when it is asked for.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple


class Subcommand(NamedTuple):
    """A subcommand: the function that runs it, as ``module:function``, and one line of help."""

    target: str
    help: str


SUBCOMMANDS: dict[str, Subcommand] = {
    "create": Subcommand(
        "dojobench.human_eval.create_cli:create", "make a study from runs: media and plan"
    ),
    "power": Subcommand(
        "dojobench.human_eval.power_cli:power", "how many votes tell one rate from another"
    ),
    "serve": Subcommand("dojobench.human_eval.serve_cli:serve", "put a study on the web"),
    "links": Subcommand("dojobench.human_eval.serve_cli:links", "print personal links for raters"),
    "export": Subcommand(
        "dojobench.human_eval.votes_cli:export", "write the vote log, safe to publish"
    ),
    "verify": Subcommand(
        "dojobench.human_eval.votes_cli:verify", "check that no vote was changed or removed"
    ),
    "analyze": Subcommand(
        "dojobench.human_eval.analyze_cli:analyze", "turn a vote log into rates, ranks and a report"
    ),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench study``.

    Args:
        argv: Arguments behind ``study``.

    Returns:
        The exit code: 1 where a check found errors, 2 for a subcommand that does not exist.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        width = max(map(len, SUBCOMMANDS))
        print("usage: dojobench study COMMAND [ARGUMENTS]\n\ncommands:")
        print("\n".join(f"  {name:<{width}}  {each.help}" for name, each in SUBCOMMANDS.items()))
        print("\n`dojobench study COMMAND --help` explains a command.")
        return 0
    if argv[0] not in SUBCOMMANDS:
        known = ", ".join(SUBCOMMANDS)
        print(f"dojobench: there is no 'study {argv[0]}'; there are {known}", file=sys.stderr)
        return 2
    module, _, function = SUBCOMMANDS[argv[0]].target.partition(":")
    run: Callable[[list[str]], int] = getattr(import_module(module), function)
    return run(argv[1:])
