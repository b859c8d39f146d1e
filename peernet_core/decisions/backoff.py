"""How often to try: backoff with full jitter, and token buckets.

Pure: `now` is the loop's time in seconds, and what is returned is when to try again or whether one may.

Source: "Exponential Backoff And Jitter", M. Brooker, AWS Architecture Blog, 2015, for full jitter.
"""

from __future__ import annotations

from collections.abc import Hashable
from random import Random
from typing import Final, Generic, TypeVar

__all__ = ["FIRST_S", "LONGEST_S", "Backoff", "KeyedBuckets", "TokenBucket"]

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0

_K = TypeVar("_K", bound=Hashable)


class Backoff:
    """Waits that double with each failure in a row, each drawn evenly from zero to that bound.

    Args:
        random: Where the jitter comes from.
        first_s: The bound of the wait after the first failure.
        longest_s: The bound that doubling ends at.
    """

    __slots__ = ("_bound_s", "_first_s", "_longest_s", "_random")

    def __init__(self, random: Random, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self._bound_s = first_s

    def failed(self, *, now: float) -> float:
        """Count a failure; returns the time at which to try again."""
        wait_s = self._random.uniform(0, self._bound_s)
        self._bound_s = min(self._bound_s * 2, self._longest_s)
        return now + wait_s

    def reset(self) -> None:
        """Begin again with the shortest waits: it worked, or there is new evidence that it may."""
        self._bound_s = self._first_s


class TokenBucket:
    """At most `capacity` at once, and `rate_per_s` on average. Starts full.

    Args:
        rate_per_s: Tokens that come back each second.
        capacity: Tokens that it holds; at least 1.
    """

    __slots__ = ("_capacity", "_filled_at", "_level", "_rate_per_s")

    def __init__(self, rate_per_s: float, capacity: float) -> None:
        self._rate_per_s = rate_per_s
        self._capacity = capacity
        self._level = capacity
        self._filled_at: float | None = None

    def take(self, *, now: float) -> bool:
        """Take one token; False when there is none."""
        if self._filled_at is not None and now > self._filled_at:
            refill = (now - self._filled_at) * self._rate_per_s
            self._level = min(self._capacity, self._level + refill)
        self._filled_at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class KeyedBuckets(Generic[_K]):
    """A token bucket for each key, of which there may be any number, in bounded memory.

    A bucket that has not been asked for since it must be full again is forgotten, which changes nothing for
    anybody. Where there are more than `max_keys` even so, the further ones share one bucket: a flood of keys
    slows down newcomers, and neither wins tokens nor takes them from a key that has its bucket.

    Args:
        rate_per_s: Tokens that come back to each bucket each second.
        capacity: Tokens that each holds; at least 1.
        max_keys: Buckets that are kept.
    """

    __slots__ = ("_buckets", "_capacity", "_max_keys", "_overflow", "_rate_per_s", "_refill_s")

    def __init__(self, rate_per_s: float, capacity: float, max_keys: int) -> None:
        self._rate_per_s = rate_per_s
        self._capacity = capacity
        self._max_keys = max_keys
        self._refill_s = capacity / rate_per_s
        self._buckets: dict[_K, tuple[TokenBucket, float]] = {}  # least recently asked for first
        self._overflow = TokenBucket(rate_per_s, capacity)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: _K, *, now: float) -> bool:
        """Take one token of `key`; False when it has none."""
        known = self._buckets.pop(key, None)
        if known is not None:
            bucket = known[0]
        else:
            self._forget_full(now)
            if len(self._buckets) >= self._max_keys:
                return self._overflow.take(now=now)
            bucket = TokenBucket(self._rate_per_s, self._capacity)
        self._buckets[key] = (bucket, now)
        return bucket.take(now=now)

    def _forget_full(self, now: float) -> None:
        while self._buckets:
            oldest = next(iter(self._buckets))
            if now - self._buckets[oldest][1] < self._refill_s:
                return
            del self._buckets[oldest]
