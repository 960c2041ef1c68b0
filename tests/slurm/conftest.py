"""A small program that can be interrupted, as a stand-in for a training."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dojobench.slurm.plan import Job, Resources

# Counts to STEPS, each step a hash of the one before, saved after each. At step HOLD a first
# attempt lingers until it is asked to stop, so a test can end it exactly there; asked, it saves
# and exits with 75, or, called with "deaf", does not know the signal and dies of it.
COUNTER = """
import hashlib, json, os, pathlib, signal, sys, time
folder, steps, hold, manners = sys.argv[1:5]
folder, steps, hold = pathlib.Path(folder), int(steps), int(hold)
folder.mkdir(parents=True, exist_ok=True)
checkpoint, log = folder / "checkpoint.json", folder / "train.jsonl"
asked = []
if manners == "polite":
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: asked.append(signal.Signals(number).name))
state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "value": ""}
first = state["step"]
with (folder / "starts").open("a") as file:
    file.write(f"{first} {os.environ.get('SLURMD_NODENAME', '')}\\n")
while state["step"] < steps:
    if asked:
        print("asked by", asked[0], "at", state["step"], flush=True)
        sys.exit(75)
    if first == 0 and state["step"] == hold:
        time.sleep(0.05)
        continue
    value = hashlib.sha256(f"{state['value']}{state['step']}".encode()).hexdigest()
    state = {"step": state["step"] + 1, "value": value}
    temporary = checkpoint.with_suffix(".tmp")
    temporary.write_text(json.dumps(state))
    os.replace(temporary, checkpoint)
    with log.open("a") as file:
        line = {"step": state["step"], "steps": steps, "seconds": state["step"] * 0.5, "loss": 1.0}
        file.write(json.dumps(line) + "\\n")
(folder / "result").write_text(state["value"])
"""


@pytest.fixture(scope="session")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Job]:
    """Makes a job that counts; ``hold`` is where its first attempt waits to be stopped."""
    program = tmp_path_factory.mktemp("program") / "counter.py"
    program.write_text(COUNTER)

    def make(
        name: str,
        run: Path,
        *,
        steps: int = 20,
        hold: int = -1,
        manners: str = "polite",
        after: tuple[str, ...] = (),
        resources: Resources | None = None,
    ) -> Job:
        return Job(
            name=name,
            program=(sys.executable, str(program)),
            command=(str(run / name), str(steps), str(hold), manners),
            after=after,
            resources=resources or Resources(cpus=1, memory_gb=0.25, minutes=10),
        )

    return make


@pytest.fixture(scope="session")
def says() -> Callable[..., Job]:
    """Makes a job that runs a line of Python, ``run`` being the run's folder."""

    def make(name: str, code: str, *, after: tuple[str, ...] = (), array: int = 0) -> Job:
        return Job(
            name=name,
            program=(sys.executable, "-c", f"import pathlib, sys; {code}"),
            command=(),
            after=after,
            array=tuple((str(index),) for index in range(array)) or None,
            resources=Resources(cpus=1, memory_gb=0.25, minutes=10),
        )

    return make
