"""The registry: what is said comes in, dials, links and events come out."""

from __future__ import annotations

from ipaddress import IPv4Interface, ip_address

import attrs
import pytest

from peernet_core.addresses import Address, Interface, NetworkSnapshot
from peernet_core.decisions.effects import (
    CancelDial,
    CloseConnection,
    Dial,
    Effect,
    ExtendDial,
    Forget,
    LookUp,
    Publish,
    RaiseSequence,
    SendFrame,
)
from peernet_core.decisions.frames import Bye, Frame, Hello, No, Open, Ping, Pong, RecordUpdate, Up
from peernet_core.decisions.registry import Registry
from peernet_core.events import (
    Event,
    IdentityConflict,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerDropped,
    PeerState,
    PeerUnreachable,
    UnreachableReason,
)
from peernet_core.keys import Identity, PeerKey
from peernet_core.policy import Decision, TrustedOnly
from peernet_core.records import Record, encode_record
from peernet_core.trust import TrustedPeer, TrustList

IDENTITIES = sorted((Identity.generate() for _ in range(3)), key=lambda each: each.key)
SMALL, MIDDLE, LARGE = IDENTITIES
LAN = NetworkSnapshot((Interface("eth0", 2, (IPv4Interface("10.0.0.1/24"),)),))
HERE = Address(ip_address("10.0.0.2"), 7100, "lan")
THERE = Address(ip_address("10.0.0.3"), 7100, "lan")
BOOT = b"a" * 16


@attrs.define
class Bench:
    """A registry of `me` that trusts `peer`, driven step by step."""

    me: Identity
    peer: Identity
    now: float = 100.0
    registry: Registry = attrs.field(init=False)
    trust: TrustList = attrs.field(init=False)
    effects: list[Effect] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.trust = TrustList([TrustedPeer(self.peer.key, "the peer")])
        self.registry = Registry(me=self.me.key, trust=self.trust, policy=TrustedOnly(), now=self.now, seed=1)
        self.registry.network = LAN
        self.registry.own_port = 7000

    def took(self) -> list[Effect]:
        self.effects = self.registry.take_effects()
        return self.effects

    def events(self) -> list[Event]:
        return [effect.event for effect in self.effects if isinstance(effect, Publish)]

    def dialed(self) -> list[Address]:
        return [
            candidate.address
            for effect in self.effects
            if isinstance(effect, Dial)
            for candidate in effect.candidates
        ]

    def extended(self) -> list[Address]:
        return [effect.candidate.address for effect in self.effects if isinstance(effect, ExtendDial)]

    def frames(self) -> list[tuple[int, Frame]]:
        return [(each.connection, each.frame) for each in self.effects if isinstance(each, SendFrame)]

    def closed(self) -> list[int]:
        return [each.connection for each in self.effects if isinstance(each, CloseConnection)]

    def see(self, address: Address = HERE, *, key: PeerKey | None = None, configured: bool = True) -> None:
        self.registry.peer_discovered(
            address.source, key or self.peer.key, address, configured=configured, now=self.now
        )
        self.took()

    def record(self, *, sequence: int) -> None:
        """The peer's record, by the LAN, with its one address."""
        record = Record(self.peer.key, sequence, HERE.port, (Address(HERE.ip, HERE.port),))
        self.registry.record_received("lan", encode_record(record, self.peer), ttl_s=120.0, now=self.now)
        self.took()

    def hello(self, boot: bytes = BOOT, *, sequence: int = 1, held: int = 0) -> Hello:
        record = Record(self.peer.key, sequence, 7100, (Address(HERE.ip, 7100),))
        return Hello(encode_record(record, self.peer), boot, held)

    def inbound(self, connection: int, boot: bytes = BOOT, **hello: int) -> None:
        remote = Address(ip_address("10.0.0.2"), 50000, "inbound")
        self.registry.inbound_opened(
            self.peer.key, connection, remote, self.hello(boot, **hello), now=self.now
        )
        self.took()

    def frame(self, connection: int, frame: Frame) -> None:
        self.registry.frame_received(connection, frame, now=self.now)
        self.took()

    def lose(self, connection: int) -> None:
        self.registry.connection_closed(connection, "cut", now=self.now)
        self.took()

    def fail(self, address: Address = HERE, reason: UnreachableReason = UnreachableReason.REFUSED) -> None:
        self.registry.dial_failed(self.peer.key, address, reason, now=self.now)
        self.registry.race_lost(self.peer.key, now=self.now)
        self.took()

    def wait(self) -> float:
        """Let the next deadline pass; returns how long that took."""
        due = self.registry.next_deadline()
        assert due is not None
        assert due > self.now, "a deadline in the past would spin"
        waited, self.now = due - self.now, due
        self.registry.handle_timer(now=self.now)
        self.took()
        return waited


