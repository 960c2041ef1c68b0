"""How long `dojobench --help` takes, beside a Python that does nothing."""

import subprocess
import sys
from typing import Any


def _seconds(benchmark: Any, *arguments: str) -> None:
    benchmark.pedantic(
        lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True),
        rounds=10,
        warmup_rounds=1,
    )


def test_python_alone(benchmark: Any) -> None:
    """The floor: the interpreter starts and stops."""
    _seconds(benchmark, "-c", "pass")


def test_help(benchmark: Any) -> None:
    """Required: within 0.3 s."""
    _seconds(benchmark, "-m", "dojobench.cli", "--help")
    assert benchmark.stats.stats.median < 0.3
