"""Runs a submitted model again, over the wire or here, on drawn clips and on private ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dojobench.benchmarks.background import Background
from dojobench.benchmarks.batch_scorer import BatchScorer
from dojobench.benchmarks.compatibility import ResizedModel, require_fit
from dojobench.benchmarks.prefetch import Batch
from dojobench.benchmarks.records import Record
from dojobench.benchmarks.scoring import make_scorers
from dojobench.benchmarks.stage import Stage
from dojobench.datasets.dojo_clip import DojoClip
from dojobench.datasets.dojo_data import DojoClipData, render_data
from dojobench.datasets.dojo_plans import episode_of, seed_commitment, suite_plans
from dojobench.datasets.suite import ClipRecord, Suite, SuiteSpec
from dojobench.leaderboard.attestation import Comparison, PrivateScore, mean_comparison
from dojobench.leaderboard.draw import draw
from dojobench.leaderboard.known_suites import TRAIN_SPLIT
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.protocol import WorldModel
from dojobench.simulator.clips import GENERATOR, ClipPlan

LEAST = {"psnr": 0.1, "ssim": 0.01}
"""What the same model may differ by on other hardware."""
SPREADS = 4.0
"""How many standard deviations between seeds a random model may differ by."""
MEAN_SPREADS = 3.0
"""How many standard errors the mean of records may lie above that of new samples."""
PRIVATE_LEAST = 0.1
"""Skill by which the private clips may be harder."""


def rerun(
    suite: Suite, model: WorldModel, run: SubmittedRun, drawn: Sequence[tuple[str, int]]
) -> list[Record]:
    """Runs a model on drawn clips and seeds as its run did.

    Raises:
        BadInputError: If the model does not fit the suite.
    """
    require_fit(model.spec, suite.spec, adapt=run.meta.adapt)
    wanted = {clip for clip, _ in drawn}
    clips = tuple(clip for clip in suite.clips if clip.id in wanted)
    scorer = BatchScorer(
        stage=Stage(
            suite=suite,
            model=model
            if model.spec.resolution in (None, suite.spec.resolution)
            else ResizedModel(model, suite.spec.resolution),
            device=torch.device("cpu"),
            mode=run.meta.execution.steps_at_once,
        ),
        scorers=make_scorers(
            run.meta.convention,
            ("psnr", "ssim"),
            weights=None,
            chunk=model.spec.native_chunk,
            device=torch.device("cpu"),
        ),
        clips=clips,
        checked=frozenset(drawn[:2]) if len(clips) > 1 else frozenset(),
    )
    by_id = {clip.id: clip for clip in clips}
    batches = [Batch(clips=(by_id[clip],), seed=seed) for clip, seed in drawn]
    records: list[Record] = []
    with scorer.stage.load(batches) as loading, Background() as background:
        for loaded in loading:
            records += scorer.score(loaded, background)
    return records


def prepare(model: WorldModel, suite: Suite, clips: Sequence[ClipRecord]) -> None:
    """Lets a baseline learn from the training split, as a run does."""
    if callable(step := getattr(model, "prepare", None)):
        step(suite, clips)
    if callable(fit := getattr(model, "fit", None)):
        fit(suite, TRAIN_SPLIT)


def compare(run: SubmittedRun, records: Sequence[Record]) -> Iterator[Comparison]:
    """Compares drawn records with new ones, one by one and by their mean.

    On other hardware a seed may give another sample, so one record may differ by what seeds
    differ by. Their mean may not: seeds that were picked raise it, however they are shuffled.
    """
    found = list(_one_by_one(run, records))
    yield from found
    for name, least in LEAST.items():
        chosen = [each for each in found if each.metric == name]
        if len(chosen) < 2:
            continue
        spread = 0.0 if run.meta.model.deterministic else _seed_spread(run, name)
        tolerance = least + MEAN_SPREADS * spread * float(np.sqrt(2 / len(chosen)))
        yield mean_comparison(chosen, tolerance)


def _one_by_one(run: SubmittedRun, records: Sequence[Record]) -> Iterator[Comparison]:
    said = {record.key: record for record in run.records}
    for record in records:
        for name, least in LEAST.items():
            before = said[record.key].values.get(name)
            if before is None or name not in record.values:
                continue
            spread = 0.0 if run.meta.model.deterministic else _seed_spread(run, name)
            tolerance = least + SPREADS * spread
            yield Comparison(
                run=run.entry.name,
                clip=record.clip,
                seed=record.seed,
                metric=name,
                submitted=before,
                recomputed=record.values[name],
                tolerance=tolerance,
                within=abs(before - record.values[name]) <= tolerance,
            )


def _seed_spread(run: SubmittedRun, metric: str) -> float:
    """Pools the standard deviation between a clip's seeds."""
    rows: dict[str, list[float]] = {}
    for record in run.records:
        if metric in record.values:
            rows.setdefault(record.clip, []).append(record.values[metric])
    found = [np.var(row, ddof=1) for row in rows.values() if len(row) > 1]
    return float(np.sqrt(np.mean(found))) if found else 0.0


