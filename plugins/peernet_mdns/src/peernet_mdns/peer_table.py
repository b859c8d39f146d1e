"""The peer table: who is said to be there. Pure and bounded.

One entry an alias. A statement is what was claimed: handed out as `Seen`, it counts as accepted until it is
refused; then what was accepted before it stands again.

Nothing a flood can say makes an operation slow or the table large: there is a capacity, a quota for each
source address, and room is made by whoever holds most. An evicted alias is not reported as gone, since it may
well be there: what was reported of it ends with the lease that was reported.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Final

import attrs

from peernet_core.addresses import IPAddress
from peernet_mdns.questions import REST, Plan
from peernet_mdns.quotas import Level, Quotas

__all__ = ["GRACE_S", "MAX_ORIGINS", "Entry", "Gone", "Origin", "PeerTable", "Seen", "Standing", "Statement"]

MAX_ORIGINS: Final = 4
"""Origins that are remembered of one statement."""

GRACE_S: Final = 3.0
"""How much longer than the lease a statement is reported for: the time for the last questions."""


@attrs.frozen
class Origin:
    """Who sent something, and where it came in."""

    ip: IPAddress
    interface: str


@attrs.frozen
class Seen:
    """An alias is there: new, changed, heard from another origin, or its lease is renewed.

    Attributes:
        ttl_s: The lease and the time for the last questions; `Gone` usually comes before it is over.
    """

    alias: str
    record: bytes
    ttl_s: float
    heard: Origin


@attrs.frozen
class Gone:
    """An alias that was reported no longer answers."""

    alias: str


class Standing(Enum):
    """How far a statement has come."""

    CLAIMED = "claimed"
    HANDED = "handed"
    ACCEPTED = "accepted"


@attrs.define(eq=False)
class Statement:
    """What was said of an alias, and by whom.

    Attributes:
        since: When it was last reported, or is to be; the lease counts from here.
        heard: Each origin, and when the statement was last reported with it.
    """

    record: bytes
    since: float
    lease_s: float
    heard: tuple[tuple[Origin, float], ...]
    standing: Standing = Standing.CLAIMED

    @property
    def ends(self) -> float:
        return self.since + self.lease_s


@attrs.define(eq=False)
class Entry:
    """What is known of one alias, and which questions about it are under way (see `questions`)."""

    alias: str
    source: bytes
    level: Level
    statement: Statement | None = None
    before: Statement | None = None
    refused: bytes | None = None
    overwritten: bool = False
    plan: Plan = REST
    step: int = 0
    start: float = 0.0
    sent: float = float("-inf")
    doubted: float = float("-inf")

    @property
    def was_reported(self) -> bool:
        """Whether somebody out there believes in it."""
        statement = self.statement
        return self.before is not None or (
            statement is not None and statement.standing is not Standing.CLAIMED
        )


class PeerTable:
    """The entries, their quotas, and the changes that wait to be taken."""

    def __init__(self, *, capacity: int, quota: int) -> None:
        self.reported: dict[str, None] = {}
        self.evicted = 0
        self._capacity = capacity
        self._quota = quota
        self._entries: dict[str, Entry] = {}
        self._quotas = Quotas()
        self._changes: OrderedDict[str, tuple[Seen, ...] | Gone] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, alias: str) -> Entry | None:
        """The entry of an alias."""
        return self._entries.get(alias)

    def add(self, alias: str, ip: IPAddress, level: Level) -> tuple[Entry | None, list[Entry]]:
        """Make an entry for an alias that has none.

        Returns:
            The entry, None when there is no room that could be made; and the entries that made room.
        """
        source = ip.packed
        evicted: list[Entry] = []
        if self._quotas.held(source) >= self._quota and not self._evict(
            self._quotas.oldest_of(source), evicted
        ):
            self.evicted += 1
            return None, evicted
        if len(self._entries) >= self._capacity and not self._evict(self._quotas.oldest_of_most(), evicted):
            self.evicted += 1
            return None, evicted
        entry = self._entries[alias] = Entry(alias, source, level)
        self._quotas.add(source, alias, level)
        return entry, evicted

    def remove(self, entry: Entry) -> None:
        """Forget an entry; says nothing to anybody."""
        del self._entries[entry.alias]
        self._quotas.remove(entry.source, entry.alias, entry.level)
        self.reported.pop(entry.alias, None)
        self._changes.pop(entry.alias, None)

    def lose(self, entry: Entry) -> None:
        """Forget an entry, and say so if it was ever handed out."""
        was_reported = entry.was_reported
        self.remove(entry)
        if was_reported:
            self._changes[entry.alias] = Gone(entry.alias)

    def protect(self, entry: Entry, level: Level) -> None:
        """Hold an entry at another level."""
        if entry.level is not level:
            self._quotas.move(entry.source, entry.alias, entry.level, level)
            entry.level = level

    def charge(self, entry: Entry, ip: IPAddress) -> list[Entry]:
        """Let another source answer for an entry; returns the entries that made room in its quota."""
        source, evicted = ip.packed, list[Entry]()
        if source == entry.source:
            return evicted
        if self._quotas.held(source) >= self._quota:
            self._evict(self._quotas.oldest_of(source), evicted)
        self._quotas.remove(entry.source, entry.alias, entry.level)
        self._quotas.add(source, entry.alias, entry.level)
        entry.source = source
        return evicted

    def report(self, entry: Entry, origin: Origin, lease_s: float) -> None:
        """Let the entry's statement be handed out as heard from this origin."""
        statement = entry.statement
        assert statement is not None
        seen = Seen(entry.alias, statement.record, lease_s + GRACE_S, origin)
        waiting = self._changes.get(entry.alias, ())
        others: tuple[Seen, ...] = ()
        if not isinstance(waiting, Gone):
            others = tuple(
                each for each in waiting if each.record == seen.record and each.heard != seen.heard
            )
        self._changes[entry.alias] = (*others, seen)[-MAX_ORIGINS:]

    def unreport(self, entry: Entry) -> None:
        """Let what waits to be handed out of an entry be forgotten."""
        self._changes.pop(entry.alias, None)

    def pending(self) -> bool:
        """Whether `take_changes` has something."""
        return bool(self._changes)

    def take_changes(self, limit: int) -> list[Seen | Gone]:
        """Hand out the oldest changes, at most `limit`."""
        taken: list[Seen | Gone] = []
        while self._changes and len(taken) < limit:
            alias, change = self._changes.popitem(last=False)
            if isinstance(change, Gone):
                taken.append(change)
                continue
            room = limit - len(taken)
            taken.extend(change[:room])
            self._handed(alias)
            if len(change) > room:
                self._changes[alias] = change[room:]
                self._changes.move_to_end(alias, last=False)
        return taken

    def _handed(self, alias: str) -> None:
        statement = self._entries[alias].statement
        assert statement is not None
        claimed = statement.standing is Standing.CLAIMED
        statement.standing = Standing.HANDED if claimed else Standing.ACCEPTED
        self.reported[alias] = None

    def _evict(self, alias: str | None, evicted: list[Entry]) -> bool:
        if alias is None:
            return False
        entry = self._entries[alias]
        self.remove(entry)
        self.evicted += 1
        evicted.append(entry)
        return True
