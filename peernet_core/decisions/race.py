"""A race between backends: who found whom first, who missed whom, and who believes in a peer that is gone.

Pure: it takes a node's events with their times. The node links as usual, because a link is the best evidence
that a peer lives, and its end that it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from peernet_core.addresses import Address
from peernet_core.decisions.race_result import (
    Absence,
    Claim,
    Find,
    Lapse,
    PeerResult,
    RaceResult,
    Refusal,
    SourceResult,
)
from peernet_core.events import (
    BackendFailed,
    BackendStarted,
    Event,
    Lagged,
    NodeStarted,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerDropped,
    PeerLost,
    PeerUnreachable,
    Snapshot,
)
from peernet_core.keys import PeerKey

__all__ = ["Race"]

SAME_END_S: Final = 5.0
"""A source that lost a peer so long before its link ended saw the same end."""
SHORTEST_LAPSE_S: Final = 1.0
"""A record that one source brings voids what others said, until they bring it as well."""


@attrs.define
class _Source:
    backend: str
    started_at: float | None = None
    error: str = ""
    strangers: set[PeerKey] = attrs.Factory(set)


@attrs.define
class _Lapse:
    source: str
    at: float
    until: float | None = None


@attrs.define
class _Gone:
    """An absence that may still last.

    Attributes:
        lost_after_s: By source; None: it still claims the peer.
        witness: The source whose word it is; empty: it is the link's.
    """

    at: float
    reason: str
    lost_after_s: dict[str, float | None]
    witness: str = ""
    back_at: float | None = None


@attrs.define
class _Peer:
    label: str = ""
    found_at: dict[str, float] = attrs.Factory(dict)
    claimants: set[str] = attrs.Factory(set)
    linked: bool = False
    linked_at: float | None = None
    linked_through: str = ""
    lapses: list[_Lapse] = attrs.Factory(list)
    gone: list[_Gone] = attrs.Factory(list)
    refusals: dict[Address, str] = attrs.Factory(dict)

    @property
    def absence(self) -> _Gone | None:
        """The one that lasts."""
        return self.gone[-1] if self.gone and self.gone[-1].back_at is None else None


class Race:
    """A race that is being run.

    Args:
        sources: Who takes part: the name of its backend, by source, in the order to show them.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = {source: _Source(backend) for source, backend in sources.items()}
        self._peers: dict[PeerKey, _Peer] = {}
        self._began: float | None = None
        self._missed = 0

    def take(self, event: Event, *, now: float) -> None:
        """Take the node's next event; a Snapshot says who is trusted."""
        match event:
            case NodeStarted():
                self._began = now
            case Snapshot(peers=peers):
                for peer in peers:
                    self._peer(peer.key).label = peer.label
            case Lagged(missed=missed):
                self._missed += missed
            case BackendStarted(source=source) if source in self._sources:
                started = self._sources[source].started_at
                self._sources[source].started_at = now if started is None else started
            case BackendFailed(source=source, error=error) if source in self._sources:
                self._sources[source].error = error
            case _:
                self._take_of_peer(event, now)

    def _take_of_peer(self, event: Event, now: float) -> None:
        match event:
            case PeerDropped(key=key, address=address) if address.source in self._sources:
                self._sources[address.source].strangers.add(key)
            case PeerDiscovered(key=key, address=address) if address.source in self._sources:
                self._discovered(self._peer(key), address.source, now)
            case PeerLost(key=key, source=source) if source in self._sources:
                self._lost(self._peer(key), source, now)
            case PeerConnected(key=key, address=address, label=label):
                self._connected(self._peer(key), address, label, now)
            case PeerDisconnected(key=key, reason=reason):
                self._disconnected(self._peer(key), reason, now)
            case PeerUnreachable(key=key, address=address, reason=reason):
                self._peer(key).refusals[address] = str(reason)

    def result(self, *, now: float) -> RaceResult:
        """How it stands."""
        began = now if self._began is None else self._began
        peers = [self._peer_result(key, peer, began, now) for key, peer in self._peers.items()]
        peers.sort(key=lambda each: (not each.finds, each.finds[0].at_s if each.finds else 0.0))
        found = Counter(find.source for peer in peers for find in peer.finds)
        first = Counter(peer.finds[0].source for peer in peers if peer.finds)
        sources = tuple(
            SourceResult(
                name,
                source.backend,
                None if source.started_at is None else source.started_at - began,
                source.error,
                found[name],
                first[name],
                len(source.strangers),
            )
            for name, source in self._sources.items()
        )
        return RaceResult(now - began, sources, tuple(peers), self._missed)

    def _peer(self, key: PeerKey) -> _Peer:
        return self._peers.setdefault(key, _Peer())

    def _discovered(self, peer: _Peer, source: str, now: float) -> None:
        peer.found_at.setdefault(source, now)
        peer.claimants.add(source)
        for lapse in peer.lapses:
            if lapse.source == source and lapse.until is None:
                lapse.until = now
        absence = peer.absence
        if absence is not None and absence.witness == source:
            absence.back_at = now

    def _lost(self, peer: _Peer, source: str, now: float) -> None:
        peer.claimants.discard(source)
        absence = peer.absence
        if peer.linked:
            peer.lapses.append(_Lapse(source, now))
        elif absence is not None:
            if absence.lost_after_s.get(source, 0.0) is None:
                absence.lost_after_s[source] = now - absence.at
        elif peer.claimants:  # no link says who is right
            claims = {source: 0.0, **dict.fromkeys(sorted(peer.claimants))}
            peer.gone.append(_Gone(now, f"{source} lost it", claims, witness=source))

    def _connected(self, peer: _Peer, address: Address, label: str, now: float) -> None:
        peer.label, peer.linked = label, True
        if peer.linked_at is None:
            peer.linked_at, peer.linked_through = now, address.source
        if peer.absence is not None:
            peer.absence.back_at = now

    def _disconnected(self, peer: _Peer, reason: str, now: float) -> None:
        if not peer.linked:
            return  # events were missed
        peer.linked = False
        claims: dict[str, float | None] = dict.fromkeys(sorted(peer.claimants))
        for lapse in [each for each in peer.lapses if each.until is None]:
            lapse.until = now
            if now - lapse.at <= SAME_END_S:
                peer.lapses.remove(lapse)
                claims[lapse.source] = lapse.at - now
        peer.gone.append(_Gone(now, f"the link ended: {reason}", claims))

    def _peer_result(self, key: PeerKey, peer: _Peer, began: float, now: float) -> PeerResult:
        order = sorted(peer.found_at.items(), key=lambda each: each[1])
        seen = bool(order) or peer.linked_at is not None
        return PeerResult(
            key=key,
            label=peer.label,
            linked_s=None if peer.linked_at is None else peer.linked_at - began,
            linked_through=peer.linked_through,
            finds=tuple(Find(source, at - began, at - order[0][1]) for source, at in order),
            missed_by=tuple(
                name
                for name, source in self._sources.items()
                if seen and source.started_at is not None and name not in peer.found_at
            ),
            lapses=tuple(_lapses(peer, began, now)),
            absences=tuple(_absence(each, began, now) for each in peer.gone),
            claimed_by=tuple(name for name in self._sources if name in peer.claimants),
            refusals=tuple(
                Refusal(address, reason)
                for address, reason in peer.refusals.items()
                if peer.linked_at is None
            ),
        )


def _lapses(peer: _Peer, began: float, now: float) -> Iterator[Lapse]:
    for lapse in peer.lapses:
        for_s = (now if lapse.until is None else lapse.until) - lapse.at
        if for_s >= SHORTEST_LAPSE_S:
            yield Lapse(lapse.source, lapse.at - began, for_s)


def _absence(gone: _Gone, began: float, now: float) -> Absence:
    claims = [Claim(source, lost_after_s) for source, lost_after_s in gone.lost_after_s.items()]
    claims.sort(key=lambda each: (each.lost_after_s is None, each.lost_after_s or 0.0))
    until = now if gone.back_at is None else gone.back_at
    return Absence(gone.at - began, gone.reason, until - gone.at, gone.back_at is not None, tuple(claims))
