"""The policy: what is said about peers comes in, what to do about it comes out.

Pure. The shell calls an input method with `now` (loop seconds), then carries out `take_effects()` and arms
one timer for `next_deadline()`. All trusted peers' dials, links and retries are decided here.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot
from peernet_core.agreement import (
    Agreement,
    Close,
    ConnectionId,
    Linked,
    SendNo,
    SendPing,
    SendUp,
    Unlinked,
)
from peernet_core.agreement import Effect as AgreementEffect
from peernet_core.backoff import Backoff, TokenBucket
from peernet_core.candidates import AddressBook, may_dial
from peernet_core.contract import Sighting
from peernet_core.errors import MalformedRecordError
from peernet_core.events import (
    Event,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerState,
    PeerUnreachable,
    UnreachableReason,
)
from peernet_core.frames import Bye, Frame, Hello, No, Open, Ping, Pong, RecordUpdate, Up
from peernet_core.keys import PeerKey
from peernet_core.ledger import Candidate
from peernet_core.policy import Decision, Policy
from peernet_core.records import Record
from peernet_core.sightings import INBOUND_SOURCE, Sightings
from peernet_core.trust import TrustList

__all__ = [
    "CancelDial",
    "CloseConnection",
    "Dial",
    "Effect",
    "ExtendDial",
    "Forget",
    "PeerView",
    "Publish",
    "RaiseSequence",
    "Registry",
    "SendFrame",
]

_STABLE_S: Final = 5.0
"""A link that lived this long proves its address; one that died sooner counts as a failed dial."""
_PLAUSIBLE_SEQUENCE: Final = 2**62
"""What a peer says that it holds of us may take us this far and no further: half of all numbers remain."""
_MAX_REASONS: Final = 64
_EVIDENCE_PER_S: Final = 0.1
_EVIDENCE_BURST: Final = 5


@attrs.frozen
class Publish:
    """Tell the application."""

    event: Event


@attrs.frozen
class Dial:
    """Race these candidates, best first, until one is authenticated."""

    key: PeerKey
    candidates: tuple[Candidate, ...]


@attrs.frozen
class ExtendDial:
    """Add a candidate to the race that is on."""

    key: PeerKey
    candidate: Candidate


@attrs.frozen
class CancelDial:
    """Stop the race; what it had open closes."""

    key: PeerKey


@attrs.frozen
class SendFrame:
    """Queue a frame."""

    connection: ConnectionId
    frame: Frame


@attrs.frozen
class CloseConnection:
    """Close after what was queued has left."""

    connection: ConnectionId
    reason: str


@attrs.frozen
class Forget:
    """A key is no longer trusted: end its streams and handshakes too."""

    key: PeerKey


@attrs.frozen
class RaiseSequence:
    """Somebody holds a higher sequence of ours than we do: go above it and announce again."""

    above: int


Effect = Publish | Dial | ExtendDial | CancelDial | SendFrame | CloseConnection | Forget | RaiseSequence


@attrs.frozen
class PeerView:
    """One trusted peer as the registry sees it; `since` is loop time."""

    key: PeerKey
    state: PeerState
    address: Address | None
    since: float
    addresses: tuple[Address, ...]


@attrs.define(eq=False)
class _Peer:
    key: PeerKey
    agreement: Agreement
    backoff: Backoff
    evidence: TokenBucket
    since: float
    state: PeerState = PeerState.UNSEEN
    racing: set[tuple[IPAddress, int]] | None = None
    retry_at: float | None = None
    linked_at: float = 0.0
    armed_for: float | None = None
    reasons: dict[Address, UnreachableReason] = attrs.Factory(dict)


@attrs.frozen
class _Connection:
    key: PeerKey
    address: Address


class Registry:
    """Decides who is dialed, which connection is the link, and what the application hears.

    Args:
        me: Our own key.
        trust: The trust list; the registry follows its changes through `trusted` and `untrusted`.
        policy: What to do with a sighting.
        seed: For the jitter of retries; None: unpredictable.
        now: Loop time at which the registry begins.

    Attributes:
        counts: What was counted: dials, drops by reason, sightings by source.
        network: Our interfaces; see `network_changed`.
        own_port: Where we accept; set once it is known.
        own_sequence: The number of our newest record; set by whoever signs.
    """

    def __init__(
        self, *, me: PeerKey, trust: TrustList, policy: Policy, now: float, seed: int | None = None
    ) -> None:
        self.me = me
        self.counts: Counter[str] = Counter()
        self.sightings = Sightings(me=me, trust=trust, policy=policy, counts=self.counts)
        self.network = NetworkSnapshot()
        self.own_port = 0
        self.own_sequence = 0
        self._trust = trust
        self._policy = policy
        self._random = random.Random(seed)
        self._book = AddressBook()
        self._peers: dict[PeerKey, _Peer] = {}
        self._connections: dict[ConnectionId, _Connection] = {}
        self._effects: list[Effect] = []
        self._deadlines: list[tuple[float, int, _Peer]] = []
        self._order = itertools.count()
        self._stopping = False
        for key in sorted(trust.keys()):
            self._add(key, now=now)

    # What comes in from backends.

    def record_received(
        self,
        source: str,
        data: bytes,
        *,
        ttl_s: float,
        renew: bool = True,
        heard: tuple[IPAddress, str] | None = None,
        now: float,
    ) -> Sighting | None:
        """Take an opaque record from a backend; see `Context.record_received`."""
        report = self.sightings.record_received(source, data, ttl_s=ttl_s, renew=renew, heard=heard, now=now)
        self._heard(report.events, now=now)
        if report.renewed and report.sighting is not None:
            peer = self._peers[report.sighting.key]
            self._follow(peer, peer.agreement.suspect(now=now), now=now)
        self._raise_sequence(self.sightings.own_sequence)
        return report.sighting

    def peer_discovered(
        self,
        source: str,
        key: PeerKey,
        address: Address,
        *,
        ttl_s: float | None = None,
        configured: bool = False,
        now: float,
    ) -> Sighting:
        """Take a key and an address from a backend; see `Context.peer_discovered`."""
        report = self.sightings.peer_discovered(
            source, key, address, ttl_s=ttl_s, configured=configured, now=now
        )
        self._heard(report.events, now=now)
        assert report.sighting is not None  # only a record can be none
        return report.sighting

    def peer_lost(self, sighting: Sighting, *, now: float) -> None:
        """End one sighting."""
        self._heard(self.sightings.peer_lost(sighting, now=now), now=now)

    def source_lost(
        self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None, *, now: float
    ) -> None:
        """End what a source said of a key, at one address or at all."""
        self._heard(self.sightings.source_lost(source, key, ip, port, now=now), now=now)

    # What comes in from the operator and the host.

    def trusted(self, key: PeerKey, *, now: float) -> None:
        """A key was added to the trust list: what was heard of it as a stranger counts from now on."""
        if key == self.me or key in self._peers:
            return
        self._add(key, now=now)
        self._heard(self.sightings.trusted(key, now=now), now=now)

    def untrusted(self, key: PeerKey, *, now: float) -> None:
        """A key was removed from the trust list: its link, streams and dials end at once."""
        peer = self._peers.get(key)
        if peer is None:
            return
        self._cancel(peer)
        del self._peers[key]
        self._follow(peer, peer.agreement.reset("untrusted"), now=now)
        self._effects.append(Forget(key))
        self.sightings.untrusted(key, now=now)
        self._book.forget(key)

    def network_changed(self, snapshot: NetworkSnapshot, *, now: float) -> None:
        """Our interfaces or addresses changed: links are questioned, and what was out of reach is tried."""
        self.network = snapshot
        for peer in list(self._peers.values()):
            self._follow(peer, peer.agreement.suspect(now=now), now=now)
            self._evidence(peer, now=now)

    # What comes in from dials and connections.

    def dial_failed(self, key: PeerKey, address: Address, reason: UnreachableReason, *, now: float) -> None:
        """One candidate of a race failed."""
        self.counts[f"dial_failed_{reason}"] += 1
        self._book.failed(key, address, reason, now=now)
        peer = self._peers.get(key)
        if peer is None or peer.reasons.get(address) == reason:
            return
        if len(peer.reasons) >= _MAX_REASONS:
            peer.reasons.clear()
        peer.reasons[address] = reason
        self._effects.append(Publish(PeerUnreachable(key, address, reason)))

    def race_lost(self, key: PeerKey, *, now: float) -> None:
        """Every candidate of a race failed."""
        peer = self._peers.get(key)
        if peer is None or peer.racing is None:
            return
        peer.racing = None
        self._retry_later(peer, now=now)

    def race_won(
        self, key: PeerKey, connection: ConnectionId, address: Address, hello: Hello, *, now: float
    ) -> None:
        """We dialed and read the peer's HELLO: open the connection if it is wanted."""
        peer = self._peers.get(key)
        if peer is None:
            self._effects.append(CloseConnection(connection, "untrusted"))
            return
        peer.racing = None
        peer.reasons.clear()
        self._book.succeeded(key, address, now=now)
        if self._stopping or not peer.agreement.wants_open(hello.boot_id):
            self._effects.append(CloseConnection(connection, "not needed"))
            self._consider(peer, now=now)
            return
        self._effects.append(SendFrame(connection, Open()))
        self._opened(peer, connection, address, hello, now=now)

    def inbound_opened(
        self, key: PeerKey, connection: ConnectionId, remote: Address, hello: Hello, *, now: float
    ) -> None:
        """They dialed and sent OPEN; `remote` is their end of that connection, not where they listen."""
        peer = self._peers.get(key)
        if peer is None or self._stopping:
            reason = "untrusted" if peer is None else "stopping"
            self._effects.append(CloseConnection(connection, reason))
            return
        self._opened(peer, connection, remote, hello, inbound=True, now=now)

    def frame_received(self, connection: ConnectionId, frame: Frame, *, now: float) -> None:
        """A frame after OPEN arrived."""
        known = self._connections.get(connection)
        peer = None if known is None else self._peers.get(known.key)
        if known is None or peer is None:
            return
        match frame:
            case Up():
                self._follow(peer, peer.agreement.up_received(connection), now=now)
            case No():
                self._follow(peer, peer.agreement.no_received(connection, now=now), now=now)
            case Ping(nonce=nonce):
                self._effects.append(SendFrame(connection, Pong(nonce)))
            case Pong():
                self._follow(peer, peer.agreement.pong_received(connection), now=now)
            case RecordUpdate(record=record):
                self._adopt(known, connection, record, now=now)
            case Bye(reason=reason):
                self._effects.append(CloseConnection(connection, f"bye: {reason}"))
                self.connection_closed(connection, reason, now=now)
            case _:  # a frame out of its place; DIALBACK is the shell's
                self.counts["frames_ignored"] += 1

    def connection_closed(self, connection: ConnectionId, reason: str, *, now: float) -> None:
        """A connection that reached OPEN ended."""
        known = self._connections.pop(connection, None)
        peer = None if known is None else self._peers.get(known.key)
        if peer is not None:
            self._follow(peer, peer.agreement.closed(connection, reason), now=now)

    # Time.

    def next_deadline(self) -> float | None:
        """When `handle_timer` is due."""
        due = [at for at in (self.sightings.next_deadline(),) if at is not None]
        while self._deadlines:
            at, _, peer = self._deadlines[0]
            if peer.armed_for == at and self._peers.get(peer.key) is peer:
                due.append(at)
                break
            heapq.heappop(self._deadlines)
        return min(due, default=None)

    def handle_timer(self, *, now: float) -> None:
        """Act on every deadline that has passed."""
        self._heard(self.sightings.expire(now=now), now=now)
        due: list[_Peer] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            at, _, peer = heapq.heappop(self._deadlines)
            if peer.armed_for == at and self._peers.get(peer.key) is peer:
                peer.armed_for = None
                due.append(peer)
        for peer in due:
            self._follow(peer, peer.agreement.handle_timer(now=now), now=now)

    def take_effects(self) -> list[Effect]:
        """What to do now, in order; each is handed out once."""
        effects, self._effects = self._effects, []
        return effects

    # What the application asks.

    def view(self, key: PeerKey) -> PeerView | None:
        """One trusted peer, or None."""
        peer = self._peers.get(key)
        if peer is None:
            return None
        addresses = self._addresses(key)
        link = peer.agreement.link
        if link is not None and link in self._connections:
            address: Address | None = self._connections[link].address
        else:
            address = addresses[0] if addresses else None
        return PeerView(key, peer.state, address, peer.since, addresses)

    def _addresses(self, key: PeerKey) -> tuple[Address, ...]:
        """Every live address with every source that names it, the best place first."""
        candidates = self.sightings.ledger.candidates(key)
        places = [each.address.endpoint for each in self._book.ranked(key, candidates)]
        by_place = sorted(candidates, key=lambda each: places.index(each.address.endpoint))
        return tuple(dict.fromkeys(candidate.address for candidate in by_place))

    def views(self) -> tuple[PeerView, ...]:
        """All trusted peers."""
        return tuple(view for key in self._peers if (view := self.view(key)) is not None)

    def link_of(self, key: PeerKey) -> ConnectionId | None:
        """The connection that is the link with this peer."""
        peer = self._peers.get(key)
        return None if peer is None else peer.agreement.link

    def dialable(self, key: PeerKey, *, now: float) -> tuple[Candidate, ...]:
        """The candidates that may be dialed now, best first, at most 16."""
        allowed = [
            candidate
            for candidate in self.sightings.ledger.candidates(key)
            if may_dial(candidate, network=self.network, own_port=self.own_port)
            and self._policy.decide(key, candidate.address, trusted=True) is Decision.DIAL
        ]
        return tuple(self._book.order(key, allowed, now=now))

    def routes(self, key: PeerKey, *, now: float) -> tuple[Address, ...]:
        """Where to dial for a stream, best first: the far end of the link before everything else."""
        link = self.link_of(key)
        at_link = (self._connections[link].address,) if link in self._connections else ()
        others = (candidate.address for candidate in self.dialable(key, now=now))
        return tuple({address.endpoint: address for address in reversed((*at_link, *others))}.values())[::-1]

    def announced(self, record: bytes) -> None:
        """Our record changed: every peer at the other end of a link hears it."""
        for peer in self._peers.values():
            if peer.agreement.link is not None:
                self._effects.append(SendFrame(peer.agreement.link, RecordUpdate(record)))

    def stop(self, reason: str, *, now: float) -> None:
        """Say goodbye to everyone; nothing is dialed or accepted any more."""
        self._stopping = True
        for peer in list(self._peers.values()):
            self._cancel(peer)
            # Also where we wait for the verdict: the other end may call it a link already.
            for connection in (peer.agreement.link, *peer.agreement.waiting):
                if connection is not None:
                    self._effects.append(SendFrame(connection, Bye(reason)))
            self._follow(peer, peer.agreement.reset(reason), now=now)

    # Inside.

    def _add(self, key: PeerKey, *, now: float) -> None:
        if key == self.me:
            return
        self._peers[key] = _Peer(
            key,
            Agreement(decides=self.me < key),
            Backoff(self._random),
            TokenBucket(_EVIDENCE_PER_S, _EVIDENCE_BURST),
            since=now,
        )

    def _heard(self, events: Iterable[Event], *, now: float) -> None:
        """Pass on what the ledger says, and act on each new address of a trusted peer."""
        for event in events:
            self._effects.append(Publish(event))
            if isinstance(event, PeerDiscovered) and event.key in self._peers:
                self._evidence(self._peers[event.key], now=now, address=event.address)

    def _evidence(self, peer: _Peer, *, now: float, address: Address | None = None) -> None:
        """Something new speaks for a dial: at once, unless that was said too often lately."""
        if peer.retry_at is not None and peer.evidence.take(now=now):
            peer.backoff.reset()
            peer.retry_at = None
        if peer.racing is None:
            self._consider(peer, now=now)
        elif address is not None and address.endpoint not in peer.racing:
            for candidate in self.dialable(peer.key, now=now):
                if candidate.address == address:
                    peer.racing.add(address.endpoint)
                    self._effects.append(ExtendDial(peer.key, candidate))
        self._settle(peer, now=now)

    def _consider(self, peer: _Peer, *, now: float) -> None:
        """Dial if a link is missing, there is somebody to dial, and it is time."""
        if self._stopping or self._peers.get(peer.key) is not peer:
            return
        if peer.racing is not None or not peer.agreement.may_dial():
            return
        if peer.retry_at is not None and now < peer.retry_at:
            return
        candidates = self.dialable(peer.key, now=now)
        if not candidates:
            peer.retry_at = self._book.next_release(peer.key, now=now)
            return
        peer.retry_at = None
        peer.racing = {candidate.address.endpoint for candidate in candidates}
        self.counts["dials"] += 1
        self._effects.append(Dial(peer.key, candidates))

    def _retry_later(self, peer: _Peer, *, now: float) -> None:
        peer.retry_at = peer.backoff.failed(now=now)
        self._settle(peer, now=now)

    def _opened(
        self,
        peer: _Peer,
        connection: ConnectionId,
        address: Address,
        hello: Hello,
        *,
        inbound: bool = False,
        now: float,
    ) -> None:
        self._connections[connection] = known = _Connection(peer.key, address)
        record = self._adopt(known, connection, hello.record, now=now)
        if record is None:
            return
        if inbound:
            listening = Address(address.ip, record.port, INBOUND_SOURCE)
            self._connections[connection] = _Connection(peer.key, listening)
        self._raise_sequence(hello.held)
        self._follow(peer, peer.agreement.opened(connection, hello.boot_id, now=now), now=now)

    def _adopt(
        self, known: _Connection, connection: ConnectionId, data: bytes, *, now: float
    ) -> Record | None:
        """Take the record that the peer itself sent; a wrong one ends the connection."""
        try:
            heard = (known.address.ip, self._interface_to(known.address.ip))
            record, events = self.sightings.over_link(known.key, data, heard, now=now)
        except MalformedRecordError:
            self.counts["records_bad_over_link"] += 1
            self._effects.append(CloseConnection(connection, "bad record"))
            self.connection_closed(connection, "bad record", now=now)
            return None
        self._effects += [Publish(event) for event in events]
        return record

    def _interface_to(self, ip: IPAddress) -> str:
        """The name of the interface on whose link this address is; empty when it is further away."""
        on_link = (each.name for each in self.network.interfaces if NetworkSnapshot((each,)).is_on_link(ip))
        return next(on_link, "")

    def _raise_sequence(self, held: int) -> None:
        if self.own_sequence < held <= _PLAUSIBLE_SEQUENCE:
            self.own_sequence = held
            self._effects.append(RaiseSequence(held))

    def _cancel(self, peer: _Peer) -> None:
        if peer.racing is not None:
            peer.racing = None
            self._effects.append(CancelDial(peer.key))

    def _follow(self, peer: _Peer, effects: Iterable[AgreementEffect], *, now: float) -> None:
        """Turn what the agreement wants into effects and events."""
        for effect in effects:
            match effect:
                case SendUp(connection):
                    self._effects.append(SendFrame(connection, Up()))
                case SendNo(connection):
                    self._effects.append(SendFrame(connection, No()))
                case SendPing(connection):
                    self._effects.append(SendFrame(connection, Ping(next(self._order))))
                case Close(connection, reason):
                    self._connections.pop(connection, None)
                    self._effects.append(CloseConnection(connection, reason))
                case Linked(connection, moved):
                    self._linked(peer, connection, moved=moved, now=now)
                case Unlinked(reason):
                    self._unlinked(peer, reason, now=now)
        self._consider(peer, now=now)
        self._settle(peer, now=now)

    def _linked(self, peer: _Peer, connection: ConnectionId, *, moved: bool, now: float) -> None:
        self._cancel(peer)
        peer.retry_at = None
        peer.linked_at = now
        peer.reasons.clear()
        self.counts["links"] += not moved
        if not moved:
            address = self._connections[connection].address
            self._effects.append(Publish(PeerConnected(peer.key, address, self._trust.label(peer.key))))

    def _unlinked(self, peer: _Peer, reason: str, *, now: float) -> None:
        self.counts["links_lost"] += 1
        self._effects.append(Publish(PeerDisconnected(peer.key, reason)))
        if now - peer.linked_at >= _STABLE_S:
            peer.backoff.reset()
            peer.retry_at = None
        else:
            peer.retry_at = peer.backoff.failed(now=now)

    def _settle(self, peer: _Peer, *, now: float) -> None:
        """Note the peer's state, and arm its timer."""
        state = self._state(peer)
        if state is not peer.state:
            peer.state, peer.since = state, now
        # A retry whose time has come, and that may not begin yet, begins when the agreement changes.
        retry_at = peer.retry_at if peer.retry_at is not None and peer.retry_at > now else None
        at = min((at for at in (peer.agreement.next_deadline(), retry_at) if at is not None), default=None)
        if at != peer.armed_for:
            peer.armed_for = at
            if at is not None:
                heapq.heappush(self._deadlines, (at, next(self._order), peer))

    def _state(self, peer: _Peer) -> PeerState:
        if peer.agreement.link is not None:
            return PeerState.LINKED
        if peer.racing is not None or peer.agreement.waiting:
            return PeerState.DIALING
        return PeerState.WAITING if self.sightings.ledger.candidates(peer.key) else PeerState.UNSEEN
