"""Trivial models that stand in every table: no number can be read without them.

A model worth training beats ``hold``, which repeats the last frame it saw. The others say
what a number would be worth that came from the mean future, from memory, from the truth, or
from nothing at all. Each is an ordinary world model, so it runs wherever one runs.
"""

from collections.abc import Callable

import torch

from dojobench.benchmarks import known_bad
from dojobench.benchmarks.learned_baselines import MeanFuture, NearestNeighbour
from dojobench.protocol import Actions, BadInputError, Frames, ModelSpec, Session, WorldModel
from dojobench.protocol.lookup import load_model


class _FrameSession:
    """Repeats one frame per sample for as long as it is asked."""

    def __init__(self, frame: Frames) -> None:
        self._frame = frame

    def step(self, actions: Actions) -> Frames:
        """Answers the frame, once per action."""
        return self._frame[:, None].expand(-1, actions.shape[1], -1, -1, -1)

    def close(self) -> None:
        """Holds nothing."""


class Hold:
    """Repeats the last context frame: the baseline that every model has to beat."""

    spec = ModelSpec(name="hold", version="1")

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Opens a session that answers the last context frame."""
        return _FrameSession(context[:, -1])


class Noise:
    """The last context frame under fresh Gaussian noise: still, but not frozen.

    ``std`` is in grey levels, 0 to 255. The same seed gives every clip the same noise.
    """

    def __init__(self, std: float = 12.0) -> None:
        """Takes the noise's standard deviation in grey levels."""
        if not 0 <= std <= 255:
            raise BadInputError(f"noise: std is 0 to 255 grey levels, not {std:g}")
        self._std = std
        self.spec = ModelSpec(name="noise", version="1")

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Opens a session; the noise depends on the seed and the frame's place in the clip."""
        last, std = context[:, -1], self._std

        def frame(position: int) -> Frames:
            return known_bad.add_noise(last, std, seed=known_bad.mix(seed, position))

        return known_bad.FramewiseSession(frame)


class Garbage:
    """Uniform random pixels: what every metric has to put last."""

    spec = ModelSpec(name="garbage", version="1")

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Opens a session; the pixels depend on the seed and the frame's place in the clip."""
        shape, device, batch = context.shape[-3:], context.device, context.shape[0]

        def frame(position: int) -> Frames:
            generator = torch.Generator().manual_seed(known_bad.mix(seed, position))
            one = torch.randint(0, 256, tuple(shape), generator=generator, dtype=torch.uint8)
            return one.to(device).expand(batch, -1, -1, -1)

        return known_bad.FramewiseSession(frame)


def hold() -> WorldModel:
    """Repeats the last context frame."""
    return Hold()


def noise(std: float = 12.0) -> WorldModel:
    """The last context frame under Gaussian noise of ``std`` grey levels."""
    return Noise(std)


def garbage() -> WorldModel:
    """Uniform random pixels."""
    return Garbage()


def mean_future() -> WorldModel:
    """The last context frame plus the mean change over the training split at each horizon."""
    return MeanFuture()


def nearest_neighbour(every: int = 4) -> WorldModel:
    """Replays what followed the most similar frame among each ``every``-th training frame."""
    return NearestNeighbour(every)


BASELINES: dict[str, Callable[[], WorldModel]] = {
    "hold": hold,
    "mean-future": mean_future,
    "nearest-neighbour": nearest_neighbour,
    "noise": noise,
    "garbage": garbage,
    **known_bad.KNOWN_BAD,
}
"""All baselines by the name under which they are registered."""


def make_baseline(name: str) -> WorldModel:
    """Makes a baseline by name; any other registered model may stand beside one, too.

    Raises:
        BadInputError: If there is no model of that name.
    """
    if name in BASELINES:
        return BASELINES[name]()
    return load_model(name, {})
