"""Can this machine do that? Weights have to be read from memory, and arithmetic takes time.

Only what physics forbids is an error: bounds leave a factor of two to the machine's advantage.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from dojobench.leaderboard.card import Card
from dojobench.leaderboard.dates import parse_date
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.leaderboard.safe_files import shown
from dojobench.leaderboard.verdict import Finding

BYTES = {
    "float32": 4.0, "tfloat32": 4.0, "bfloat16": 2.0, "float16": 2.0, "float8": 1.0, "int8": 1.0,
    "float4": 0.5,
}  # fmt: skip
MARGIN = 2.0


class Machine(NamedTuple):
    """What a machine can do at best: GB/s of memory, dense teraFLOP/s in 16 bits, GiB."""

    bandwidth: float
    teraflops: float
    memory: float


GPUS: dict[str, Machine] = {
    "B300": Machine(8000, 2500, 288),
    "B200": Machine(8000, 2250, 192),
    "GB200": Machine(8000, 2500, 192),
    "H200": Machine(4800, 990, 144),
    "GH200": Machine(4900, 990, 144),
    "H100": Machine(3900, 990, 96),
    "H800": Machine(3400, 990, 80),
    "A100": Machine(2040, 312, 80),
    "A800": Machine(2040, 312, 80),
    "L40": Machine(864, 362, 48),
    "L4": Machine(300, 121, 24),
    "A40": Machine(696, 150, 48),
    "A10": Machine(600, 125, 24),
    "A6000": Machine(768, 155, 48),
    "6000 Ada": Machine(960, 364, 48),
    "PRO 6000": Machine(1800, 500, 96),
    "RTX 5090": Machine(1800, 420, 32),
    "RTX 4090": Machine(1010, 330, 24),
    "RTX 4080": Machine(740, 195, 16),
    "RTX 3090": Machine(936, 142, 24),
    "RTX 3080": Machine(912, 120, 12),
    "V100": Machine(1130, 125, 32),
    "T4": Machine(320, 65, 16),
    "MI300X": Machine(5300, 1310, 192),
    "MI250": Machine(3280, 383, 128),
}
"""Makers' data sheets, rounded up; dense arithmetic."""
CPU_CORE_TERAFLOPS = 0.3
CPU_BANDWIDTH = 1200.0


def machine_named(hardware: dict[str, Any]) -> Machine | None:
    """Looks up what a machine can do at best; ``None`` for a GPU that is not in the list."""
    name = hardware.get("gpu")
    if name is None:
        cores = hardware.get("cores")
        count = cores if isinstance(cores, int) else 1
        return Machine(CPU_BANDWIDTH, CPU_CORE_TERAFLOPS * max(1, count), 1e6)
    known = [key for key in GPUS if key.lower() in str(name).lower()]
    return GPUS[max(known, key=len)] if known else None


def check_machine(run: SubmittedRun, card: Card) -> Iterator[Finding]:
    """Checks a run's hardware and timings.

    Args:
        run: The run.
        card: Parameters, precision and steps.

    Yields:
        What cannot be.
    """
    hardware = run.meta.hardware
    yield from _plausible(run, hardware)
    machine = machine_named(hardware)
    if machine is None:
        yield Finding(
            code="DB-W609",
            sentence=f"{run.entry.name}: nothing is known about the GPU "
            f"'{shown(hardware.get('gpu'))}', so its timings cannot be judged.",
            where=run.entry.name,
        )
    if run.entry.benchmark == "fidelity":
        yield from _timings(run, card, machine)


