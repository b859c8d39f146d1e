"""What the operator and the application say about peers reaches the node as their own word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import attrs
import pytest

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.supervisor import Supervisor
from peernet_core.configuration.config import parse_config
from peernet_core.configuration.entrypoints import Backend, BackendIndex, check_class
from peernet_core.contract import Sighting
from peernet_core.errors import MalformedAddressError, NodeClosedError
from peernet_core.events import Event
from peernet_core.keys import Identity, PeerKey
from peernet_manual import ManualDiscovery, ManualPeer

OWN, ALICE, BOB = (Identity.generate().key for _ in range(3))
HERE, THERE = Address.parse("10.0.0.5:7100"), Address.parse("[2001:db8::5]:7200")


@attrs.define
class Ledger:
    """Keeps what is said to be live."""

    live: dict[int, tuple[PeerKey, str, int]] = attrs.field(factory=dict)
    reports: int = 0

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        raise AssertionError((source, record, ttl_s, renew, heard))

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        assert configured
        assert ttl_s is None
        self.reports += 1
        self.live[self.reports] = key, str(ip), port
        return Sighting(self.reports, key, source, (Address(ip, port, source),))

    def peer_lost(self, sighting: Sighting) -> None:
        del self.live[sighting.id]

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        raise AssertionError((source, key, ip, port))

    def places(self) -> set[tuple[PeerKey, str, int]]:
        return set(self.live.values())


@attrs.define
class StillNetwork:
    snapshot: NetworkSnapshot = attrs.field(factory=NetworkSnapshot)

    async def changed(self) -> NetworkSnapshot:
        await asyncio.Event().wait()
        return self.snapshot


@asynccontextmanager
async def running(manual: ManualDiscovery) -> AsyncIterator[Ledger]:
    """Run it as a node would."""
    ledger, events = Ledger(), list[Event]()
    supervisor = Supervisor(
        make_context=lambda backend: HostContext(
            backend.source, key=OWN, intake=ledger, network=StillNetwork()
        ),
        publish=events.append,
    )
    await supervisor.start([Backend("manual", "", "manual", lambda: manual)])
    try:
        yield ledger
    finally:
        await supervisor.stop()


def test_it_keeps_the_contract() -> None:
    """As any backend is checked before it is used."""
    assert check_class(ManualDiscovery) == ()


def test_it_is_found_by_its_entry_point() -> None:
    """Under the name that a configuration uses."""
    (found,) = [each for each in BackendIndex.scan().installed if each.name == "manual"]
    assert (found.distribution, found.module) == ("peernet-manual", "peernet_manual")
    assert found.requirement_problem is None


def load(peers: str) -> tuple[tuple[Backend, ...], tuple[str, ...]]:
    config, problems = parse_config(f"[discovery.manual]\npeers = {peers}", path=Path("peernet.toml"))
    assert problems == ()
    return BackendIndex.scan().load(config)


async def test_peers_of_the_file_are_reported_at_the_start() -> None:
    """With every address of each."""
    (backend,), problems = load(
        f'[{{ key = "{ALICE}", address = "10.0.0.5:7100" }}, '
        f'{{ key = "{ALICE}", address = "[2001:db8::5]:7200" }}, '
        f'{{ key = "{BOB}", address = "[fe80::7%eth0]:7100" }}]'
    )
    assert problems == ()
    manual = backend.make()
    assert isinstance(manual, ManualDiscovery)
    async with running(manual) as ledger:
        assert ledger.places() == {
            (ALICE, "10.0.0.5", 7100),
            (ALICE, "2001:db8::5", 7200),
            (BOB, "fe80::7%eth0", 7100),
        }


GOOD = f'{{ key = "{ALICE}", address = "10.0.0.5:7100" }}'


@pytest.mark.parametrize(
    ("peers", "problem"),
    [
        (f"[{GOOD}, {GOOD}]", f"peers: [1] repeats [0]: {ALICE.short}… at 10.0.0.5:7100"),
        (f'[{{ key = "{ALICE}", address = "kitchen.local:7100" }}]', "peers[0].address: "),
        (f'[{{ key = "{ALICE}", address = "10.0.0.5" }}]', "peers[0].address: "),
        (f'[{{ key = "{ALICE}", address = "[fe80::1]:7100" }}]', "needs its interface"),
        (f'[{GOOD}, {{ key = "abc", address = "10.0.0.5:7100" }}]', "peers[1].key: "),
        (f'[{{ key = "{ALICE}" }}]', 'peers[0]: missing option "address"'),
        (f'[{{ key = "{ALICE}", adress = "10.0.0.5:7100" }}]', 'did you mean "address"?'),
        (f'"{ALICE}"', "peers: expected a list"),
    ],
    ids=["repeated", "host name", "no port", "no zone", "no key", "no address", "misspelt", "no list"],
)
def test_each_mistake_in_the_file_says_where_it_is(peers: str, problem: str) -> None:
    """Before anything runs."""
    backends, problems = load(peers)
    assert backends == ()
    assert any(problem in line for line in problems)
    assert all(line.startswith("peernet.toml [discovery.manual]") for line in problems)


def test_each_mistake_in_code_raises_where_it_is_made() -> None:
    """As wrong types, not as a failure later on."""
    with pytest.raises(TypeError, match="ManualPeer"):
        ManualDiscovery([(ALICE, HERE)])  # type: ignore[list-item]  # the mistake
    with pytest.raises(TypeError, match="PeerKey"):
        ManualPeer(str(ALICE), HERE)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="Address"):
        ManualPeer(ALICE, str(HERE))  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ValueError, match=r"\[1\] repeats \[0\]"):
        ManualDiscovery([ManualPeer(ALICE, HERE), ManualPeer(ALICE, HERE)])


async def test_an_entry_for_ourselves_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """One list of all machines may stand in the file of each."""
    with caplog.at_level(logging.INFO):
        async with running(ManualDiscovery([ManualPeer(OWN, HERE), ManualPeer(ALICE, THERE)])) as ledger:
            assert ledger.places() == {(ALICE, "2001:db8::5", 7200)}
    assert "10.0.0.5:7100 is our own" in caplog.text


async def test_the_application_announces_and_loses_peers() -> None:
    """At any time, by Address or by text."""
    manual = ManualDiscovery()
    async with running(manual) as ledger:
        manual.announce_peer(ALICE, "10.0.0.5:7100")
        manual.announce_peer(ALICE, THERE)
        manual.announce_peer(BOB, HERE.with_source("somewhere else"))
        assert ledger.places() == {
            (ALICE, "10.0.0.5", 7100),
            (ALICE, "2001:db8::5", 7200),
            (BOB, "10.0.0.5", 7100),
        }
        manual.lose_peer(ALICE)
        assert ledger.places() == {(BOB, "10.0.0.5", 7100)}
        manual.lose_peer(ALICE)
        manual.announce_peer(ALICE, THERE)
        assert ledger.places() == {(BOB, "10.0.0.5", 7100), (ALICE, "2001:db8::5", 7200)}


async def test_saying_the_same_again_changes_nothing() -> None:
    """One report, which one loss takes back; also when the file had said it first."""
    manual = ManualDiscovery([ManualPeer(ALICE, HERE.with_source("elsewhere"))])
    async with running(manual) as ledger:
        manual.announce_peer(ALICE, HERE)
        manual.announce_peer(ALICE, "10.0.0.5:7100")
        assert ledger.reports == 1
        manual.lose_peer(ALICE)
        assert ledger.places() == set()


async def test_what_is_said_before_the_start_is_kept_until_then() -> None:
    """An application may hand over what it knows as soon as it has made the backend."""
    manual = ManualDiscovery([ManualPeer(BOB, HERE)])
    manual.announce_peer(ALICE, HERE)
    manual.announce_peer(ALICE, THERE)
    manual.lose_peer(BOB)
    manual.announce_peer(OWN, HERE)
    async with running(manual) as ledger:
        assert ledger.places() == {(ALICE, "10.0.0.5", 7100), (ALICE, "2001:db8::5", 7200)}


async def test_after_the_stop_it_says_so() -> None:
    """A report that could reach nobody is an error of the application's."""
    manual = ManualDiscovery()
    async with running(manual):
        pass
    with pytest.raises(NodeClosedError, match="manual backend is stopped"):
        manual.announce_peer(ALICE, HERE)
    with pytest.raises(NodeClosedError):
        manual.lose_peer(ALICE)


