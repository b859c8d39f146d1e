"""Why a peer is, or is not, linked: each answer that `explain` has, and what leads to it."""

from __future__ import annotations

from ipaddress import IPv4Interface, ip_address

import attrs
import pytest

from peernet_core.addresses import Address, Interface, NetworkSnapshot
from peernet_core.decisions.explanation import ExplainedAddress, Explanation
from peernet_core.decisions.frames import Bye, Hello, No, Up
from peernet_core.decisions.registry import Registry
from peernet_core.events import BackendStatus, PeerState, UnreachableReason
from peernet_core.keys import Identity, PeerKey
from peernet_core.policy import Decision, Policy, TrustedOnly
from peernet_core.records import Record, encode_record
from peernet_core.trust import TrustedPeer, TrustList

SMALL, PEER, STRANGER = sorted((Identity.generate() for _ in range(3)), key=lambda each: each.key)
LAN = NetworkSnapshot((Interface("eth0", 2, (IPv4Interface("10.0.0.1/24"),)),))
HERE = Address(ip_address("10.0.0.2"), 7100, "lan")
RUNNING = BackendStatus("lan", "mdns", "peernet-mdns 0.1", "running", 0.0, resolves=True)
BROKEN = BackendStatus("hub", "hub", "acme-hub 1", "waiting", 0.0, error="no route to the hub")


class KeepOnly:
    """Knows everybody and dials nobody."""

    def decide(self, key: PeerKey, address: Address, *, trusted: bool) -> Decision:  # noqa: ARG002
        return Decision.KEEP


@attrs.define
class Bench:
    """A registry that trusts one peer; the smaller key is ours unless `me` is another."""

    me: Identity = SMALL
    policy: Policy = attrs.Factory(TrustedOnly)
    now: float = 100.0
    registry: Registry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        trust = TrustList([TrustedPeer(PEER.key, "the peer")])
        self.registry = Registry(me=self.me.key, trust=trust, policy=self.policy, now=self.now, seed=1)
        self.registry.network = LAN
        self.registry.own_port = 7000

    def see(self, address: Address = HERE, *, configured: bool = True, key: PeerKey = PEER.key) -> None:
        self.registry.peer_discovered(
            address.source, key, address, ttl_s=60.0, configured=configured, now=self.now
        )
        self.registry.take_effects()

    def fail(self, reason: UnreachableReason) -> None:
        self.registry.dial_failed(PEER.key, HERE, reason, now=self.now)
        self.registry.race_lost(PEER.key, now=self.now)

    def opened(self, boot: bytes = b"a" * 16, connection: int = 1) -> None:
        record = encode_record(Record(PEER.key, 5, 7100, (Address(HERE.ip, 7100),)), PEER)
        self.registry.inbound_opened(PEER.key, connection, HERE, Hello(record, boot, 0), now=self.now)

    def explain(self, *backends: BackendStatus, key: PeerKey = PEER.key) -> Explanation:
        return self.registry.explain(key, backends=backends or (RUNNING,), now=self.now)

    def only(self) -> ExplainedAddress:
        (address,) = self.explain().addresses
        return address


def test_nobody_has_said_where_it_is() -> None:
    """Which backends run, and what is wrong with the others."""
    bench = Bench()
    told = bench.explain()
    assert (told.state, told.addresses, told.label) == (PeerState.UNSEEN, (), "the peer")
    assert told.next == "nobody names an address of it (running: lan)"
    assert bench.explain(RUNNING, BROKEN).next == (
        "nobody names an address of it (running: lan); hub is waiting, no route to the hub"
    )
    assert bench.explain(BROKEN).next == (
        "no discovery backend is running; hub is waiting, no route to the hub"
    )
    assert bench.registry.explain(PEER.key, now=bench.now).next == "no discovery backend is enabled"


def test_it_is_being_looked_up() -> None:
    """And when that was, and comes again."""
    bench = Bench()
    bench.registry.search(now=bench.now)
    bench.registry.handle_timer(now=bench.now)
    assert bench.explain().next.endswith("; being asked for: lan")
    bench.registry.looked_up(PEER.key, now=bench.now)
    bench.now += 10.0
    told = bench.explain()
    assert told.next.endswith("; asked for in 20.0 s, unless something is heard of it before: lan")
    assert (told.next_in_s, told.asked_age_s) == (20.0, 10.0)


def test_it_is_being_dialed() -> None:
    """Which addresses, and on whose word."""
    bench = Bench()
    bench.see()
    bench.now += 1.0
    told = bench.explain()
    assert (told.state, told.next) == (PeerState.DIALING, "dialing 1 address now")
    (address,) = told.addresses
    assert address == ExplainedAddress(
        address=HERE,
        kind="configured",
        sequence=None,
        age_s=1.0,
        lease_left_s=59.0,
        outcome="",
        failure=None,
        outcome_age_s=None,
        next_dial_s=0.0,
        obstacle="",
    )


