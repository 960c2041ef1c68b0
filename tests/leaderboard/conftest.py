"""Honest submissions that are made in a moment: the records that a random model would leave.

The truth's share of them, the static frame's error, is that of the suite's reference; a model's
error grows with time and is a little different with each seed. All numbers hang together as the
harness writes them, and the same code writes the summary.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng

from dojobench.benchmarks.records import Record, Run, RunMeta
from dojobench.benchmarks.summary import summarise
from dojobench.cli import main
from dojobench.human_eval.study_file import Study, write_study
from dojobench.human_eval.vote_chain import genesis, make_event, to_line
from dojobench.leaderboard.card import CARD_TEMPLATE
from dojobench.leaderboard.check import CheckConfig, check
from dojobench.leaderboard.known_suites import KnownSuite, known_suite
from dojobench.leaderboard.pack import PackConfig, pack
from dojobench.leaderboard.verdict import Verdict
from dojobench.metrics.conventions import metric_version


def small_suite(clips: int = 16) -> KnownSuite:
    """The first short clips of ``dojo-mini``, so that a check takes a moment.

    The others count as training clips, which no run scores.
    """
    whole = known_suite("dojo-mini")
    kept = [clip.id for clip in whole.scored if clip.frames < 100][:clips]
    return replace(
        whole,
        clips=tuple(c if c.id in kept else replace(c, split="train") for c in whole.clips),
    )


SMALL = small_suite()
PIXELS = 3 * 64 * 64
SCALE = PIXELS * 255**2
LONGEST = 595


def on_lattice(values: np.ndarray) -> np.ndarray:
    """Errors that 8-bit frames can have."""
    return np.round(values * SCALE) / SCALE


def static_curve(mean: float, frames: int) -> np.ndarray:
    shape = np.linspace(0.3, 1.7, frames)
    return np.maximum(on_lattice(mean * shape), 0)


class FakeRun:
    """One run folder of ``dojo-mini``, as lists that a test may spoil before they are written."""

    def __init__(
        self,
        *,
        name: str = "my-model",
        quality: float = 0.5,
        seed: int = 1,
        suite: KnownSuite | None = None,
        seeds: int = 3,
    ) -> None:
        self.suite = suite or SMALL
        self.name, self.quality, self.seed = name, quality, seed
        self.clips = [clip.id for clip in self.suite.scored]
        self.seeds = list(range(seeds))
        self.errors: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
        for clip in self.suite.scored:
            frames = clip.frames - self.suite.spec.context_frames
            static = static_curve(self.suite.reference.clips[clip.id].static, frames)
            number = int.from_bytes(hashlib.sha256(f"{seed} {clip.id}".encode()).digest()[:4])
            own = np.random.default_rng(number)
            skill = np.clip(own.normal(1 - quality, 0.2), 0.15, 2.0)
            for each in self.seeds:
                noise = np.random.default_rng(number + 1000 * (each + 1))
                wobble = np.exp(noise.normal(0, 0.08, frames) + noise.normal(0, 0.05))
                model = np.maximum(static * skill * wobble, 2e-5) + 1e-3
                self.errors[clip.id, each] = on_lattice(model), static
        self.checks: dict[str, dict[str, Any]] = {
            clip: {"answer_change": 3.0, "answers_differ": True, "psnr_drop": 1.5}
            for clip in self.clips[:8]
        }
        self.meta_changes: dict[str, Any] = {}
        self.step_s = 0.05

    def records(self) -> list[dict[str, Any]]:
        by_id = {clip.id: clip for clip in self.suite.clips}
        rows = []
        clock = np.random.default_rng(self.seed)
        for seed in self.seeds:
            for name in self.clips:
                clip, (mse, static) = by_id[name], self.errors[name, seed]
                psnr = -10 * np.log10(np.maximum(mse, 1e-8))
                ssim = 1 / (1 + 20 * mse)
                rows.append({
                    "clip": name, "seed": seed, "split": clip.split, "episode": clip.episode,
                    "source": clip.source, "embodiment": clip.embodiment, "frames": len(mse),
                    "values": {
                        "psnr": float(np.mean(psnr)), "ssim": float(np.mean(ssim)),
                        "mse": float(np.mean(mse)),
                        "skill": 1 - float(np.sum(mse)) / float(np.sum(static)),
                        "motion_psnr": float(np.mean(psnr)) - 4.0,
                    },
                    "curves": {
                        "psnr": psnr.tolist(), "ssim": ssim.tolist(), "mse": mse.tolist(),
                        "mse_static": static.tolist(),
                    },
                    "not_computed": {"lpips_vgg": "not computed: no weights"},
                    "checks": self.checks.get(name, {}) if seed == 0 else {},
                    "timings": {
                        "start_s": 0.01,
                        "steps_s": [self.step_s * float(clock.uniform(0.9, 1.1))],
                        "step_frames": [len(mse)], "read_s": 0.01, "score_s": 0.01, "batch": 1,
                    },
                })  # fmt: skip
        return rows

    def meta(self) -> dict[str, Any]:
        spec = self.suite.spec
        space = {"dim": 5, "embodiment": "arm", "kind": "mixed", "names": [], "units": ""}
        return {
            "format": 1, "benchmark": "fidelity",
            "model": {"name": self.name, "reference": "mine:make", "weights": f"sha256:{self.seed}",
                      "deterministic": False},
            "suite": {"name": spec.name, "version": spec.version, "resolution": [64, 64],
                      "frame_rate": 10.0, "context_frames": 5, "action_space": space,
                      "clips": len(self.suite.clips)},
            "convention": "aligned", "metric_version": metric_version("aligned"),
            "metrics": ["psnr", "ssim", "lpips_vgg"], "seeds": self.seeds,
            "splits": list(dict.fromkeys(clip.split for clip in self.suite.scored)),
            "clip_ids": self.clips,
            "lpips": {"net": "vgg", "status": "not computed: no weights"},
            "execution": {"device": "cuda", "checks": 8},
            "code": {"version": "0.1.0", "commit": "0" * 40, "dirty": False},
            "hardware": {"system": "Linux x86_64", "cpu": "AMD EPYC", "cores": 16,
                         "memory_gib": 64.0, "gpu": "NVIDIA H100 80GB HBM3",
                         "gpu_memory_gib": 79.1},
            "started": "2026-11-01T10:00:00+00:00", "ended": "2026-11-01T11:00:00+00:00",
            **self.meta_changes,
        }  # fmt: skip

    def write(self, folder: Path) -> Path:
        """Writes the run folder, its summary by the harness's own code."""
        folder.mkdir(parents=True)
        rows, meta = self.records(), self.meta()
        run = Run(
            folder,
            RunMeta.model_validate(meta),
            [Record.model_validate(row) for row in rows],
            torn=False,
        )
        (folder / "run.json").write_text(json.dumps(meta))
        (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        summary = summarise(run) if not run.missing() else {}
        text = summary.model_dump_json() if summary else "{}"
        (folder / "summary.json").write_text(text)
        return folder


def keep(_: Path) -> Verdict:
    """Packs whatever it is, as a cheat would with changed code."""
    return Verdict(id="", submission_sha256="", findings=())


CARD = CARD_TEMPLATE.replace("parameters = 2_000_000_000", "parameters = 100_000_000")


@pytest.fixture
def fake_run() -> Callable[..., FakeRun]:
    """Makes runs."""
    return FakeRun


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., Path]:
    """Packs a run without asking the checker, and gives the folder."""

    def make(
        run: FakeRun, *, card: str = CARD, name: str = "my-model-1", where: str = "in"
    ) -> Path:
        folder = run.write(tmp_path / where / f"{name}-run")
        file = tmp_path / where / f"{name}.toml"
        file.write_text(card)
        out = tmp_path / where / name
        return pack(PackConfig(runs=(folder,), card=file, out=out, id=name), keep)[0]

    return make


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One honest submission, which nobody may change: copy it."""
    root = tmp_path_factory.mktemp("honest")
    folder = FakeRun().write(root / "run")
    (root / "card.toml").write_text(CARD)
    config = PackConfig(
        runs=(folder,), card=root / "card.toml", out=root / "my-model-1", id="my-model-1"
    )
    return pack(config, keep)[0]


@pytest.fixture
def copy(honest: Path, tmp_path: Path) -> Path:
    """A copy of the honest submission, to be spoiled."""
    target = tmp_path / "copy" / honest.name
    shutil.copytree(honest, target)
    return target


@pytest.fixture
def reseal() -> Callable[[Path], None]:
    """Makes a changed submission's list of hashes right again, as a cheat would."""

    def make(folder: Path) -> None:
        file = folder / "submission.json"
        listed = json.loads(file.read_text())
        for path in listed["files"]:
            if (folder / path).is_file():
                content = (folder / path).read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                listed["files"][path] = {"bytes": len(content), "sha256": digest}
        file.write_text(json.dumps(listed))

    return make


