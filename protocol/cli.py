"""``dojobench serve`` and ``dojobench conform``."""

import asyncio
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError

if TYPE_CHECKING:
    from dojobench.protocol.conformance import Finding
    from dojobench.protocol.model import WorldModel

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Serves a world model, for dojobench on another machine or in another Python.

    The bearer token is better given in the variable DOJOBENCH_TOKEN than as an argument, which
    other users of the machine can read.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Registered name, package.module:factory, or checkpoint folder."""

    options: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[KEY=VALUE …]")
    ] = ()
    """Options of the model's factory."""

    host: str = "127.0.0.1"
    """Interface to listen on; 0.0.0.0 for all."""

    port: int = 8080
    """TCP port; 0 lets the system choose."""

    token: str | None = None
    """Bearer token that clients must send."""

    device: str = "cpu"
    """Where context and actions are put before the model sees them."""

    http: bool = False
    """Speak WorldArena 2.0 Track 2's HTTP interface instead of the wire."""

    max_sessions: int = 16
    """Wire: sessions open at once."""

    idle_seconds: float = 900.0
    """Wire: after so long without a request, sessions and connections are closed."""

    max_message_mib: int = 256
    """Largest message or request, in MiB."""

    resolution: tuple[int, int] | None = None
    """HTTP: height and width, where the model takes any."""

    action_dim: int | None = None
    """HTTP: width of an action, where the model takes any."""

    profile_id: str = "dojobench"
    """HTTP: name of the profile that is declared."""

    representation: str = "profile_canonical"
    """HTTP: meaning of the actions, as the profile calls it."""

    max_concurrency: int = 2
    """HTTP: requests answered or waiting at once."""


@dataclass(frozen=True, kw_only=True)
class ConformConfig:
    """Checks that a world model keeps the contract; exit code 1 if it does not."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Registered name, package.module:factory, checkpoint folder or address."""

    options: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[KEY=VALUE …]")
    ] = ()
    """Options of the model's factory."""

    out: Path | None = None
    """JSON file for the findings."""

    device: str = "cpu"
    """Where context and actions are put."""

    resolution: tuple[int, int] = (64, 64)
    """Height and width to ask with, where the model takes any."""

    action_dim: int = 7
    """Width of the actions to ask with, where the model takes any."""

    chunk: int = 4
    """Actions a step, where the model has no native chunk."""


def serve(argv: list[str]) -> int:
    """Runs ``dojobench serve`` until it is interrupted.

    Raises:
        BadInputError: If the model or the port cannot be had.
    """
    config = parse(ServeConfig, argv, "dojobench serve")
    if not 0 <= config.port <= 65535:
        raise BadInputError(f"--port {config.port} is no port; give 0 to 65535")
    for name in ("max_sessions", "idle_seconds", "max_message_mib", "max_concurrency"):
        if getattr(config, name) <= 0:
            raise BadInputError(f"--{name.replace('_', '-')} must be above 0")
    check_device(config.device)
    from dojobench.protocol.client import TOKEN_VARIABLE
    from dojobench.protocol.lookup import load_model
    from dojobench.protocol.options import parse_pairs

    model = load_model(config.model, parse_pairs(config.options))
    _require_alone(model)
    token = config.token or os.environ.get(TOKEN_VARIABLE) or None
    if token is None and config.host not in _LOOPBACK:
        print(
            f"dojobench: anyone who reaches {config.host} can use the model; set {TOKEN_VARIABLE}",
            file=sys.stderr,
        )
    if config.http:
        _serve_http(model, config, token)
    else:
        asyncio.run(_serve_wire(model, config, token))
    return 0