@pytest.mark.parametrize("address", ["kitchen.local:7100", "10.0.0.5", "10.0.0.5:0", "[fe80::1]:7100", ""])
def test_text_that_is_no_address_is_refused(address: str) -> None:
    """At the call, also before the start, and nothing is kept of it."""
    manual = ManualDiscovery()
    with pytest.raises(MalformedAddressError):
        manual.announce_peer(ALICE, address)
    assert manual._known == {}


def test_an_address_without_its_zone_is_refused_like_its_text() -> None:
    """It could never be dialed."""
    with pytest.raises(MalformedAddressError, match="interface"):
        ManualDiscovery().announce_peer(ALICE, Address(IPv6Address("fe80::1"), 7100))


def test_other_types_are_refused() -> None:
    """A key is no text here: whoever has text parses it, and handles what is wrong with it."""
    manual = ManualDiscovery()
    with pytest.raises(TypeError, match=r"PeerKey\.parse"):
        manual.announce_peer(str(ALICE), HERE)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="address: expected an Address or text"):
        manual.announce_peer(ALICE, IPv4Address("10.0.0.5"))  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="key"):
        manual.lose_peer("alice")  # type: ignore[arg-type]  # the mistake


async def test_any_address_goes_since_it_is_the_operator_s_word() -> None:
    """Loopback, link-local with its zone, and one behind NAT64."""
    manual = ManualDiscovery()
    async with running(manual) as ledger:
        for address in ("127.0.0.1:7100", "[fe80::1%eth0]:7100", "[64:ff9b::a00:5]:7100"):
            manual.announce_peer(ALICE, address)
        assert {ip_address(ip) for _, ip, _ in ledger.places()} == {
            IPv4Address("127.0.0.1"),
            IPv6Address("fe80::1%eth0"),
            IPv6Address("64:ff9b::a00:5"),
        }
