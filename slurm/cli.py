"""``dojobench slurm``: run plans of jobs on a cluster or on one machine, and see how they stand."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError
from dojobench.slurm.plan import Plan, read_plan


@dataclass(frozen=True, kw_only=True)
class _Running:
    """What `nano` and `run` have in common."""

    out: Path
    """Folder of the run; on a cluster all nodes must see it. An unfinished run in it goes on."""
    local: bool = False
    """Run on this machine, without Slurm."""
    parallel: int = 1
    """With --local: how many jobs run at a time."""
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


@dataclass(frozen=True, kw_only=True)
class NanoCommand(_Running):
    """Trains and scores the reference model nano, from data to report."""

    smoke: bool = False
    """Tiny settings: minutes instead of hours, to see that everything works here."""


@dataclass(frozen=True, kw_only=True)
class RunCommand(_Running):
    """Runs a plan: a JSON file of jobs (docs/slurm.md)."""

    plan: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PLAN.json")]
    """The plan."""


@dataclass(frozen=True, kw_only=True)
class StatusCommand:
    """Shows how far a run is; works anywhere that sees its folder, with or without Slurm."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class CancelCommand:
    """Ends a run; running jobs save their state, and submitting it again goes on from there."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""


@dataclass(frozen=True, kw_only=True)
class ClusterCommand:
    """Runs a whole Slurm on this machine until Ctrl-C, to try plans on."""

    nodes: int = 2
    """Nodes, each a daemon of its own."""
    cpus: int = 8
    """Cores that a node says to have; jobs are not confined to them."""


def nano(argv: list[str]) -> int:
    """Runs ``dojobench slurm nano``."""
    command = parse(NanoCommand, argv, "dojobench slurm nano")
    from dojobench.slurm.nano import nano_plan

    return _go(command, nano_plan(command.out, smoke=command.smoke))


def run(argv: list[str]) -> int:
    """Runs ``dojobench slurm run``."""
    command = parse(RunCommand, argv, "dojobench slurm run")
    return _go(command, read_plan(command.plan))


def status(argv: list[str]) -> int:
    """Runs ``dojobench slurm status``; 1 if a job failed."""
    command = parse(StatusCommand, argv, "dojobench slurm status")
    from dojobench.slurm.run_folder import open_run
    from dojobench.slurm.status import status as read_status
    from dojobench.slurm.status import table

    rows = read_status(command.run)
    failed = any(row.state in ("failed", "not run") for row in rows)
    if command.json:
        document = {"plan": open_run(command.run).name, "jobs": [asdict(row) for row in rows]}
        print(json.dumps(document, indent=1))
        return int(failed)
    from rich.console import Console

    # What goes into a file or a pipe is not cut to the width of a terminal.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(f"{open_run(command.run).name} in {command.run}", rows))
    if failed:
        print(f"what the jobs wrote: {command.run}/jobs/NAME.err and NAME.out")
    return int(failed)


def cancel(argv: list[str]) -> int:
    """Runs ``dojobench slurm cancel``."""
    command = parse(CancelCommand, argv, "dojobench slurm cancel")
    from dojobench.slurm.run_folder import open_run, read_submission

    open_run(command.run)
    submission = read_submission(command.run)
    if submission is not None and submission.local is not None:
        from dojobench.slurm.local_runner import cancel_local

        cancel_local(command.run, submission)
        print(f"{command.run}: asked to stop; its jobs save their state first")
        return 0
    from dojobench.protocol.words import count
    from dojobench.slurm.submit import cancel as cancel_in_slurm

    ended = cancel_in_slurm(command.run)
    print(f"{command.run}: {count(ended, 'job')} taken out of Slurm; submit again to go on")
    return 0


def cluster(argv: list[str]) -> int:
    """Runs ``dojobench slurm cluster``."""
    command = parse(ClusterCommand, argv, "dojobench slurm cluster")
    from dojobench.slurm.one_machine import OneMachineCluster

    # Told to end in whichever way, it takes its daemons and files along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with OneMachineCluster(nodes=command.nodes, cpus=command.cpus) as running:
        print(f"a Slurm of {command.nodes} nodes runs until Ctrl-C; its files: {running.folder}")
        print("in another terminal:")
        for name, value in running.environment.items():
            print(f"  export {name}={value}", flush=True)
        while True:
            time.sleep(3600)


def _go(command: _Running, plan: Plan) -> int:
    plan = _with_resources(command, plan)
    if command.parallel < 1:
        raise BadInputError(f"--parallel is at least 1, not {command.parallel}.")
    if command.local:
        return _run_here(command, plan)
    from dojobench.protocol.words import count
    from dojobench.slurm.submit import submit

    ids = submit(plan, command.out, options=_options(command.option))
    if not ids:
        print(f"{command.out}: all jobs of '{plan.name}' are done already")
        return 0
    for name, number in ids.items():
        print(f"  {number:>8}  {name}")
    print(f"{count(len(ids), 'job')} of '{plan.name}' handed to Slurm; how it goes:")
    print(f"dojobench slurm status {command.out}")
    return 0


def _with_resources(command: _Running, plan: Plan) -> Plan:
    given = {
        "partition": command.partition,
        "cpus": command.cpus,
        "gpus": command.gpus,
        "memory_gb": command.memory_gb,
        "minutes": command.minutes,
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


def _run_here(command: _Running, plan: Plan) -> int:
    from dojobench.slurm.local_runner import LocalRun

    with _show(command.out, plan) as (tell, tick):
        code = LocalRun(
            plan=plan, run=command.out, parallel=command.parallel, tell=tell, tick=tick
        ).go()
    if code == 1:
        print(f"some jobs failed; see `dojobench slurm status {command.out}`", file=sys.stderr)
    elif code == 0:
        print(f"{command.out}: all jobs of '{plan.name}' are done")
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


class Action(NamedTuple):
    """A subcommand and one line of help."""

    run: Callable[[list[str]], int]
    help: str


ACTIONS: dict[str, Action] = {
    "nano": Action(nano, "train and score the reference model nano, from data to report"),
    "run": Action(run, "run a plan of your own"),
    "status": Action(status, "how far a run is"),
    "cancel": Action(cancel, "end a run; it can go on later"),
    "cluster": Action(cluster, "a whole Slurm on this machine, to try plans on"),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench slurm``.

    Args:
        argv: Arguments behind ``slurm``.

    Returns:
        The exit code: 1 where a job failed, 2 for a command that does not exist, 75 where a run
        on this machine was told to stop.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print("usage: dojobench slurm COMMAND [ARGUMENTS]\n\ncommands:")
        print("\n".join(f"  {name:<7} {action.help}" for name, action in ACTIONS.items()))
        print("\n`dojobench slurm COMMAND --help` explains a command.")
        return 0
    if argv[0] not in ACTIONS:
        known = ", ".join(ACTIONS)
        print(f"dojobench: there is no 'slurm {argv[0]}'; there are {known}", file=sys.stderr)
        return 2
    return ACTIONS[argv[0]].run(argv[1:])
