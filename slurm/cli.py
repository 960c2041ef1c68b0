"""``dojobench slurm``: run plans of jobs on a cluster or on one machine, and see how they stand."""

import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.subcommands import Subcommand, dispatch
from dojobench.slurm.plan import read_plan
from dojobench.slurm.run_cli import JobFlags, go


@dataclass(frozen=True, kw_only=True)
class _Submitting(JobFlags):
    """What `nano` and `run` have in common."""

    local: bool = False
    """Run on this machine, without Slurm."""


@dataclass(frozen=True, kw_only=True)
class NanoCommand(_Submitting):
    """Trains and scores the reference model nano, from data to report."""

    smoke: bool = False
    """Tiny settings: minutes instead of hours, to see that everything works here."""


@dataclass(frozen=True, kw_only=True)
class RunCommand(_Submitting):
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

    return go(command, nano_plan(command.out, smoke=command.smoke), here=command.local)


def run(argv: list[str]) -> int:
    """Runs ``dojobench slurm run``."""
    command = parse(RunCommand, argv, "dojobench slurm run")
    return go(command, read_plan(command.plan), here=command.local)


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


ACTIONS: dict[str, Subcommand] = {
    "nano": Subcommand(nano, "train and score the reference model nano, from data to report"),
    "run": Subcommand(run, "run a plan of your own"),
    "status": Subcommand(status, "how far a run is"),
    "cancel": Subcommand(cancel, "end a run; it can go on later"),
    "cluster": Subcommand(cluster, "a whole Slurm on this machine, to try plans on"),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench slurm``.

    Args:
        argv: Arguments behind ``slurm``.

    Returns:
        The exit code: 1 where a job failed, 2 for a command that does not exist, 75 where a run
        on this machine was told to stop.
    """
    return dispatch("slurm", ACTIONS, argv)
