"""``dojobench study``: one command whose subcommands carry a study from plan to report.

Each subcommand lives in its own file and is imported only when it is asked for.
"""

from dojobench.protocol.subcommands import Subcommand, dispatch, later

SUBCOMMANDS: dict[str, Subcommand] = {
    "create": Subcommand(
        later("dojobench.human_eval.create_cli:create"), "make a study from runs: media and plan"
    ),
    "power": Subcommand(
        later("dojobench.human_eval.power_cli:power"), "how many votes tell one rate from another"
    ),
    "serve": Subcommand(later("dojobench.human_eval.serve_cli:serve"), "put a study on the web"),
    "links": Subcommand(
        later("dojobench.human_eval.serve_cli:links"), "print personal links for raters"
    ),
    "export": Subcommand(
        later("dojobench.human_eval.votes_cli:export"), "write the vote log, safe to publish"
    ),
    "verify": Subcommand(
        later("dojobench.human_eval.votes_cli:verify"), "check that no vote was changed or removed"
    ),
    "analyze": Subcommand(
        later("dojobench.human_eval.analyze_cli:analyze"),
        "turn a vote log into rates, ranks and a report",
    ),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench study``.

    Args:
        argv: Arguments behind ``study``.

    Returns:
        The exit code: 1 where a check found errors, 2 for a subcommand that does not exist.
    """
    return dispatch("study", SUBCOMMANDS, argv)