@pytest.fixture
def deciding() -> Bench:
    """Our key is the smaller one."""
    return Bench(SMALL, LARGE)


@pytest.fixture
def following() -> Bench:
    """Theirs is."""
    return Bench(LARGE, SMALL)


def test_a_trusted_peers_address_is_dialed_at_once(deciding: Bench) -> None:
    """A sighting leads to an event and a dial, in one step; a refresh to neither."""
    deciding.see()
    assert deciding.events() == [PeerDiscovered(LARGE.key, HERE)]
    assert deciding.dialed() == [HERE]
    deciding.see()
    assert deciding.effects == []


def test_a_stranger_is_reported_once_and_never_dialed(deciding: Bench) -> None:
    """Not even the operator's own word makes us dial a key that is not trusted."""
    deciding.see(key=MIDDLE.key)
    assert deciding.events() == [PeerDropped(MIDDLE.key, HERE, "not in the trust list")]
    assert deciding.dialed() == []
    deciding.see(key=MIDDLE.key)
    assert deciding.effects == []


def test_our_own_key_is_never_dialed(deciding: Bench) -> None:
    """What a medium echoes of us goes nowhere, even when our key is in the trust list."""
    deciding.trust.add(SMALL.key, "me")
    deciding.registry.trusted(SMALL.key, now=deciding.now)
    deciding.see(key=SMALL.key)
    assert deciding.effects == []
    assert [view.key for view in deciding.registry.views()] == [LARGE.key]


def test_a_stranger_that_becomes_trusted_is_dialed_without_a_new_report(deciding: Bench) -> None:
    """What was heard before counts from then on."""
    deciding.see(key=MIDDLE.key)
    deciding.trust.add(MIDDLE.key, "new")
    deciding.registry.trusted(MIDDLE.key, now=deciding.now)
    deciding.took()
    assert deciding.events() == [PeerDiscovered(MIDDLE.key, HERE)]
    assert deciding.dialed() == [HERE]


def test_an_address_that_comes_during_a_race_joins_it(deciding: Bench) -> None:
    """The new one is tried beside the old one, not after it."""
    deciding.see()
    deciding.see(THERE)
    assert [e.candidate.address for e in deciding.effects if isinstance(e, ExtendDial)] == [THERE]


def test_the_deciding_end_links_at_open(deciding: Bench) -> None:
    """OPEN and UP leave together, and the application hears of the link at once."""
    deciding.see()
    deciding.registry.race_won(LARGE.key, 1, HERE, deciding.hello(), now=deciding.now)
    deciding.took()
    assert deciding.frames() == [(1, Open()), (1, Up(1))]
    assert PeerConnected(LARGE.key, HERE, "the peer") in deciding.events()
    view = deciding.registry.view(LARGE.key)
    assert view is not None
    assert (view.state, view.address) == (PeerState.LINKED, HERE)


def test_the_other_end_links_at_up(following: Bench) -> None:
    """After OPEN it waits for the verdict, and does not dial meanwhile."""
    following.see()
    following.registry.race_won(SMALL.key, 1, HERE, following.hello(), now=following.now)
    following.took()
    assert following.frames() == [(1, Open())]
    following.see(THERE)
    assert following.dialed() == []
    following.frame(1, Up())
    assert following.events() == [PeerConnected(SMALL.key, HERE, "the peer")]


