"""Best of many seeds, shuffled: no record shows it, and running the model again does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojobench.benchmarks.records import Record
from dojobench.leaderboard.audit_model import compare
from dojobench.leaderboard.draw import draw
from dojobench.leaderboard.runs import SubmittedRun, read_run
from dojobench.leaderboard.submission import read_submission

Make = Callable[..., Any]
MANY = 30


def picked(model: Any, run: Any, dice: np.random.Generator) -> None:
    """Gives ``run`` the three best seeds of every clip, called 0, 1 and 2 by chance."""
    for clip in run.clips:
        means = {seed: model.errors[clip, seed][0].mean() for seed in model.seeds}
        best = sorted(model.seeds, key=means.__getitem__)[:3]
        for name, seed in zip(run.seeds, dice.permutation(best), strict=True):
            run.errors[clip, name] = model.errors[clip, int(seed)]


@pytest.fixture
def model(fake_run: Make) -> Any:
    """What the model gives for many seeds."""
    return fake_run(seed=3, seeds=MANY)


def submitted(folder: Path) -> SubmittedRun:
    submission = read_submission(folder)
    return read_run(submission, submission.file.runs[0])


def run_again(model: Any, run: SubmittedRun, shift: int) -> list[Record]:
    """What an auditor gets for 16 drawn records; on other hardware seeds give other samples."""
    rows = {(row["clip"], row["seed"]): row for row in model.records()}
    drawn = draw(run.run.plan(), "0" * 64, 16)
    return [
        Record.model_validate(rows[clip, seed + shift] | {"seed": seed}) for clip, seed in drawn
    ]


@pytest.mark.parametrize("shift", [0, 5], ids=["same hardware", "other hardware"])
def test_picked_and_shuffled_seeds_fail_the_audit_by_their_mean(
    model: Any, fake_run: Make, submit: Make, codes: Make, shift: int
) -> None:
    run = fake_run(seed=3)
    picked(model, run, np.random.default_rng(0))
    folder = submit(run)
    assert "DB-C307" not in codes(folder)
    found = submitted(folder)
    outside = [each for each in compare(found, run_again(model, found, shift)) if not each.within]
    assert "mean of 16" in {each.clip for each in outside if each.metric == "psnr"}


@pytest.mark.parametrize("shift", [0, 5], ids=["same hardware", "other hardware"])
def test_honest_seeds_pass(model: Any, fake_run: Make, submit: Make, shift: int) -> None:
    found = submitted(submit(fake_run(seed=3)))
    compared = list(compare(found, run_again(model, found, shift)))
    assert [each for each in compared if not each.within] == []
    assert "mean of 16" in {each.clip for each in compared}
