"""`dojobench speed`: how fast a model is, and what that speed was measured on.

The folder holds ``sessions.jsonl`` (one line a timed rollout, written and flushed before the
next one starts) and ``speed.json``, which is always derived from all of them.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from dojobench.benchmarks.latency import (
    PRESETS,
    LatencyConfig,
    NullModel,
    SessionTimes,
    time_sessions,
)
from dojobench.benchmarks.latency_stats import latency_stats
from dojobench.benchmarks.network_cost import network_cost
from dojobench.benchmarks.provenance import code_entry, hardware, package_versions
from dojobench.benchmarks.run_writer import write_json
from dojobench.protocol import BadInputError, ModelSpec, WorldModel
from dojobench.protocol.lookup import load_model

SPEED_FILE = "speed.json"
SESSIONS_FILE = "sessions.jsonl"
_ANY_RESOLUTION, _ANY_RATE, _ANY_CHUNK, _ANY_DIM = (256, 256), 10.0, 12, 7


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedConfig:
    """What to time.

    Attributes:
        model: What ``dojobench run`` takes.
        out: Folder of the result; an unfinished one of the same model and conditions resumes.
        options: Options of the model's factory.
        preset: Published conditions by name; they win over the model's own preferences.
        resolution: ``(height, width)``; the model's own, else 256x256.
        chunk: Actions a step; the model's native chunk, else 12.
        frame_rate: Real time, frames per second; the model's own, else 10.
        batch: Rollouts stepped together.
        sessions: Rollouts timed.
        steps: Steps timed in each, after the first.
        warmup: Rollouts before, not timed.
        device: Where context and actions are put.
    """

    model: str
    out: Path
    options: Mapping[str, str] = field(default_factory=dict)
    preset: str | None = None
    resolution: tuple[int, int] | None = None
    chunk: int | None = None
    frame_rate: float | None = None
    batch: int = 1
    sessions: int = 3
    steps: int = 20
    warmup: int = 1
    device: str = "cpu"


class SpeedReport(BaseModel):
    """``speed.json``.

    Attributes:
        model: Name, version, weights and how the model was named.
        conditions: What was timed; fields of ``LatencyConfig``.
        stats: Fields of ``LatencyStats``, seconds.
        null: The same for a model that answers zeros at once: the floor of the measurement.
        cost: Fields of ``NetworkCost``; ``None`` for a model without networks in this process.
        steps_s: Every timed step, first ones left out, for histograms.
        code: Commit of the code.
        packages: Versions.
        hardware: The machine.
        measured: When, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal[1] = 1
    model: dict[str, Any]
    conditions: dict[str, Any]
    stats: dict[str, float | int | None]
    null: dict[str, float | int | None]
    cost: dict[str, Any] | None
    steps_s: tuple[float, ...]
    code: dict[str, Any]
    packages: dict[str, str]
    hardware: dict[str, Any]
    measured: str