def test_an_inbound_link_names_where_the_peer_listens(deciding: Bench) -> None:
    """Not the port that it happened to dial from."""
    deciding.inbound(1)
    connected = [event for event in deciding.events() if isinstance(event, PeerConnected)]
    assert connected == [PeerConnected(LARGE.key, Address(HERE.ip, 7100, "inbound"), "the peer")]
    assert deciding.registry.routes(LARGE.key, now=deciding.now)[0].endpoint == HERE.endpoint


def test_a_link_ends_the_race(deciding: Bench) -> None:
    """Dials that are not at OPEN yet are cancelled."""
    deciding.see()
    deciding.inbound(1)
    assert CancelDial(LARGE.key) in deciding.effects


def test_a_race_won_beside_a_link_has_no_effect(deciding: Bench) -> None:
    """It is closed before OPEN, and the link stays."""
    deciding.inbound(1)
    deciding.registry.race_won(LARGE.key, 2, HERE, deciding.hello(), now=deciding.now)
    deciding.took()
    assert deciding.frames() == []
    assert deciding.closed() == [2]
    assert deciding.registry.link_of(LARGE.key) == 1


def test_a_second_connection_is_turned_away_while_the_link_answers(deciding: Bench) -> None:
    """The link is pinged; its PONG brings NO for the newcomer."""
    deciding.inbound(1)
    deciding.inbound(2)
    [(connection, ping)] = deciding.frames()
    assert connection == 1
    assert isinstance(ping, Ping)
    deciding.frame(1, Pong(ping.nonce))
    assert deciding.frames() == [(2, No())]
    assert deciding.closed() == [2]


def test_a_ping_is_answered(following: Bench) -> None:
    """With its own number."""
    following.inbound(1)
    following.frame(1, Ping(77))
    assert following.frames() == [(1, Pong(77))]


def test_a_failed_race_is_repeated_with_growing_random_waits(deciding: Bench) -> None:
    """Each wait is at most twice the bound before, up to 30 s; the reason is told once."""
    deciding.see()
    told: list[Event] = []
    bound = 0.5
    for _ in range(12):
        deciding.fail()
        told += deciding.events()
        assert deciding.wait() <= bound
        assert deciding.dialed() == [HERE]
        bound = min(bound * 2, 30.0)
    assert told == [PeerUnreachable(LARGE.key, HERE, UnreachableReason.REFUSED)]


def test_another_reason_is_told_again(deciding: Bench) -> None:
    """Once per change."""
    deciding.see()
    deciding.fail()
    deciding.fail(reason=UnreachableReason.THEY_DO_NOT_TRUST_US)
    assert deciding.events() == [PeerUnreachable(LARGE.key, HERE, UnreachableReason.THEY_DO_NOT_TRUST_US)]


def test_new_evidence_ends_the_wait_but_not_for_ever(deciding: Bench) -> None:
    """A new address is dialed at once; a flood of them does not dial at once each time."""
    deciding.see()
    deciding.fail()
    at_once = 0
    for port in range(8000, 8020):
        deciding.see(Address(THERE.ip, port, "lan"))
        at_once += bool(deciding.dialed())
        deciding.fail()
    assert 3 <= at_once <= 6


def test_a_wrong_key_penalises_that_address_only(deciding: Bench) -> None:
    """The next dial leaves it out; the other one is tried."""
    deciding.see()
    deciding.see(THERE)
    deciding.fail(reason=UnreachableReason.WRONG_KEY)
    deciding.wait()
    assert deciding.dialed() == [THERE]


def test_a_peer_with_only_penalised_addresses_is_tried_when_the_penalty_ends(deciding: Bench) -> None:
    """It is not forgotten, and nothing spins meanwhile."""
    deciding.see()
    deciding.fail(reason=UnreachableReason.WRONG_KEY)
    for _ in range(5):
        deciding.wait()
        if deciding.dialed():
            break
    assert deciding.dialed() == [HERE]
    assert deciding.now >= 100.0 + 60.0


def test_a_link_that_lived_is_redialed_at_once(deciding: Bench) -> None:
    """Its address is still known."""
    deciding.see()
    deciding.inbound(1)
    deciding.now += 60
    deciding.lose(1)
    assert deciding.events() == [PeerDisconnected(LARGE.key, "cut")]
    assert deciding.dialed()[0].endpoint == HERE.endpoint


