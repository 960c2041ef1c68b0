"""Shares in summaries have the interval of a share, overall, by split and among the checks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojobench.benchmarks.metric_names import BENCHMARK_METRICS
from dojobench.benchmarks.records import Record, Run, RunMeta, Summary
from dojobench.benchmarks.shares import with_share_intervals
from dojobench.benchmarks.summary import summarise
from dojobench.metrics.intervals import clustered_share
from dojobench.protocol import BadInputError


def summary_of(values: list[dict[str, Any]], **more: Any) -> Summary:
    run = make_run(values, **more)
    return with_share_intervals(run, summarise(run))


def make_run(rows: list[dict[str, Any]], seeds: tuple[int, ...] = (0,)) -> Run:
    records = [
        Record.model_validate(
            {"clip": f"c{k // len(seeds)}", "seed": seeds[k % len(seeds)], "split": "val",
             "episode": str(k // len(seeds)), "source": "x", "embodiment": "arm", "frames": 2,
             "values": {}} | row
        )
        for k, row in enumerate(rows)
    ]  # fmt: skip
    meta = RunMeta.model_validate(
        {
            "model": {"name": "m", "reference": "pkg:m"},
            "suite": {
                "name": "s", "version": "sha256:1", "resolution": [8, 8], "frame_rate": 10.0,
                "context_frames": 1, "action_space": {"dim": 2, "embodiment": "arm"}, "clips": 2,
            },
            "convention": "aligned", "metric_version": "1", "metrics": ["branch_retrieval"],
            "seeds": seeds, "splits": ["val"],
            "clip_ids": list(dict.fromkeys(record.clip for record in records)),
            "code": {"version": "0"}, "started": "2026-11-21T00:00:00Z",
        }
    )  # fmt: skip
    return Run(path=Path("run"), meta=meta, records=records, torn=False)


def test_a_share_never_leaves_its_range_and_never_is_a_point() -> None:
    for values in ([1.0] * 4, [0.0] * 4, [0.25] * 4, [1.0, 1.0, 0.75, 1.0]):
        run = make_run([{"values": {"branch_retrieval": v, "cf_skill": v}} for v in values])
        general, found = summarise(run).metrics, summary_of(
            [{"values": {"branch_retrieval": v, "cf_skill": v}} for v in values]
        ).metrics  # fmt: skip
        share = found["branch_retrieval"]
        assert share.mean == np.mean(values)
        assert 0 <= share.low < share.high <= 1
        assert found["cf_skill"] == general["cf_skill"]
    # What the general interval says of the last.
    assert general["branch_retrieval"].high > 1


def test_seeds_are_averaged_first_and_splits_have_their_own() -> None:
    rows = [
        {"split": split, "values": {"two_way_choice": value}}
        for split, pair in (("a", (1, 0.5)), ("a", (1, 1)), ("b", (0.5, 0)), ("b", (1, 0)))
        for value in pair
    ]
    found = summary_of(rows, seeds=(0, 1)).metrics["two_way_choice"]
    means = [0.75, 1.0, 0.25, 0.5]
    for part, values in ((found, means), (found.by_split["a"], means[:2]),
                         (found.by_split["b"], means[2:])):  # fmt: skip
        expected = clustered_share(values, range(len(values)))
        assert (part.mean, part.low, part.high) == (expected.mean, expected.low, expected.high)
        assert part.n == part.clusters == len(values)
    assert found.seed_sd is not None


def test_yes_and_no_among_the_checks_are_shares() -> None:
    rows = [{"checks": {"repeats": True, "psnr": 20.0}} for _ in range(3)]
    checks = summary_of(rows).checks
    assert checks["repeats"].mean == checks["repeats"].high == 1
    assert 0 < checks["repeats"].low < 1
    assert checks["psnr"].low == checks["psnr"].high == 20


def test_one_episode_gives_no_interval() -> None:
    rows = [{"values": {"vanished": v}, "episode": "0"} for v in (0.5, 1.0)]
    found = summary_of(rows).metrics["vanished"]
    assert found.mean == 0.75
    assert found.low is None
    assert found.high is None


@pytest.mark.parametrize("row", [{"values": {"vanished": 1.5}}, {"checks": {"repeats": 2.0}}])
def test_what_is_no_share_is_refused(row: dict[str, Any]) -> None:
    rows = [row | {"checks": row.get("checks", {"repeats": True})}, {"checks": {"repeats": True}}]
    with pytest.raises(
        BadInputError, match=r"record of c0, seed 0, has (vanished 1.5|repeats 2.0)"
    ):
        summary_of(rows)


def test_only_numbers_that_cannot_leave_0_to_1_count_as_shares() -> None:
    shares = {name for name, info in BENCHMARK_METRICS.items() if info.share}
    assert {"branch_retrieval", "joints_answered", "freeze_rate"} <= shares
    assert not shares & {"mrr", "cf_skill", "effect_cosine", "area_error", "joint_cosine"}
    for name in shares:
        assert BENCHMARK_METRICS[name].unit == "", name
        assert BENCHMARK_METRICS[name].cap in (0.0, 1.0), name
