"""The ledger: who is said to be where, by whom, until when. For trusted keys only.

Pure: no I/O and no clock; `now` is the loop's time in seconds. What changes for the application is returned
as events. Leases end in `Ledger.expire`, to be called at `Ledger.next_deadline`; until then one that has run
out can still be refreshed without anybody having noticed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import count

import attrs

from peernet_core.addresses import Address, IPAddress
from peernet_core.contract import Sighting
from peernet_core.decisions.deadlines import Deadlines
from peernet_core.decisions.source_view import MAX_ADDRESSES, FixedLease, SourceView
from peernet_core.decisions.statements import (
    KNOWN_SOURCE,
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
from peernet_core.events import Event, PeerDiscovered, PeerLost
from peernet_core.keys import PeerKey
from peernet_core.records import SignedRecord
from peernet_core.values import define

__all__ = ["KNOWN_SOURCE", "MAX_ADDRESSES", "Candidate", "Heard", "Kind", "Ledger", "Statement"]


@define(eq=False)
class _Peer:
    """Everything known of one key. Each live signed statement has the highest sequence."""

    key: PeerKey
    highest: int = 0
    views: dict[str, SourceView] = attrs.Factory(dict)


class Ledger:
    """Who is said to be where, by whom, until when.

    Memory is bounded by the keys that are reported (trusted ones: `forget` those that lose trust) times the
    sources that are configured times `MAX_ADDRESSES`. What the operator configured comes on top, and never
    has to give way.

    Args:
        sighting_ids: The counter that numbers sightings, shared with whoever else makes some.
    """

    def __init__(self, sighting_ids: Iterator[int] | None = None) -> None:
        self._ids = count(1) if sighting_ids is None else sighting_ids
        self._peers: dict[bytes, _Peer] = {}
        self._statements: dict[int, Statement] = {}
        self._deadlines = Deadlines()
        self._verified: dict[tuple[str, bytes], int] = {}

    def __len__(self) -> int:
        """How many sightings are live."""
        return len(self._statements)

    def record_seen(
        self,
        source: str,
        signed: SignedRecord,
        *,
        ttl_s: float | None,
        renew: bool = True,
        heard: Heard | None = None,
        via_link: bool = False,
        now: float,
    ) -> tuple[Sighting | None, list[Event]]:
        """Take in a record whose signature was checked, now or when its bytes were first seen.

        A higher sequence than the highest held ends every older signed statement of the key, whichever source
        it came from. That of a peer that has stopped ends all signed statements and adds none.

        Args:
            source: Which backend instance reported it.
            signed: The record.
            ttl_s: The lease in seconds; None: until it is withdrawn.
            renew: Whether the same bytes extend the lease. If not, an unchanged sequence has the lease that
                it got when this source first brought it, also when that is over.
            heard: The sender's address and interface, where the medium shows them: one more address, and the
                only one of a peer whose record has none.
            via_link: The peer itself said so just now: it counts whatever its sequence, and what was signed
                with any other ends.
            now: The loop's time.

        Returns:
            The sighting, or None if a higher sequence is held; and what changed.
        """
        record = signed.record
        peer = self._peers.get(record.key.raw)
        view = peer.views.get(source) if peer is not None else None
        expires_at = lease_end(ttl_s, now=now)
        if view is not None:
            known = view.statements.get(record_report(signed.data, heard))
            if known is not None:
                return known.sighting, self._refresh(known, expires_at if renew else known.expires_at, now)
        if peer is not None and record.sequence < peer.highest and not via_link:
            return None, []
        fixed = view.fixed if view is not None else None
        if not renew and fixed is not None and fixed.sequence == record.sequence:
            expires_at = fixed.expires_at
            if is_over(expires_at, now=now):
                return Sighting(next(self._ids), record.key, source, ()), []
        statement = record_statement(
            next(self._ids), source, signed, expires_at=expires_at, renew=renew, heard=heard, now=now
        )
        return statement.sighting, self._add(statement, now)

    def hint_seen(
        self,
        source: str,
        key: PeerKey,
        address: Address,
        *,
        ttl_s: float | None,
        configured: bool,
        now: float,
    ) -> tuple[Sighting, list[Event]]:
        """Take in a bare address; the same one from the same source again refreshes its lease.

        Args:
            source: Which backend instance reported it; with `KNOWN_SOURCE` the address is KNOWN.
            key: Whose address it is said to be.
            address: Where; the source that it carries does not matter.
            ttl_s: The lease in seconds; None: until it is withdrawn.
            configured: It is the operator's own word.
            now: The loop's time.
        """
        kind = hint_kind(source, configured=configured)
        expires_at = lease_end(ttl_s, now=now)
        known = self._find(source, key, hint_report(address, kind))
        if known is not None:
            return known.sighting, self._refresh(known, expires_at, now)
        statement = hint_statement(
            next(self._ids), source, key, address, expires_at=expires_at, kind=kind, now=now
        )
        return statement.sighting, self._add(statement, now)

    def admit(self, statement: Statement, *, now: float) -> list[Event]:
        """Take over a statement from another table, with its sighting and what is left of its lease.

        Args:
            statement: If it is a record, its signature was checked.
            now: The loop's time.
        """
        sighting = statement.sighting
        if statement.signed is not None and statement.signed.record.sequence < self.highest_sequence(
            sighting.key
        ):
            return []
        if self._find(sighting.source, sighting.key, statement.report) is not None:
            return []
        return self._add(statement, now)

    def knows_bytes(self, source: str, data: bytes) -> bool:
        """Whether these bytes of a record are held from this source, so that they need no verification."""
        return (source, data) in self._verified

    def withdraw(self, sighting: Sighting, *, now: float) -> list[Event]:  # noqa: ARG002 - all that changes state has it
        """End one sighting; nothing happens if it has ended, or was replaced, before."""
        statement = self._statements.get(sighting.id)
        if statement is None or statement.sighting.source != sighting.source:
            return []
        return self._end([statement])

    def withdraw_address(
        self,
        source: str,
        key: PeerKey,
        ip: IPAddress | None,
        port: int | None,
        *,
        now: float,  # noqa: ARG002 - all that changes state has it
    ) -> list[Event]:
        """End each sighting of `key` from `source` that names this address; None stands for any.

        A record that names it ends as a whole: it is one report.
        """
        peer = self._peers.get(key.raw)
        view = peer.views.get(source) if peer is not None else None
        if view is None:
            return []
        return self._end([each for each in view.statements.values() if each.names(ip, port)])

    def forget(self, key: PeerKey) -> tuple[Statement, ...]:
        """Let go of all that is known of a key that lost trust.

        Its leases do not end, so there are no events; the statements can be admitted elsewhere.
        """
        peer = self._peers.pop(key.raw, None)
        if peer is None:
            return ()
        statements = [each for view in peer.views.values() for each in view.statements.values()]
        for statement in statements:
            self._unlist(statement)
        for source, view in peer.views.items():
            if view.fixed is not None:
                self._count_bytes(source, view.fixed.data, -1)
        return tuple(statements)

    def expire(self, *, now: float) -> list[Event]:
        """End the leases that have run out."""
        return self._end([self._statements[each] for each in self._deadlines.pop_due(now=now)])

    def next_deadline(self) -> float | None:
        """When the first lease runs out; None when none does."""
        return self._deadlines.next()

    def candidates(self, key: PeerKey) -> list[Candidate]:
        """Every live address of `key`, once for each source, kind and place where it was heard.

        The most recently reported come first, those of one report in its order.
        """
        peer = self._peers.get(key.raw)
        if peer is None:
            return []
        return merged(each for view in peer.views.values() for each in view.statements.values())

    def is_live(self, key: PeerKey) -> bool:
        """Whether any address of `key` is live."""
        peer = self._peers.get(key.raw)
        return peer is not None and any(
            statement.sighting.addresses
            for view in peer.views.values()
            for statement in view.statements.values()
        )

    def highest_sequence(self, key: PeerKey) -> int:
        """The highest sequence held of `key`; 0: none."""
        peer = self._peers.get(key.raw)
        return peer.highest if peer is not None else 0

    def keys(self) -> tuple[PeerKey, ...]:
        """The keys of which an address is live."""
        return tuple(
            peer.key for peer in self._peers.values() if any(view.statements for view in peer.views.values())
        )

    def _find(self, source: str, key: PeerKey, report: Hashable) -> Statement | None:
        peer = self._peers.get(key.raw)
        view = peer.views.get(source) if peer is not None else None
        return view.statements.get(report) if view is not None else None

    def _refresh(self, statement: Statement, expires_at: float | None, now: float) -> list[Event]:
        if is_over(expires_at, now=now):
            return self._end([statement])
        statement.seen_at = now
        statement.expires_at = expires_at
        self._deadlines.set(statement.sighting.id, expires_at)
        return []

    def _add(self, statement: Statement, now: float) -> list[Event]:
        sighting, signed = statement.sighting, statement.signed
        peer = self._peers.get(sighting.key.raw)
        if peer is None:
            peer = self._peers[sighting.key.raw] = _Peer(sighting.key)
        view = peer.views.get(sighting.source)
        if view is None:
            view = peer.views[sighting.source] = SourceView()
        were_live = [source for source, each in peer.views.items() if each.statements]
        # In before the old ones go out: an address that stands in both was live all along.
        fresh = []
        if sighting.addresses and not is_over(statement.expires_at, now=now):
            fresh = view.add(statement)
            self._list(statement)
        if signed is not None:
            if not statement.renew:
                self._fix(view, statement.sighting.source, signed, statement.expires_at)
            self._void(peer, None if signed.record.stopped else signed.record.sequence)
            peer.highest = signed.record.sequence
        while (surplus := view.surplus()) is not None:
            self._remove(surplus, view)
        if sighting.id not in self._statements:
            fresh = []
        return [PeerDiscovered(sighting.key, address) for address in fresh] + self._settle(peer, were_live)

    def _void(self, peer: _Peer, but: int | None) -> None:
        """End every signed statement, but those of this sequence."""
        for view in peer.views.values():
            for statement in list(view.statements.values()):
                if statement.signed is not None and statement.signed.record.sequence != but:
                    self._remove(statement, view)

    def _fix(self, view: SourceView, source: str, signed: SignedRecord, expires_at: float | None) -> None:
        if view.fixed is not None:
            self._count_bytes(source, view.fixed.data, -1)
        view.fixed = FixedLease(signed.record.sequence, expires_at, signed.data)
        self._count_bytes(source, signed.data, 1)

    def _end(self, statements: Iterable[Statement]) -> list[Event]:
        """End statements of any keys; a source is lost when it is left with none."""
        touched: dict[bytes, dict[str, None]] = {}
        for statement in statements:
            sighting = statement.sighting
            touched.setdefault(sighting.key.raw, {})[sighting.source] = None
            self._remove(statement, self._peers[sighting.key.raw].views[sighting.source])
        return [
            event for raw, sources in touched.items() for event in self._settle(self._peers[raw], sources)
        ]

    def _settle(self, peer: _Peer, were_live: Iterable[str]) -> list[Event]:
        """Say which of these sources are lost, and drop what is empty."""
        events: list[Event] = [
            PeerLost(peer.key, source) for source in were_live if not peer.views[source].statements
        ]
        for source, view in list(peer.views.items()):
            if not view.statements and view.fixed is None:
                del peer.views[source]
        if not peer.views and not peer.highest:
            del self._peers[peer.key.raw]
        return events

    def _list(self, statement: Statement) -> None:
        sighting, signed = statement.sighting, statement.signed
        self._statements[sighting.id] = statement
        self._deadlines.set(sighting.id, statement.expires_at)
        if signed is not None:
            self._count_bytes(sighting.source, signed.data, 1)

    def _remove(self, statement: Statement, view: SourceView) -> None:
        view.remove(statement)
        self._unlist(statement)

    def _unlist(self, statement: Statement) -> None:
        sighting, signed = statement.sighting, statement.signed
        del self._statements[sighting.id]
        self._deadlines.discard(sighting.id)
        if signed is not None:
            self._count_bytes(sighting.source, signed.data, -1)

    def _count_bytes(self, source: str, data: bytes, by: int) -> None:
        held = self._verified.get((source, data), 0) + by
        if held:
            self._verified[source, data] = held
        else:
            del self._verified[source, data]