def test_a_link_that_dies_young_again_and_again_is_backed_off(deciding: Bench) -> None:
    """A peer that accepts and drops us is not dialed in a tight loop."""
    deciding.see()
    waited = 0.0
    for connection in range(1, 20):
        deciding.registry.race_won(LARGE.key, connection, HERE, deciding.hello(), now=deciding.now)
        deciding.took()
        deciding.lose(connection)
        if not deciding.dialed():
            waited += deciding.wait()
    assert waited > 20


def test_a_bye_ends_the_link_with_its_reason(deciding: Bench) -> None:
    """A clean stop says so."""
    deciding.inbound(1)
    deciding.frame(1, Bye("stopped"))
    assert PeerDisconnected(LARGE.key, "stopped") in deciding.events()


def test_a_peer_that_stops_is_not_taken_up_again_at_once(deciding: Bench) -> None:
    """Its other connections are closed as well, and the next dial waits: it is on its way out."""
    deciding.see()
    deciding.inbound(1)
    deciding.now += 60
    deciding.inbound(2)
    deciding.frame(1, Bye("stopped"))
    assert sorted(deciding.closed()) == [1, 2]
    assert deciding.events() == [PeerDisconnected(LARGE.key, "stopped")]
    assert deciding.dialed() == []
    deciding.wait()
    assert deciding.dialed() != []


def test_a_goodbye_on_another_connection_leaves_the_link(deciding: Bench) -> None:
    """Only that connection ends."""
    deciding.inbound(1)
    deciding.inbound(2)
    deciding.frame(2, Bye("stopped"))
    assert deciding.closed() == [2]
    assert deciding.registry.link_of(LARGE.key) == 1


def test_removed_trust_ends_everything_of_that_peer(deciding: Bench) -> None:
    """Link, waiting connections and dials go, and what is heard afterwards is a stranger's."""
    deciding.see()
    deciding.inbound(1)
    deciding.inbound(2)
    deciding.trust.remove(LARGE.key)
    deciding.registry.untrusted(LARGE.key, now=deciding.now)
    deciding.took()
    assert sorted(deciding.closed()) == [1, 2]
    assert Forget(LARGE.key) in deciding.effects
    assert deciding.events() == [PeerDisconnected(LARGE.key, "untrusted")]
    assert deciding.dialed() == []
    assert deciding.registry.views() == ()
    deciding.registry.race_won(LARGE.key, 3, HERE, deciding.hello(), now=deciding.now)
    deciding.inbound(4)
    assert deciding.closed() == [3, 4]
    deciding.trust.add(LARGE.key)
    deciding.registry.trusted(LARGE.key, now=deciding.now)
    deciding.took()
    assert deciding.dialed() == [HERE]


def test_a_record_of_somebody_else_over_a_link_ends_that_connection(deciding: Bench) -> None:
    """A trusted peer cannot speak for another."""
    record = encode_record(Record(MIDDLE.key, 1, 7100, (Address(HERE.ip, 7100),)), MIDDLE)
    remote = Address(ip_address("10.0.0.2"), 50000, "inbound")
    deciding.registry.inbound_opened(LARGE.key, 1, remote, Hello(record, BOOT, 0), now=deciding.now)
    deciding.took()
    assert deciding.closed() == [1]
    assert deciding.registry.link_of(LARGE.key) is None
    assert deciding.frames() == []


def test_a_record_over_a_link_is_believed_whatever_its_sequence(deciding: Bench) -> None:
    """The peer itself says so now."""
    deciding.inbound(1, sequence=50)
    moved = encode_record(Record(LARGE.key, 5, 7200, (Address(THERE.ip, 7200),)), LARGE)
    deciding.frame(1, RecordUpdate(moved))
    addresses = {c.address.endpoint for c in deciding.registry.sightings.ledger.candidates(LARGE.key)}
    assert (THERE.ip, 7200) in addresses
    assert (HERE.ip, 7100) not in addresses


def test_a_higher_sequence_of_ours_in_their_hands_raises_ours(deciding: Bench) -> None:
    """A node restored from a backup goes above what others hold, but an absurd number does not move it."""
    deciding.registry.own_sequence = 10
    deciding.inbound(1, held=500)
    assert RaiseSequence(500) in deciding.effects
    deciding.inbound(2, BOOT[:-1] + b"x", held=2**63 - 1)
    assert not any(isinstance(effect, RaiseSequence) for effect in deciding.effects)


