"""Replays are played once, kept up to a size, and cannot be written into."""

import torch

from dojobench.benchmarks.replay_cache import ReplayCache


def test_once_bounded_and_copied() -> None:
    played: list[int] = []

    def play(actions: torch.Tensor) -> torch.Tensor:
        played.append(len(actions))
        return torch.full((len(actions), 3, 4, 4), len(played), dtype=torch.uint8)

    cache, actions = ReplayCache(size=2 * 2 * 48), torch.zeros(2, 3)
    first = cache.get("v", "a", actions, play)
    first += 9
    assert int(cache.get("v", "a", actions, play)[0, 0, 0, 0]) == 1
    assert len(played) == 1
    for suite, clip, other in (("w", "a", actions), ("v", "b", actions), ("v", "a", actions + 1)):
        cache.get(suite, clip, other, play)
    assert len(played) == 4
    cache.get("v", "a", actions, play)  # the oldest had to go
    assert len(played) == 5
    cache.get("v", "a", torch.zeros(9, 3), play)  # too large to keep
    cache.get("v", "a", torch.zeros(9, 3), play)
    assert len(played) == 7
