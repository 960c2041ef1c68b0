"""Two hundred raters at once: how long a trial's page and a vote take, and that none is lost."""

import asyncio
import json
import os
import random
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from dojobench.human_eval.study_file import TrialsPart
from dojobench.human_eval.vote_files import check_study, open_store

RIGHT = {"vanish": "right", "command": "left", "same": "tie"}
RATERS = 200
SECONDS = 60.0
ARRIVAL = 15.0
PAUSE = 10.0
"""Mean seconds between a trial's page and its vote; people take some thirty."""

P95 = 0.1


async def rate(
    base: str, end: float, took: dict[str, list[float]], acknowledged: list[str], chance: int
) -> None:
    """One rater, from consent to the end of the test."""
    draw = random.Random(chance)
    await asyncio.sleep(draw.uniform(0, ARRIVAL))
    async with httpx.AsyncClient(
        base_url=base, headers={"Origin": base}, follow_redirects=True, timeout=60
    ) as client:
        await client.post("/consent", data={"agree": "yes", "language": "en"})
        await client.post("/training", data=RIGHT)
        while time.monotonic() < end:
            start = time.perf_counter()
            page = await client.get("/trial")
            took["trial"].append(time.perf_counter() - start)
            token = re.search(r'name="token" value="([^"]+)"', page.text)[1]
            trial = re.search(r"&#34;id&#34;: &#34;([0-9a-f]{32})", page.text)[1]
            await asyncio.sleep(draw.uniform(0.5 * PAUSE, 1.5 * PAUSE))
            vote = {"token": token, "answers": {"physics": "left", "action": "tie"}}
            start = time.perf_counter()
            stored = await client.post("/vote", json=vote)
            took["vote"].append(time.perf_counter() - start)
            assert stored.status_code == 200
            acknowledged.append(trial)


async def load(base: str) -> tuple[dict[str, list[float]], list[str]]:
    took: dict[str, list[float]] = {"trial": [], "vote": []}
    acknowledged: list[str] = []
    end = time.monotonic() + SECONDS
    await asyncio.gather(*(rate(base, end, took, acknowledged, k) for k in range(RATERS)))
    return took, acknowledged


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_raters_at_once(
    make_study: Callable[..., Path], database: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study(models=4, clips=50, trials=TrialsPart(pairs=50, per_rater=200))
    where = [] if database is None else ["--database", database]
    command = [sys.executable, "-m", "dojobench.cli", "study", "serve", str(folder), *where]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert select.select([server.stdout], [], [], 120)[0]
            base = re.search(r"http://[\d.:]+", server.stdout.readline())[0]
            took, acknowledged = asyncio.run(load(base))
            spent = Path(f"/proc/{server.pid}/stat")
            ticks = spent.read_text().split()[13:15] if spent.exists() else ["0", "0"]
        finally:
            server.terminate()
    found = {
        what: {
            "n": len(times),
            **{f"p{q}": round(1000 * float(np.percentile(times, q)), 1) for q in (50, 95, 99)},
        }
        for what, times in took.items()
    }
    found["server CPU seconds"] = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    found["load average"] = os.getloadavg()[0]
    with capsys.disabled():
        said = {"database": "postgresql" if database else "sqlite", **found}
        sys.stdout.write(f"\n{json.dumps(said)}\n")
    count, _, faults = check_study(folder, database=database)
    assert faults == []
    store = open_store(folder, database)
    votes = [(event.body["trial"], event.body["axis"]) for event in store.events()]
    store.close()
    assert len(votes) == len(set(votes)) == count == 2 * len(acknowledged)
    assert {trial for trial, _ in votes} == set(acknowledged)
    assert np.percentile(took["trial"], 95) < P95
    assert np.percentile(took["vote"], 95) < P95
