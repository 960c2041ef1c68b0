"""Processes that render for another end with it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

OWNER = """
    import multiprocessing, sys
    from pathlib import Path
    from dojobench.simulator.generation import generate
    from dojobench.simulator.splits import clip_plan

    if __name__ == "__main__":
        made = generate(clip_plan("dojo-mini"), workers=2)
        next(made)
        print(*(each.pid for each in multiprocessing.active_children()), flush=True)
        sys.stdin.read()
"""


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_rendering_processes_end_with_a_killed_owner(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "owner.py"
    script.write_text(textwrap.dedent(OWNER))
    owner = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    workers = [int(each) for each in owner.stdout.readline().split()]
    try:
        assert len(workers) == 2
        assert all(runs(pid) for pid in workers)
        owner.send_signal(how)
        owner.communicate(timeout=600)
        deadline = time.monotonic() + 600
        while any(runs(pid) for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(runs(pid) for pid in workers)
    finally:
        for pid in filter(runs, workers):
            os.kill(pid, signal.SIGKILL)