async def _serve_wire(model: "WorldModel", config: ServeConfig, token: str | None) -> None:
    from dojobench.protocol.messages import Limits
    from dojobench.protocol.server import ServerConfig, WireServer

    limits = Limits(
        max_message_bytes=config.max_message_mib * 2**20,
        max_sessions=config.max_sessions,
        idle_seconds=config.idle_seconds,
    )
    server = WireServer(
        model,
        ServerConfig(
            host=config.host,
            port=config.port,
            token=token,
            device=config.device,
            limits=limits,
        ),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def ready(address: str) -> None:
        print(f"serving {model.spec.name} {model.spec.version} at {address} (Ctrl-C ends it)")
        print(f"next: dojobench run {address} --suite SUITE --out DIR", flush=True)

    await server.run(ready=ready, stop=stop)


def _serve_http(model: "WorldModel", config: ServeConfig, token: str | None) -> None:
    from dojobench.protocol.http_predict import ServiceProfile
    from dojobench.protocol.http_track2 import HttpConfig, serving_http

    service = ServiceProfile(
        profile_id=config.profile_id,
        resolution=config.resolution,
        action_dim=config.action_dim,
        representation=config.representation,
        max_request_bytes=config.max_message_mib * 2**20,
        max_concurrency=config.max_concurrency,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    http = HttpConfig(
        host=config.host, port=config.port, token=token, device=config.device, service=service
    )
    with serving_http(model, http) as address:
        print(f"serving {model.spec.name} {model.spec.version} at {address} (Ctrl-C ends it)")
        print(f"next: dojobench run {address} --suite SUITE --out DIR", flush=True)
        stop.wait()


def conform(argv: list[str]) -> int:
    """Runs ``dojobench conform``.

    Returns:
        0 where the model keeps the contract, 1 where it does not.

    Raises:
        BadInputError: If the model cannot be had or the file not be written.
    """
    config = parse(ConformConfig, argv, "dojobench conform")
    if min(*config.resolution, config.chunk) < 1 or config.action_dim < 0:
        raise BadInputError("--resolution, --chunk and --action-dim must be above 0")
    if config.out is not None and not config.out.parent.is_dir():
        raise BadInputError(f"there is no folder {config.out.parent} for --out {config.out.name}")
    check_device(config.device)
    from dojobench.protocol.conformance import Report, verdict, write_report
    from dojobench.protocol.lookup import load_model
    from dojobench.protocol.options import parse_pairs

    options = parse_pairs(config.options)
    model = load_model(config.model, options)
    _require_alone(model)
    report = Report(
        reference=config.model,
        options=options,
        spec=asdict(model.spec),
        findings=_check_with_progress(model, config),
    )
    for finding in report.findings:
        print(f"{finding.status:<5} {finding.check}: {finding.sentence}")
    print(verdict(report.findings))
    if config.out is not None:
        write_report(config.out, report)
        print(f"written to {config.out}")
    return 0 if report.passed else 1


def _require_alone(model: "WorldModel") -> None:
    """Refuses a model that a run gives more than context and actions."""
    for method, gives in (("start_privileged", "the truth"), ("fit", "a training split")):
        if callable(getattr(model, method, None)):
            raise BadInputError(
                f"model {model.spec.name} is given {gives} and works inside dojobench run only"
            )


def _check_with_progress(model: "WorldModel", config: ConformConfig) -> "tuple[Finding, ...]":
    from rich.console import Console
    from rich.progress import Progress

    from dojobench.protocol.conformance import ConformanceSettings, check_model, count_checks

    settings = ConformanceSettings(
        resolution=config.resolution,
        action_dim=config.action_dim,
        chunk=config.chunk,
        device=config.device,
    )
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking", total=count_checks())

        def begun(name: str) -> None:
            progress.update(task, description=f"checking {name}")
            progress.advance(task)

        return tuple(check_model(model, settings, on_check=begun))


def check_device(name: str) -> None:
    """Refuses a device that torch does not know or this machine does not have.

    Raises:
        BadInputError: Naming it.
    """
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        text = " ".join(str(error).split())[:200]
        raise BadInputError(f"--device {name} cannot be used: {text}") from error
