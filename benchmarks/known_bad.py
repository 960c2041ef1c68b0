"""Models that see the truth and spoil it in one known way: the test of the metrics.

A metric that ranks one of these above a model that is better in the respect that it measures
is broken. They are privileged: the runner starts them with the opened clips, stamps that on
the result, and no table counts them as contestants.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.nn import functional

from dojobench.datasets.suite import Clip, ClipRecord, Suite
from dojobench.protocol import Actions, BadInputError, Frames, ModelSpec, Session, WorldModel

FramesAt = Callable[[int, int], Frames]
"""Gives ``[batch, count, 3, height, width]`` from a start, counted from the first prediction."""


def mix(seed: int, position: int) -> int:
    """Makes one seed of a seed and a frame's place, so that steps of any length agree."""
    return (seed * 1_000_003 + position * 7_919 + 17) % (2**63)


def add_noise(frames: Frames, std: float, *, seed: int) -> Frames:
    """Adds Gaussian noise of ``std`` grey levels, the same to every sample of the batch."""
    generator = torch.Generator().manual_seed(seed)
    added = torch.randn(tuple(frames.shape[1:]), generator=generator).mul_(std)
    return _whole(frames.float() + added.to(frames.device))


def _whole(frames: torch.Tensor) -> Frames:
    return frames.round().clamp(0, 255).to(torch.uint8)


class FramewiseSession:
    """Answers ``frame(position)``, ``[batch, 3, height, width]``, one position after another."""

    def __init__(self, frame: Callable[[int], Frames]) -> None:
        """Takes what makes a frame; positions count from the first prediction."""
        self._frame = frame
        self._position = 0

    def step(self, actions: Actions) -> Frames:
        """Answers as many frames as actions."""
        count = int(actions.shape[1])
        frames = [self._frame(self._position + k) for k in range(count)]
        self._position += count
        return torch.stack(frames, dim=1)

    def close(self) -> None:
        """Holds nothing."""


class _TruthSession:
    """Answers a change of the truth, read as it is needed."""

    def __init__(self, answer: Callable[[int, int], Frames], opened: Sequence[Clip]) -> None:
        self._answer = answer
        self._opened = opened
        self._position = 0

    def step(self, actions: Actions) -> Frames:
        count = int(actions.shape[1])
        frames = self._answer(self._position, count)
        self._position += count
        return frames

    def close(self) -> None:
        """Closes what the model opened itself; the runner closes the clips that it gave."""
        for clip in self._opened:
            clip.close()


class Spoiler:
    """A model that sees the truth; subclasses say what they make of it."""

    name = "oracle"

    def __init__(self) -> None:
        self.spec = ModelSpec(name=self.name, version="1")
        self._context: int | None = None
        self._suite: Suite | None = None
        self._clips: tuple[ClipRecord, ...] = ()

    def prepare(self, suite: Suite, clips: Sequence[ClipRecord]) -> None:
        """Learns where the context ends and which clips the run has."""
        self._context = suite.spec.context_frames
        self._suite, self._clips = suite, tuple(clips)

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Refuses: without the truth there is nothing to spoil."""
        raise BadInputError(
            f"model {self.spec.name} needs the truth and runs in `dojobench run` only; choose a "
            "model that predicts, such as hold"
        )

    def start_privileged(self, context: Frames, *, seed: int, clips: list[Clip]) -> Session:
        """Opens a session over the clips' own truth."""
        if self._context is None:
            raise RuntimeError("prepare() comes before start_privileged()")
        offset, last = self._context, context[:, -1]
        sources = self.sources(clips)

        def truth(start: int, count: int) -> Frames:
            parts = [_read(clip, offset + start, count) for clip in sources]
            return torch.stack(parts).to(context.device)

        own = [clip for clip in sources if all(clip is not given for given in clips)]
        return _TruthSession(lambda start, count: self.spoil(truth, last, start, count, seed), own)

    def sources(self, clips: list[Clip]) -> list[Clip]:
        """The clips whose truth is read."""
        return clips

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Makes the answer.

        Args:
            truth: Reads the truth; positions count from the first prediction, and negative
                ones lie in the context.
            last: The last context frame, ``[batch, 3, height, width]``.
            start: Position of the first frame asked for.
            count: How many.
            seed: The run's.

        Returns:
            ``[batch, count, 3, height, width]``, uint8.
        """
        return truth(start, count)


def _read(clip: Clip, start: int, count: int) -> Frames:
    """Reads a clip, repeating its first or last frame beyond its ends."""
    places = torch.arange(start, start + count).clamp(0, clip.record.frames - 1)
    first = int(places[0])
    return clip.read(first, int(places[-1]) + 1)[places - first]


class NoisyOracle(Spoiler):
    """The truth under Gaussian noise of ``std`` grey levels: right, but never sharp."""

    name = "noisy-oracle"

    def __init__(self, std: float = 7.65) -> None:
        """Takes the noise in grey levels; 7.65 (3 % of the range) costs about 30 dB."""
        super().__init__()
        self._std = std

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Adds fresh noise to every frame."""
        frames = truth(start, count)
        return torch.stack(
            [add_noise(frames[:, k], self._std, seed=mix(seed, start + k)) for k in range(count)],
            dim=1,
        )