@pytest.fixture
def verdict_of() -> Callable[..., Verdict]:
    """Checks a submission of the small suite."""

    def find(path: Path, **config: Any) -> Verdict:
        return check(path, CheckConfig(suite={"dojo-mini": SMALL}.get, **config))

    return find


@pytest.fixture
def codes(verdict_of: Callable[..., Verdict]) -> Callable[..., set[str]]:
    """Checks a submission and gives the codes of its errors."""

    def find(path: Path, *, level: str = "error", **config: Any) -> set[str]:
        verdict = verdict_of(path, **config)
        return {each.code for each in verdict.findings if each.level == level}

    return find


def simulated_study(folder: Path, models: Sequence[str], seed: int = 0) -> Path:
    """A study in which later models are better, raters and clips differ, and some votes are ties.

    Returns:
        The ``preferences.json`` that ``dojobench study analyze`` wrote.
    """
    plan = Study.model_validate({
        "study": {"title": "Which one moves like the world?", "suite": "dojo-mini"},
        "models": [{"name": name, "source": f"runs/{name}"} for name in models],
        "axes": {"physics": {"question": "physics?"}, "action": {"question": "action?"}},
        "trials": {"pairs": 10},
        "analysis": {"bootstrap": 100},
    })  # fmt: skip
    folder.mkdir()
    found = write_study(plan, folder)
    header = {"format": 1, "kind": "dojobench-votes", "study": found, "consent_version": "1"}
    lines, prev, dice = [json.dumps({**header, "created": "x"})], genesis(found), default_rng(seed)
    taste = dice.normal(0, 1.5, (8, len(models))) + dice.normal(0, 0.5, (10, 1, len(models)))
    places = [
        (rater, clip, a, b, axis)
        for rater in range(8)
        for clip in range(10)
        for a in range(len(models))
        for b in range(a)
        for axis in ("physics", "action")
    ]
    for n, (rater, clip, a, b, axis) in enumerate(places, start=1):
        left, right = (a, b) if dice.random() < 0.5 else (b, a)
        gap = left - right + taste[clip, rater, left] - taste[clip, rater, right]
        odds = np.exp([gap / 2, -gap / 2, -1, -3])
        body = {
            "rater": f"r_{rater}", "trial": f"t{rater}-{clip}-{a}-{b}", "pair": "p0",
            "clip": f"c{clip}", "left": models[left], "right": models[right], "kind": "ordinary",
            "gold_answer": None, "arm": "random", "axis": axis,
            "answer": str(dice.choice(["left", "right", "tie", "unsure"], p=odds / odds.sum())),
            "break_at": {"left": None, "right": None}, "drift_frames": 0.1, "seconds": 9.0,
            "plays": 2, "flags": [],
        }  # fmt: skip
        event = make_event(
            n=n, prev=prev, time="2026-11-10T12:00:00Z", type="vote", salt=f"{n:032x}", body=body
        )
        prev = event.hash
        lines.append(json.dumps(to_line(event)))
    log = folder / "votes.jsonl"
    log.write_text("\n".join(lines) + "\n")
    out = folder / "results"
    assert main(["study", "analyze", str(log), "--study", str(folder), "--out", str(out)]) == 0
    return out / "preferences.json"


@pytest.fixture
def study() -> Callable[..., Path]:
    """Makes ``preferences.json`` of a simulated study of models, worst first."""
    return simulated_study
