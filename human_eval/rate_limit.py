"""Rate limits: buckets that fill with time, in memory alone.

Callers are known by a keyed hash under a key that dies with the process, so nothing here tells
which address or rater it was.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

MAX_CALLERS = 100_000
"""So many callers are remembered; those longest silent are forgotten first."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """So many requests at once, and so many a second for good."""

    burst: float
    rate: float


class _Bucket(NamedTuple):
    level: float
    at: float


class RateLimiter:
    """Counts requests by caller."""

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts with every bucket full.

        Args:
            limit: What each caller may do.
            clock: Seconds; replaced in tests.
        """
        self._limit = limit
        self._clock = clock
        self._key = secrets.token_bytes(16)
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Takes one request of a caller.

        Returns:
            0 where it may pass, or the seconds after which it may.
        """
        now = self._clock()
        name = hashlib.blake2b(caller.encode(), key=self._key, digest_size=16).digest()
        bucket = self._buckets.pop(name, _Bucket(self._limit.burst, now))
        level = min(self._limit.burst, bucket.level + (now - bucket.at) * self._limit.rate)
        passes = level >= 1
        self._buckets[name] = _Bucket(level - 1 if passes else level, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - level) / self._limit.rate