class BlurredOracle(Spoiler):
    """The truth at a ``factor``-th of its size, enlarged again: right, but never detailed."""

    name = "blurred-oracle"

    def __init__(self, factor: int = 4) -> None:
        """Takes by how much the frames are shrunk."""
        super().__init__()
        if factor < 1:
            raise BadInputError(f"blurred-oracle: factor is at least 1, not {factor}")
        self._factor = factor

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Shrinks and enlarges with antialiased bilinear interpolation."""
        frames = truth(start, count)
        flat = frames.flatten(0, 1).float()
        height, width = flat.shape[-2:]
        size = (max(1, int(height) // self._factor), max(1, int(width) // self._factor))
        small = functional.interpolate(flat, size, mode="bilinear", antialias=True)
        large = functional.interpolate(small, (int(height), int(width)), mode="bilinear")
        return _whole(large).reshape(frames.shape)


class Lag(Spoiler):
    """The truth ``k`` frames late."""

    name = "lag"

    def __init__(self, k: int = 1) -> None:
        """Takes the delay in frames."""
        if k < 0:
            raise BadInputError(f"lag: k is at least 0 frames, not {k}")
        self.name = f"lag-{k}"
        super().__init__()
        self._k = k

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Answers what was right ``k`` frames ago; before the clip began, its first frame."""
        return truth(start - self._k, count)


class Swap(Spoiler):
    """Another clip's future: a branch of the same state where there is one, else any clip."""

    name = "swap"

    def sources(self, clips: list[Clip]) -> list[Clip]:
        """Opens the clip that stands in for each."""
        if self._suite is None:
            raise RuntimeError("prepare() comes before start_privileged()")
        return [self._suite.open(self._other(clip.record)) for clip in clips]

    def _other(self, clip: ClipRecord) -> ClipRecord:
        here = next(k for k, other in enumerate(self._clips) if other.id == clip.id)
        ordered = (*self._clips[here + 1 :], *self._clips[:here])
        same_group = [
            other
            for other in ordered
            if clip.branch_group is not None and other.branch_group == clip.branch_group
        ]
        foreign = [
            other
            for other in ordered
            if (other.source, other.episode) != (clip.source, clip.episode)
            and other.camera == clip.camera
        ]
        candidates = same_group or foreign or list(ordered)
        if not candidates:
            raise BadInputError("model swap needs a second clip to swap with; raise --limit")
        return next((c for c in candidates if c.frames >= clip.frames), candidates[0])


class UnderReact(Spoiler):
    """Half way between the last context frame and the truth: right direction, too little."""

    name = "under-react"

    def __init__(self, gain: float = 0.5) -> None:
        """Takes the share of the true change that is made."""
        super().__init__()
        self._gain = gain

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Blends the last context frame and the truth."""
        held = last[:, None].float()
        return _whole(held + self._gain * (truth(start, count).float() - held))


class Freeze(Spoiler):
    """The truth for a while, and then one frame for ever."""

    name = "freeze"

    def __init__(self, after: int = 30) -> None:
        """Takes after how many frames it freezes; 30 are 3 s at 10 Hz."""
        super().__init__()
        if after < 1:
            raise BadInputError(f"freeze: after is at least 1 frame, not {after}")
        self._after = after

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Answers the truth up to the freeze and then repeats its last frame."""
        moving = max(0, min(count, self._after - start))
        if moving == count:
            return truth(start, count)
        still = truth(self._after - 1, 1).expand(-1, count - moving, -1, -1, -1)
        return torch.cat([truth(start, moving), still], dim=1) if moving else still


