"""What users of other discovery systems suffer, and ours must not: fifteen complaints, a test each.

Each is a complaint that is on record elsewhere. The tests of the single parts go further; here stands, at one
glance, what must never come back.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from pathlib import Path

import anyio
import attrs

from peernet_core import (
    Address,
    Announcement,
    Backend,
    BackendFailed,
    Config,
    Context,
    DiscoverySpec,
    Identity,
    Interface,
    NetworkSnapshot,
    Node,
    PeerConnected,
    PeerDisconnected,
    PeerKey,
    PeerLost,
    PeerState,
    Snapshot,
    TrustedOnly,
    TrustedPeer,
    TrustList,
    UnreachableReason,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.announcer import Announcer
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.decisions.effects import CloseConnection, Dial, Effect, ExtendDial, Publish, SendFrame
from peernet_core.decisions.frames import Hello, Up
from peernet_core.decisions.registry import Registry
from peernet_core.events import Event
from peernet_core.records import Record, decode_record, encode_record
from peernet_core.storage.sequence_file import MemorySequence
from peernet_core.testing import HangingDiscovery

ME, PEER, OTHER = sorted((Identity.generate() for _ in range(3)), key=lambda each: each.key)
LOOPBACK = parse_ip("127.0.0.1")
CONFIG = Config(listen=(ListenAddress(LOOPBACK, 0),))
LAN = Interface("eth0", 2, (IPv4Interface("10.0.0.1/24"), IPv6Interface("fe80::1/64")))
WIFI = Interface("wlan0", 3, (IPv4Interface("192.168.1.1/24"), IPv6Interface("fe80::2/64")))
HERE, THERE = Address.parse("10.0.0.2:7100"), Address.parse("10.0.0.2:7200")


@attrs.define
class Bench:
    """A registry that trusts one peer."""

    now: float = 100.0
    registry: Registry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        trust = TrustList([TrustedPeer(PEER.key, "")])
        self.registry = Registry(me=ME.key, trust=trust, policy=TrustedOnly(), now=self.now, seed=1)
        self.registry.network = NetworkSnapshot((LAN,))
        self.registry.own_port = 7000

    def hears(
        self,
        *addresses: Address,
        sequence: int = 1,
        source: str = "lan",
        ttl_s: float = 120.0,
        heard: tuple[str, str] | None = None,
        signer: Identity = PEER,
    ) -> list[Effect]:
        """A record of the peer arrives."""
        record = Record(PEER.key, sequence, addresses[0].port if addresses else 7100, addresses)
        data = bytearray(encode_record(attrs.evolve(record, key=signer.key), signer))
        if signer is not PEER:
            data = data.replace(bytes(signer.key), bytes(PEER.key))
        place = None if heard is None else (parse_ip(heard[0]), heard[1])
        self.registry.record_received(source, bytes(data), ttl_s=ttl_s, heard=place, now=self.now)
        return self.registry.take_effects()

    def hint(self, address: Address, source: str = "lan") -> list[Effect]:
        self.registry.peer_discovered(source, PEER.key, address, ttl_s=120.0, now=self.now)
        return self.registry.take_effects()

    def opens(self, connection: int, boot: bytes = b"a" * 16) -> list[Effect]:
        """The peer dials us."""
        record = encode_record(Record(PEER.key, 1, 7100, (HERE,)), PEER)
        self.registry.inbound_opened(PEER.key, connection, HERE, Hello(record, boot, 0), now=self.now)
        return self.registry.take_effects()

    def fails(self, address: Address, reason: UnreachableReason, *, source: str = "lan") -> None:
        self.registry.dial_failed(PEER.key, address.with_source(source), reason, now=self.now)

    def addresses(self) -> set[str]:
        view = self.registry.view(PEER.key)
        assert view is not None
        return {str(address) for address in view.addresses}

    def wait(self, seconds: float) -> list[Effect]:
        effects, end = [], self.now + seconds
        while (due := self.registry.next_deadline()) is not None and due <= end:
            self.now = due
            self.registry.handle_timer(now=due)
            effects += self.registry.take_effects()
        self.now = end
        return effects


def dialed(effects: list[Effect]) -> list[str]:
    found = [candidate for effect in effects if isinstance(effect, Dial) for candidate in effect.candidates]
    found += [effect.candidate for effect in effects if isinstance(effect, ExtendDial)]
    return [str(candidate.address) for candidate in found]


def told(effects: list[Effect], kind: type[Event]) -> list[Event]:
    return [each.event for each in effects if isinstance(each, Publish) and isinstance(each.event, kind)]


@attrs.define(eq=False)
class Told(DiscoverySpec):
    """Reports what the test tells it, keeps what it is given to announce, and crashes when it is told to."""

    context: Context = attrs.field(init=False)
    announced: list[Announcement] = attrs.Factory(list)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        self.announced.append(announcement)

    def tell(self, key: PeerKey, port: int) -> None:
        self.context.peer_discovered(key, LOOPBACK, port, configured=True)

    def crash(self) -> None:
        async def fail() -> None:
            raise RuntimeError("the medium is on fire")

        self.context.spawn(fail(), "fail")


def make_node(me: Identity, *trusted: Identity, data_dir: Path | None = None, **more: Backend) -> Node:
    backends = [Backend("told", "", "told", Told), *more.values()]
    return Node(
        CONFIG,
        identity=None if data_dir else me,
        trust=[TrustedPeer(each.key, "") for each in trusted],
        backends=backends,
        data_dir=data_dir,
    )


async def until(events: AsyncIterator[Event], kind: type[Event], seconds: float) -> Event:
    with anyio.fail_after(seconds):
        return await anext(event async for event in events if isinstance(event, kind))


@contextlib.asynccontextmanager
async def friend() -> AsyncIterator[Node]:
    async with make_node(PEER, ME) as node:
        yield node


def test_01_an_announcement_that_is_heard_and_not_dialed() -> None:
    """A sighting dials in the same instant; also in the middle of a long wait, and not without end."""
    bench = Bench()
    assert dialed(bench.hears(HERE)) == [str(HERE)]
    for _ in range(8):
        bench.fails(HERE, UnreachableReason.REFUSED)
        bench.registry.race_lost(PEER.key, now=bench.now)
        bench.wait(60)
    bench.fails(HERE, UnreachableReason.REFUSED)
    bench.registry.race_lost(PEER.key, now=bench.now)
    bench.registry.take_effects()
    assert dialed(bench.hears(THERE, sequence=2)) == [str(THERE)]
    dials = 0
    for sequence in range(3, 200):
        bench.registry.race_lost(PEER.key, now=bench.now)
        bench.registry.take_effects()
        dials += bool(dialed(bench.hears(HERE, sequence=sequence)))
    assert dials < 20


async def test_02_one_discovery_that_hangs_holds_up_the_others() -> None:
    """Each has its own deadline, and those that are not required hold up nobody."""
    async with friend() as other:
        hanging = Backend("hangs", "", "hangs", HangingDiscovery, required=False)
        node = make_node(ME, PEER, hangs=hanging)
        began = anyio.current_time()
        async with node.events() as events, node:
            node.backend("told", Told).tell(PEER.key, other.port)
            await until(events, PeerConnected, 5)
            assert anyio.current_time() - began < 1
            failed = await until(events, BackendFailed, 60)
            assert isinstance(failed, BackendFailed)
            assert failed.source == "hangs"
            assert node.peers()[0].state is PeerState.LINKED


def test_03_an_old_address_outlives_a_restart() -> None:
    """What a peer signed before it signed anew is gone at once, whoever said it; so is its old link."""
    bench = Bench()
    bench.hears(HERE, source="lan")
    bench.hears(HERE, source="folder")
    bench.hears(THERE, sequence=2, source="lan")
    assert bench.addresses() == {str(THERE)}
    bench.opens(1, b"a" * 16)
    effects = bench.opens(2, b"b" * 16)
    assert SendFrame(2, Up(2)) in effects
    assert bench.registry.link_of(PEER.key) == 2


def test_04_living_peers_expire_and_dead_ones_linger() -> None:
    """A lease that is refreshed stands, one that is not ends on time, and the link stays anyhow."""
    bench = Bench()
    bench.hears(HERE, source="lan", ttl_s=30)
    bench.hears(HERE, source="folder", ttl_s=30)
    bench.opens(1)
    lost: list[Event] = []
    for _ in range(4):
        lost += told(bench.wait(20), PeerLost)
        bench.hears(HERE, source="lan", ttl_s=30)
    assert lost == [PeerLost(PEER.key, "folder")]
    assert told(bench.wait(31), PeerLost) == [PeerLost(PEER.key, "lan")]
    assert bench.registry.link_of(PEER.key) == 1


def test_05_what_one_interface_hears_replaces_what_another_heard() -> None:
    """Every place where a peer was heard stands for itself."""
    bench = Bench()
    bench.registry.network = NetworkSnapshot((LAN, WIFI))
    bench.hears(heard=("10.0.0.2", "eth0"))
    bench.hears(heard=("192.168.1.2", "wlan0"))
    assert bench.addresses() == {"10.0.0.2:7100", "192.168.1.2:7100"}


async def test_06_everything_is_forgotten_at_a_restart(tmp_path: Path) -> None:
    """Where a peer authenticated before is dialed at the start, without any discovery; only that is kept."""
    folder = tmp_path / "data"
    async with friend() as other:
        async with make_node(ME, PEER, data_dir=folder) as node:
            other.trust.add(node.key)
            async with node.events() as events:
                node.backend("told", Told).tell(PEER.key, other.port)
                await until(events, PeerConnected, 5)
        again = Node(CONFIG, trust=[TrustedPeer(PEER.key, "")], data_dir=folder)
        async with again.events() as events, again:
            await until(events, PeerConnected, 5)
            assert not again.backends()


def test_07_a_second_or_later_interface_is_not_used() -> None:
    """What was out of reach is dialed when the network that leads there appears."""
    bench = Bench()
    away = Address.parse("192.168.1.2:7100")
    assert dialed(bench.hint(away)) == []
    bench.registry.network_changed(NetworkSnapshot((LAN, WIFI)), now=bench.now)
    assert dialed(bench.registry.take_effects()) == [str(away)]


def test_08_link_local_addresses_lose_their_zone() -> None:
    """The zone is part of the address, each is its own, it is the receiver's, and none is ever signed."""
    bench = Bench()
    bench.registry.network = NetworkSnapshot((LAN, WIFI))
    effects = bench.hears(heard=("fe80::9", "eth0"))
    effects += bench.hears(heard=("fe80::9", "wlan0"))
    assert dialed(effects) == ["[fe80::9%eth0]:7100", "[fe80::9%wlan0]:7100"]
    signed = {str(ip) for ip in NetworkSnapshot((LAN, WIFI)).advertisable()}
    assert signed == {"10.0.0.1", "192.168.1.1"}


