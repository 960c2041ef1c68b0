"""Decodes the next clips while the model thinks, a bounded number of frames ahead.

A thread reads every clip block by block into a short queue, so that neither a 600-frame clip
nor a whole suite is ever in memory, and a model never waits for a decoder that could have
worked meanwhile.
"""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from dojobench.datasets.suite import Clip, ClipRecord, Suite
from dojobench.protocol import BadInputError

BLOCK_BYTES = 16 * 2**20
MAX_BLOCK_FRAMES = 64
BLOCKS_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips that are stepped together: same length, same instruction, one seed."""

    clips: tuple[ClipRecord, ...]
    seed: int

    @property
    def names(self) -> str:
        """The clips' ids for a message."""
        return ", ".join(clip.id for clip in self.clips)


@dataclass(kw_only=True)
class _Opened:
    batch: Batch
    context: torch.Tensor
    views: dict[str, torch.Tensor]
    actions: torch.Tensor


@dataclass(kw_only=True)
class _Done:
    read_s: float


@dataclass(kw_only=True)
class LoadedBatch:
    """A batch whose context is at hand and whose truth comes as it is taken.

    Attributes:
        batch: Which clips and seed.
        context: uint8 ``[batch, context, 3, height, width]``.
        views: Further cameras' contexts, each ``[batch, context, 3, h, w]``.
        actions: float32 ``[batch, frames to predict, action_dim]``; row 0 leads to the first.
        read_s: Seconds of decoding; complete once all truth is taken.
    """

    batch: Batch
    context: torch.Tensor
    views: dict[str, torch.Tensor]
    actions: torch.Tensor
    _source: "Prefetcher"
    _rest: torch.Tensor | None = field(default=None)
    _finished: bool = field(default=False)
    read_s: float = 0.0

    @property
    def frames(self) -> int:
        """Number of frames to predict."""
        return int(self.actions.shape[1])

    def take(self, count: int) -> torch.Tensor:
        """Gives the next ``count`` true frames, uint8 ``[batch, count, 3, height, width]``."""
        parts: list[torch.Tensor] = []
        while count:
            if self._rest is None or not self._rest.shape[1]:
                block = self._source.get()
                if not isinstance(block, torch.Tensor):
                    raise RuntimeError("more truth was taken than the clip has")
                self._rest = block
            part, self._rest = self._rest[:, :count], self._rest[:, count:]
            parts.append(part)
            count -= part.shape[1]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def finish(self) -> None:
        """Takes what is left, so that the next batch comes next."""
        if self._finished:
            return
        while not isinstance(item := self._source.get(), _Done):
            if not isinstance(item, torch.Tensor):
                raise RuntimeError("the batches got out of order")
        self.read_s = item.read_s
        self._finished = True


class Prefetcher:
    """Iterates over loaded batches; use it as a context manager, so that its thread ends."""

    def __init__(self, suite: Suite, batches: Sequence[Batch], views: Sequence[str] = ()) -> None:
        """Starts reading ``batches`` of ``suite`` with the further cameras ``views``."""
        self._suite = suite
        self._views = tuple(views)
        self._queue: queue.Queue[object] = queue.Queue(maxsize=BLOCKS_AHEAD)
        self._stop = threading.Event()
        self._batches = tuple(batches)
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)

    def __enter__(self) -> "Prefetcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def __iter__(self) -> Iterator[LoadedBatch]:
        for batch in self._batches:
            item = self.get()
            if not isinstance(item, _Opened) or item.batch is not batch:
                raise RuntimeError("the batches got out of order")
            loaded = LoadedBatch(
                batch=batch,
                context=item.context,
                views=item.views,
                actions=item.actions,
                _source=self,
            )
            yield loaded
            loaded.finish()

    def get(self) -> object:
        """Gives the next item that the thread made; raises what the thread raised."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _put(self, item: object) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise _StoppedError

    def _work(self) -> None:
        try:
            for batch in self._batches:
                self._read(batch)
        except _StoppedError:
            return
        except BaseException as error:
            try:
                self._put(error)
            except _StoppedError:
                return

    def _read(self, batch: Batch) -> None:
        context, began = self._suite.spec.context_frames, time.perf_counter()
        clips = [self._suite.open(record) for record in batch.clips]
        try:
            opened = _Opened(
                batch=batch,
                context=torch.stack([clip.read(0, context) for clip in clips]),
                views={
                    view: torch.stack([clip.read(0, context, view=view) for clip in clips])
                    for view in self._views
                },
                actions=torch.stack([self._actions(clip) for clip in clips]),
            )
            spent = time.perf_counter() - began
            self._put(opened)
            per_frame = opened.context.nbytes // context
            step = max(1, min(MAX_BLOCK_FRAMES, BLOCK_BYTES // max(1, per_frame)))
            for start in range(context, batch.clips[0].frames, step):
                began = time.perf_counter()
                stop = min(start + step, batch.clips[0].frames)
                block = torch.stack([clip.read(start, stop) for clip in clips])
                spent += time.perf_counter() - began
                self._put(block)
            self._put(_Done(read_s=spent))
        finally:
            for clip in clips:
                clip.close()

    def _actions(self, clip: Clip) -> torch.Tensor:
        record, spec = clip.record, self._suite.spec
        expected = (record.frames - 1, spec.action_space.dim)
        if tuple(clip.actions.shape) != expected:
            raise BadInputError(
                f"clip {record.id} has actions of shape {tuple(clip.actions.shape)} where suite "
                f"{spec.name} promises {expected}; freeze the suite again"
            )
        actions = clip.actions[spec.context_frames - 1 :].float()
        if not bool(torch.isfinite(actions).all()):
            row, column = (~torch.isfinite(clip.actions)).nonzero()[0].tolist()
            raise BadInputError(
                f"clip {record.id} has a NaN or infinite action (frame {row}, dimension {column});"
                " leave the clip out of the suite or repair the data"
            )
        return actions


class _StoppedError(Exception):
    """The consumer has left."""
