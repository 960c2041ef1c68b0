"""``dojobench leaderboard``: build the site, look at it, and run again what a row states."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.subcommands import Subcommand, dispatch

DEFAULT = Path("leaderboard") / "submissions"


@dataclass(frozen=True, kw_only=True)
class BuildCommand:
    """Makes the site of a folder of submissions; the same files make the same bytes.

    A submission that cannot be read is left out and named; then the exit code is 1.
    """

    submissions: Path = DEFAULT
    """Folder with a folder for each submission."""
    out: Path = Path("site")
    """Folder of the site; one that was built before is replaced."""
    address: str = ""
    """Where the site will stand, such as https://example.org/board/; for the feed."""
    workers: int = 2
    """Processes."""


@dataclass(frozen=True, kw_only=True)
class ServeCommand:
    """Shows a site in the browser, on this machine alone."""

    site: tyro.conf.Positional[Path] = Path("site")
    """Folder of the site."""
    port: int = 8000
    """Port; 0 takes a free one."""


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand:
    """Runs what a row states and compares; exits with 1 where a number is outside its interval."""

    row: tyro.conf.Positional[str]
    """SUITE/SUBMISSION, such as dojo-mini/hold-1."""
    submissions: Path = DEFAULT
    """Folder with a folder for each submission."""
    out: Path | None = None
    """Folder of the new runs; an unfinished one in it goes on. Default: runs/reproduce/SUITE.ID."""
    data: Path | None = None
    """Folder that holds the suite's videos. Default: DOJOBENCH_DATA."""
    weights: Path | None = None
    """Folder with the backbone weights of LPIPS. Default: torch's cache."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda, cuda:1."""
    yes: bool = False
    """Run the model's code without asking, where the row names code that is not dojobench's."""


def build(argv: list[str]) -> int:
    """Runs ``dojobench leaderboard build``."""
    command = parse(BuildCommand, argv, "dojobench leaderboard build")
    from dojobench.leaderboard.site_build import BuildConfig
    from dojobench.leaderboard.site_build import build as make
    from dojobench.leaderboard.site_progress import Bar

    config = BuildConfig(
        submissions=command.submissions,
        out=command.out,
        address=command.address,
        workers=command.workers,
    )
    with Bar() as bar:
        built = make(config, bar)
    for each in built.left_out:
        print(f"left out: {each.name}: {each.sentence}", file=sys.stderr)
    print(
        f"{built.entries} submissions, {built.pages} pages, {built.bytes / 2**20:.1f} MiB: "
        f"{built.out / 'index.html'}"
    )
    print(f"Next: dojobench leaderboard serve {built.out}")
    return 1 if built.left_out else 0


def serve(argv: list[str]) -> int:
    """Runs ``dojobench leaderboard serve``."""
    command = parse(ServeCommand, argv, "dojobench leaderboard serve")
    from dojobench.leaderboard.site_serve import make_server

    server = make_server(command.site, command.port)
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
    return 0


def reproduce(argv: list[str]) -> int:
    """Runs ``dojobench leaderboard reproduce``."""
    command = parse(ReproduceCommand, argv, "dojobench leaderboard reproduce")
    from dojobench.leaderboard.reproduce_row import ReproduceConfig, report_text, reproduce_row

    found = reproduce_row(
        ReproduceConfig(
            row=command.row,
            submissions=command.submissions,
            out=command.out,
            data=command.data,
            weights=command.weights,
            device=command.device,
            trusted=command.yes,
        )
    )
    print(report_text(found))
    return 0 if found.within else 1


SUBCOMMANDS: dict[str, Subcommand] = {
    "build": Subcommand(build, "make the site of a folder of submissions"),
    "serve": Subcommand(serve, "show a site in the browser"),
    "reproduce": Subcommand(reproduce, "run what a row states and compare"),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench leaderboard``.

    Args:
        argv: Arguments behind ``leaderboard``.

    Returns:
        The exit code: 1 where something was left out or differs, 2 for bad input.
    """
    return dispatch("leaderboard", SUBCOMMANDS, argv)
