"""Keeps what the simulator played, because every model and baseline of a run asks for the same."""

from collections import OrderedDict
from collections.abc import Callable

import torch

from dojobench.protocol import Actions, Frames

Key = tuple[str, str, bytes]


class ReplayCache:
    """The last replays, up to a number of bytes; what is kept is never changed.

    Args:
        size: Bytes of frames that are kept.
    """

    def __init__(self, size: int = 64 * 2**20) -> None:
        self._size, self._used = size, 0
        self._kept: OrderedDict[Key, Frames] = OrderedDict()

    def get(
        self, suite: str, clip: str, actions: Actions, play: Callable[[Actions], Frames]
    ) -> Frames:
        """Gives the frames, played at most once while they are kept.

        Args:
            suite: The suite's version.
            clip: The clip's id.
            actions: float32 ``[n, action_dim]``.
            play: Plays them.

        Returns:
            uint8 ``[n, 3, height, width]``, a copy.
        """
        key = (suite, clip, actions.detach().cpu().contiguous().numpy().tobytes())
        found = self._kept.get(key)
        if found is None:
            found = play(actions)
            self._keep(key, found)
        else:
            self._kept.move_to_end(key)
        return found.clone()

    def _keep(self, key: Key, frames: torch.Tensor) -> None:
        if frames.nbytes > self._size:
            return
        self._kept[key] = frames
        self._used += frames.nbytes
        while self._used > self._size:
            _, old = self._kept.popitem(last=False)
            self._used -= old.nbytes


REPLAYS = ReplayCache()
"""The cache of this process."""
