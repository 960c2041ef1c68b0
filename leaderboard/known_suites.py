"""The suites that the board has tables for: what their clips are, and which must be scored."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dojobench.benchmarks.records import RunMeta
from dojobench.datasets.dreamdojo_sets import RECIPES
from dojobench.datasets.manifest import Manifest
from dojobench.datasets.suite import Clip, ClipRecord, SuiteSpec
from dojobench.datasets.suites import load_named, named_manifests
from dojobench.leaderboard.card import Part
from dojobench.protocol.errors import BadInputError

REFERENCES = Path(__file__).resolve().parent / "references"
TRAIN_SPLIT = "train"
FIDELITY = "fidelity"


class ReferenceClip(Part):
    """What is known of a clip without any model.

    Attributes:
        static: Mean squared error of its last context frame, held still; it depends on the
            truth alone, so every run of the suite has the same.
        retrieval: That of the baseline ``nearest-neighbour``; ``None`` where it was not run.
    """

    static: float
    retrieval: float | None = None


class Reference(Part):
    """``references/SUITE.json``: numbers that every honest run of a suite shares."""

    format: int = 1
    suite: str
    version: str
    clips: dict[str, ReferenceClip]


@dataclass(kw_only=True)
class KnownSuite:
    """A suite, without its data.

    Attributes:
        spec: What its clips have in common.
        clips: All its clips.
        sources: Names of the data sets that they come from.
        reference: What every run of it shares; ``None`` where nobody has measured it.
    """

    spec: SuiteSpec
    clips: tuple[ClipRecord, ...]
    sources: tuple[str, ...]
    reference: Reference | None = None

    def open(self, clip: ClipRecord) -> Clip:
        """Refuses: only the list of clips is here."""
        raise BadInputError(f"{self.spec.name}: clip {clip.id} cannot be opened without its data")

    @property
    def scored(self) -> tuple[ClipRecord, ...]:
        """The clips that a full run scores: all but the training split."""
        return tuple(clip for clip in self.clips if clip.split != TRAIN_SPLIT)

    def planned(self, benchmark: str) -> tuple[tuple[str, tuple[ClipRecord, ...]], ...]:
        """Lists the units of a benchmark's full run: id, and the clips that it needs."""
        if benchmark == FIDELITY:
            return tuple((clip.id, (clip,)) for clip in self.scored)
        # Here, because a check of fidelity runs alone needs no torch.
        from dojobench.benchmarks.benchmark_runs import UNIT_BENCHMARKS

        units = UNIT_BENCHMARKS[benchmark].units(self, self.scored)
        return tuple((unit.id, unit.clips) for unit in units)


def known_suite(name: str) -> KnownSuite | None:
    """Gives a suite that the board knows; ``None`` for another."""
    return _load(name) if name in named_manifests() else None


def is_released_set(name: str) -> bool:
    """Says whether a suite is one of DreamDojo's sets, whose clips are listed on download."""
    return name in RECIPES


@cache
def _load(name: str) -> KnownSuite:
    manifest = load_named(name)
    return from_manifest(manifest, load_reference(REFERENCES / f"{name}.json"))


def from_manifest(manifest: Manifest, reference: Reference | None = None) -> KnownSuite:
    """Makes a known suite of a manifest."""
    return KnownSuite(
        spec=manifest.spec,
        clips=manifest.clips,
        sources=tuple(manifest.header.sources),
        reference=reference if reference and reference.version == manifest.version else None,
    )


def load_reference(file: Path) -> Reference | None:
    """Reads a reference; ``None`` where there is no such file."""
    if not file.is_file():
        return None
    return Reference.model_validate_json(file.read_bytes())


def make_reference(static: Path, retrieval: Path | None = None) -> str:
    """Makes the text of a reference from finished run folders.

    Args:
        static: Any full run of the suite.
        retrieval: One of the baseline ``nearest-neighbour``.
    """
    from dojobench.benchmarks.records import load_run

    run = load_run(static)
    run.require_complete()
    clips: dict[str, dict[str, float]] = {}
    for record in run.records:
        clips.setdefault(record.clip, {"static": _mean(record.curves["mse_static"])})
    if retrieval is not None:
        for record in load_run(retrieval).records:
            clips[record.clip].setdefault("retrieval", _mean(record.curves["mse"]))
    meta: RunMeta = run.meta
    found: dict[str, Any] = {
        "format": 1, "suite": meta.suite.name, "version": meta.suite.version, "clips": clips,
    }  # fmt: skip
    return json.dumps(found, indent=0) + "\n"


def _mean(curve: Sequence[float]) -> float:
    return float(f"{sum(curve) / len(curve):.9g}")