def measure_speed(
    config: SpeedConfig,
    *,
    model: WorldModel | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> SpeedReport:
    """Times a model and writes ``speed.json``.

    Args:
        config: What to time.
        model: A made model, instead of looking up ``config.model``.
        clock: Seconds that only go forward.

    Returns:
        What was written.

    Raises:
        BadInputError: If the model does not fit the conditions or the folder holds another
            measurement.
    """
    model = model or load_model(config.model, config.options)
    conditions = conditions_for(model.spec, config)
    stamp = _stamp(config, model.spec, conditions)
    sessions = _resume(config.out, stamp)
    left = replace(conditions, sessions=conditions.sessions - len(sessions))
    if left.sessions > 0:
        with (config.out / SESSIONS_FILE).open("a", encoding="utf-8") as log:
            for times in time_sessions(model, left, clock=clock):
                log.write(json.dumps(asdict(times)) + "\n")
                log.flush()
                os.fsync(log.fileno())
                sessions.append(times)
    null = list(time_sessions(NullModel(), replace(conditions, warmup=1), clock=clock))
    report = SpeedReport(
        model=stamp["model"],
        conditions=stamp["conditions"],
        stats=asdict(latency_stats(sessions, conditions)),
        null=asdict(latency_stats(null, conditions)),
        cost=_cost(model, conditions),
        steps_s=tuple(s for times in sessions for s in times.steps_s[1:]),
        code=code_entry().model_dump(mode="json"),
        packages=package_versions(),
        hardware=hardware(config.device),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(config.out / SPEED_FILE, report)
    return report


def conditions_for(spec: ModelSpec, config: SpeedConfig) -> LatencyConfig:
    """Decides the conditions: what is asked for, else the preset's, else the model's own.

    Raises:
        BadInputError: If they contradict the model's spec; both values are named.
    """
    if config.preset is not None and config.preset not in PRESETS:
        raise BadInputError(f"there is no preset '{config.preset}'; it is {' or '.join(PRESETS)}")
    asked: dict[str, Any] = dict(PRESETS[config.preset]) if config.preset else {}
    for name in ("resolution", "chunk", "frame_rate"):
        if (value := getattr(config, name)) is not None:
            asked[name] = value
    space = spec.action_space
    conditions = LatencyConfig(
        resolution=asked.get("resolution") or spec.resolution or _ANY_RESOLUTION,
        context_frames=spec.context_frames,
        chunk=asked.get("chunk") or spec.native_chunk or _ANY_CHUNK,
        action_dim=space.dim if space else _ANY_DIM,
        frame_rate=asked.get("frame_rate") or spec.frame_rate or _ANY_RATE,
        batch=config.batch,
        sessions=config.sessions,
        steps=config.steps,
        warmup=config.warmup,
        device=config.device,
    )
    _require_fit(spec, conditions, asked)
    return conditions


def _require_fit(spec: ModelSpec, conditions: LatencyConfig, asked: Mapping[str, Any]) -> None:
    if min(conditions.sessions, conditions.steps, conditions.batch, conditions.chunk) < 1:
        raise BadInputError("--sessions, --steps, --batch and --chunk are at least 1")
    if spec.resolution and conditions.resolution != spec.resolution:
        raise BadInputError(
            f"model {spec.name} makes frames of {spec.resolution} and {conditions.resolution} is "
            "asked for; leave --resolution or the preset out"
        )
    if not spec.any_chunk and spec.native_chunk and conditions.chunk % spec.native_chunk:
        raise BadInputError(
            f"model {spec.name} makes {spec.native_chunk} frames at once and a chunk of "
            f"{conditions.chunk} is asked for; leave --chunk or the preset out"
        )
    wanted = asked.get("context_frames")
    if wanted is not None and wanted != spec.context_frames:
        raise BadInputError(
            f"the preset gives {wanted} context frames and model {spec.name} takes "
            f"{spec.context_frames}; the preset's figures would not be comparable"
        )


def read_speed_report(path: Path) -> SpeedReport:
    """Reads a ``speed.json`` or the one in a folder.

    Raises:
        BadInputError: If it is missing or damaged.
    """
    file = path / SPEED_FILE if path.is_dir() else path
    try:
        return SpeedReport.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise BadInputError(
            f"{file} cannot be read as a speed measurement ({str(error).splitlines()[0]}); make "
            "one with dojobench speed"
        ) from error


def _stamp(config: SpeedConfig, spec: ModelSpec, conditions: LatencyConfig) -> dict[str, Any]:
    """What two measurements must share to be one; lists as JSON has them."""
    stamp = {
        "model": {
            "name": spec.name,
            "version": spec.version,
            "weights": spec.weights,
            "reference": config.model,
            "options": dict(config.options),
        },
        "conditions": asdict(conditions),
        "hardware": hardware(config.device),
    }
    parsed: dict[str, Any] = json.loads(json.dumps(stamp))
    return parsed


def _resume(folder: Path, stamp: dict[str, Any]) -> list[SessionTimes]:
    """Reads the rollouts that are timed already; starts the log of a new measurement."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / SESSIONS_FILE
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if not whole:
        log.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        return []
    try:
        first, *rest = (json.loads(line) for line in whole)
        sessions = [SessionTimes(**entry) for entry in rest]
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{log} is damaged ({error}); give another --out") from error
    if first != stamp:
        different = next((k for k in stamp if first.get(k) != stamp[k]), "layout")
        raise BadInputError(
            f"{folder} holds a speed measurement with another {different}; give another --out"
        )
    if len(whole) < len(lines):
        log.write_text("".join(whole), encoding="utf-8")
    return sessions


def _cost(model: WorldModel, conditions: LatencyConfig) -> dict[str, Any] | None:
    shape = (1, conditions.context_frames, 3, *conditions.resolution)
    context = torch.zeros(shape, dtype=torch.uint8, device=conditions.device)
    actions = torch.zeros(
        (1, 2 * conditions.chunk, conditions.action_dim), device=conditions.device
    )
    cost = network_cost(model, context, actions)
    return asdict(cost) if cost else None
