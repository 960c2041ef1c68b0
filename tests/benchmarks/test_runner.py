"""Runs from end to end on clips made in memory: scores, resumption, checks and bad input."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.benchmarks.baselines import BASELINES, make_baseline
from dojobench.benchmarks.records import Summary, load_run, load_summary
from dojobench.benchmarks.run_writer import RunWriter
from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.benchmarks.summary import summarise
from dojobench.protocol import ActionSpace, BadInputError, ModelSpec


class Mover:
    """Draws what the actions say on the last context frame: uses actions, imperfectly."""

    def __init__(self, use_actions: bool = True, **spec: Any) -> None:
        self.spec = ModelSpec(name="mover", **{"native_chunk": 3, **spec})
        self.use_actions = use_actions
        self.batches: list[int] = []

    def start(self, context: torch.Tensor, *, seed: int, instruction: str | None = None) -> Any:
        assert instruction == "move the square"
        self.batches.append(context.shape[0])
        model, frame = self, context[:, -1].clone()

        class Session:
            def step(self, actions: torch.Tensor) -> torch.Tensor:
                nonlocal frame
                answers = []
                for k in range(actions.shape[1]):
                    moved = [
                        f.roll([int(a[0]), int(a[1])], dims=(-2, -1)) if model.use_actions else f
                        for f, a in zip(frame, actions[:, k], strict=True)
                    ]
                    frame = torch.stack(moved)
                    answers.append((frame.int() + seed).clamp(0, 255).to(torch.uint8))
                return torch.stack(answers, dim=1)

            def close(self) -> None:
                pass

        return Session()


def config(tmp_path: Path, **changes: Any) -> RunConfig:
    fields: dict[str, Any] = {
        "model": "mover",
        "suite": "memory",
        "out": tmp_path / "run",
        "metrics": ("psnr", "ssim"),
        "baselines": (),
        "checks": 0,
        "videos": "none",
    }
    return RunConfig(**fields | changes)


def content(folder: Path) -> dict[str, Any]:
    """The whole result without what may differ between two runs."""
    summary = json.loads((folder / "summary.json").read_text())
    summary.pop("timings")
    lines = (folder / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record.pop("timings")
    return {"summary": summary, "records": records}


def test_numbers_are_those_of_a_plain_loop(tmp_path: Path, memory_suite: Any) -> None:
    suite = memory_suite()
    run_benchmark(config(tmp_path), suite=suite, model=make_baseline("hold"))
    values = []
    for clip in suite.clips:
        if clip.split == "val":
            video = suite.open(clip).read(0, clip.frames).numpy().astype(float) / 255
            errors = ((video[2:] - video[1]) ** 2).mean(axis=(1, 2, 3))
            values.append((-10 * np.log10(np.maximum(errors, 1e-8))).mean())
    summary = load_summary(tmp_path / "run")
    assert summary.metrics["psnr"].mean == pytest.approx(np.mean(values), abs=1e-4)
    assert summary.metrics["psnr"].n == 4
    assert summary.metrics["psnr"].clusters == summary.episodes == 3
    assert summary.metrics["skill"].mean == pytest.approx(0, abs=1e-6)
    assert list(summary.metrics["psnr"].by_split) == ["val"]


def test_batch_and_steps_do_not_change_a_number(tmp_path: Path, memory_suite: Any) -> None:
    results = []
    for k, (batch, steps) in enumerate([(1, "chunk"), (3, "chunk"), (4, "all"), (2, "2")]):
        folder = tmp_path / str(k)
        run_benchmark(
            config(tmp_path, out=folder, batch=batch, steps_at_once=steps, seeds=(0, 5)),
            suite=memory_suite(),
            model=Mover(),
        )
        results.append(content(folder))
    assert all(result == results[0] for result in results[1:])
    assert len(results[0]["records"]) == 8


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, memory_suite: Any) -> None:
    settings = {"seeds": (0, 1), "batch": 2, "checks": 2}
    whole = config(tmp_path, out=tmp_path / "whole", **settings)
    run_benchmark(whole, suite=memory_suite(), model=Mover())
    lines = (tmp_path / "whole/records.jsonl").read_bytes().splitlines(keepends=True)
    for kept in (0, 1, 3, 5, 8):
        folder = tmp_path / f"cut-{kept}"
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "summary.json").unlink()
        torn = lines[kept][:50] if kept < len(lines) else b""
        (folder / "records.jsonl").write_bytes(b"".join(lines[:kept]) + torn)
        model = Mover()
        run_benchmark(replace(whole, out=folder), suite=memory_suite(), model=model)
        assert content(folder) == content(tmp_path / "whole")
        if kept == 8:
            assert not model.batches, "a finished run is not run again"


def test_runs_of_another_suite_or_model_are_refused(tmp_path: Path, memory_suite: Any) -> None:
    run_benchmark(config(tmp_path), suite=memory_suite(), model=Mover())
    with pytest.raises(BadInputError, match=r"suite\.version: sha256:memory-4-9, now"):
        run_benchmark(config(tmp_path), suite=memory_suite(frames=10), model=Mover())
    with pytest.raises(BadInputError, match=r"model\.native_chunk: 3, now 4"):
        run_benchmark(config(tmp_path), suite=memory_suite(), model=Mover(native_chunk=4))
    with pytest.raises(BadInputError, match="seeds: 0, now 1"):
        run_benchmark(config(tmp_path, seeds=(1,)), suite=memory_suite(), model=Mover())
    changed = config(tmp_path, convention="dreamdojo")
    with pytest.raises(BadInputError, match="convention: aligned, now dreamdojo"):
        run_benchmark(changed, suite=memory_suite(), model=Mover())


def test_summary_refuses_missing_records(tmp_path: Path, memory_suite: Any) -> None:
    run_benchmark(config(tmp_path), suite=memory_suite(), model=Mover())
    log = tmp_path / "run/records.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(BadInputError, match=r"1 of 4 records are missing \(clip-06 \(seed 0\)\)"):
        summarise(load_run(tmp_path / "run"))


def test_summary_on_disk_is_the_one_of_its_records(tmp_path: Path, memory_suite: Any) -> None:
    run_benchmark(config(tmp_path, seeds=(0, 3)), suite=memory_suite(), model=Mover())
    run = load_run(tmp_path / "run")
    summary = load_summary(tmp_path / "run")
    assert summarise(run) == summary
    assert isinstance(summary, Summary)
    by_seed = [
        np.mean([r.values["psnr"] for r in run.records if r.seed == seed]) for seed in (0, 3)
    ]
    assert summary.metrics["psnr"].seed_sd == pytest.approx(np.std(by_seed, ddof=1))
    assert summary.metrics["psnr"].seed_sd > 0
    assert summary.metrics["psnr"].mean == pytest.approx(np.mean(by_seed))


@pytest.mark.parametrize("use_actions", [True, False])
def test_action_check(tmp_path: Path, memory_suite: Any, use_actions: bool) -> None:
    run_benchmark(
        config(tmp_path, checks=2), suite=memory_suite(), model=Mover(use_actions=use_actions)
    )
    summary = load_summary(tmp_path / "run")
    assert summary.checks["answer_change"].n == 2
    checks = [record.checks for record in load_run(tmp_path / "run").records if record.checks]
    assert [check["answers_differ"] for check in checks] == [use_actions] * 2
    assert (summary.checks["answer_change"].mean > 0) == use_actions
    if not use_actions:
        assert summary.checks["psnr_drop"].mean == 0


def test_whole_chunks_only(tmp_path: Path, memory_suite: Any) -> None:
    """Seven frames in chunks of three: the last chunk is filled up and cut, and that is said."""

    class Strict(Mover):
        def start(self, *args: Any, **kwargs: Any) -> Any:
            session = super().start(*args, **kwargs)
            step = session.step

            def strict(actions: torch.Tensor) -> torch.Tensor:
                assert actions.shape[1] == 3
                return step(actions)

            session.step = strict
            return session

    run_benchmark(config(tmp_path), suite=memory_suite(), model=Strict(any_chunk=False))
    run_benchmark(config(tmp_path, out=tmp_path / "b"), suite=memory_suite(), model=Mover())
    assert content(tmp_path / "run")["records"] == content(tmp_path / "b")["records"]
    assert "filled up with the last action" in load_run(tmp_path / "run").meta.notes[0]
    assert load_run(tmp_path / "run").records[0].timings.step_frames == (3, 3, 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"resolution": (64, 64)}, "64x64.*32x40.*--adapt resize"),
        ({"frame_rate": 5.0}, "5 Hz.*10 Hz"),
        ({"context_frames": 3}, "3 context frames.*2"),
        ({"action_space": ActionSpace(dim=7, embodiment="arm", kind="velocity")}, "width 7.*2"),
        ({"action_space": ActionSpace(dim=2, embodiment="gr1", kind="velocity")}, "gr1.*arm"),
        ({"views": ("wrist",)}, "view wrist"),
    ],
)
def test_misfit_is_refused_before_anything_is_written(
    tmp_path: Path, memory_suite: Any, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        run_benchmark(config(tmp_path), suite=memory_suite(), model=Mover(**spec))
    assert not (tmp_path / "run").exists()


def test_resize_is_explicit_and_stamped(tmp_path: Path, memory_suite: Any) -> None:
    class Small(Mover):
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            assert context.shape[-2:] == (16, 20)
            return super().start(context, **rest)

    run_benchmark(
        config(tmp_path, adapt="resize"), suite=memory_suite(), model=Small(resolution=(16, 20))
    )
    meta = load_run(tmp_path / "run").meta
    assert meta.adapt == "resize"
    assert meta.model.resolution == (16, 20)
    assert "resized to 16x20" in meta.notes[0]


class Answers:
    """Answers whatever a test makes of the right frames."""

    spec = ModelSpec(name="odd")

    def __init__(self, make: Callable[[torch.Tensor], Any]) -> None:
        self.make = make

    def start(self, context: torch.Tensor, *, seed: int, instruction: str | None = None) -> Any:
        make = self.make

        class Session:
            def step(self, actions: torch.Tensor) -> Any:
                return make(context[:, -1:].expand(-1, actions.shape[1], -1, -1, -1))

            def close(self) -> None:
                pass

        return Session()


def out_of_memory(_: torch.Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


def cpu_out_of_memory(_: torch.Tensor) -> None:
    torch.empty(2**60)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f[:, :-1], "model odd on clip clip-03, clip-04.*6 frames to 7 actions"),
        (lambda f: f.float(), "float32 instead of uint8"),
        (lambda f: f.float() * float("nan"), "NaN or infinite values"),
        (lambda f: f.numpy(), "a ndarray"),
        (lambda f: f[..., :-1], r"shape \(2, 7, 3, 32, 39\)"),
        (out_of_memory, "model odd ran out of memory.*--batch 2; try --batch 1"),
        (cpu_out_of_memory, "ran out of memory.*try --batch 1"),
    ],
)
def test_odd_answers(tmp_path: Path, memory_suite: Any, make: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        run_benchmark(
            config(tmp_path, batch=2, steps_at_once="all"),
            suite=memory_suite(),
            model=Answers(make),
        )


def test_a_bug_in_the_model_keeps_its_traceback(tmp_path: Path, memory_suite: Any) -> None:
    def bug(_: torch.Tensor) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run_benchmark(config(tmp_path), suite=memory_suite(), model=Answers(bug))


def test_nan_action_is_named(tmp_path: Path, memory_suite: Any) -> None:
    suite = memory_suite()
    suite.spoil_actions("clip-05", 4, 1, float("nan"))
    with pytest.raises(BadInputError, match=r"clip-05 has a NaN .*frame 4, dimension 1"):
        run_benchmark(config(tmp_path), suite=suite, model=Mover())
    assert [r.clip for r in load_run(tmp_path / "run").records] == ["clip-03", "clip-04"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": ("novel",)}, "no split novel; it has train, val"),
        ({"limit": 0}, "--limit"),
        ({"batch": 0}, "--batch"),
        ({"seeds": ()}, "--seeds"),
        ({"seeds": (1, 1)}, "--seeds"),
        ({"seeds": (2**31,)}, "seed"),
        ({"steps_at_once": "some"}, "--steps-at-once"),
        ({"device": "toaster"}, "--device toaster"),
        ({"metrics": ("fvd",)}, "no metric fvd"),
        ({"convention": "mine"}, "convention 'mine'"),
        ({"videos": "some"}, "--videos"),
        ({"adapt": "stretch"}, "--adapt"),
        ({"baselines": ("holt",)}, "holt"),
    ],
)
def test_bad_settings(tmp_path: Path, memory_suite: Any, changes: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        run_benchmark(config(tmp_path, **changes), suite=memory_suite(), model=Mover())


def test_splits_and_limit(tmp_path: Path, memory_suite: Any) -> None:
    run_benchmark(config(tmp_path, splits=("train",), limit=2), suite=memory_suite(), model=Mover())
    assert load_run(tmp_path / "run").meta.clip_ids == ("clip-00", "clip-01")


def test_missing_lpips_weights_are_said(tmp_path: Path, memory_suite: Any) -> None:
    run_benchmark(
        config(tmp_path, metrics=("psnr", "lpips_vgg"), weights=tmp_path),
        suite=memory_suite(),
        model=Mover(),
    )
    summary, meta = load_summary(tmp_path / "run"), load_run(tmp_path / "run").meta
    assert meta.lpips is not None
    assert meta.lpips.status.startswith("not computed: no weights for vgg at ")
    assert summary.not_computed["lpips_vgg"] == meta.lpips.status
    assert "lpips_vgg" not in summary.metrics


def test_views_reach_the_model(tmp_path: Path, memory_suite: Any) -> None:
    seen = []

    class Wide(Mover):
        def start(self, context: torch.Tensor, *, views: Any, **rest: Any) -> Any:
            seen.append(torch.equal(views["wrist"], context.flip(-1)))
            return super().start(context, **rest)

    suite = memory_suite(views=("wrist", "top"))
    run_benchmark(config(tmp_path), suite=suite, model=Wide(views=("wrist",), context_frames=2))
    assert seen == [True] * 4


def test_privileged_models_are_stamped(tmp_path: Path, memory_suite: Any) -> None:
    run_benchmark(config(tmp_path), suite=memory_suite(), model=make_baseline("oracle"))
    run = load_run(tmp_path / "run")
    assert run.meta.model.privileged
    assert "no contestant" in run.meta.notes[0]
    assert load_summary(tmp_path / "run").privileged


def test_baselines_stand_beside(tmp_path: Path, memory_suite: Any) -> None:
    names = tuple(BASELINES)
    folder = run_benchmark(config(tmp_path, baselines=names), suite=memory_suite(), model=Mover())
    found = load_run(folder).baselines()
    assert set(found) == set(names)
    psnr = {n: load_summary(r.path).metrics["psnr"].mean for n, r in found.items()}
    assert psnr["oracle"] == 80
    assert psnr["garbage"] == min(psnr.values())
    assert psnr["lag-1"] > psnr["lag-2"]
    assert psnr["noise"] < psnr["hold"] < psnr["under-react"] < psnr["oracle"]
    assert psnr["swap"] < psnr["oracle"]


def test_selected_videos_are_best_median_and_worst(tmp_path: Path, memory_suite: Any) -> None:
    av = pytest.importorskip("av")
    run_benchmark(config(tmp_path, videos="selected"), suite=memory_suite(), model=Mover())
    names = sorted(path.name for path in (tmp_path / "run/videos").iterdir())
    assert len(names) == 6
    assert sum(name.endswith(".truth.mp4") for name in names) == 3
    lengths = set()
    for name in names:
        with av.open(str(tmp_path / "run/videos" / name)) as container:
            stream = container.streams.video[0]
            assert (stream.height, stream.width) == (32, 40)
            lengths.add(sum(1 for _ in container.decode(stream)))
    assert lengths == {9}
    best = max(load_summary(tmp_path / "run").clip_values, key=lambda row: row.values["psnr"])
    assert f"{best.clip}.s0.pred.mp4" in names


def test_all_videos_and_two_seeds(tmp_path: Path, memory_suite: Any) -> None:
    settings = config(tmp_path, videos="all", seeds=(0, 1), batch=2)
    run_benchmark(settings, suite=memory_suite(size=(33, 41)), model=Mover())
    assert len(list((tmp_path / "run/videos").iterdir())) == 4 + 8


def test_a_second_writer_is_refused(tmp_path: Path, memory_suite: Any) -> None:
    run_benchmark(config(tmp_path), suite=memory_suite(), model=Mover())
    with (
        RunWriter(tmp_path / "run", load_run(tmp_path / "run").meta),
        pytest.raises(BadInputError, match="another process"),
    ):
        run_benchmark(config(tmp_path), suite=memory_suite(), model=Mover())
