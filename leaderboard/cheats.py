"""Cheats that the records of one run show: copied truth, ignored actions, frozen frames.

Thresholds are set so that honest models stay far from them; what comes near is a warning, which
asks a person to look. What records cannot show, an audit does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dojobench.leaderboard.card import Kind
from dojobench.leaderboard.known_suites import FIDELITY, KnownSuite
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.leaderboard.verdict import Finding

Array = npt.NDArray[np.float64]

MOVING = 1e-4
"""Static frames above this mean squared error (below 40 dB) count as moving."""
EXACT = 1e-5
"""50 dB: no prediction of a moving frame is that close, and the truth itself is."""
EXACT_SHARE = 0.05
COPIED_PSNR = 40.0
"""What the truth scores against its own H.264 copy (see ``metrics.codec_floor``)."""
NEAR_PSNR = 35.0
FLAT = 0.15
"""Below this relative spread the error of all moving frames is one and the same."""
FROZEN = 0.02
FROZEN_SHARE, PARTLY_FROZEN_SHARE = 0.9, 0.2
SAME_ANSWER = 0.05
"""Grey levels by which wrong actions have to change the frames."""
NO_DROP = 0.02
RETRIEVED_SHARE = 0.2

BLIND: frozenset[Kind] = frozenset({"static", "noise", "mean", "retrieval", "unconditioned"})
"""Kinds that say of themselves that they do not look at the actions."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of all moving frames of a fidelity run, end to end.

    Attributes:
        model: Mean squared error of each frame.
        static: That of the last context frame, held still.
        growth: Of each clip and seed with enough motion, late over early error of the model.
        static_growth: The same of the held frame.
    """

    model: Array
    static: Array
    growth: Array
    static_growth: Array


def collect_errors(run: SubmittedRun) -> Errors | None:
    """Gathers the moving frames; ``None`` where nothing moves or curves are missing."""
    model, static, growth, static_growth = [], [], [], []
    for record in run.records:
        if "mse" not in record.curves or "mse_static" not in record.curves:
            return None
        a, b = np.asarray(record.curves["mse"]), np.asarray(record.curves["mse_static"])
        if len(a) != len(b):
            return None
        moving = b > MOVING
        model.append(a[moving])
        static.append(b[moving])
        part = max(1, len(a) // 4)
        early, late = b[:part].mean(), b[-part:].mean()
        if early > MOVING / 4 and late > 2 * early:
            growth.append(a[-part:].mean() / max(a[:part].mean(), 1e-9))
            static_growth.append(late / early)
    if not model or not sum(map(len, model)):
        return None
    return Errors(
        model=np.concatenate(model),
        static=np.concatenate(static),
        growth=np.asarray(growth),
        static_growth=np.asarray(static_growth),
    )


def check_cheats(run: SubmittedRun, suite: KnownSuite | None, kind: Kind) -> Iterator[Finding]:
    """Looks for the cheats that one run's records show.

    Args:
        run: The run.
        suite: Its suite, where the board knows it.
        kind: What the card says it is; a baseline may do what it says it does.

    Yields:
        What was found.
    """
    if run.entry.benchmark == FIDELITY:
        errors = collect_errors(run)
        if errors is not None:
            yield from _copied(run, errors, kind)
            yield from _frozen(run, errors, kind)
        if kind != "retrieval":
            yield from _retrieved(run, suite)
    if kind not in BLIND:
        yield from _ignored(run)


def _copied(run: SubmittedRun, errors: Errors, kind: Kind) -> Iterator[Finding]:
    exact = float((errors.model < EXACT).mean())
    psnr = float(np.median(-10 * np.log10(np.maximum(errors.model, 1e-8))))
    skill = 1 - errors.model.sum() / errors.static.sum()
    spread = float(errors.model.std() / max(errors.model.mean(), 1e-12))
    told = None
    if exact > EXACT_SHARE:
        told = f"{100 * exact:.0f} % of the moving frames are exact to within 50 dB"
    elif psnr > COPIED_PSNR:
        told = (
            f"the median moving frame scores {psnr:.1f} dB, as much as the truth after compression"
        )
    elif kind == "world-model" and skill > 0 and spread < FLAT:
        told = "the error is the same in every frame, as that of the truth under added noise"
    if told:
        yield Finding(
            code="DB-C301",
            sentence=f"{run.entry.name}: {told}, so the model seems to have had the truth; give it "
            "the context and the actions only. If it is really that good, ask the maintainers "
            "for an audit over the wire.",
            where=run.entry.name,
        )
        return
    if psnr > NEAR_PSNR:
        yield Finding(
            code="DB-W601",
            sentence=f"{run.entry.name}: the median moving frame scores {psnr:.1f} dB, which is "
            "near what the truth scores after compression.",
            where=run.entry.name,
        )
    if skill > 0.3 and len(errors.growth) >= 5 and float(np.median(errors.growth)) < 1.2:
        yield Finding(
            code="DB-W607",
            sentence=f"{run.entry.name}: its errors do not grow with time, though the scene moves "
            f"{float(np.median(errors.static_growth)):.1f} times further away; predictions do "
            "get worse with time, copies of the truth do not.",
            where=run.entry.name,
        )


def _frozen(run: SubmittedRun, errors: Errors, kind: Kind) -> Iterator[Finding]:
    if kind in ("static", "noise"):
        return
    share = float((np.abs(errors.model / errors.static - 1) < FROZEN).mean())
    if share >= FROZEN_SHARE:
        yield Finding(
            code="DB-C303",
            sentence=f"{run.entry.name}: {100 * share:.0f} % of the moving frames score what the "
            "last context frame scores when it is held still, so the model seems to repeat it; "
            'if that is what it does, say kind = "static" in the card.',
            where=run.entry.name,
        )
    elif share >= PARTLY_FROZEN_SHARE:
        yield Finding(
            code="DB-W608",
            sentence=f"{run.entry.name}: {100 * share:.0f} % of the moving frames score what the "
            "last context frame scores when it is held still.",
            where=run.entry.name,
        )


def _retrieved(run: SubmittedRun, suite: KnownSuite | None) -> Iterator[Finding]:
    if suite is None or suite.reference is None:
        return
    clips = suite.reference.clips
    equal, compared = set(), set()
    for record in run.records:
        known = clips.get(record.clip)
        if known is None or known.retrieval is None or known.static < MOVING:
            continue
        compared.add(record.clip)
        found = float(np.mean(record.curves.get("mse", (0.0,))))
        if abs(found / known.retrieval - 1) < 1e-3:
            equal.add(record.clip)
    if compared and len(equal) > RETRIEVED_SHARE * len(compared):
        yield Finding(
            code="DB-C308",
            sentence=f"{run.entry.name}: {len(equal)} of {len(compared)} clips score exactly what "
            "the most similar training clip scores when it is replayed, so the model seems to "
            'look clips up; if that is what it does, say kind = "retrieval" in the card.',
            where=run.entry.name,
        )


def _ignored(run: SubmittedRun) -> Iterator[Finding]:
    if run.meta.suite.action_space.dim == 0:
        return
    if run.entry.benchmark == "counterfactual":
        yield from _same_branches(run)
    if run.entry.benchmark != FIDELITY:
        return
    changes = _numbers(run, "answer_change")
    drops = _numbers(run, "psnr_drop")
    if not len(changes):
        yield Finding(
            code="DB-W603",
            sentence=f"{run.entry.name}: nobody has looked whether the model uses its actions; "
            "where it can be run, run it without --no-checks, and else expect an audit of the "
            "counterfactual clips.",
            where=run.entry.name,
        )
    elif changes.max() < SAME_ANSWER:
        yield Finding(
            code="DB-C302",
            sentence=f"{run.entry.name}: with another clip's actions the frames change by at most "
            f"{changes.max():.3f} grey levels, so the model ignores its actions; check how they "
            'reach it (docs/add-a-model.md), or say kind = "unconditioned" in the card.',
            where=run.entry.name,
        )
    elif len(drops) and drops.mean() < NO_DROP:
        yield Finding(
            code="DB-W602",
            sentence=f"{run.entry.name}: with another clip's actions it scores {drops.mean():.2f} "
            "dB less, so its actions hardly matter; check their order, units and time.",
            where=run.entry.name,
        )


def _same_branches(run: SubmittedRun) -> Iterator[Finding]:
    gains = [np.abs(record.curves.get("effect_gain", (1.0,))).max() for record in run.records]
    if gains and max(gains) < 1e-6:
        yield Finding(
            code="DB-C302",
            sentence=f"{run.entry.name}: the predictions of all branches are the same, whatever "
            "the actions, so the model ignores them; check how they reach it, or say "
            'kind = "unconditioned" in the card.',
            where=run.entry.name,
        )


def _numbers(run: SubmittedRun, name: str) -> Array:
    found: list[Any] = [r.checks[name] for r in run.records if name in r.checks]
    return np.asarray([float(x) for x in found if isinstance(x, int | float)], dtype=np.float64)