def _plausible(run: SubmittedRun, hardware: dict[str, Any]) -> Iterator[Finding]:
    cores, memory, cpu = hardware.get("cores"), hardware.get("memory_gib"), hardware.get("cpu")
    wrong = None
    if not isinstance(cpu, str) or not cpu.strip():
        wrong = "no processor"
    elif isinstance(cores, bool) or not isinstance(cores, int) or not 1 <= cores <= 4096:
        wrong = f"{shown(cores, 20)} cores"
    elif memory is not None and (
        not isinstance(memory, int | float) or not 0.1 <= float(memory) <= 65_536
    ):
        wrong = f"{shown(memory, 20)} GiB of memory"
    elif run.meta.execution.device.startswith("cuda") and not hardware.get("gpu"):
        wrong = "no GPU, though it ran on one"
    else:
        machine, gib = machine_named(hardware), hardware.get("gpu_memory_gib")
        if hardware.get("gpu") and machine and isinstance(gib, int | float):
            wrong = f"a GPU with {gib:g} GiB" if gib > 1.05 * machine.memory else None
    if wrong:
        yield Finding(
            code="DB-H501",
            sentence=f"{run.entry.name}: run.json names a machine with {wrong}, which there is "
            "not; send the run.json that dojobench wrote.",
            where=f"runs/{run.entry.name}/run.json: hardware",
        )


def _timings(run: SubmittedRun, card: Card, machine: Machine | None) -> Iterator[Finding]:
    told = _made_up(run) or _too_fast(run, card, machine) or _longer_than_the_run(run)
    if told:
        yield Finding(
            code="DB-C310",
            sentence=f"{run.entry.name}: {told}; send the timings that dojobench measured, and "
            "correct parameters, precision and steps in the card if they are wrong.",
            where=run.entry.name,
        )


def _made_up(run: SubmittedRun) -> str | None:
    steps = [s for record in run.records for s in record.timings.steps_s]
    for record in run.records:
        times = record.timings
        numbers = (times.start_s, times.read_s, times.score_s, *times.steps_s)
        if min(numbers) < 0 or times.batch < 1:
            return f"the timings of {shown(record.clip)} are negative"
        if len(times.steps_s) != len(times.step_frames):
            return f"the timings of {shown(record.clip)} lack steps"
        if sum(times.step_frames) < record.frames:
            return f"the timed steps of {shown(record.clip)} made fewer frames than were scored"
    if len(steps) >= 20 and len(set(steps)) <= len(steps) / 20:
        return "its steps took the same time again and again, which no clock shows"
    return None


def _too_fast(run: SubmittedRun, card: Card, machine: Machine | None) -> str | None:
    from_files = any("prediction files" in note for note in run.meta.notes)
    if machine is None or from_files:
        return None
    used = card.active_parameters or card.parameters
    conditions = card.conditions
    reading = used * BYTES[conditions.precision] * conditions.steps / (machine.bandwidth * 1e9)
    found = sorted(
        step / max(1, frames)
        for record in run.records
        for step, frames in zip(record.timings.steps_s, record.timings.step_frames, strict=True)
    )
    steps = sorted(s for record in run.records for s in record.timings.steps_s)
    if not steps:
        return None
    middle = steps[len(steps) // 2]
    if middle * MARGIN < reading:
        return (
            f"a step takes {1e3 * middle:.3g} ms, but reading {used:.3g} parameters "
            f"{conditions.steps} times takes this machine at least {1e3 * reading:.3g} ms"
        )
    flops = conditions.flops_per_frame or 2.0 * used * conditions.steps / _chunk(run)
    least = flops / (machine.teraflops * 1e12)
    frame = found[len(found) // 2]
    if frame * MARGIN < least:
        return (
            f"a frame takes {1e3 * frame:.3g} ms, but its {flops:.3g} operations take this machine "
            f"at least {1e3 * least:.3g} ms"
        )
    return None


def _chunk(run: SubmittedRun) -> int:
    """Frames that one pass makes: at most as many as a step answered."""
    return max((max(r.timings.step_frames, default=1) for r in run.records), default=1)


def _longer_than_the_run(run: SubmittedRun) -> str | None:
    """A run is not shorter than its steps; a resumed one is, at most, longer."""
    took = math.fsum(
        (r.timings.start_s + math.fsum(r.timings.steps_s)) / r.timings.batch for r in run.records
    )
    try:
        wall = (parse_date(run.meta.ended or "") - parse_date(run.meta.started)).total_seconds()
    except ValueError:
        return None
    if took > 1.1 * wall + 5:
        return f"its steps took {took:.0f} s together, in a run of {wall:.0f} s"
    return None
