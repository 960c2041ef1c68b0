"""Fixtures for all tests: what may be missing on a user's machine, and must not be in CI."""

import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from dojobench.slurm.one_machine import OneMachineCluster

ROOT = Path(__file__).resolve().parent.parent

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that:
# commands that a test interrupts would then never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Neither a slow machine nor chance fails a test: no time limit, and the same examples each time.
# To look for new ones, add --hypothesis-profile=default.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seeds what is drawn without a seed, so that it depends on no test that ran before."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


def _missing(what: str, reason: str) -> None:
    """Skips the test, or fails it where ``DOJOBENCH_REQUIRE`` names what is missing."""
    if what in os.environ.get("DOJOBENCH_REQUIRE", "").split(","):
        pytest.fail(f"DOJOBENCH_REQUIRE names '{what}', but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of sample clips: ``DOJOBENCH_DATA``, or ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("DOJOBENCH_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "gr1_sim").is_dir():
        _missing("data", f"there are no sample clips at {folder}; set DOJOBENCH_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium or Chrome to open pages with."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    _missing("browser", "there is no Chromium on the PATH; install the package chromium")
    raise AssertionError  # _missing never returns


@pytest.fixture(scope="session")
def slurm() -> Iterator["OneMachineCluster"]:
    """A Slurm of two nodes that is started for the tests; its commands find it by SLURM_CONF."""
    from dojobench.slurm.one_machine import OneMachineCluster, missing_programs

    if missing := missing_programs():
        _missing("slurm", f"{', '.join(missing)} is not installed (apt install slurm-wlm munge)")
    pytest.importorskip("submitit")
    # Slurm forgets who may run a job after as many seconds: five are few on a busy machine.
    with OneMachineCluster(restart_seconds=15) as cluster:
        yield cluster
