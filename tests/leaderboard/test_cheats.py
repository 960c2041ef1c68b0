"""Each cheat by name, planted: the checker names it, and says nothing of honest submissions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojobench.leaderboard.check import check
from dojobench.leaderboard.known_suites import known_suite

Make = Callable[..., Any]


def test_an_honest_run_of_the_whole_suite_is_accepted(fake_run: Make, submit: Make) -> None:
    verdict = check(submit(fake_run(suite=known_suite("dojo-mini"))))
    assert verdict.outcome == "accepted", verdict.findings


def test_an_honest_submission_is_accepted_without_a_warning(honest: Path, verdict_of: Make) -> None:
    verdict = verdict_of(honest)
    assert [each for each in verdict.findings if each.level != "note"] == []
    assert verdict.accepted
    assert verdict.id == "my-model-1"


@pytest.mark.parametrize("quality", [-0.5, 0.0, 0.3, 0.6])
def test_good_and_bad_honest_models_are_accepted(
    fake_run: Make, submit: Make, verdict_of: Make, quality: float
) -> None:
    verdict = verdict_of(submit(fake_run(quality=quality, seed=7)))
    assert verdict.outcome == "accepted", verdict.findings


def test_copied_ground_truth(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    for key, (_, static) in run.errors.items():
        run.errors[key] = np.zeros_like(static), static
    assert "DB-C301" in codes(submit(run))


def test_the_truth_through_a_codec_is_still_a_copy(
    fake_run: Make, submit: Make, codes: Make
) -> None:
    run = fake_run()
    noise = np.random.default_rng(0)
    for key, (_, static) in run.errors.items():
        lost = np.round(noise.uniform(5e-5, 9e-5, len(static)) * 3 * 64 * 64 * 255**2)
        run.errors[key] = lost / (3 * 64 * 64 * 255**2), static
    assert "DB-C301" in codes(submit(run))


def test_the_truth_under_noise_is_still_a_copy(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    noise = np.random.default_rng(0)
    for key, (_, static) in run.errors.items():
        level = np.round(noise.normal(1e-3, 2e-5, len(static)) * 3 * 64 * 64 * 255**2)
        run.errors[key] = level / (3 * 64 * 64 * 255**2), static
    assert "DB-C301" in codes(submit(run))


@pytest.mark.parametrize("change", [0.0, 0.02])
def test_actions_ignored(fake_run: Make, submit: Make, codes: Make, change: float) -> None:
    run = fake_run()
    run.checks = {clip: {"answer_change": change, "psnr_drop": 0.0} for clip in run.clips[:8]}
    assert codes(submit(run)) == {"DB-C302"}


def test_actions_that_hardly_matter_are_a_warning(
    fake_run: Make, submit: Make, codes: Make
) -> None:
    run = fake_run()
    run.checks = {clip: {"answer_change": 0.5, "psnr_drop": 0.0} for clip in run.clips[:8]}
    folder = submit(run)
    assert codes(folder) == set()
    assert "DB-W602" in codes(folder, level="warning")


def test_actions_that_nobody_checked_are_a_warning(
    fake_run: Make, submit: Make, codes: Make
) -> None:
    run = fake_run()
    run.checks = {}
    assert "DB-W603" in codes(submit(run), level="warning")


def test_frozen_frames(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    for key, (_, static) in run.errors.items():
        run.errors[key] = static.copy(), static
    assert "DB-C303" in codes(submit(run))


def test_frames_that_freeze_midway_are_a_warning(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    for key, (model, static) in run.errors.items():
        half = len(static) // 2
        run.errors[key] = np.concatenate([model[:half], static[half:]]), static
    assert "DB-W608" in codes(submit(run), level="warning")


def test_another_models_records(fake_run: Make, submit: Make, codes: Make) -> None:
    theirs = submit(fake_run(seed=3), name="theirs", where="board")
    mine = submit(fake_run(seed=3))
    assert codes(mine, board=theirs.parent) == {"DB-C304"}


def test_another_models_records_with_a_little_added(
    fake_run: Make, submit: Make, codes: Make
) -> None:
    theirs = submit(fake_run(seed=3), name="theirs", where="board")
    run = fake_run(seed=3)
    for key, (model, static) in run.errors.items():
        run.errors[key] = np.round(model * 0.8 * 3 * 64 * 64 * 255**2) / (
            3 * 64 * 64 * 255**2
        ), static  # fmt: skip
    assert codes(submit(run), board=theirs.parent) == {"DB-C304"}


def test_a_part_of_another_models_records(fake_run: Make, submit: Make, codes: Make) -> None:
    other, run = fake_run(seed=3), fake_run(seed=4)
    theirs = submit(other, name="theirs", where="board")
    for clip in run.clips[:4]:
        for seed in run.seeds:
            run.errors[clip, seed] = other.errors[clip, seed]
    assert codes(submit(run), board=theirs.parent) == {"DB-C304"}


def test_who_supersedes_a_submission_may_be_like_it(
    fake_run: Make, submit: Make, codes: Make, honest: Path
) -> None:
    theirs = submit(fake_run(seed=3), name="theirs", where="board")
    card = (honest / "card.toml").read_text().replace(
        "format = 1", 'format = 1\nsupersedes = "theirs"'
    )  # fmt: skip
    assert codes(submit(fake_run(seed=3), card=card), board=theirs.parent) == set()


def test_two_honest_models_are_not_taken_for_one(
    fake_run: Make, submit: Make, verdict_of: Make
) -> None:
    theirs = submit(fake_run(seed=3), name="theirs", where="board")
    verdict = verdict_of(submit(fake_run(seed=4)), board=theirs.parent)
    assert verdict.outcome == "accepted", verdict.findings


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "runs" / "dojo-mini.fidelity" / "records.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        change(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_edited_values(copy: Path, reseal: Make, codes: Make) -> None:
    def better(row: dict[str, Any]) -> None:
        row["values"]["psnr"] += 1.0

    edit(copy, better)
    reseal(copy)
    assert {"DB-C305", "DB-R204"} <= codes(copy)


def test_edited_without_a_new_hash(copy: Path, codes: Make) -> None:
    edit(copy, lambda row: row["values"].update(psnr=30.0))
    assert "DB-S010" in codes(copy)


def test_edited_curves_that_hang_together(fake_run: Make, submit: Make, codes: Make) -> None:
    """Everything is derived anew, but no 8-bit frames have these errors."""
    run = fake_run()
    for key, (model, static) in run.errors.items():
        run.errors[key] = model * 0.9, static
    assert codes(submit(run)) == {"DB-C305"}


def test_averaged_seeds_are_edited_records(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    for clip in run.clips:
        mean = sum(run.errors[clip, seed][0] for seed in run.seeds) / 3
        for seed in run.seeds:
            run.errors[clip, seed] = mean, run.errors[clip, seed][1]
    assert "DB-C305" in codes(submit(run))


def test_dropped_bad_clips(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    worst = sorted(run.clips, key=lambda clip: -run.errors[clip, 0][0].mean())
    run.clips = [clip for clip in run.clips if clip not in worst[:4]]
    assert codes(submit(run)) == {"DB-C306"}


def test_dropped_records_of_bad_clips(copy: Path, reseal: Make, codes: Make) -> None:
    file = copy / "runs" / "dojo-mini.fidelity" / "records.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-5]))
    reseal(copy)
    assert "DB-R202" in codes(copy)


def test_a_metric_left_out_where_it_is_bad(copy: Path, reseal: Make, codes: Make) -> None:
    def without(row: dict[str, Any]) -> None:
        if row["values"]["psnr"] < 18:
            row["values"].pop("psnr")

    edit(copy, without)
    reseal(copy)
    assert "DB-R205" in codes(copy)


def test_best_of_many_seeds_sorted(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    noise = np.random.default_rng(5)
    scale = 3 * 64 * 64 * 255**2
    for clip in run.clips:
        model, static = run.errors[clip, 0]
        drawn = np.sort(np.exp(noise.normal(0, 0.1, 8)))[:3]
        for seed, factor in zip(run.seeds, drawn, strict=True):
            run.errors[clip, seed] = np.round(model * factor * scale) / scale, static
    assert codes(submit(run)) == {"DB-C307"}


def test_chosen_seed_numbers(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    run.errors |= {
        (clip, new): run.errors[clip, old]
        for clip in run.clips
        for old, new in zip((0, 1, 2), (3, 17, 40), strict=True)
    }
    run.seeds = [3, 17, 40]
    assert codes(submit(run)) == {"DB-C307"}


def test_two_seeds_are_too_few(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    run.seeds = [0, 1]
    assert codes(submit(run)) == {"DB-V104"}


def test_retrieval_of_training_clips(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    scale = 3 * 64 * 64 * 255**2
    for (clip, seed), (_, static) in run.errors.items():
        known = run.suite.reference.clips[clip].retrieval
        shape = np.linspace(0.8, 1.2, len(static))
        run.errors[clip, seed] = np.round(known * shape * scale) / scale, static
    assert codes(submit(run)) == {"DB-C308"}


def test_another_suite_version(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    run.meta_changes = {"suite": run.meta()["suite"] | {"version": "sha256:" + "1" * 64}}
    assert codes(submit(run)) == {"DB-C309"}


def test_another_suite_under_the_right_version(fake_run: Make, submit: Make, codes: Make) -> None:
    """The version was changed by hand, but the truth moves otherwise."""
    run = fake_run()
    scale = 3 * 64 * 64 * 255**2
    noise = np.random.default_rng(2)
    for clip in run.clips:
        factor = noise.uniform(1.2, 3)
        for seed in run.seeds:
            model, static = run.errors[clip, seed]
            run.errors[clip, seed] = model, np.round(static * factor * scale) / scale
    assert codes(submit(run)) == {"DB-C309"}


def test_timings_that_the_hardware_cannot_do(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    run.step_s = 1e-6
    assert codes(submit(run)) == {"DB-C310"}


def test_timings_that_no_clock_shows(copy: Path, reseal: Make, codes: Make) -> None:
    edit(copy, lambda row: row["timings"].update(steps_s=[0.05]))
    reseal(copy)
    assert "DB-C310" in codes(copy)


def test_steps_that_are_longer_than_the_run(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    run.meta_changes = {"ended": "2026-11-01T10:00:01+00:00"}
    run.step_s = 1.0
    assert codes(submit(run)) == {"DB-C310"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gpu_memory_gib": 640.0}, "640"),
        ({"cores": 0}, "cores"),
        ({"cpu": ""}, "processor"),
        ({"gpu": None}, "no GPU"),
        ({"memory_gib": -3.0}, "memory"),
    ],
)
def test_machines_that_do_not_exist(
    fake_run: Make, submit: Make, verdict_of: Make, changes: dict[str, Any], told: str
) -> None:
    run = fake_run()
    run.meta_changes = {"hardware": run.meta()["hardware"] | changes}
    sentences = [f.sentence for f in verdict_of(submit(run)).findings if f.code == "DB-H501"]
    assert len(sentences) == 1
    assert told in sentences[0]


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ('[[training]]\nname = "dojo"\nsource = "dojo"\nsplits = ["train", "val"]', "DB-T401"),
        ('[[training]]\nname = "dojo"\nsource = "dojo"', "DB-T403"),
        ("", "DB-T402"),
    ],
)
def test_training_data_against_the_suite(
    fake_run: Make, submit: Make, codes: Make, honest: Path, table: str, code: str
) -> None:
    before, _, after = (honest / "card.toml").read_text().partition("[[training]]")
    card = f"{before}\n{table}\n\n[links]{after.partition('[links]')[2]}"
    assert codes(submit(fake_run(), card=card)) == {code}


def test_a_model_that_sees_the_truth(fake_run: Make, submit: Make, codes: Make) -> None:
    run = fake_run()
    run.meta_changes = {"model": run.meta()["model"] | {"privileged": True}}
    assert "DB-V107" in codes(submit(run))
