"""Do the numbers of a run hang together? Edited ones rarely do.

Frames are 8-bit, so a frame's summed squared error is a whole number; PSNR follows from it, a
clip's number from its curve, and the summary from the records. What was changed by hand, smoothed,
scaled or averaged breaks one of these.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dojobench.benchmarks.records import Record, Summary
from dojobench.leaderboard.check_suite import current_version
from dojobench.leaderboard.known_suites import FIDELITY, KnownSuite
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.leaderboard.safe_files import shown
from dojobench.leaderboard.verdict import Finding, Refused
from dojobench.metrics.conventions import CONVENTIONS, Convention
from dojobench.metrics.names import METRICS
from dojobench.protocol.errors import BadInputError

TOLERANCE = 1e-6
"""Relative: formulas differ in the last digits between machines."""
STATIC_TOLERANCE = 0.05
"""Relative: the simulated world is rendered with other rounding on other machines."""
SHARE_OF_OTHERS = 0.2
"""Share of clips that may take another course on another machine."""
LEVELS = 255.0


def check_summary(run: SubmittedRun) -> Iterator[Finding]:
    """Derives the summary from the records and compares.

    Yields:
        The first difference.
    """
    if run.run.missing() or run.meta.metric_version != current_version(run):
        # Other code derives other summaries; that it is other code is said elsewhere.
        return
    try:
        derived = _derive(run)
    except BadInputError as error:
        raise Refused("DB-R204", str(error), run.entry.name) from error
    except (ValueError, ZeroDivisionError, KeyError, IndexError) as error:
        raise Refused(
            "DB-R204",
            f"{run.entry.name}: no summary can be derived from its records, because they lack "
            "what this benchmark writes; send the records that dojobench wrote.",
            run.entry.name,
        ) from error
    ours, theirs = derived.model_dump(mode="json"), run.summary.model_dump(mode="json")
    if found := _difference(ours, theirs, ""):
        field, expected, given = found
        yield Finding(
            code="DB-R204",
            sentence=f"In summary.json of {run.entry.name} the field {shown(field)} is "
            f"{shown(given, 40)}, but the records give {shown(expected, 40)}; send the summary "
            "that dojobench wrote, and do not change records.",
            where=f"runs/{run.entry.name}/summary.json: {shown(field)}",
        )


def _derive(run: SubmittedRun) -> Summary:
    if run.entry.benchmark == FIDELITY:
        from dojobench.benchmarks.summary import summarise

        return summarise(run.run)
    from dojobench.benchmarks.report_refine import refined

    return refined(run.run)


def _difference(ours: Any, theirs: Any, path: str) -> tuple[str, object, object] | None:
    """Finds the first difference of two JSON values, numbers apart by rounding being equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            if key not in ours or key not in theirs:
                return f"{path}.{key}", ours.get(key, "absent"), theirs.get(key, "absent")
        pairs = [(f"{path}.{key}", ours[key], theirs[key]) for key in ours]
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return path, f"{len(ours)} entries", f"{len(theirs)} entries"
        pairs = [(f"{path}.{k}", a, b) for k, (a, b) in enumerate(zip(ours, theirs, strict=True))]
    else:
        return None if _same(ours, theirs) else (path.lstrip("."), ours, theirs)
    for place, a, b in pairs:
        if found := _difference(a, b, place.lstrip(".")):
            return found
    return None


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=1e-9)
    return bool(ours == theirs)


def check_numbers(run: SubmittedRun, suite: KnownSuite | None) -> Iterator[Finding]:
    """Checks every record of a fidelity run within itself, and against the suite's truth.

    Yields:
        For each kind of contradiction, the first and how many there are.
    """
    if run.entry.benchmark != FIDELITY or run.meta.convention not in CONVENTIONS:
        return
    convention = CONVENTIONS[run.meta.convention]
    exact = suite is not None and not convention.grey
    pixels = 3 * suite.spec.resolution[0] * suite.spec.resolution[1] if suite and exact else None
    faults: dict[str, list[tuple[Record, str]]] = {}
    for record in run.records:
        for code, told in _record_faults(record, convention, pixels, run):
            faults.setdefault(code, []).append((record, told))
            break
    for code, found in faults.items():
        record, told = found[0]
        more = f" ({len(found)} records in all)" if len(found) > 1 else ""
        yield Finding(
            code=code,
            sentence=f"{run.entry.name}: in the record of {shown(record.clip)} with seed "
            f"{record.seed} {told}{more}; send the records that dojobench wrote, unchanged.",
            where=f"runs/{run.entry.name}/records.jsonl",
        )
    if suite is not None and not faults:
        yield from _truth(run, suite)


