"""Deadlines: which of many leases ends next.

Pure. A lease is refreshed far more often than it ends, so a refresh only notes the later end; the heap learns
of it when the earlier one comes up.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

__all__ = ["Deadlines"]

_SLACK: Final = 64
"""Dead entries that are not worth clearing away."""


class Deadlines:
    """When each of a set of numbered things ends: O(log n) amortised for every call.

    The heap never holds more than twice as many entries as there are deadlines, and a few.
    """

    __slots__ = ("_ends", "_heap", "_queued")

    def __init__(self) -> None:
        self._ends: dict[int, float] = {}
        self._queued: dict[int, float] = {}  # the heap's entry that counts; never later than the end
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._ends)

    def set(self, item: int, end: float | None) -> None:
        """Let `item` end at `end`, whatever was set before; None: never."""
        if end is None:
            self.discard(item)
            return
        self._ends[item] = end
        queued = self._queued.get(item)
        if queued is None or end < queued:
            self._queued[item] = end
            heappush(self._heap, (end, item))
            self._compact()

    def discard(self, item: int) -> None:
        """Forget `item`, if it is known."""
        if self._ends.pop(item, None) is not None:
            del self._queued[item]
            self._compact()

    def next(self) -> float | None:
        """When the first ends; None when nothing does."""
        while self._heap:
            queued, item = self._heap[0]
            if self._queued.get(item) != queued:
                heappop(self._heap)
                continue
            end = self._ends[item]
            if end == queued:
                return end
            self._queued[item] = end
            heapreplace(self._heap, (end, item))
        return None

    def pop_due(self, *, now: float) -> list[int]:
        """Take out what ends at `now` or before, earliest first."""
        due: list[int] = []
        while (end := self.next()) is not None and end <= now:
            _, item = heappop(self._heap)
            del self._ends[item], self._queued[item]
            due.append(item)
        self._compact()
        return due

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._ends) + _SLACK:
            self._heap = [(end, item) for item, end in self._ends.items()]
            heapify(self._heap)
            self._queued = dict(self._ends)
