"""How long a hundred thousand votes take to analyse, from the command to both files."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dojobench.human_eval.study_file import (
    AxesPart,
    AxisPart,
    ModelPart,
    Study,
    StudyPart,
    TrialsPart,
    write_study,
)
from dojobench.human_eval.vote_chain import genesis, make_event, to_line

VOTES, RATERS, CLIPS, MODELS = 100_000, 200, 500, 20
SECONDS = 10.0
"""What it may take, resamples included."""


def write_log(folder: Path) -> Path:
    """Writes a plan, and a log of votes in which later models are better."""
    names = [f"model-{k:02}" for k in range(MODELS)]
    asked = AxisPart(question="which")
    plan = Study(
        study=StudyPart(title="A large study", suite="dojo"),
        models=tuple(ModelPart(name=name, source=f"runs/{name}") for name in names),
        axes=AxesPart(physics=asked, action=asked),
        trials=TrialsPart(pairs=CLIPS),
    )
    found = write_study(plan, folder)
    rng = np.random.default_rng(0)
    header = {"format": 1, "kind": "dojobench-votes", "study": found}
    lines = [json.dumps({**header, "consent_version": "1", "created": "x"})]
    prev = genesis(found)
    for n in range(1, VOTES + 1):
        if n % 2:  # a trial answers both questions
            left, right = (int(k) for k in rng.choice(MODELS, size=2, replace=False))
            place = {
                "rater": f"r_{rng.integers(RATERS)}", "trial": f"t{n}", "pair": "p",
                "clip": f"c{rng.integers(CLIPS)}", "left": names[left], "right": names[right],
                "kind": "ordinary", "gold_answer": None, "drift_frames": 0, "seconds": 9.0,
                "arm": "random" if rng.random() < 0.25 else "adaptive", "plays": 1, "flags": [],
                "break_at": {"left": None, "right": None},
            }  # fmt: skip
        odds = np.exp([(left - right) / 10, (right - left) / 10, -1, -3])
        answer = str(rng.choice(["left", "right", "tie", "unsure"], p=odds / odds.sum()))
        body = {**place, "axis": ("action", "physics")[n % 2], "answer": answer}
        time_text = f"2026-01-{1 + 27 * n // VOTES:02}T12:00:00Z"
        event = make_event(n=n, prev=prev, time=time_text, type="vote", salt=f"{n:032x}", body=body)
        prev = event.hash
        lines.append(json.dumps(to_line(event)))
    path = folder / "votes.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_votes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path)
    command = [sys.executable, "-m", "dojobench.cli", "study", "analyze", str(log)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*command, "--study", str(tmp_path), "--out", str(tmp_path / "results")],
        check=True, capture_output=True,
    )  # fmt: skip
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        said = {"wall": round(wall, 2), "cpu": round(spent, 2), "load average": os.getloadavg()[0]}
        sys.stdout.write(f"\n{json.dumps(said)}\n")
    found = json.loads((tmp_path / "results" / "preferences.json").read_text())
    assert found["log"]["votes"] == VOTES
    assert spent < SECONDS
