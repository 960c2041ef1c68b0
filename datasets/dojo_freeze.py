"""Freezes suites of the simulated world, public or private, and checks frozen ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dojobench.datasets.dojo_cache import ClipCache
from dojobench.datasets.dojo_data import DojoClipData
from dojobench.datasets.dojo_fingerprint import Deviation, compare_fingerprint, take_fingerprint
from dojobench.datasets.dojo_plans import (
    SUITE_EMBODIMENT,
    checked_size,
    episode_of,
    plans_hash,
    public_seed,
    seed_commitment,
    suite_plans,
)
from dojobench.datasets.dojo_pool import render_all
from dojobench.datasets.dojo_suite import plans_of
from dojobench.datasets.manifest import (
    ActionSpaceFields,
    DojoFields,
    Header,
    Manifest,
    SourceFields,
)
from dojobench.datasets.suite import ClipRecord
from dojobench.simulator.clips import GENERATOR, ClipPlan
from dojobench.simulator.world import FRAME_RATE, make_embodiment

_SOURCE = "dojo"


@dataclass(frozen=True, kw_only=True)
class FreezeDojo:
    """What to freeze.

    Attributes:
        suite: The recipe, ``dojo-v1`` or ``dojo-mini``.
        name: The suite's name; that of the recipe where ``None``.
        secret: A seed that stays with its owner; the public one where ``None``.
        size: Height and width.
        workers: Processes; all usable cores where ``None``.
    """

    suite: str
    name: str | None = None
    secret: str | None = None
    size: tuple[int, int] = (64, 64)
    workers: int | None = None


class FrozenDojo(NamedTuple):
    """A simulated suite ready to be written.

    Attributes:
        header: The manifest's first line.
        clips: Its clips.
        fingerprints: What they look like, by id.
    """

    header: Header
    clips: tuple[ClipRecord, ...]
    fingerprints: dict[str, str]


def freeze_dojo(config: FreezeDojo, cache: ClipCache | None = None) -> FrozenDojo:
    """Renders all clips of a suite and writes down what they are.

    Args:
        config: What to freeze.
        cache: Where to keep the rendered clips for whoever opens them next.

    Raises:
        BadInputError: If there is no such suite, the size is out of range, or a scene cannot be
            built.
    """
    size = checked_size(config.size)
    plans = suite_plans(config.suite, config.secret)
    header = _header(config, plans, size)
    records, fingerprints = [], {}
    rendered = render_all(plans, size, f"rendering {header.name}", config.workers)
    for plan, data in zip(plans, rendered, strict=True):
        record = _record(plan, data)
        records.append(record)
        fingerprints[plan.id] = take_fingerprint(data.frames)
        if cache is not None:
            cache.save(record.sha256, data)
    return FrozenDojo(header, tuple(records), fingerprints)


def _header(config: FreezeDojo, plans: Sequence[ClipPlan], size: tuple[int, int]) -> Header:
    spec = make_embodiment(SUITE_EMBODIMENT).spec
    private = config.secret is not None
    return Header(
        dojobench_manifest=1,
        name=config.name or config.suite,
        description=f"the simulated world, recipe {config.suite}"
        + (", private seed" if private else ""),
        resolution=size,
        fit="exact",
        frame_rate=FRAME_RATE,
        context_frames=plans[0].context,
        action_space=ActionSpaceFields(
            dim=spec.dim,
            embodiment=SUITE_EMBODIMENT,
            kind=spec.kind,
            names=list(spec.names),
            units=spec.units,
        ),
        actions="first",
        views=[],
        sources={
            _SOURCE: SourceFields(
                format="dojo",
                revision=GENERATOR,
                obtain="nothing to get: it is simulated when it is opened",
                root=_SOURCE,
            )
        },
        dojo=DojoFields(
            suite=config.suite,
            generator=GENERATOR,
            seed=None if private else public_seed(config.suite),
            commitment=seed_commitment(config.suite, config.secret) if config.secret else None,
            plans=plans_hash(plans),
        ),
    )


def _record(plan: ClipPlan, data: DojoClipData) -> ClipRecord:
    return ClipRecord(
        id=plan.id,
        source=_SOURCE,
        revision=GENERATOR,
        episode=episode_of(plan),
        start=0,
        stride=1,
        frames=plan.frames,
        split=plan.split,
        embodiment=plan.embodiment,
        camera=plan.camera,
        instruction=data.instruction,
        branch_group=plan.branch_group,
        sha256=data.content_hash(),
    )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a check of a frozen suite found.

    Attributes:
        exact: Clips that are bit by bit as frozen.
        rounding: The others that are within the tolerance, by id.
        diverged: Those that begin as frozen and take another course, by id.
        refused: Those that begin otherwise, by id; ``None`` where there is no fingerprint.
    """

    exact: int
    rounding: dict[str, Deviation]
    diverged: dict[str, Deviation]
    refused: dict[str, Deviation | None]


def verify_dojo(
    manifest: Manifest, *, secret: str | None = None, workers: int | None = None
) -> Verified:
    """Renders all clips of a frozen suite anew and compares them with it.

    Args:
        manifest: The manifest.
        secret: The seed of a private suite; read from the environment where ``None``.
        workers: Processes; all usable cores where ``None``.

    Raises:
        BadInputError: If the seed is missing or another one, or the recipe is another one.
    """
    plans = plans_of(manifest, secret)
    size = manifest.header.resolution
    exact = 0
    rounding: dict[str, Deviation] = {}
    diverged: dict[str, Deviation] = {}
    refused: dict[str, Deviation | None] = {}
    rendered = render_all(plans, size, f"checking {manifest.header.name}", workers)
    for clip, data in zip(manifest.clips, rendered, strict=True):
        if data.content_hash() == clip.sha256:
            exact += 1
            continue
        stated = manifest.fingerprints.get(clip.id)
        deviation = compare_fingerprint(data.frames, stated) if stated else None
        if deviation is None or deviation.kind == "other":
            refused[clip.id] = deviation
        else:
            (rounding if deviation.kind == "rounding" else diverged)[clip.id] = deviation
    return Verified(exact=exact, rounding=rounding, diverged=diverged, refused=refused)