def test_an_address_is_dialed_until_the_last_dial_of_it_has_ended() -> None:
    """New evidence begins a second one beside what has no answer; the first one fails before it."""
    bench = Bench()
    bench.see()
    bench.now += 1.0
    bench.registry.network_changed(LAN, now=bench.now)
    bench.registry.dial_failed(PEER.key, HERE, UnreachableReason.TIMEOUT, now=bench.now)
    assert (bench.explain().next, bench.only().next_dial_s) == ("dialing 1 address now", 0.0)
    bench.registry.dial_failed(PEER.key, HERE, UnreachableReason.REFUSED, now=bench.now)
    assert bench.only().next_dial_s is None


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (UnreachableReason.REFUSED, "refused: nobody listens there"),
        (UnreachableReason.TIMEOUT, "no answer"),
        (UnreachableReason.PROTOCOL, "what answered does not speak peernet"),
        (UnreachableReason.THEY_DO_NOT_TRUST_US, "the peer answered, and does not trust us"),
    ],
)
def test_a_dial_failed(reason: UnreachableReason, outcome: str) -> None:
    """How, how long ago, and when the next one comes."""
    bench = Bench()
    bench.see()
    bench.fail(reason)
    told = bench.explain()
    (address,) = told.addresses
    assert told.state is PeerState.WAITING
    assert told.next.startswith("no address led to a link; dialing again in ")
    assert (address.outcome, address.failure, address.outcome_age_s) == (outcome, reason, 0.0)
    assert told.next_in_s is not None
    assert 0 <= told.next_in_s <= 0.5
    assert address.next_dial_s == told.next_in_s


def test_it_does_not_trust_us() -> None:
    """What has to be typed at the other end."""
    bench = Bench()
    bench.see()
    bench.fail(UnreachableReason.THEY_DO_NOT_TRUST_US)
    assert f"the peer has to trust us, too: peernet trust add {SMALL.key}" in bench.explain().next


def test_somebody_else_answered() -> None:
    """That address is left alone; the peer is not."""
    bench = Bench()
    bench.see()
    bench.fail(UnreachableReason.WRONG_KEY)
    bench.now += 1.0
    bench.registry.handle_timer(now=bench.now)
    told = bench.explain()
    (address,) = told.addresses
    assert address.obstacle == "somebody else answered; it is left alone for 59.0 s"
    assert address.next_dial_s == 59.0
    assert told.next.startswith("somebody else answered at its addresses; dialing again in 59.0 s")


def test_it_is_linked() -> None:
    """Where, and for how long; its signed addresses with their sequence."""
    bench = Bench()
    bench.opened()
    bench.now += 7.0
    told = bench.explain()
    assert told.state is PeerState.LINKED
    assert told.next == "linked at 10.0.0.2:7100 for 7.0 s; nothing is dialed while the link is up"
    assert [(each.kind, each.sequence, each.next_dial_s) for each in told.addresses] == [("signed", 5, 0.0)]


def test_it_is_being_agreed_on() -> None:
    """The end with the smaller key decides, and says no as it has a link that we do not know of yet."""
    bench = Bench(me=STRANGER)
    bench.opened()
    assert bench.explain().next == (
        "a connection is open, and the link is being agreed on; at most 5.0 s more"
    )
    bench.registry.frame_received(1, No(), now=bench.now)
    assert bench.explain().next == (
        "the peer says that there is a link with us already; waiting 5.0 s for it"
    )


def test_it_left() -> None:
    """Goodbye is taken at its word for a while, and so is a link that soon ended."""
    bench = Bench(me=STRANGER)
    bench.opened()
    bench.registry.frame_received(1, Up(1), now=bench.now)
    bench.registry.frame_received(1, Bye("stopped"), now=bench.now)
    assert bench.explain().next.startswith("it said goodbye (stopped); dialing again in ")
    other = Bench()
    other.opened()
    other.registry.connection_closed(1, "lost", now=other.now)
    assert other.explain().next.startswith("the link ended soon (lost); dialing again in ")


def test_two_processes_run_with_its_key() -> None:
    """Until when it is refused, and the remedy."""
    bench = Bench()
    for connection, boot in enumerate((b"a" * 16, b"b" * 16, *[b"a" * 16] * 3), start=1):
        bench.opened(boot, connection)
    assert bench.explain().next == (
        "two processes run with this key, so it is refused for 1 min; end one of them"
    )


@pytest.mark.parametrize(
    ("address", "policy", "obstacle"),
    [
        (Address(ip_address("203.0.113.7"), 7100, "lan"), TrustedOnly(), "none of our networks"),
        (Address(ip_address("10.0.0.2"), 80, "lan"), TrustedOnly(), "below 1024"),
        (HERE, KeepOnly(), "the policy says: keep"),
    ],
)
def test_an_address_may_not_be_dialed(address: Address, policy: Policy, obstacle: str) -> None:
    """Each with its reason; then we wait to be dialed."""
    bench = Bench(policy=policy)
    bench.see(address, configured=False)
    assert obstacle in bench.only().obstacle
    assert bench.only().next_dial_s is None
    assert bench.explain().next.startswith(
        "none of its addresses may be dialed from here; waiting to be dialed by it"
    )


def test_it_is_not_trusted() -> None:
    """What was heard of it, and the command that lets it in."""
    bench = Bench()
    unseen = bench.explain(key=STRANGER.key)
    assert unseen.next == (
        "the key is not in the trust list, so it is never dialed (nobody has seen it); "
        f"peernet trust add {STRANGER.key}"
    )
    bench.see(configured=False, key=STRANGER.key)
    told = bench.explain(key=STRANGER.key)
    assert told.state is None
    assert "it is never dialed (it was seen)" in told.next
    assert [(each.address, each.obstacle) for each in told.addresses] == [(HERE, "the key is not trusted")]


def test_it_is_ourselves() -> None:
    """No peer of ours."""
    assert Bench().explain(key=SMALL.key).next == "this is our own key"


def test_the_best_address_stands_first() -> None:
    """In the order in which they are dialed."""
    bench = Bench()
    hint = Address(ip_address("10.0.0.9"), 7100, "lan")
    bench.see(hint, configured=False)
    bench.see()
    assert [each.address for each in bench.explain().addresses] == [HERE, hint]
