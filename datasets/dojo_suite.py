"""Suites of the simulated world: clips are rendered when they are opened, and ahead of that."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import CancelledError

from dojobench.datasets.dojo_cache import ClipCache, default_folder
from dojobench.datasets.dojo_clip import DojoClip
from dojobench.datasets.dojo_data import DojoClipData, render_data
from dojobench.datasets.dojo_fingerprint import Deviation, compare_fingerprint
from dojobench.datasets.dojo_plans import (
    SECRET_VARIABLE,
    plans_hash,
    read_secret,
    seed_commitment,
    suite_plans,
)
from dojobench.datasets.dojo_pool import Rendering, RenderPool, default_workers
from dojobench.datasets.manifest import DojoFields, Manifest
from dojobench.datasets.suite import ClipRecord, SuiteSpec
from dojobench.protocol.errors import BadInputError
from dojobench.simulator.clips import GENERATOR, ClipPlan

_MEMORY = 512 * 2**20
_NOTES = {
    "rounding": "this machine renders it not bit by bit as it was frozen, but within the tolerance",
    "diverged": "on this machine it begins as frozen but takes another course, because contacts "
    "magnify how a processor rounds; scores of it compare with those of the same machine only",
}


class DojoSuite:
    """A manifest whose clips are simulated; keeps the ``Suite`` contract.

    Clips are the same bytes whether they come from memory, from the disk or from any process.
    ``open`` may be called from several threads. From the second clip on that has to be rendered,
    other processes render the following clips of the same split ahead.

    Args:
        manifest: The manifest.
        secret: The seed of a private suite.
        workers: Processes that render ahead, 0 for none; the usable cores, at most 8, where
            ``None``.
        cache: Clips on disk; the user's cache folder where ``None``.
        memory: Bytes of clips that are kept in memory.

    Attributes:
        manifest: The manifest.
        spec: What the clips have in common.
        clips: All clips in manifest order.
        deviations: Of the clips opened so far that are not bit by bit as frozen, by id.

    Raises:
        BadInputError: If the seed is missing or another, or the generator has another version.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        secret: str | None = None,
        workers: int | None = None,
        cache: ClipCache | None = None,
        memory: int = _MEMORY,
    ) -> None:
        self.manifest = manifest
        self.spec: SuiteSpec = manifest.spec
        self.clips: tuple[ClipRecord, ...] = manifest.clips
        self.deviations: dict[str, Deviation] = {}
        self._plans = {plan.id: plan for plan in plans_of(manifest, secret)}
        self._place = {clip.id: place for place, clip in enumerate(self.clips)}
        self._cache = cache if cache is not None else ClipCache(default_folder())
        self._memory, self._kept_bytes = memory, 0
        self._kept: OrderedDict[str, DojoClipData] = OrderedDict()
        self._ahead: OrderedDict[str, Rendering] = OrderedDict()
        self._pool: RenderPool | None = None
        self._workers = default_workers() if workers is None else workers
        self._rendered = 0
        self._lock = threading.RLock()

    def open(self, clip: ClipRecord) -> DojoClip:
        """Opens a clip; see ``Suite.open``.

        Raises:
            BadInputError: If it cannot be made, or begins otherwise than the manifest states; the
                message says by how much.
        """
        with self._lock:
            data = self._kept.get(clip.id)
            if data is not None:
                self._kept.move_to_end(clip.id)
        if data is None:
            data = self._make(clip)
            self._check(clip, data)
            self._keep(clip.id, data)
        self._render_ahead(clip)
        return DojoClip(clip, data, self._plans[clip.id])

    def plan(self, clip: ClipRecord) -> ClipPlan:
        """Gives what a clip is made from."""
        return self._plans[clip.id]

    def _make(self, clip: ClipRecord) -> DojoClipData:
        data = self._cache.load(clip.sha256)
        if data is not None:
            return data
        with self._lock:
            self._rendered += 1
            waiting = self._ahead.pop(clip.id, None)
        data = _result(waiting)
        if data is None:
            try:
                data = render_data(self._plans[clip.id], self.spec.resolution)
            except BadInputError as error:
                raise BadInputError(f"The clip '{clip.id}' cannot be made: {error}") from error
        self._cache.save(clip.sha256, data)
        return data

    def _check(self, clip: ClipRecord, data: DojoClipData) -> None:
        """Compares a clip with what was frozen, by its hash and else by its fingerprint."""
        if data.content_hash() == clip.sha256:
            return
        stated = self.manifest.fingerprints.get(clip.id)
        same_shape = data.frames.shape == (clip.frames, 3, *self.spec.resolution)
        if stated is None or not same_shape:
            raise BadInputError(
                f"The clip '{clip.id}' is rendered otherwise than the manifest states, which has "
                "no fingerprint to say by how much; freeze the suite again on this machine."
            )
        deviation = compare_fingerprint(data.frames, stated)
        if deviation.kind == "other":
            raise BadInputError(
                f"The clip '{clip.id}' is rendered otherwise than the manifest states, {deviation},"
                f" which is not the same clip; use the version of dojobench that {GENERATOR} and "
                "the manifest belong to, or freeze the suite again."
            )
        with self._lock:
            first = all(each.kind != deviation.kind for each in self.deviations.values())
            self.deviations[clip.id] = deviation
        if first:
            sys.stderr.write(f"note: {self.spec.name}, {clip.id}: {_NOTES[deviation.kind]}: "
                             f"{deviation}\n")  # fmt: skip

    def _keep(self, name: str, data: DojoClipData) -> None:
        with self._lock:
            if name in self._kept or data.size_bytes > self._memory:
                return
            self._kept[name] = data
            self._kept_bytes += data.size_bytes
            while self._kept_bytes > self._memory:
                _, old = self._kept.popitem(last=False)
                self._kept_bytes -= old.size_bytes

    def _render_ahead(self, clip: ClipRecord) -> None:
        """Asks the other processes for the clips that are likely to be opened next."""
        with self._lock:
            if not self._workers or self._rendered < 2:
                return
            if self._pool is None:
                self._pool = RenderPool(self._workers)
            for each in self._next(clip):
                if each.id in self._ahead or each.id in self._kept:
                    continue
                if not self._cache.has(each.sha256):
                    self._ahead[each.id] = self._pool.submit(
                        self._plans[each.id], self.spec.resolution
                    )
            while len(self._ahead) > 8 * self._workers:
                _, forgotten = self._ahead.popitem(last=False)
                forgotten.cancel()

    def _next(self, clip: ClipRecord) -> Sequence[ClipRecord]:
        """Lists the following clips of a split, as many as fit into half the memory."""
        height, width = self.spec.resolution
        chosen: list[ClipRecord] = []
        room = self._memory // 2
        for each in self.clips[self._place[clip.id] + 1 :]:
            room -= each.frames * height * width * 4
            if len(chosen) >= 4 * self._workers or each.split != clip.split or room < 0:
                break
            chosen.append(each)
        return chosen


