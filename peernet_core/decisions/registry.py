"""The policy: what is said about peers comes in, what to do about it comes out.

Pure. The shell calls an input method with `now` (loop seconds), then carries out `take_effects()` and arms
one timer for `next_deadline()`. What is decided about a single peer stands in pursuit.py.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot
from peernet_core.contract import Sighting
from peernet_core.decisions.agreement import ConnectionId
from peernet_core.decisions.candidates import AddressBook, obstacle_to
from peernet_core.decisions.effects import (
    CloseConnection,
    Dial,
    DialBack,
    Effect,
    Forget,
    LookUp,
    Publish,
    RaiseSequence,
    Remember,
    SendFrame,
)
from peernet_core.decisions.explanation import (
    Explanation,
    explain_peer,
    explain_stranger,
    explained,
)
from peernet_core.decisions.frames import Bye, Dialback, Frame, Hello, RecordUpdate
from peernet_core.decisions.ledger import Candidate, Kind
from peernet_core.decisions.lookups import Lookups
from peernet_core.decisions.pursuit import Pursuit
from peernet_core.decisions.sightings import INBOUND_SOURCE, Sightings
from peernet_core.errors import MalformedRecordError
from peernet_core.events import (
    BackendStatus,
    Event,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerLost,
    PeerState,
    UnreachableReason,
)
from peernet_core.keys import PeerKey
from peernet_core.policy import Decision, Policy
from peernet_core.records import Record
from peernet_core.trust import TrustList
from peernet_core.values import frozen

__all__ = ["PeerView", "Registry"]

_PLAUSIBLE_SEQUENCE: Final = 2**62
"""What a peer says that it holds of us may take us this far and no further: half of all numbers remain."""


@frozen
class PeerView:
    """One trusted peer as the registry sees it; `since` is loop time."""

    key: PeerKey
    state: PeerState
    address: Address | None
    since: float
    addresses: tuple[Address, ...]


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
        self.sightings = Sightings(me=me, trust=trust, counts=self.counts)
        self.network = NetworkSnapshot()
        self.own_port = 0
        self.own_sequence = 0
        self._trust = trust
        self._policy = policy
        self._jitter = random.Random(seed)
        self._book = AddressBook()
        self._pursuits: dict[PeerKey, Pursuit] = {}
        self._owners: dict[ConnectionId, Pursuit] = {}
        self._effects: list[Effect] = []
        self._deadlines: list[tuple[float, int, Pursuit]] = []
        self._armed: dict[PeerKey, float] = {}
        self._order = itertools.count()
        self._lookups = Lookups(is_missing=lambda key, at: not self._dialable(key, now=at))
        self._stopping = False
        for key in sorted(trust.keys()):
            self._begin(key, now=now)

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
        if report.renewed and report.sighting is not None:
            self._vindicate(report.sighting.key, source)
        self._heard(report.events, unsigned=None if heard is None else heard[0], now=now)
        if report.renewed and report.sighting is not None:
            # Also where no address changed: a peer that restarted at its fixed port, say.
            pursuit = self._pursuits[report.sighting.key]
            pursuit.suspect(now=now)
            pursuit.discovered(None, now=now)
            self._settle(pursuit, now=now)
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
        self._heard(report.events, unsigned=None if configured else address.ip, now=now)
        if configured and any(isinstance(event, PeerDiscovered) for event in report.events):
            self._contradict(key, address, now=now)
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
        if key == self.me or key in self._pursuits:
            return
        self._begin(key, now=now)
        self._heard(self.sightings.trusted(key, now=now), now=now)

    def untrusted(self, key: PeerKey, *, now: float) -> None:
        """A key was removed from the trust list: its link, streams and dials end at once."""
        pursuit = self._pursuits.pop(key, None)
        if pursuit is None:
            return
        pursuit.end("untrusted", farewell=False, now=now)
        self._settle(pursuit, now=now)
        self._effects.append(Forget(key))
        self._lookups.forget(key)
        self.sightings.untrusted(key, now=now)
        self._book.forget(key)

    def network_changed(self, snapshot: NetworkSnapshot, *, now: float) -> None:
        """Our interfaces or addresses changed: links are questioned, and what was out of reach is tried."""
        self.network = snapshot
        self._lookups.network_changed(now=now)
        for pursuit in list(self._pursuits.values()):
            pursuit.suspect(now=now)
            pursuit.discovered(None, now=now)
            self._settle(pursuit, now=now)

    def search(self, *, now: float) -> None:
        """A backend that looks peers up has started: it is asked for those that nobody has found."""
        self._lookups.search(now=now)

    def looked_up(self, key: PeerKey, *, now: float) -> None:
        """The backends have been asked for a peer; what they find comes as reports, now or later."""
        self._effects += map(LookUp, self._lookups.ended(key, now=now))

    def wanted(self, key: PeerKey, *, now: float) -> None:
        """The application waits for a link with this peer: as good as new evidence, for dials and lookups."""
        pursuit = self._pursuits.get(key)
        if pursuit is None or pursuit.link is not None:
            return
        self._lookups.wanted(key, now=now)
        pursuit.discovered(None, now=now)
        self._settle(pursuit, now=now)

    # What comes in from dials and connections.

    def dial_failed(self, key: PeerKey, address: Address, reason: UnreachableReason, *, now: float) -> None:
        """One candidate of a race failed."""
        self.counts[f"dial_failed_{reason}"] += 1
        pursuit = self._pursuits.get(key)
        if pursuit is not None:
            self._book.failed(key, address, reason, now=now)
            pursuit.dial_failed(address, reason)

    def race_lost(self, key: PeerKey, *, now: float) -> None:
        """Every candidate of a race failed."""
        pursuit = self._pursuits.get(key)
        if pursuit is not None:
            pursuit.race_lost(now=now)
            self._lookups.race_lost(key, now=now)
            self._settle(pursuit, now=now)

    def race_won(
        self, key: PeerKey, connection: ConnectionId, address: Address, hello: Hello, *, now: float
    ) -> None:
        """We dialed and read the peer's HELLO: open the connection if it is wanted."""
        pursuit = self._welcome(key, connection, hello, now=now)
        if pursuit is None:
            self.race_lost(key, now=now)
            return
        self._book.succeeded(key, address, now=now)
        self._effects.append(Remember(key, address))
        if pursuit.race_won(connection, hello.boot_id, now=now):
            self._opened(pursuit, connection, address, hello, inbound=False, now=now)
        self._settle(pursuit, now=now)

    def inbound_opened(
        self, key: PeerKey, connection: ConnectionId, remote: Address, hello: Hello, *, now: float
    ) -> None:
        """They dialed and sent OPEN; `remote` is their end of that connection, not where they listen."""
        pursuit = self._welcome(key, connection, hello, now=now)
        if pursuit is not None:
            self._opened(pursuit, connection, remote, hello, inbound=True, now=now)
            self._settle(pursuit, now=now)

    def frame_received(self, connection: ConnectionId, frame: Frame, *, now: float) -> None:
        """A frame after OPEN arrived."""
        pursuit = self._owners.get(connection)
        if pursuit is None or connection not in pursuit.connections:
            return
        if isinstance(frame, Bye) and connection == pursuit.link:
            self._lookups.left(pursuit.key, now=now)
        if isinstance(frame, RecordUpdate):
            self._adopt(pursuit, connection, pursuit.connections[connection].ip, frame.record, now=now)
        elif isinstance(frame, Dialback) and connection == pursuit.link:
            self._effects.append(DialBack(pursuit.key, frame))
        elif not pursuit.frame_received(connection, frame, now=now):
            self.counts["frames_ignored"] += 1
        self._settle(pursuit, now=now)

    def connection_closed(self, connection: ConnectionId, reason: str, *, now: float) -> None:
        """A connection that reached OPEN ended."""
        pursuit = self._owners.pop(connection, None)
        if pursuit is not None:
            pursuit.closed(connection, reason, now=now)
            self._settle(pursuit, now=now)

    # Time.

    def next_deadline(self) -> float | None:
        """When `handle_timer` is due."""
        while self._deadlines and not self._is_armed(*self._deadlines[0]):
            heapq.heappop(self._deadlines)
        due = [self._deadlines[0][0]] if self._deadlines else []
        others = (self.sightings.next_deadline(), self._lookups.next_deadline())
        return min((*due, *(at for at in others if at is not None)), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Act on every deadline that has passed."""
        self._heard(self.sightings.expire(now=now), now=now)
        due: list[Pursuit] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            entry = heapq.heappop(self._deadlines)
            if self._is_armed(*entry):
                del self._armed[entry[2].key]
                due.append(entry[2])
        for pursuit in due:
            pursuit.handle_timer(now=now)
            self._settle(pursuit, now=now)
        self._effects += map(LookUp, self._lookups.handle_timer(now=now))

    def take_effects(self) -> list[Effect]:
        """What to do now, in order; each is handed out once."""
        effects = self._effects.copy()
        self._effects.clear()
        for effect in effects:
            match effect:
                case Dial():
                    self.counts["races"] += 1
                case LookUp():
                    self.counts["lookups"] += 1
                case Publish(event=PeerConnected()):
                    self.counts["links"] += 1
                case Publish(event=PeerDisconnected()):
                    self.counts["links_lost"] += 1
                case CloseConnection(connection=connection):
                    self._owners.pop(connection, None)
        return effects

    # What the application asks.

    def view(self, key: PeerKey) -> PeerView | None:
        """One trusted peer, or None."""
        pursuit = self._pursuits.get(key)
        if pursuit is None:
            return None
        addresses = self._addresses(key)
        first = addresses[0] if addresses else None
        address = first if pursuit.link is None else pursuit.connections.get(pursuit.link, first)
        state = pursuit.state(has_address=bool(addresses))
        return PeerView(key, state, address, pursuit.since, addresses)

    def views(self) -> tuple[PeerView, ...]:
        """All trusted peers."""
        return tuple(view for key in self._pursuits if (view := self.view(key)) is not None)

    def explain(self, key: PeerKey, *, backends: Sequence[BackendStatus] = (), now: float) -> Explanation:
        """Why a key is, or is not, linked; with how the backends stand."""
        pursuit = self._pursuits.get(key)
        if pursuit is None:
            heard = self.sightings.strangers.candidates(key)
            reason = "this is our own key" if key == self.me else "the key is not trusted"
            strange = [
                explained(each, attempt=None, obstacle=reason, outlook=None, linked_at=None, now=now)
                for each in heard
            ]
            return explain_stranger(key, me=self.me, addresses=strange)
        candidates = self.sightings.ledger.candidates(key)
        outlook = pursuit.outlook(now=now)
        link = self.link_address(key)
        addresses = [
            explained(
                each,
                attempt=self._book.last_attempt(key, each.address, now=now),
                obstacle=self._obstacle(key, each),
                outlook=outlook,
                linked_at=None if link is None else link.endpoint,
                now=now,
            )
            for each in self._book.sort(key, candidates)
        ]
        return explain_peer(
            key,
            me=self.me,
            label=self._trust.label(key),
            state=pursuit.state(has_address=bool(candidates)),
            since=pursuit.since,
            outlook=outlook,
            link=link,
            plan=self._lookups.plan(key),
            backends=backends,
            addresses=addresses,
            now=now,
        )

    def link_of(self, key: PeerKey) -> ConnectionId | None:
        """The connection that is the link with this peer."""
        pursuit = self._pursuits.get(key)
        return None if pursuit is None else pursuit.link

    def link_address(self, key: PeerKey) -> Address | None:
        """Where the other end of the link is; its source is `INBOUND_SOURCE` where the peer dialed."""
        pursuit = self._pursuits.get(key)
        return None if pursuit is None or pursuit.link is None else pursuit.connections[pursuit.link]

    def routes(self, key: PeerKey, *, now: float) -> tuple[Address, ...]:
        """Where to dial for a stream, best first: the far end of the link before everything else."""
        link_address = self.link_address(key)
        at_link = [] if link_address is None else [link_address]
        others = [candidate.address for candidate in self._dialable(key, now=now)]
        by_place: dict[tuple[IPAddress, int], Address] = {}
        for address in (*at_link, *others):
            by_place.setdefault(address.endpoint, address)
        return tuple(by_place.values())

    def announced(self, record: bytes) -> None:
        """Our record changed: every peer at the other end of a link hears it."""
        for pursuit in self._pursuits.values():
            if pursuit.link is not None:
                self._effects.append(SendFrame(pursuit.link, RecordUpdate(record)))

    @property
    def stopping(self) -> bool:
        """Whether goodbyes have been said."""
        return self._stopping

    def stop(self, reason: str, *, now: float) -> None:
        """Say goodbye to everyone; nothing is dialed or accepted any more."""
        self._stopping = True
        self._lookups.stop()
        for pursuit in list(self._pursuits.values()):
            pursuit.end(reason, farewell=True, now=now)
            self._settle(pursuit, now=now)

    # Inside.

    def _begin(self, key: PeerKey, *, now: float) -> None:
        if key != self.me:
            self._lookups.add(key, now=now)
            self._pursuits[key] = Pursuit(
                key,
                decides=self.me < key,
                candidates=lambda at: self._dialable(key, now=at),
                next_release=lambda at: self._book.next_release(key, now=at),
                label=lambda: self._trust.label(key),
                effects=self._effects,
                jitter=self._jitter,
                now=now,
            )

    def _dialable(self, key: PeerKey, *, now: float) -> tuple[Candidate, ...]:
        """The candidates that may be dialed now, best first, at most 16."""
        allowed = [
            candidate
            for candidate in self.sightings.ledger.candidates(key)
            if not self._obstacle(key, candidate)
        ]
        return tuple(self._book.order(key, allowed, now=now))

    def _obstacle(self, key: PeerKey, candidate: Candidate) -> str:
        """Why a candidate is not dialed as things are; empty: it may be."""
        obstacle = obstacle_to(candidate, network=self.network, own_port=self.own_port)
        if obstacle is not None:
            return obstacle.value
        decision = self._policy.decide(key, candidate.address, trusted=True)
        return "" if decision is Decision.DIAL else f"the policy says: {decision.value}"

    def _addresses(self, key: PeerKey) -> tuple[Address, ...]:
        """Every live address with every source that names it, the best place first."""
        candidates = self.sightings.ledger.candidates(key)
        places = [each.address.endpoint for each in self._book.ranked(key, candidates)]
        by_place = sorted(candidates, key=lambda each: places.index(each.address.endpoint))
        return tuple(dict.fromkeys(candidate.address for candidate in by_place))

    def _heard(self, events: Iterable[Event], *, unsigned: IPAddress | None = None, now: float) -> None:
        """Pass on what the ledger says, and act on each new address of a trusted peer.

        Args:
            events: Of one report.
            unsigned: The address in it that nobody vouches for.
            now: The time.
        """
        for event in events:
            self._effects.append(Publish(event))
            if not isinstance(event, PeerDiscovered | PeerLost):
                continue
            pursuit = self._pursuits[event.key]
            if isinstance(event, PeerDiscovered):
                self._lookups.discovered(event.key)
                pursuit.discovered(event.address, vouched=event.address.ip != unsigned, now=now)
            else:
                self._lookups.lost_sight(event.key, now=now)
            self._settle(pursuit, now=now)

    def _contradict(self, key: PeerKey, address: Address, *, now: float) -> None:
        """The operator says that the peer is somewhere else than its link: that may be dead."""
        link = self.link_address(key)
        if link is not None and link.endpoint != address.endpoint:
            pursuit = self._pursuits[key]
            pursuit.suspect(now=now)
            self._settle(pursuit, now=now)

    def _vindicate(self, key: PeerKey, source: str) -> None:
        """The peer has signed anew where it is: what happened there before counts no more."""
        for candidate in self.sightings.ledger.candidates(key):
            if candidate.kind is Kind.SIGNED and candidate.address.source == source:
                self._book.renewed(key, candidate.address)

    def _welcome(self, key: PeerKey, connection: ConnectionId, hello: Hello, *, now: float) -> Pursuit | None:
        """Whose connection it is, checked at the last moment; closes it if nobody's."""
        pursuit = self._pursuits.get(key)
        if pursuit is None or self._stopping:
            reason = "untrusted" if pursuit is None else "stopping"
        else:
            reason = pursuit.why_unwelcome(hello.boot_id, now=now)
            if not reason:
                return pursuit
            self._settle(pursuit, now=now)
        self._effects.append(CloseConnection(connection, reason))
        return None

    def _opened(
        self,
        pursuit: Pursuit,
        connection: ConnectionId,
        address: Address,
        hello: Hello,
        *,
        inbound: bool,
        now: float,
    ) -> None:
        record = self._adopt(pursuit, connection, address.ip, hello.record, now=now)
        if record is None:
            return
        if inbound:
            address = Address(address.ip, record.port, INBOUND_SOURCE)
        self._raise_sequence(hello.held)
        self._owners[connection] = pursuit
        pursuit.opened(connection, address, hello.boot_id, now=now)

    def _adopt(
        self, pursuit: Pursuit, connection: ConnectionId, ip: IPAddress, data: bytes, *, now: float
    ) -> Record | None:
        """Take the record that the peer itself sent; a wrong one ends the connection."""
        try:
            heard = (ip, self._interface_to(ip))
            record, events = self.sightings.over_link(pursuit.key, data, heard, now=now)
        except MalformedRecordError:
            self.counts["records_bad_over_link"] += 1
            self._effects.append(CloseConnection(connection, "bad record"))
            pursuit.closed(connection, "bad record", now=now)
            return None
        self._effects += [Publish(event) for event in events]
        return record

    def _interface_to(self, ip: IPAddress) -> str:
        """The name of the interface on whose link this address is; empty when it is further away."""
        for interface in self.network.interfaces:
            if interface.is_loopback if ip.is_loopback else NetworkSnapshot((interface,)).is_on_link(ip):
                return interface.name
        return ""

    def _raise_sequence(self, held: int) -> None:
        if self.own_sequence < held <= _PLAUSIBLE_SEQUENCE:
            self.own_sequence = held
            self._effects.append(RaiseSequence(held))

    def _settle(self, pursuit: Pursuit, *, now: float) -> None:
        """After anything happened to a peer: note its state, and arm its timer."""
        pursuit.note_state(has_address=self.sightings.ledger.is_live(pursuit.key), now=now)
        self._lookups.settled(pursuit.key, linked=pursuit.link is not None, now=now)
        at = None if pursuit.over else pursuit.next_deadline(now=now)
        if at is None:
            self._armed.pop(pursuit.key, None)
        elif at != self._armed.get(pursuit.key):
            self._armed[pursuit.key] = at
            heapq.heappush(self._deadlines, (at, next(self._order), pursuit))

    def _is_armed(self, at: float, _: int, pursuit: Pursuit) -> bool:
        return self._armed.get(pursuit.key) == at and self._pursuits.get(pursuit.key) is pursuit
