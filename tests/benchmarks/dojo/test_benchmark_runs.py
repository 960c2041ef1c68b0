"""Several benchmarks with one command: folders, resumption, what is left out, gates."""

import json
import multiprocessing
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.benchmark_runs import BENCHMARKS, run_benchmarks
from dojobench.benchmarks.gates import judge_against, judge_in, parse_gate, read_summary
from dojobench.benchmarks.records import load_run
from dojobench.benchmarks.runner import RunConfig
from dojobench.benchmarks.tables import print_table
from dojobench.cli import main
from dojobench.datasets.suites import open_suite
from dojobench.protocol import BadInputError


def config(out: Path, **changes: Any) -> RunConfig:
    fields: dict[str, Any] = {
        "model": "lag-2",
        "suite": "toy",
        "out": out,
        "metrics": ("psnr",),
        "videos": "none",
        "checks": 0,
    }
    return RunConfig(**fields | changes)


SMALL = {"val": 1, "groups": 2, "long_frames": 82}


def content(folder: Path) -> dict[str, Any]:
    """All results below a folder, without times and the machine."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("summary.json")):
        summary = json.loads(file.read_text())
        summary.pop("timings")
        found[str(file.relative_to(folder))] = summary
    for file in sorted(folder.rglob("records.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            line.pop("timings")
        found[str(file.relative_to(folder))] = lines
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, toy_suite: Any) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    suite = toy_suite(**SMALL)
    outcome = run_benchmarks(config(out), suite=suite, model=make_baseline("lag-2"))
    assert tuple(outcome.folders) == BENCHMARKS
    assert outcome.left_out == {}
    return out


def test_every_benchmark_is_a_run_folder_with_its_baselines(whole: Path) -> None:
    for name in BENCHMARKS:
        run = load_run(whole if name == "fidelity" else whole / name)
        assert run.meta.benchmark == name
        assert list(run.baselines()) == ["hold"]
        assert run.meta.model.privileged
        assert run.missing() == []
        assert run.meta.ended is not None


def test_an_interrupted_run_ends_like_a_whole_one(
    whole: Path, tmp_path: Path, toy_suite: Any
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for log in sorted(out.rglob("records.jsonl")):
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:40])
        (log.parent / "summary.json").unlink()
    shutil.rmtree(out / "probes")
    run_benchmarks(config(out), suite=toy_suite(**SMALL), model=make_baseline("lag-2"))
    assert content(out) == content(whole)


def _run(out: str) -> None:
    run_benchmarks(
        config(
            Path(out), model="hold", suite="dojo-mini", baselines=("noise",), limit=2,
            splits=("counterfactual", "palindrome", "val"), videos="all",
        ),
        ["counterfactual", "probes"],
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_ends_like_a_whole_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    began = time.monotonic()
    first = context.Process(target=_run, args=(str(tmp_path / "whole"),))
    first.start()
    first.join(1200)
    assert first.exitcode == 0
    longest, moments = time.monotonic() - began, set()
    for attempt in range(8):
        process = context.Process(target=_run, args=(str(tmp_path / "killed"),))
        process.start()
        process.join(longest * (0.3 + 0.1 * attempt))
        process.kill()
        process.join()
        logs = (tmp_path / "killed").rglob("records.jsonl")
        moments.add(sum(log.read_bytes().count(b"\n") for log in logs))
    last = context.Process(target=_run, args=(str(tmp_path / "killed"),))
    last.start()
    last.join(1200)
    assert last.exitcode == 0
    assert len(moments) > 1
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    videos = {
        str(v.relative_to(tmp_path / "whole")): v.read_bytes()
        for v in (tmp_path / "whole").rglob("*.mp4")
    }
    assert len(videos) >= 4
    for name, video in videos.items():
        assert (tmp_path / "killed" / name).read_bytes() == video


def test_what_a_suite_does_not_support_is_left_out_with_a_reason(
    tmp_path: Path, toy_suite: Any
) -> None:
    suite = toy_suite(groups=0, long=0)
    outcome = run_benchmarks(config(tmp_path / "a"), suite=suite, model=make_baseline("hold"))
    assert tuple(outcome.folders) == ("fidelity", "probes")
    assert "no counterfactual clips" in outcome.left_out["counterfactual"]
    assert "no long clips" in outcome.left_out["stability"]
    with pytest.raises(BadInputError, match="no long clips"):
        run_benchmarks(
            config(tmp_path / "b"), ["stability"], suite=suite, model=make_baseline("hold")
        )
    with pytest.raises(BadInputError, match="no benchmark fidelty"):
        run_benchmarks(
            config(tmp_path / "b"), ["fidelty"], suite=suite, model=make_baseline("hold")
        )
    assert not (tmp_path / "b").exists()


def test_the_fidelity_run_may_come_last(tmp_path: Path, toy_suite: Any) -> None:
    suite, hold = toy_suite(**SMALL), make_baseline("hold")
    run_benchmarks(config(tmp_path / "run"), ["counterfactual"], suite=suite, model=hold)
    run_benchmarks(config(tmp_path / "run"), ["fidelity"], suite=suite, model=hold)
    assert load_run(tmp_path / "run").meta.benchmark == "fidelity"
    with pytest.raises(BadInputError, match="another run"):
        run_benchmarks(
            config(tmp_path / "run", seeds=(1,)), ["counterfactual"], suite=suite, model=hold
        )


def test_gates_find_their_metric(whole: Path) -> None:
    summaries = {n: read_summary(whole if n == "fidelity" else whole / n) for n in BENCHMARKS}
    baselines = {
        name: {"hold": read_summary((whole if name == "fidelity" else whole / name)
                                    / "baselines/hold")}
        for name in BENCHMARKS
    }  # fmt: skip
    for text, passes in {
        "branch_retrieval>=0.9": True,
        "branch_retrieval>hold": True,
        "stable_horizon>=hold+5.5": True,
        "action_lag<=1": False,
        "psnr>=90": False,
    }.items():
        assert judge_in(parse_gate(text), summaries, baselines).passed is passes, text
    del summaries["probes"]
    with pytest.raises(BadInputError, match="needs the benchmark probes"):
        judge_in(parse_gate("action_lag<=1"), summaries, baselines)


def test_farther_from_the_right_value_is_worse_on_either_side() -> None:
    def summary(gain: float) -> dict[str, Any]:
        rows = [
            {"clip": f"g{k}", "source": "s", "episode": str(k),
             "values": {"effect_gain": gain + 0.001 * k}}
            for k in range(6)
        ]  # fmt: skip
        return {
            "suite_version": "1", "convention": "aligned", "metric_version": "1", "model": "m",
            "metrics": {"effect_gain": {"mean": gain}}, "clip_values": rows,
        }  # fmt: skip

    for now, before, passes in [(0.5, 0.9, False), (1.6, 1.1, False), (0.9, 1.6, True)]:
        (verdict,) = judge_against(summary(now), summary(before))
        assert verdict.passed is passes, verdict.sentence


def test_tables_name_the_direction(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    for name in BENCHMARKS:
        print_table(load_run(whole if name == "fidelity" else whole / name), file=sys.stdout)
    told = capsys.readouterr().out
    assert "Effect gain (1 is right)" in told
    assert "Stable horizon, s (higher is better)" in told
    assert "Action lag, steps (0 is right)" in told
    assert "Seed change, levels (a diagnosis)" in told
    assert "2 groups of 2 episodes" in told


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = ["--suite", "dojo-mini", "--splits", "counterfactual", "--limit", "1"]
    what = ["--baselines", "--videos", "none", "--metrics", "psnr"]
    arguments = ["run", "hold", *chosen, *what, "--out", "r"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "Left out: stability, because suite dojo-mini has no long clips" in told
    assert "Next:   dojobench report r" in told
    assert Path("r/counterfactual/summary.json").exists()
    assert main([*arguments[:-1], "s", "--benchmarks", "stability"]) == 2
    assert "no long clips" in capsys.readouterr().err


def test_the_dojo_replays_to_the_bit() -> None:
    import torch

    suite = open_suite("dojo-mini")
    context = suite.spec.context_frames
    for split in ("val", "counterfactual", "palindrome"):
        record = next(clip for clip in suite.clips if clip.split == split)
        clip: Any = suite.open(record)
        own = clip.actions[context - 1 :]
        truth = clip.read(context, record.frames)
        assert torch.equal(clip.truth.replay(own), truth)
        assert torch.equal(clip.truth.replay(own[:6]), truth[:6])
        assert not torch.equal(clip.truth.replay(own.flip(0)), truth)
        assert clip.factual is (True if split == "counterfactual" else None)
    longer = torch.cat([own, own])
    with pytest.raises(BadInputError, match="at most 24 actions"):
        clip.truth.replay(longer)