def test_09_addresses_of_container_bridges_are_announced() -> None:
    """Not where there are others; and what the operator says to announce is all that is announced."""
    bridge = Interface("docker0", 4, (IPv4Interface("172.17.0.1/16"),))
    snapshot = NetworkSnapshot((bridge, LAN))
    assert [str(ip) for ip in snapshot.advertisable()] == ["10.0.0.1"]
    told_to = (Address.parse("203.0.113.7:7100"),)
    announcer = Announcer(ME, MemorySequence(), name="", advertise=told_to, listen=CONFIG.listen)
    announcement = announcer.announcement(7000, snapshot)
    assert [str(ip) for ip in announcement.addresses] == ["203.0.113.7"]


async def test_10_whoever_looks_is_seen() -> None:
    """A backend may find others without showing us; and nothing but core's record and alias is shown."""
    silent = Backend("silent", "", "silent", Told, advertise=False)
    async with make_node(ME, PEER, silent=silent) as node:
        await anyio.sleep(1)
        assert node.backend("silent", Told).announced == []
        (shown,) = node.backend("told", Told).announced
        assert {field.name for field in attrs.fields(Announcement)} == {
            *("port", "addresses", "record", "alias"),
        }
        assert decode_record(shown.record).record.key == ME.key


def test_11_anybody_can_say_where_a_peer_is() -> None:
    """A forged record is nothing, a wrong key counts against that address alone, hints are few and last."""
    bench = Bench()
    assert bench.hears(THERE, sequence=99, signer=OTHER) == []
    assert bench.registry.counts["signatures_bad"] == 1
    for number in range(3, 200):
        bench.hint(Address(ip_address(f"10.0.0.{number}"), 7100))
    bench.fails(Address.parse("10.0.0.3:7100"), UnreachableReason.WRONG_KEY)
    bench.registry.race_lost(PEER.key, now=bench.now)
    bench.registry.take_effects()
    order = dialed([*bench.hears(HERE), *bench.wait(1)])
    assert order[0] == str(HERE)
    assert "10.0.0.3:7100" not in order
    assert len(bench.addresses()) < 64