def test_contrary_evidence_questions_the_link(deciding: Bench) -> None:
    """A newer record of a linked peer pings it; without an answer the link is given up and redialed."""
    deciding.see()
    deciding.inbound(1, sequence=1)
    record = encode_record(Record(LARGE.key, 2, 7300, (Address(THERE.ip, 7300),)), LARGE)
    deciding.registry.record_received("lan", record, ttl_s=60, now=deciding.now)
    deciding.took()
    assert [type(frame) for _, frame in deciding.frames()] == [Ping]
    deciding.wait()
    assert PeerDisconnected(LARGE.key, "no answer to a ping") in deciding.events()
    assert deciding.closed() == [1]


def test_the_operators_word_that_a_peer_is_elsewhere_questions_the_link(deciding: Bench) -> None:
    """Only where it is news, and another place than the link's; what anybody may say moves nothing."""
    deciding.inbound(1)
    deciding.see(HERE)
    assert deciding.frames() == []
    deciding.see(THERE.with_source("rumour"), configured=False)
    assert deciding.frames() == []
    deciding.see(THERE)
    assert [type(frame) for _, frame in deciding.frames()] == [Ping]
    deciding.wait()
    assert PeerDisconnected(LARGE.key, "no answer to a ping") in deciding.events()
    assert THERE in deciding.dialed()
    deciding.inbound(2)
    deciding.see(THERE)
    assert deciding.frames() == []


def test_a_policy_may_keep_an_address_without_dialing_it() -> None:
    """KEEP shows the peer and leaves it alone."""

    class Shy:
        def decide(self, key: PeerKey, address: Address, *, trusted: bool) -> Decision:
            _ = key, address, trusted
            return Decision.KEEP

    bench = Bench(SMALL, LARGE)
    bench.registry._policy = Shy()
    bench.see()
    assert bench.dialed() == []
    view = bench.registry.view(LARGE.key)
    assert view is not None
    assert view.address == HERE


def test_stopping_says_bye_and_dials_no_more(deciding: Bench) -> None:
    """Every link gets a BYE; whatever comes later is closed."""
    deciding.see()
    deciding.inbound(1)
    deciding.registry.stop("stopped", now=deciding.now)
    deciding.took()
    assert deciding.frames() == [(1, Bye("stopped"))]
    assert deciding.closed() == [1]
    deciding.see(THERE)
    assert deciding.dialed() == []
    deciding.inbound(2)
    assert deciding.closed() == [2]


def test_a_changed_network_is_tried_at_once(deciding: Bench) -> None:
    """What was out of reach is dialed without waiting for its backoff."""
    deciding.see()
    for _ in range(6):
        deciding.fail()
    deciding.registry.network_changed(LAN, now=deciding.now)
    deciding.took()
    assert deciding.dialed() == [HERE]


def looked_up(bench: Bench) -> list[PeerKey]:
    """Let what is due now happen; returns who is looked up, which ends at once."""
    bench.registry.handle_timer(now=bench.now)
    keys = [effect.key for effect in bench.took() if isinstance(effect, LookUp)]
    for key in keys:
        bench.registry.looked_up(key, now=bench.now)
    return keys


def test_who_has_no_address_that_may_be_dialed_is_looked_up(deciding: Bench) -> None:
    """Once a backend can; an address that leads nowhere from here is none."""
    assert looked_up(deciding) == []
    deciding.registry.search(now=deciding.now)
    assert looked_up(deciding) == [LARGE.key]
    deciding.see(Address(ip_address("192.168.7.7"), 7100, "lan"), configured=False)
    assert deciding.dialed() == []
    deciding.now += 30
    assert looked_up(deciding) == [LARGE.key]
    deciding.see()
    assert deciding.dialed() == [HERE]
    deciding.now += 60
    assert looked_up(deciding) == []


