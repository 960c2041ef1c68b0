"""From a plan and a command's flags to a run: handed to Slurm, or done on this machine.

``dojobench slurm`` and ``dojobench reproduce`` share it.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dojobench.protocol.errors import BadInputError
from dojobench.slurm.plan import Plan


@dataclass(frozen=True, kw_only=True)
class JobFlags:
    """What all commands that run a plan have in common."""

    out: Path
    """Folder of the run; on a cluster all nodes must see it. An unfinished run in it goes on."""
    parallel: int = 1
    """On this machine: how many jobs run at a time."""
    partition: str | None = None
    """Slurm's partition. Default: as the plan says, else the cluster's."""
    cpus: int | None = None
    """Cores of each job. Default: as the plan says."""
    gpus: int | None = None
    """GPUs of each job. Default: as the plan says."""
    memory_gb: float | None = None
    """Main memory of each job in GB. Default: as the plan says."""
    minutes: int | None = None
    """Time limit of one attempt of each job. Default: as the plan says."""
    option: tuple[str, ...] = ()
    """Further options of sbatch, such as account=robots or constraint=a100."""


def go(flags: JobFlags, plan: Plan, *, here: bool, stop_after: float | None = None) -> int:
    """Runs a plan, or goes on with it.

    Args:
        flags: Of the command.
        plan: What to run.
        here: On this machine; else it is handed to Slurm.
        stop_after: Minutes after which a run on this machine saves its state and stops.

    Returns:
        The exit code: 0 if all is done or handed over, 1 if a job failed, 75 if stopped to go on
        later, 130 if stopped by Ctrl-C.

    Raises:
        BadInputError: If a flag makes no sense, there is no Slurm, or the folder is in use.
    """
    plan = _with_resources(flags, plan)
    if flags.parallel < 1:
        raise BadInputError(f"--parallel is at least 1, not {flags.parallel}.")
    if here:
        return _run_here(flags, plan, stop_after)
    from dojobench.protocol.words import count
    from dojobench.slurm.submit import submit

    ids = submit(plan, flags.out, options=_options(flags.option))
    if not ids:
        print(f"{flags.out}: all jobs of '{plan.name}' are done already")
        return 0
    for name, number in ids.items():
        print(f"  {number:>8}  {name}")
    print(f"{count(len(ids), 'job')} of '{plan.name}' handed to Slurm; how it goes:")
    print(f"dojobench slurm status {flags.out}")
    return 0


def _with_resources(flags: JobFlags, plan: Plan) -> Plan:
    given = {
        "partition": flags.partition,
        "cpus": flags.cpus,
        "gpus": flags.gpus,
        "memory_gb": flags.memory_gb,
        "minutes": flags.minutes,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    jobs = tuple(
        replace(job, resources=replace(job.resources, **changes))  # type: ignore[arg-type]
        for job in plan.jobs
    )
    return replace(plan, jobs=jobs)


def _options(words: tuple[str, ...]) -> dict[str, str | bool]:
    options: dict[str, str | bool] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not name:
            raise BadInputError(f"'{word}' is no option of sbatch; write NAME=VALUE or NAME.")
        options[name] = value if equals else True
    return options


def _run_here(flags: JobFlags, plan: Plan, stop_after: float | None) -> int:
    from dojobench.slurm.local_runner import LocalRun

    with _show(flags.out, plan) as (tell, tick):
        code = LocalRun(
            plan=plan,
            run=flags.out,
            parallel=flags.parallel,
            tell=tell,
            tick=tick,
            stop_after=stop_after,
        ).go()
    if code == 1:
        print(f"some jobs failed; see `dojobench slurm status {flags.out}`", file=sys.stderr)
    elif code == 0:
        print(f"{flags.out}: all jobs of '{plan.name}' are done")
    return code


@contextmanager
def _show(out: Path, plan: Plan) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """Shows how a run goes, on stderr: its table on a terminal, lines in a log."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: print(line, file=sys.stderr, flush=True), lambda: None
        return
    from rich.live import Live

    from dojobench.slurm.status import status as read_status
    from dojobench.slurm.status import table

    shown = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def tick() -> None:
            nonlocal shown
            if time.monotonic() - shown > 1:
                shown = time.monotonic()
                live.update(table(f"{plan.name} in {out}", read_status(out)), refresh=True)

        yield lambda line: live.console.print(line, markup=False, highlight=False), tick