async def test_12_two_that_dial_at_once_kill_each_others_connection() -> None:
    """One link, and it stays; tests/test_simultaneous_open.py has the thousand rounds of it."""
    async with make_node(ME, PEER) as one, make_node(PEER, ME) as other:
        one.backend("told", Told).tell(PEER.key, other.port)
        other.backend("told", Told).tell(ME.key, one.port)
        await anyio.sleep(30)
        for node in (one, other):
            counts = node.statistics()
            assert (counts["links"], counts.get("links_lost", 0)) == (1, 0)


def test_13_a_half_dead_connection_blocks_the_living_one() -> None:
    """A peer that comes back replaces its old link: at once, or after a second in the same process."""
    bench = Bench()
    bench.opens(1)
    effects = [*bench.opens(2), *bench.wait(1)]
    assert SendFrame(2, Up(2)) in effects
    assert not told(effects, PeerDisconnected)
    effects = bench.opens(3, b"b" * 16)
    assert SendFrame(3, Up(3)) in effects
    assert CloseConnection(2, "another connection became the link") in effects


async def test_14_a_failed_lookup_disconnects_everybody() -> None:
    """That a backend fails says nothing about peers: neither link nor address goes."""
    async with friend() as other:
        node = make_node(ME, PEER)
        async with node.events() as events, node:
            node.backend("told", Told).tell(PEER.key, other.port)
            await until(events, PeerConnected, 5)
            node.backend("told", Told).crash()
            await until(events, BackendFailed, 5)
            with anyio.move_on_after(30):
                async for event in events:
                    assert not isinstance(event, PeerLost | PeerDisconnected)
            assert node.peers()[0].state is PeerState.LINKED
            assert node.explain(PEER.key).addresses


async def test_15_nobody_can_say_why_there_is_no_connection() -> None:
    """Each address with what came of it, and what is done next; and a newcomer starts with a snapshot."""
    async with make_node(PEER) as other, make_node(ME, PEER) as node:
        node.backend("told", Told).tell(PEER.key, other.port)
        await anyio.sleep(3)
        why = node.explain(PEER.key)
        (address,) = why.addresses
        assert address.failure is UnreachableReason.THEY_DO_NOT_TRUST_US
        assert address.next_dial_s is not None
        assert f"peernet trust add {ME.key}" in why.next
        async with node.events() as events:
            snapshot = await anext(aiter(events))
            assert isinstance(snapshot, Snapshot)
            assert [peer.key for peer in snapshot.peers] == [PEER.key]