def test_when_nothing_answers_the_peer_is_looked_up(deciding: Bench) -> None:
    """And once more when an address became live that does not answer either."""
    deciding.see()
    deciding.registry.search(now=deciding.now)
    assert looked_up(deciding) == []
    deciding.fail()
    assert looked_up(deciding) == [LARGE.key]
    deciding.now += 6
    looked_up(deciding)
    deciding.fail()
    assert looked_up(deciding) == []
    deciding.see(THERE)
    deciding.fail()
    assert looked_up(deciding) == [LARGE.key]


def test_a_link_that_ends_without_goodbye_is_a_reason_to_look_up(deciding: Bench) -> None:
    """One that ends with it is none; nor is a goodbye on a connection that is not the link."""
    deciding.see()
    deciding.registry.search(now=deciding.now)
    deciding.inbound(1)
    assert looked_up(deciding) == []
    deciding.lose(1)
    assert looked_up(deciding) == [LARGE.key]
    deciding.now += 10
    deciding.inbound(2)
    deciding.inbound(3)
    deciding.frame(3, Bye("stopped"))
    deciding.lose(2)
    assert looked_up(deciding) == [LARGE.key]
    deciding.now += 10
    deciding.inbound(4)
    deciding.frame(4, Bye("stopped"))
    deciding.lose(4)
    assert looked_up(deciding) == []
    deciding.registry.network_changed(NetworkSnapshot(), now=deciding.now)
    assert looked_up(deciding) == [LARGE.key]


def test_a_key_that_lost_trust_is_not_looked_up(deciding: Bench) -> None:
    """One that gains it is, unless it was heard of as a stranger."""
    deciding.registry.search(now=deciding.now)
    deciding.trust.remove(LARGE.key)
    deciding.registry.untrusted(LARGE.key, now=deciding.now)
    assert looked_up(deciding) == []
    deciding.see(key=MIDDLE.key)
    for each in (LARGE, MIDDLE):
        deciding.trust.add(each.key)
        deciding.registry.trusted(each.key, now=deciding.now)
    assert looked_up(deciding) == [LARGE.key]


def test_who_is_left_at_the_stop_is_not_looked_up(deciding: Bench) -> None:
    """Links end then, and addresses may still come and go."""
    deciding.see()
    deciding.registry.search(now=deciding.now)
    deciding.inbound(1)
    deciding.registry.stop("stopped", now=deciding.now)
    deciding.registry.source_lost("lan", LARGE.key, None, None, now=deciding.now)
    deciding.now += 60
    assert looked_up(deciding) == []


def test_two_processes_with_one_identity_are_told_and_refused_for_a_minute(deciding: Bench) -> None:
    """The first comes back again and again: one event, and no connection; then the key is tried again."""
    deciding.see()
    boots = (b"a" * 16, b"b" * 16, b"a" * 16, b"a" * 16, b"a" * 16)
    for connection, boot in enumerate(boots, 1):
        deciding.now += 1
        deciding.inbound(connection, boot)
        if connection in {3, 4}:
            assert deciding.closed() == [connection]
            assert deciding.registry.link_of(deciding.peer.key) == 2
    assert deciding.events()[0] == IdentityConflict(deciding.peer.key)
    assert PeerDisconnected(deciding.peer.key, "identity conflict") in deciding.events()
    assert {2, 5} <= set(deciding.closed())
    assert deciding.registry.link_of(deciding.peer.key) is None
    refused_at = deciding.now
    deciding.now += 30
    deciding.inbound(6, b"b" * 16)
    assert deciding.closed() == [6]
    assert not deciding.events()
    deciding.see(THERE)
    assert not deciding.dialed()
    while not deciding.dialed():
        deciding.wait()
    assert deciding.now - refused_at >= 60


def test_a_newer_record_is_new_evidence_where_the_address_is_the_same(deciding: Bench) -> None:
    """A peer that restarts at its fixed port is dialed at once, not when the waiting is over."""
    deciding.record(sequence=1)
    for _ in range(7):
        deciding.fail()
        deciding.registry.race_lost(deciding.peer.key, now=deciding.now)
        while not deciding.dialed():
            deciding.wait()
    deciding.fail()
    deciding.record(sequence=1)
    assert not deciding.dialed()
    deciding.record(sequence=2)
    assert deciding.dialed() == [HERE]


