"""Fixtures for all tests: what may be missing on a user's machine, and must not be in CI."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dojobench.slurm.one_machine import OneMachineCluster

ROOT = Path(__file__).resolve().parent.parent


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
