"""Quotas: how much of the table each source holds, and who makes room. Pure.

A name is held at a level: plain, answered (it answered a query of ours) or wanted. Wanted names never make
room. Every call is O(1): sources are ranked by how much they hold that could be taken from them.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import IntEnum

import attrs

__all__ = ["Level", "Quotas"]


class Level(IntEnum):
    """How firmly a name stands in the table."""

    PLAIN = 0
    ANSWERED = 1
    WANTED = 2


_Queue = OrderedDict[bytes, None]


@attrs.define(eq=False)
class _Holding:
    """What one source holds; names in order of their age."""

    plain: dict[str, None] = attrs.Factory(dict)
    answered: dict[str, None] | None = None
    wanted: int = 0
    rank: int = 0
    queue: _Queue | None = None

    @property
    def evictable(self) -> int:
        return len(self.plain) + len(self.answered or ())

    def oldest(self) -> str | None:
        for name in self.plain:
            return name
        for name in self.answered or ():
            return name
        return None


class Quotas:
    """Who holds how many names."""

    __slots__ = ("_holdings", "_most", "_ranks")

    def __init__(self) -> None:
        self._holdings: dict[bytes, _Holding] = {}
        # By number of evictable names: the sources that hold a plain one, then those that do not.
        self._ranks: dict[int, tuple[_Queue, _Queue]] = {}
        self._most = 0

    def held(self, source: bytes) -> int:
        """How many names `source` holds, at any level."""
        holding = self._holdings.get(source)
        return 0 if holding is None else holding.evictable + holding.wanted

    def add(self, source: bytes, name: str, level: Level) -> None:
        """Let `source` hold a name that nobody holds."""
        holding = self._holdings.get(source)
        if holding is None:
            holding = self._holdings[source] = _Holding()
        self._put(holding, name, level)
        self._rank(source, holding)

    def remove(self, source: bytes, name: str, level: Level) -> None:
        """Take back what `add` or `move` gave."""
        holding = self._holdings[source]
        self._take(holding, name, level)
        self._rank(source, holding)
        if not holding.evictable and not holding.wanted:
            del self._holdings[source]

    def move(self, source: bytes, name: str, before: Level, after: Level) -> None:
        """Hold a name at another level; it counts as the youngest there."""
        holding = self._holdings[source]
        self._take(holding, name, before)
        self._put(holding, name, after)
        self._rank(source, holding)

    def oldest_of(self, source: bytes) -> str | None:
        """The name of this source that would make room first."""
        holding = self._holdings.get(source)
        return None if holding is None else holding.oldest()

    def oldest_of_most(self) -> str | None:
        """The name that makes room for others: one of the source that holds most."""
        while self._most and self._most not in self._ranks:
            self._most -= 1
        for queue in self._ranks.get(self._most, ()):
            for source in queue:
                return self._holdings[source].oldest()
        return None

    @staticmethod
    def _put(holding: _Holding, name: str, level: Level) -> None:
        if level is Level.PLAIN:
            holding.plain[name] = None
        elif level is Level.ANSWERED:
            if holding.answered is None:
                holding.answered = {}
            holding.answered[name] = None
        else:
            holding.wanted += 1

    @staticmethod
    def _take(holding: _Holding, name: str, level: Level) -> None:
        if level is Level.PLAIN:
            del holding.plain[name]
        elif level is Level.ANSWERED:
            assert holding.answered is not None
            del holding.answered[name]
        else:
            holding.wanted -= 1

    def _rank(self, source: bytes, holding: _Holding) -> None:
        rank = holding.evictable
        queue: _Queue | None = None
        if rank:
            queues = self._ranks.get(rank)
            if queues is None:
                queues = self._ranks[rank] = (OrderedDict(), OrderedDict())
            queue = queues[0 if holding.plain else 1]
        if queue is holding.queue:
            return
        if queue is not None:
            queue[source] = None
            self._most = max(self._most, rank)
        if holding.queue is not None:
            del holding.queue[source]
            if not any(self._ranks[holding.rank]):
                del self._ranks[holding.rank]
        holding.rank, holding.queue = rank, queue
