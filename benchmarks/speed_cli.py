"""The command ``speed``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dojobench.protocol.command_line import parse

if TYPE_CHECKING:
    from dojobench.benchmarks.speed import SpeedReport


@dataclass(frozen=True, kw_only=True)
class SpeedCommand:
    """Times a world model as somebody who steers a robot through it would feel it."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Registered name, module:factory, checkpoint folder or address (ws://…, http://…)."""
    options: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[KEY=VALUE …]")
    ] = ()
    """Options of the model's factory."""
    out: Path | None = None
    """Folder of the result. Default: runs/NAME-speed."""
    preset: Literal["dreamdojo-teacher", "dreamdojo-student"] | None = None
    """Published conditions: 480x640, batch 1, 12 frames from 1 or 4 frames from 12."""
    resolution: tuple[int, int] | None = None
    """Height and width. Default: the model's own, else 256 256."""
    chunk: int | None = None
    """Actions a step. Default: the model's native chunk, else 12."""
    frame_rate: float | None = None
    """Frames per second that are real time. Default: the model's own, else 10."""
    batch: int = 1
    """Rollouts stepped together."""
    sessions: int = 3
    """Rollouts timed."""
    steps: int = 20
    """Steps timed in each rollout, after the first."""
    warmup: int = 1
    """Rollouts before, not timed."""
    device: str = "cpu"
    """Where context and actions are put: cpu, cuda, cuda:1."""


def speed(argv: list[str]) -> int:
    """Runs ``dojobench speed``.

    Args:
        argv: Its arguments.

    Returns:
        The exit code.
    """
    command = parse(SpeedCommand, argv, "dojobench speed")
    from dojobench.benchmarks.speed import SPEED_FILE, SpeedConfig, measure_speed
    from dojobench.protocol.options import parse_pairs

    name = command.model.replace(":", "-").replace("/", "-")
    out = command.out or Path("runs") / f"{name}-speed"
    report = measure_speed(
        SpeedConfig(
            model=command.model,
            out=out,
            options=parse_pairs(command.options),
            preset=command.preset,
            resolution=command.resolution,
            chunk=command.chunk,
            frame_rate=command.frame_rate,
            batch=command.batch,
            sessions=command.sessions,
            steps=command.steps,
            warmup=command.warmup,
            device=command.device,
        )
    )
    for line in describe_speed(report):
        print(line)
    print(f"written to {out / SPEED_FILE}", file=sys.stderr)
    return 0


def describe_speed(report: "SpeedReport") -> list[str]:
    """Says a measurement in lines of text; times in milliseconds."""
    stats, null, conditions = report.stats, report.null, report.conditions
    height, width = conditions["resolution"]

    def ms(key: str) -> str:
        return f"{1e3 * float(stats[key] or 0.0):.2f} ms"

    lines = [
        f"{report.model['name']}: {float(stats['frames_per_second'] or 0):.2f} frames/s, "
        f"{float(stats['real_time_factor'] or 0):.2f} times real time at "
        f"{conditions['frame_rate']:g} Hz",
        f"  conditions        {height}x{width}, {conditions['chunk']} frames from "
        f"{conditions['context_frames']}, batch {conditions['batch']}, {conditions['device']}",
        f"  first frames      {ms('time_to_first_frame')}",
        f"  step p50/p95/p99  {ms('p50')} / {ms('p95')} / {ms('p99')}, slowest {ms('maximum')}, "
        f"n = {stats['steps']}",
        f"  jitter            {ms('jitter')} between consecutive steps",
        f"  missed deadlines  {100 * float(stats['missed_deadlines'] or 0):.1f} % "
        f"[{100 * float(stats['missed_low'] or 0):.1f}, "
        f"{100 * float(stats['missed_high'] or 0):.1f}] of steps over {ms('budget')}",
        f"  null model        {1e3 * float(null['p50'] or 0):.2f} ms a step, the floor",
    ]
    if stats["transport"] is not None:
        lines.append(f"  transport         {ms('transport')} of each step is not the model's")
    if stats["peak_bytes"] is not None:
        lines.append(f"  peak memory       {float(stats['peak_bytes']) / 2**30:.2f} GiB on device")
    if report.cost:
        passes = ", ".join(f"{n} {k}" for k, n in report.cost["passes_per_step"].items())
        lines.append(
            f"  cost              {report.cost['parameters'] / 1e6:.2f} M parameters, "
            f"{report.cost['flops_per_frame'] / 1e9:.3f} GFLOP a frame"
            + (f", passes a step: {passes}" if passes else "")
        )
    return lines
