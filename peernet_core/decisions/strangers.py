"""Strangers: what was reported of keys that are not trusted, to show and, once one is trusted, to act on.

Pure, and nothing in here is verified: anybody on the network can fill it. So it is small, the source that
fills it most gives way first, and what the operator configured never does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Final

import attrs

from peernet_core.addresses import Address, IPAddress
from peernet_core.contract import Sighting
from peernet_core.decisions.deadlines import Deadlines
from peernet_core.decisions.statements import (
    Candidate,
    Heard,
    Kind,
    Statement,
    hint_kind,
    hint_report,
    hint_statement,
    is_over,
    lease_end,
    merged,
    record_report,
    record_statement,
)
from peernet_core.keys import PeerKey
from peernet_core.records import SignedRecord
from peernet_core.values import define, frozen

__all__ = ["MAX_HEARD", "MAX_STATEMENTS", "MAX_STRANGERS", "REPORT_EVERY_S", "Stranger", "Strangers"]

MAX_STRANGERS: Final = 1024
"""Keys; one that two sources name counts twice."""
MAX_STATEMENTS: Final = 16
"""Of one key from one source."""
MAX_HEARD: Final = 4096
"""Statements in all, but for those of the operator; the longest records make 16 MB of them."""
REPORT_EVERY_S: Final = 600.0
MAX_REPORTED: Final = 1024
"""Keys from one source that are reported in that time."""


@frozen
class Stranger:
    """Somebody who is not trusted, as one source last saw it.

    Attributes:
        key: Who it is said to be.
        address: Where; the first of the last report.
        source: Who said so.
        seen_at: When, in loop time.
    """

    key: PeerKey
    address: Address
    source: str
    seen_at: float


@define(eq=False)
class _Said:
    """What one source says of one key, by report, least recently reported first."""

    key: PeerKey
    statements: dict[Hashable, Statement] = attrs.Factory(dict)


_Table = dict[str, dict[bytes, _Said]]
"""By source, then by key, least recently reported first; nothing in it is empty."""


class Strangers:
    """A bounded table of what was reported of untrusted keys.

    Args:
        sighting_ids: The counter that numbers sightings, shared with the ledger.
    """

    def __init__(self, sighting_ids: Iterator[int] | None = None) -> None:
        self._ids = count(1) if sighting_ids is None else sighting_ids
        self._heard: _Table = {}
        self._configured: _Table = {}
        self._heard_from: Counter[str] = Counter()  # statements, by source
        self._statements: dict[int, Statement] = {}
        self._deadlines = Deadlines()
        self._reported: dict[str, dict[bytes, float]] = {}  # by source, then by key, oldest first

    def __len__(self) -> int:
        """How many sightings are held."""
        return len(self._statements)

    def record_seen(
        self,
        source: str,
        signed: SignedRecord,
        *,
        ttl_s: float | None,
        renew: bool = True,
        heard: Heard | None = None,
        now: float,
    ) -> Sighting:
        """Take in a stranger's record, unverified; see `Ledger.record_seen` for the arguments.

        One without addresses is kept if its sender was heard. One that says that the stranger has stopped is
        not, and ends nothing: it may be anybody's.
        """
        key = signed.record.key
        expires_at = lease_end(ttl_s, now=now)
        known = self._find(self._heard, source, key, record_report(signed.data, heard))
        if known is not None:
            return self._refresh(known, expires_at if renew else known.expires_at, now)
        statement = record_statement(
            next(self._ids), source, signed, expires_at=expires_at, renew=renew, heard=heard, now=now
        )
        self.admit(statement, now=now)
        return statement.sighting

    def hint_seen(
        self,
        source: str,
        key: PeerKey,
        address: Address,
        *,
        ttl_s: float | None,
        configured: bool,
        now: float,
    ) -> Sighting:
        """Take in a stranger's bare address; see `Ledger.hint_seen` for the arguments."""
        kind = hint_kind(source, configured=configured)
        expires_at = lease_end(ttl_s, now=now)
        known = self._find(self._table(kind), source, key, hint_report(address, kind))
        if known is not None:
            return self._refresh(known, expires_at, now)
        statement = hint_statement(
            next(self._ids), source, key, address, expires_at=expires_at, kind=kind, now=now
        )
        self.admit(statement, now=now)
        return statement.sighting

    def admit(self, statement: Statement, *, now: float) -> None:
        """Take over a statement, with its sighting and what is left of its lease."""
        sighting = statement.sighting
        table = self._table(statement.kind)
        if not sighting.addresses or is_over(statement.expires_at, now=now):
            return
        if self._find(table, sighting.source, sighting.key, statement.report) is not None:
            return
        self._add(table, statement)
        if table is self._heard:
            self._make_room(statement)

    def candidates(self, key: PeerKey) -> list[Candidate]:
        """Every address that somebody names for this key; see `merged`."""
        return merged(self._of(key))

    def take(self, key: PeerKey, *, now: float) -> tuple[Statement, ...]:
        """Hand over what is held of a key that became trusted, least recently reported first."""
        statements = self._of(key)
        for statement in statements:
            self._remove(statement)
        statements.sort(key=lambda each: each.seen_at)
        return tuple(each for each in statements if not is_over(each.expires_at, now=now))

    def withdraw(self, sighting: Sighting, *, now: float) -> None:  # noqa: ARG002 - as the ledger's
        """End one sighting; nothing happens if it has ended before."""
        statement = self._statements.get(sighting.id)
        if statement is not None and statement.sighting.source == sighting.source:
            self._remove(statement)

    def withdraw_address(
        self,
        source: str,
        key: PeerKey,
        ip: IPAddress | None,
        port: int | None,
        *,
        now: float,  # noqa: ARG002 - as the ledger's
    ) -> None:
        """End each sighting of `key` from `source` that names this address; None stands for any."""
        for table in (self._heard, self._configured):
            said = table.get(source, {}).get(key.raw)
            for statement in list(said.statements.values()) if said is not None else ():
                if statement.names(ip, port):
                    self._remove(statement)

    def expire(self, *, now: float) -> None:
        """Drop what has run out."""
        for sighting_id in self._deadlines.pop_due(now=now):
            self._remove(self._statements[sighting_id])

    def next_deadline(self) -> float | None:
        """When the first lease runs out; None when none does."""
        return self._deadlines.next()

    def listing(self) -> tuple[Stranger, ...]:
        """Each key once for each source that names it, the most recently seen first."""
        latest: dict[tuple[bytes, str], Statement] = {}
        for statement in sorted(self._statements.values(), key=lambda each: each.seen_at):
            latest[statement.sighting.key.raw, statement.sighting.source] = statement
        found = sorted(latest.values(), key=lambda each: -each.seen_at)
        return tuple(
            Stranger(each.sighting.key, each.sighting.addresses[0], each.sighting.source, each.seen_at)
            for each in found
        )

    def find_prefix(self, text: str) -> list[PeerKey]:
        """The keys whose text begins so, in upper or lower case; ordered."""
        prefix = text.lower()
        return sorted(
            key
            for key in {statement.sighting.key for statement in self._statements.values()}
            if str(key).startswith(prefix)
        )

    def should_report(self, key: PeerKey, source: str, *, now: float) -> bool:
        """Whether to mention this stranger: once in `REPORT_EVERY_S` for each key and source.

        After `MAX_REPORTED` keys from one source in that time the further ones go unmentioned: the promise
        holds in bounded memory, and a flood does not fill the log.
        """
        reported = self._reported.setdefault(source, {})
        while reported:
            oldest = next(iter(reported))
            if now - reported[oldest] < REPORT_EVERY_S:
                break
            del reported[oldest]
        if key.raw in reported or len(reported) >= MAX_REPORTED:
            return False
        reported[key.raw] = now
        return True

    def _of(self, key: PeerKey) -> list[Statement]:
        return [
            statement
            for table in (self._heard, self._configured)
            for said in table.values()
            if key.raw in said
            for statement in said[key.raw].statements.values()
        ]

    def _table(self, kind: Kind) -> _Table:
        return self._configured if kind is Kind.CONFIGURED else self._heard

    def _find(self, table: _Table, source: str, key: PeerKey, report: Hashable) -> Statement | None:
        said = table.get(source, {}).get(key.raw)
        return said.statements.get(report) if said is not None else None

    def _refresh(self, statement: Statement, expires_at: float | None, now: float) -> Sighting:
        self._remove(statement)
        if not is_over(expires_at, now=now):
            statement.seen_at = now
            statement.expires_at = expires_at
            self._add(self._table(statement.kind), statement)
        return statement.sighting

    def _add(self, table: _Table, statement: Statement) -> None:
        """Put a statement, and its key, at the recent end."""
        sighting = statement.sighting
        keys = table.setdefault(sighting.source, {})
        said = keys.pop(sighting.key.raw, None) or _Said(sighting.key)
        keys[sighting.key.raw] = said
        said.statements[statement.report] = statement
        if table is self._heard:
            self._heard_from[sighting.source] += 1
        self._statements[sighting.id] = statement
        self._deadlines.set(sighting.id, statement.expires_at)

    def _make_room(self, newest: Statement) -> None:
        sighting = newest.sighting
        statements = self._heard[sighting.source][sighting.key.raw].statements
        if len(statements) > MAX_STATEMENTS:
            self._remove(next(iter(statements.values())))
        if sum(map(len, self._heard.values())) > MAX_STRANGERS:
            self._forget_oldest(max(self._heard, key=lambda source: len(self._heard[source])))
        if self._heard_from.total() > MAX_HEARD:
            self._forget_oldest(max(self._heard_from, key=self._heard_from.__getitem__))

    def _forget_oldest(self, source: str) -> None:
        """Let go of the key that this source reported least recently."""
        for statement in list(next(iter(self._heard[source].values())).statements.values()):
            self._remove(statement)

    def _remove(self, statement: Statement) -> None:
        sighting = statement.sighting
        table = self._table(statement.kind)
        keys = table[sighting.source]
        said = keys[sighting.key.raw]
        del said.statements[statement.report]
        if table is self._heard:
            self._heard_from[sighting.source] -= 1
        if not said.statements:
            del keys[sighting.key.raw]
            if not keys:
                del table[sighting.source]
        del self._statements[sighting.id]
        self._deadlines.discard(sighting.id)