def _record_faults(
    record: Record, convention: Convention, pixels: int | None, run: SubmittedRun
) -> Iterator[tuple[str, str]]:
    curves = {name: np.asarray(curve) for name, curve in record.curves.items()}
    length = record.frames + (1 if convention.first_frame else 0)
    for name in ("mse", "mse_static", *(m for m in run.meta.metrics if m in ("psnr", "ssim"))):
        if name not in curves:
            yield "DB-R205", f"the curve of {name} is missing"
            return
    for name, curve in curves.items():
        if len(curve) != length:
            yield "DB-R206", f"{shown(name)} has {len(curve)} of {length} frames"
            return
    for name in record.not_computed:
        if name in ("psnr", "ssim", "mse"):
            yield "DB-R205", f"{name} is said not to be computable, which it always is"
            return
    yield from _ranges(record, curves)
    yield from _lattice(curves, pixels)
    yield from _derived(record, curves, convention)


def _ranges(record: Record, curves: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("mse", "mse_static"):
        if curves[name].min() < 0 or curves[name].max() > 1:
            yield "DB-C305", f"{name} is not between 0 and 1"
            return
    for name, value in record.values.items():
        info = METRICS.get(name)
        beyond = info is not None and (
            value > info.cap + 1e-9 if info.higher_is_better else value < info.cap - 1e-9
        )
        if info is None or beyond:
            yield "DB-C305", f"{shown(name)} is {value:g}, which no frames can score"
            return


def _lattice(curves: dict[str, Any], pixels: int | None) -> Iterator[tuple[str, str]]:
    """Summed squared errors of 8-bit frames are whole numbers."""
    if pixels is None:
        return
    scale = pixels * LEVELS**2
    for name in ("mse", "mse_static"):
        sums = curves[name] * scale
        if np.abs(sums - np.round(sums)).max() > max(1e-3, 4e-16 * sums.max() * 4):
            yield "DB-C305", f"{name} is none that 8-bit frames can have"
            return


def _derived(
    record: Record, curves: dict[str, Any], convention: Convention
) -> Iterator[tuple[str, str]]:
    mse, static, values = curves["mse"], curves["mse_static"], record.values
    floor = 1e-8
    kept = np.maximum(mse, floor) if convention.floor == "max" else mse + floor
    expected: dict[str, float] = {"mse": math.fsum(mse) / len(mse)}
    if "psnr" in curves:
        by_frame = -10 * np.log10(kept)
        if np.abs(by_frame - curves["psnr"]).max() > TOLERANCE * 80:
            yield "DB-C305", "the PSNR of a frame does not follow from its squared error"
            return
        pooled = max(expected["mse"], floor) if convention.floor == "max" else (
            expected["mse"] + floor
        )  # fmt: skip
        expected["psnr"] = -10 * math.log10(pooled) if convention.pooled else float(by_frame.mean())
    for name, curve in curves.items():
        if name not in ("mse", "mse_static", "psnr") and name in METRICS:
            expected[name] = math.fsum(curve) / len(curve)
    total = math.fsum(static)
    if total > 0:
        expected["skill"] = 1 - math.fsum(mse) / total
    for name, number in expected.items():
        if name not in values:
            yield "DB-R205", f"{name} is missing though its curve is there"
            return
        if not math.isclose(values[name], number, rel_tol=TOLERANCE, abs_tol=1e-7):
            yield "DB-C305", f"{name} is {values[name]:g}, but its curve gives {number:g}"
            return


def _truth(run: SubmittedRun, suite: KnownSuite) -> Iterator[Finding]:
    """Compares the static frame's error, which depends on the truth alone, with the suite's."""
    static: dict[str, float] = {}
    for record in run.records:
        mean = float(np.mean(record.curves["mse_static"]))
        before = static.setdefault(record.clip, mean)
        if not math.isclose(before, mean, rel_tol=TOLERANCE, abs_tol=1e-12):
            yield Finding(
                code="DB-C305",
                sentence=f"{run.entry.name}: the truth of {shown(record.clip)} differs between "
                "seeds, which it cannot; send the records of one run, unchanged.",
                where=f"runs/{run.entry.name}/records.jsonl",
            )
            return
    if suite.reference is None:
        yield Finding(
            code="DB-W610",
            sentence=f"The board has no measured truth of {suite.spec.name} to compare with.",
            where=run.entry.name,
        )
        return
    clips = suite.reference.clips
    compared = [clip for clip in static if clip in clips]
    others = [
        clip for clip in compared
        if not math.isclose(static[clip], clips[clip].static, rel_tol=STATIC_TOLERANCE)
    ]  # fmt: skip
    if compared and len(others) > SHARE_OF_OTHERS * len(compared):
        yield Finding(
            code="DB-C309",
            sentence=f"{run.entry.name}: on {len(others)} of {len(compared)} clips, such as "
            f"{shown(others[0])}, the truth moves otherwise than in {suite.spec.name} of this "
            "version, so the predictions were compared with other clips; run it again on the "
            "suite that comes with dojobench.",
            where=run.entry.name,
        )