def _result(waiting: Rendering | None) -> DojoClipData | None:
    """Waits for a clip that is under way; one whose turn has not come is made here instead."""
    if waiting is None or waiting.cancel():
        return None
    try:
        return waiting.result()
    except (CancelledError, RuntimeError, BadInputError):
        # Made again in this process, where an error says what it is.
        return None


def plans_of(manifest: Manifest, secret: str | None) -> list[ClipPlan]:
    """Plans the clips that a manifest lists.

    Args:
        manifest: The manifest of a simulated suite.
        secret: The seed, where it is not public; read from the environment where ``None``.

    Raises:
        BadInputError: If the seed is missing or another one, the generator has another version,
            or the manifest lists other clips than the recipe makes.
    """
    fields, name = manifest.header.dojo, manifest.header.name
    if fields is None:
        raise ValueError("not a manifest of a simulated suite")
    if fields.generator != GENERATOR:
        raise BadInputError(
            f"The suite {name} was frozen with the generator {fields.generator}, but this is "
            f"{GENERATOR}; use the version of dojobench that made it, or freeze it again."
        )
    plans = suite_plans(fields.suite, _seed(fields, name, secret))
    if plans_hash(plans) != fields.plans:
        raise BadInputError(
            f"The suite {name} was frozen with other recipes than this version of dojobench has; "
            "use the version that made it, or freeze it again."
        )
    planned = [(plan.id, plan.split, plan.frames) for plan in plans]
    if planned != [(clip.id, clip.split, clip.frames) for clip in manifest.clips]:
        raise BadInputError(
            f"The manifest of {name} lists other clips than its recipe makes; freeze it again."
        )
    return plans


def _seed(fields: DojoFields, name: str, secret: str | None) -> str:
    if fields.seed is not None:
        return fields.seed
    seed = read_secret(secret)
    if seed is None:
        raise BadInputError(
            f"The suite {name} is private; give its seed, or a file with it, by {SECRET_VARIABLE}."
        )
    if seed_commitment(fields.suite, seed) != fields.commitment:
        raise BadInputError(
            f"The seed given is not the one that {name} was made from (its commitment is "
            f"{fields.commitment}); give the right one by {SECRET_VARIABLE}."
        )
    return seed
