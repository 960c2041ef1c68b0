"""Checks a speed measurement: what it says of itself, and whether the machine can do that."""

from collections.abc import Iterator

from dojobench.benchmarks.speed import SpeedReport
from dojobench.leaderboard.machines import BYTES, MARGIN, machine_named
from dojobench.leaderboard.pack import speed_entry
from dojobench.leaderboard.runs import run_file
from dojobench.leaderboard.submission import RunEntry, Submission, read_part
from dojobench.leaderboard.verdict import Finding

ROUNDING = 1e-6


def read_speed(submission: Submission, entry: RunEntry) -> SpeedReport:
    """Reads a speed measurement.

    Raises:
        Refused: If it is missing or damaged.
    """
    return read_part(submission.folder, run_file(entry, "speed.json"), SpeedReport)[1]


def check_speed(submission: Submission, entry: RunEntry) -> Iterator[Finding]:
    """Checks one measurement.

    Yields:
        What is wrong.
    """
    report = read_speed(submission, entry)
    if speed_entry(report) != entry:
        yield Finding(
            code="DB-S012",
            sentence=f"submission.json and speed.json disagree about {entry.name}; pack it again.",
            where=entry.name,
        )
    told = _too_fast(submission, report)
    if told:
        yield Finding(
            code="DB-C310",
            sentence=f"{entry.name}: {told}; send the measurement of `dojobench speed`, and "
            "correct parameters, precision and steps in the card if they are wrong.",
            where=entry.name,
        )


def _too_fast(submission: Submission, report: SpeedReport) -> str | None:
    steps = sorted(report.steps_s)
    if not steps or min(steps) < 0:
        return "it has no timed steps, or negative ones"
    if len(steps) >= 20 and len(set(steps)) <= len(steps) / 20:
        return "its steps took the same time again and again, which no clock shows"
    machine = machine_named(report.hardware)
    if machine is None:
        return None
    card = submission.card
    used = card.active_parameters or card.parameters
    conditions = card.conditions
    reading = used * BYTES[conditions.precision] * conditions.steps / (machine.bandwidth * 1e9)
    middle = steps[len(steps) // 2]
    if middle * MARGIN < reading:
        return (
            f"a step takes {1e3 * middle:.3g} ms, but reading {used:.3g} parameters "
            f"{conditions.steps} times takes this machine at least {1e3 * reading:.3g} ms"
        )
    return None