class ColourDrift(Spoiler):
    """The truth, its channels drifting apart by ``rate`` grey levels a frame."""

    name = "colour-drift"

    def __init__(self, rate: float = 0.5) -> None:
        """Takes the drift in grey levels a frame."""
        super().__init__()
        self._rate = rate

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Adds to red and takes from blue, more with every frame."""
        frames = truth(start, count).float()
        amount = self._rate * torch.arange(start + 1, start + count + 1, device=frames.device)
        frames[:, :, 0] += amount[None, :, None, None]
        frames[:, :, 2] -= amount[None, :, None, None]
        return _whole(frames)


class Seam(Spoiler):
    """The truth, each chunk moved by ``shift`` pixels this way or that: it jumps at borders."""

    name = "seam"

    def __init__(self, chunk: int = 12, shift: int = 2) -> None:
        """Takes the chunk's length in frames and the jump in pixels."""
        super().__init__()
        if chunk < 1:
            raise BadInputError(f"seam: chunk is at least 1 frame, not {chunk}")
        # Seams are looked for at the borders of the model's own chunks.
        self.spec = replace(self.spec, native_chunk=chunk)
        self._chunk, self._shift = chunk, shift

    def spoil(self, truth: FramesAt, last: Frames, start: int, count: int, seed: int) -> Frames:
        """Rolls the frames of every other chunk one way and of the rest the other way."""
        frames = truth(start, count).clone()
        for k in range(count):
            sign = 1 if ((start + k) // self._chunk) % 2 else -1
            frames[:, k] = frames[:, k].roll(sign * self._shift, dims=-1)
        return frames


class Vanish(Spoiler):
    """The truth without its largest object from some frame on; the ground closes over it.

    Where a pixel shows the object, the nearest true pixel beside it in the row takes its place.
    Needs clips with ground truth; of others it answers the truth.
    """

    name = "vanish"

    def __init__(self, after: int = 10) -> None:
        """Takes after how many frames the object goes."""
        super().__init__()
        if after < 0:
            raise BadInputError(f"vanish: after is at least 0 frames, not {after}")
        self._after = after

    def start_privileged(self, context: Frames, *, seed: int, clips: list[Clip]) -> Session:
        """Opens a session over the clips' own truth."""
        chosen = [(getattr(clip, "truth", None), _largest(clip, self._context or 1))
                  for clip in clips]  # fmt: skip
        offset = self._context or 1

        def answer(start: int, count: int) -> Frames:
            parts = []
            for clip, (truth, label) in zip(clips, chosen, strict=True):
                frames = _read(clip, offset + start, count).clone()
                first = max(0, self._after - start)
                if truth is not None and label and first < count:
                    drawn = truth.segmentation(offset + start + first, offset + start + count)
                    frames[first:] = _filled_in(frames[first:], drawn == label)
                parts.append(frames)
            return torch.stack(parts).to(context.device)

        return _TruthSession(answer, [])


def _largest(clip: Clip, context: int) -> int:
    """Number of the object with most pixels in the last context frame; 0 without any."""
    truth = getattr(clip, "truth", None)
    if truth is None:
        return 0
    drawn = truth.segmentation(context - 1, context)
    areas = [
        int((drawn == place + 1).sum()) if marker.kind != "effector" else 0
        for place, marker in enumerate(truth.markers)
    ]
    best = max(range(len(areas)), key=areas.__getitem__)
    return best + 1 if areas[best] else 0


def _filled_in(frames: Frames, hole: torch.Tensor) -> Frames:
    """Puts the nearest pixel to the left outside the hole, or else to the right, in its place.

    Args:
        frames: uint8 ``[n, 3, height, width]``.
        hole: bool ``[n, height, width]``.
    """
    # One pixel more on each side: the rim of an object is mixed with what is behind it.
    wide = functional.max_pool2d(hole[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    columns = torch.arange(hole.shape[-1]).expand_as(hole)
    left = torch.where(wide, -1, columns).cummax(dim=-1).values
    right = torch.where(wide, hole.shape[-1], columns).flip(-1).cummin(dim=-1).values.flip(-1)
    source = torch.where(left >= 0, left, right.clamp(max=hole.shape[-1] - 1))
    return frames.gather(-1, source[:, None].expand(-1, frames.shape[1], -1, -1))


def oracle() -> WorldModel:
    """The truth itself: scores the cap of every metric."""
    return Spoiler()


def lag(k: int = 1) -> WorldModel:
    """The truth ``k`` frames late."""
    return Lag(k)


def lag_2() -> WorldModel:
    """The truth two frames late."""
    return Lag(2)


def swap() -> WorldModel:
    """Another clip's future."""
    return Swap()


def noisy_oracle(std: float = 7.65) -> WorldModel:
    """The truth under Gaussian noise of ``std`` grey levels."""
    return NoisyOracle(std)


def blurred_oracle(factor: int = 4) -> WorldModel:
    """The truth at a ``factor``-th of its size, enlarged again."""
    return BlurredOracle(factor)


def under_react(gain: float = 0.5) -> WorldModel:
    """The last context frame plus ``gain`` times the true change."""
    return UnderReact(gain)


def freeze(after: int = 30) -> WorldModel:
    """The truth for ``after`` frames, then its last frame for ever."""
    return Freeze(after)


def colour_drift(rate: float = 0.5) -> WorldModel:
    """The truth with red rising and blue falling by ``rate`` grey levels a frame."""
    return ColourDrift(rate)


def seam(chunk: int = 12, shift: int = 2) -> WorldModel:
    """The truth, jumping by ``shift`` pixels between chunks."""
    return Seam(chunk, shift)


def vanish(after: int = 10) -> WorldModel:
    """The truth without its largest object after ``after`` frames."""
    return Vanish(after)


KNOWN_BAD: dict[str, Callable[[], WorldModel]] = {
    "oracle": oracle,
    "lag-1": lag,
    "lag-2": lag_2,
    "swap": swap,
    "noisy-oracle": noisy_oracle,
    "blurred-oracle": blurred_oracle,
    "under-react": under_react,
    "freeze": freeze,
    "colour-drift": colour_drift,
    "seam": seam,
    "vanish": vanish,
}
"""Privileged models by the name under which they are registered."""
