"""The command line: gathers the rooms' commands and imports a room only when it is asked for.

Nothing here may import torch, so that ``dojobench --help`` answers at once.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    """A command: the function that runs it, as ``module:function``, and one line of help."""

    target: str
    help: str


COMMANDS: dict[str, Command] = {
    "demo": Command("dojobench.benchmarks.demo_cli:demo", "score the baselines and show a report"),
    "run": Command("dojobench.benchmarks.cli:run", "score a world model on a suite"),
    "score": Command("dojobench.benchmarks.cli:score", "score a folder of predicted videos"),
    "report": Command("dojobench.benchmarks.cli:report", "write one HTML report of run folders"),
    "speed": Command("dojobench.benchmarks.speed_cli:speed", "time a model as its user feels it"),
    "data": Command("dojobench.datasets.cli:main", "freeze, list, show and check robot video"),
    "dojo": Command(
        "dojobench.datasets.dojo_cli:main", "make, freeze and show the simulated world's clips"
    ),
    "serve": Command("dojobench.protocol.cli:serve", "serve a world model over the network"),
    "train": Command(
        "dojobench.reference_model.training.train_cli:train", "run one stage of a training recipe"
    ),
    "convert": Command(
        "dojobench.reference_model.cli:convert", "turn published checkpoints into weights files"
    ),
    "study": Command("dojobench.human_eval.cli:main", "run and analyse a human preference study"),
    "submit": Command(
        "dojobench.leaderboard.cli:main", "pack, check and audit a submission to the board"
    ),
    "leaderboard": Command(
        "dojobench.leaderboard.site_cli:main", "build and show the site of submissions"
    ),
    "conform": Command("dojobench.protocol.cli:conform", "check that a model keeps the contract"),
    "reproduce": Command(
        "dojobench.slurm.reproduce_cli:main", "make nano from nothing, and the paper's tables"
    ),
    "slurm": Command("dojobench.slurm.cli:main", "run plans of jobs on a cluster or here"),
}


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dojobench COMMAND [ARGUMENTS]",
            "",
            "The open evaluation suite for action-conditioned robot world models.",
            "",
            "commands:",
            *lines,
            "",
            "`dojobench COMMAND --help` explains a command.",
        ]
    )


def _complain(sentence: str) -> None:
    print(f"dojobench: {sentence}", file=sys.stderr)


def _load(target: str) -> Callable[[list[str]], int]:
    module, _, function = target.partition(":")
    loaded: Callable[[list[str]], int] = getattr(import_module(module), function)
    return loaded


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; the process's own where ``None``.

    Returns:
        The exit code: 0, 1 where a check or gate failed, 2 for bad input, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        from dojobench import __version__

        print(f"dojobench {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, n=1)
        hint = f", did you mean '{near[0]}'" if near else ""
        print(
            f"dojobench: there is no command '{name}'{hint}; see dojobench --help", file=sys.stderr
        )
        return 2
    return _run(COMMANDS[name].target, arguments[1:])


def _run(target: str, arguments: list[str]) -> int:
    function = _load(target)
    from dojobench.protocol.errors import BadInputError

    try:
        return function(arguments)
    except BadInputError as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