def test_new_evidence_dials_again_what_failed_in_the_race_that_is_on(deciding: Bench) -> None:
    """A race with black holes in it takes seconds to be lost; a peer that has just started need not wait."""
    deciding.record(sequence=1)
    deciding.see(THERE)
    deciding.registry.dial_failed(deciding.peer.key, HERE, UnreachableReason.REFUSED, now=deciding.now)
    deciding.record(sequence=1)
    assert not deciding.extended()
    deciding.record(sequence=2)
    assert deciding.extended() == [HERE]
    deciding.record(sequence=3)
    assert not deciding.extended()
    again = []
    for sequence in range(4, 100):
        deciding.registry.dial_failed(deciding.peer.key, HERE, UnreachableReason.REFUSED, now=deciding.now)
        deciding.record(sequence=sequence)
        again += deciding.extended()
    assert len(again) < 8


def test_new_evidence_dials_beside_what_has_no_answer(deciding: Bench) -> None:
    """A dial that began while the network was cut asks again after seconds; a new one does not."""
    deciding.record(sequence=1)
    assert deciding.dialed() == [HERE]
    deciding.now += 0.2
    deciding.record(sequence=2)
    assert not deciding.extended()
    deciding.now += 0.1
    deciding.record(sequence=3)
    assert deciding.extended() == [HERE]
    deciding.record(sequence=4)
    assert not deciding.extended(), "that one has just begun"
    again = []
    for sequence in range(5, 100):
        deciding.now += 0.3
        deciding.record(sequence=sequence)
        again += deciding.extended()
    assert 1 < len(again) < 10, "as often as evidence counts, and no more"


def test_what_nobody_vouches_for_is_dialed_once_in_a_race(deciding: Bench) -> None:
    """However often somebody says and unsays it: it costs us packets to whom he likes."""
    registry, key = deciding.registry, deciding.peer.key
    for _ in range(5):
        sighting = registry.peer_discovered(HERE.source, key, HERE, now=deciding.now)
        deciding.took()
        assert PeerDiscovered(key, HERE) in deciding.events()
        assert not deciding.extended()
        deciding.now += 1
        registry.peer_lost(sighting, now=deciding.now)


def test_a_network_that_is_back_is_dialed_beside_what_has_no_answer(deciding: Bench) -> None:
    """No packet of the dial that is under way may come before seconds have passed."""
    deciding.record(sequence=1)
    assert deciding.dialed() == [HERE]
    deciding.now += 5
    deciding.registry.network_changed(deciding.registry.network, now=deciding.now)
    deciding.took()
    assert deciding.extended() == [HERE]


def test_a_newer_record_lifts_the_penalty_of_its_addresses(deciding: Bench) -> None:
    """Somebody else answered there once; the peer says that it is there now. Nobody else can lift it so."""
    deciding.record(sequence=1)
    deciding.fail(reason=UnreachableReason.WRONG_KEY)
    deciding.record(sequence=1)
    deciding.see(attrs.evolve(HERE, source="other"), configured=False)
    assert HERE not in deciding.dialed()
    deciding.registry.race_lost(deciding.peer.key, now=deciding.now)
    deciding.took()
    deciding.now += 1
    deciding.record(sequence=2)
    assert deciding.dialed() == [HERE]


def test_a_connection_without_a_verdict_is_followed_by_a_wait(following: Bench) -> None:
    """A peer that closes whatever we open is not dialed as fast as the network can."""
    following.see()
    began = following.now
    for connection in range(1, 9):
        following.registry.race_won(
            following.peer.key, connection, HERE, following.hello(), now=following.now
        )
        following.took()
        assert following.frames() == [(connection, Open())]
        following.lose(connection)
        assert not following.dialed()
        while not following.dialed():
            following.wait()
    assert following.now - began > 2


def test_a_restart_is_no_identity_conflict(deciding: Bench) -> None:
    """However often: each run has a boot id of its own, and the newest is the link."""
    for connection in range(1, 30):
        deciding.now += 1
        deciding.inbound(connection, bytes([connection]) * 16)
        assert not any(isinstance(event, IdentityConflict) for event in deciding.events())
        assert deciding.registry.link_of(deciding.peer.key) == connection
