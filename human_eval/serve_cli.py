"""``dojobench study serve`` and ``links``: a study on the web, and personal links to it."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError

if TYPE_CHECKING:
    from starlette.applications import Starlette

_ENVIRONMENT = "DOJOBENCH_STUDY_SERVE"
"""How the worker processes of one server learn what to serve."""

_MAX_LINKS = 100_000

_QUIET: dict[str, Any] = {
    "access_log": False,  # it would keep raters' network addresses
    "server_header": False,
    "log_level": "warning",
    "timeout_keep_alive": 20,
    "timeout_graceful_shutdown": 5,
}


@dataclass(frozen=True, kw_only=True)
class ServeCommand:
    """Serves a study to raters, and its progress to its organiser.

    Behind nginx or another proxy that speaks TLS, give the outer address as --base-url.
    """

    study: Annotated[Path, tyro.conf.Positional]
    """Folder made by `dojobench study create`."""
    host: str = "127.0.0.1"
    """Interface to listen on; the default is reached from this machine alone."""
    port: int = 8800
    """TCP port; 0 lets the system choose."""
    base_url: str | None = None
    """Address that raters use, such as https://study.example.org; links and cookies follow it."""
    database: str | None = None
    """postgresql://user@host/name for many raters. Default: SQLite in the study's folder."""
    workers: int = 1
    """Server processes. More than one make sense with PostgreSQL alone; SQLite has one writer."""
    organiser_token: str | None = None
    """Opens the organiser's page. Default: one derived from the study's key."""
    completion_code: str | None = None
    """Shown at the end, for panels such as Prolific. Default: one derived from the study's key."""
    completion_url: str | None = None
    """Link at the end, back to the panel."""
    invited_only: bool = False
    """Let in only raters with a personal link or a panel's parameters."""
    lease_minutes: float = 30.0
    """How long a trial that was handed out counts as being worked on."""


@dataclass(frozen=True, kw_only=True)
class LinksCommand:
    """Prints personal links, one a line: the same person is the same rater on every device."""

    study: Annotated[Path, tyro.conf.Positional]
    """Folder made by `dojobench study create`."""
    count: int
    """How many."""
    first: int = 1
    """Number of the first; go on where the last call ended."""
    base_url: str = "http://127.0.0.1:8800"
    """Address that raters use."""


def serve(argv: list[str]) -> int:
    """Runs ``dojobench study serve``.

    Args:
        argv: Arguments behind ``serve``.

    Returns:
        The exit code.

    Raises:
        BadInputError: If the folder is no study, or the port or database cannot be used.
    """
    command = parse(ServeCommand, argv, prog="dojobench study serve")
    if command.workers < 1:
        raise BadInputError(f"--workers is {command.workers}; at least one process has to serve")
    import uvicorn

    app = make_app(command)
    listener = _listen(command.host, command.port)
    port = listener.getsockname()[1]
    _print_links(command, f"http://{_shown_host(command.host)}:{port}", app)
    if command.workers == 1:
        uvicorn.Server(uvicorn.Config(app, **_QUIET)).run(sockets=[listener])
        return 0
    listener.close()
    app.state.site.running.store.close()
    os.environ[_ENVIRONMENT] = json.dumps(argv)
    uvicorn.run(
        "dojobench.human_eval.serve_cli:worker_app", factory=True, host=command.host, port=port,
        workers=command.workers, **_QUIET,
    )  # fmt: skip
    return 0


def worker_app() -> "Starlette":
    """Makes the application in a worker process of `serve`."""
    argv = json.loads(os.environ[_ENVIRONMENT])
    return make_app(parse(ServeCommand, argv, prog="dojobench study serve"))


def make_app(command: ServeCommand) -> "Starlette":
    """Makes the application that a command asks for."""
    from dojobench.human_eval.app import create_app
    from dojobench.human_eval.site import Settings

    settings = Settings(
        completion_code=command.completion_code,
        completion_url=command.completion_url,
        invited_only=command.invited_only,
        lease_seconds=60 * command.lease_minutes,
    )
    return create_app(
        command.study,
        database=command.database,
        organiser_token=_organiser_token(command),
        base_url=command.base_url,
        settings=settings,
    )


def links(argv: list[str]) -> int:
    """Runs ``dojobench study links``.

    Args:
        argv: Arguments behind ``links``.

    Returns:
        The exit code.

    Raises:
        BadInputError: If the folder is no study, or no links or far too many are asked for.
    """
    from dojobench.human_eval.catalog import open_study
    from dojobench.human_eval.keyring import Keyring, read_key

    command = parse(LinksCommand, argv, prog="dojobench study links")
    if not 1 <= command.count <= _MAX_LINKS or command.first < 1:
        raise BadInputError(f"--count must be 1 to {_MAX_LINKS} and --first at least 1")
    open_study(command.study)
    keyring = Keyring(read_key(command.study))
    for number in range(command.first, command.first + command.count):
        print(f"{command.base_url.rstrip('/')}/r/{keyring.link(str(number))}")
    return 0


def _organiser_token(command: ServeCommand) -> str:
    from dojobench.human_eval.keyring import Keyring, read_key

    if command.organiser_token is not None:
        return command.organiser_token
    return Keyring(read_key(command.study)).digest("organiser", "token")[:32]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(
            f"cannot listen on {host} port {port}: {reason}; choose another --port"
        ) from error
    listener.set_inheritable(True)
    return listener


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _print_links(command: ServeCommand, local: str, app: "Starlette") -> None:
    site = app.state.site
    base = (command.base_url or local).rstrip("/")
    panel = "PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}"
    print(f"raters:     {base}/")
    print(f"organiser:  {base}/organise?token={site.organiser_token}")
    print(f"Prolific:   {base}/?{panel}")
    print(f"            completion code {site.completion_code}")
    print(f"votes go to {_shown_database(command)}; stop with Ctrl+C", flush=True)


def _shown_database(command: ServeCommand) -> str:
    if command.database is None:
        return str(command.study / "votes.db")
    from sqlalchemy.engine import make_url

    return make_url(command.database).render_as_string(hide_password=True)
