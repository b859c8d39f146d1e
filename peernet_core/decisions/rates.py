"""How often something happens: counted over the last minute, in constant memory.

Pure: `now` is the loop's time in seconds.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PerMinute"]

_SECONDS: Final = 60


class PerMinute:
    """Counts what happened in the sixty seconds before now, second by second."""

    __slots__ = ("_counts", "_second")

    def __init__(self) -> None:
        self._counts = [0] * _SECONDS
        self._second = 0

    def count(self, *, now: float) -> None:
        """It happened once more."""
        self._advance(now)
        self._counts[self._second % _SECONDS] += 1

    def total(self, *, now: float) -> int:
        """How often it happened in the last minute."""
        self._advance(now)
        return sum(self._counts)

    def _advance(self, now: float) -> None:
        second = int(now)
        for passed in range(self._second + 1, min(second, self._second + _SECONDS) + 1):
            self._counts[passed % _SECONDS] = 0
        self._second = max(second, self._second)
