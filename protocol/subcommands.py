"""Commands that have commands of their own, such as ``dojobench data check``."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple, TypeAlias

Run: TypeAlias = Callable[[list[str]], int]
"""Takes the arguments behind its name and gives the exit code."""


class Subcommand(NamedTuple):
    """What runs, and one line of help."""

    run: Run
    help: str


def later(target: str) -> Run:
    """Gives a function that is imported when it is first run, named as ``module:function``."""

    def run(argv: list[str]) -> int:
        module, _, function = target.partition(":")
        found: Run = getattr(import_module(module), function)
        return found(argv)

    return run


def dispatch(
    command: str,
    table: Mapping[str, Subcommand],
    argv: Sequence[str],
    *,
    kind: str = "command",
    more: str = "",
) -> int:
    """Runs one of a command's own commands, or says what there is.

    Args:
        command: The command's name, such as ``data``.
        table: Its commands by name.
        argv: What was typed behind the name; nothing, or ``--help``, prints the table.
        kind: What the entries of the table are called.
        more: A sentence for the end of the table.

    Returns:
        The exit code: that of what ran, 2 for one that does not exist.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        width = max(map(len, table))
        upper = kind.upper()
        lines = [f"usage: dojobench {command} {upper} [ARGUMENTS]", "", f"{kind}s:"]
        lines += [f"  {name:<{width}}  {each.help}" for name, each in table.items()]
        lines += ["", *([more] if more else [])]
        lines += [f"`dojobench {command} {upper} --help` explains a {kind}."]
        sys.stdout.write("\n".join(lines) + "\n")
        return 0
    if argv[0] not in table:
        known = ", ".join(table)
        sys.stderr.write(f"dojobench: there is no '{command} {argv[0]}'; there are {known}\n")
        return 2
    return table[argv[0]].run(list(argv[1:]))