def ignored_actions(run: SubmittedRun, records: Sequence[Record]) -> Iterator[str]:
    """Says whether the model answers the same to other actions."""
    changes = [r.checks["answer_change"] for r in records if "answer_change" in r.checks]
    numbers = [float(x) for x in changes if isinstance(x, int | float)]
    if numbers and max(numbers) < 0.05:
        yield (
            f"In {run.entry.name} other actions change the frames by at most {max(numbers):.3f} "
            "grey levels: the model ignores its actions."
        )


@dataclass(kw_only=True)
class PrivateSuite:
    """Clips of the dojo that are made from a secret seed, and rendered when they are opened.

    Attributes:
        spec: That of the public suite with the same recipe, under a version of its own.
        clips: Those that are audited.
    """

    spec: SuiteSpec
    clips: tuple[ClipRecord, ...]
    plans: dict[str, ClipPlan]
    rendered: dict[str, DojoClipData]

    def open(self, clip: ClipRecord) -> DojoClip:
        """Renders a clip, once."""
        if clip.id not in self.rendered:
            self.rendered[clip.id] = render_data(self.plans[clip.id], self.spec.resolution)
        return DojoClip(clip, self.rendered[clip.id], self.plans[clip.id])


def private_suite(
    public: SuiteSpec, recipe: str, secret: str, seed: str, count: int
) -> PrivateSuite:
    """Draws private clips of the recipe of a public suite.

    Args:
        public: The public suite.
        recipe: ``dojo-v1`` or ``dojo-mini``.
        secret: The secret seed.
        seed: Result of ``draw_hash``.
        count: Clips to draw; long ones are left out.

    Raises:
        BadInputError: If there is no such recipe.
    """
    plans = [p for p in suite_plans(recipe, secret) if p.split not in (TRAIN_SPLIT, "long")]
    chosen = {plan.id: plan for plan in draw(plans, seed, count)}
    clips = tuple(
        ClipRecord(
            id=plan.id, source="dojo", revision=GENERATOR, episode=episode_of(plan), start=0,
            stride=1, frames=plan.frames, split=plan.split, embodiment=plan.embodiment,
            camera=plan.camera, branch_group=plan.branch_group,
        )
        for plan in plans if plan.id in chosen
    )  # fmt: skip
    spec = SuiteSpec(
        name=f"{recipe}-private",
        version=seed_commitment(recipe, secret),
        resolution=public.resolution,
        frame_rate=public.frame_rate,
        context_frames=public.context_frames,
        action_space=public.action_space,
    )
    return PrivateSuite(spec=spec, clips=clips, plans=chosen, rendered={})


def compare_private(run: SubmittedRun, records: Sequence[Record]) -> Iterator[PrivateScore]:
    """Compares the skill on private clips with that on public clips of the same splits.

    A model that knows the public clips loses skill on private ones; three standard errors of
    both means, and a tenth for good measure, are allowed.
    """
    splits = {record.split for record in records}
    public = [
        r.values["skill"] for r in run.records if r.split in splits and "skill" in r.values
    ]  # fmt: skip
    private = [r.values["skill"] for r in records if "skill" in r.values]
    if len(private) < 2 or len(public) < 2:
        return
    error = np.sqrt(np.var(public, ddof=1) / len(public) + np.var(private, ddof=1) / len(private))
    tolerance = PRIVATE_LEAST + 3 * float(error)
    first, second = float(np.mean(public)), float(np.mean(private))
    yield PrivateScore(
        metric="skill",
        split=", ".join(sorted(splits)),
        public=first,
        private=second,
        private_clips=len(private),
        tolerance=tolerance,
        within=first - second <= tolerance,
    )
