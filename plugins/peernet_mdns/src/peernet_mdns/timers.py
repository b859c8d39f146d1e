"""Timers: which of many names is due next. Pure."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["Timers"]

_SLACK: Final = 64
"""Dead entries that are not worth clearing away."""


class Timers:
    """One due time for each of a set of names: O(log n) amortised for every call.

    The heap never holds more than twice as many entries as there are names, and a few.
    """

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def set(self, name: str, due: float) -> None:
        """Let `name` be due at `due`, whatever was set before."""
        if self._due.get(name) != due:
            self._due[name] = due
            heappush(self._heap, (due, name))
            self._compact()

    def discard(self, name: str) -> None:
        """Forget `name`, if it is known."""
        if self._due.pop(name, None) is not None:
            self._compact()

    def due(self, name: str) -> float | None:
        """When `name` is due; None: never."""
        return self._due.get(name)

    def next(self) -> float | None:
        """When the first is due; None when nothing is."""
        heap, due = self._heap, self._due
        while heap:
            at, name = heap[0]
            if due.get(name) == at:
                return at
            heappop(heap)
        return None

    def pop(self, *, until: float) -> str | None:
        """Take out the first that is due at `until` or before."""
        at = self.next()
        if at is None or at > until:
            return None
        _, name = heappop(self._heap)
        del self._due[name]
        return name

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [(at, name) for name, at in self._due.items()]
            heapify(self._heap)
