"""The server is killed at random moments under load: what was acknowledged is in the log."""

import contextlib
import random
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dojobench.human_eval.study_file import TrialsPart
from dojobench.human_eval.vote_files import check_study, open_store

RIGHT = {"vanish": "right", "command": "left", "same": "tie"}
RATERS = 6


def free_port() -> int:
    """A port below those that the system hands out, so that none is lost between two lives."""
    for port in random.SystemRandom().sample(range(10_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("there is no free port")


class Served:
    """A server process of its own, on a port that stays the same over its lives."""

    def __init__(self, folder: Path, database: str | None) -> None:
        where = [] if database is None else ["--database", database]
        self.command = [
            sys.executable,
            "-m",
            "dojobench.cli",
            "study",
            "serve",
            str(folder),
            *where,
        ]
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self.command, "--port", str(self.port)], stdout=subprocess.PIPE, text=True
        )
        ready, _, _ = select.select([self.process.stdout], [], [], 600)
        assert ready
        self.port = int(re.search(r":(\d+)/", self.process.stdout.readline())[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Rater(threading.Thread):
    """Votes as fast as it can, asks again when the server is gone, notes what was acknowledged."""

    def __init__(self, served: Served, stop: threading.Event) -> None:
        super().__init__()
        self.served, self.stop = served, stop
        self.sent: list[str] = []
        self.acknowledged: list[str] = []
        self.surprises: list[str] = []

    def run(self) -> None:
        base = f"http://127.0.0.1:{self.served.port}"
        with httpx.Client(
            base_url=base, headers={"Origin": base}, follow_redirects=True, timeout=300
        ) as client:
            while not self.stop.is_set():
                try:
                    self.step(client)
                except httpx.TransportError:
                    time.sleep(0.02)

    def step(self, client: httpx.Client) -> None:
        page = client.get("/trial")
        if page.url.path == "/":
            client.post("/consent", data={"agree": "yes", "language": "en"})
            client.post("/training", data=RIGHT)
            return
        if page.url.path == "/training":
            client.post("/training", data=RIGHT)
            return
        token = re.search(r'name="token" value="([^"]+)"', page.text)
        if page.url.path != "/trial" or token is None:
            if page.status_code != 429:
                self.surprises.append(f"{page.status_code} at {page.url.path}")
            time.sleep(0.05)
            return
        trial = re.search(r"&#34;id&#34;: &#34;([0-9a-f]{32})", page.text)[1]
        self.sent.append(trial)
        answers = {"physics": random.choice(("left", "right", "tie")), "action": "tie"}
        stored = client.post("/vote", json={"token": token[1], "answers": answers})
        if stored.status_code == 200:
            self.acknowledged.append(trial)
        elif stored.status_code != 429:
            self.surprises.append(f"{stored.status_code} for a vote")
        time.sleep(0.05)


def survive(folder: Path, database: str | None, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    served = Served(folder, database)
    served.start()
    stop = threading.Event()
    raters = [Rater(served, stop) for _ in range(RATERS)]
    for rater in raters:
        rater.start()
    try:
        for _ in range(kills):
            before = sum(len(rater.acknowledged) for rater in raters)
            deadline = time.monotonic() + 600
            while sum(len(rater.acknowledged) for rater in raters) < before + RATERS:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.3))
            served.kill()
            served.start()
        time.sleep(0.5)
    finally:
        stop.set()
        for rater in raters:
            rater.join()
        served.kill()
    count, _, faults = check_study(folder, database=database)
    assert faults == []
    store = open_store(folder, database)
    votes = [(event.body["trial"], event.body["axis"]) for event in store.events()]
    store.close()
    assert len(votes) == count == len(set(votes))
    trials = {trial for trial, _ in votes}
    assert len(votes) == 2 * len(trials)
    acknowledged = [trial for rater in raters for trial in rater.acknowledged]
    assert len(acknowledged) >= kills * RATERS
    assert set(acknowledged) <= trials
    assert trials <= {trial for rater in raters for trial in rater.sent}
    assert [surprise for rater in raters for surprise in rater.surprises] == []


def long_study(make_study: Callable[..., Path]) -> Path:
    return make_study(models=4, clips=120, trials=TrialsPart(pairs=120, per_rater=700))


@pytest.mark.timeout(2400)
def test_three_kills_lose_no_acknowledged_vote(
    make_study: Callable[..., Path], database: str | None
) -> None:
    survive(long_study(make_study), database, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_lose_no_acknowledged_vote(
    make_study: Callable[..., Path], database: str | None
) -> None:
    survive(long_study(make_study), database, kills=20, seed=1)
