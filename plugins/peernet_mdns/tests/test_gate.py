"""Whose packets are looked at."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from peernet_mdns import gate as module
from peernet_mdns.gate import BURST, FLOODED_S, RATE_PER_S, Gate, Sender
from peernet_mdns.links import Link

ETH0 = Link("eth0", 2, (ip_interface("10.0.0.5/24"), ip_interface("fd00::5/64"), ip_interface("fe80::5/64")))
ETH1 = Link("eth1", 3, (ip_interface("192.168.1.5/24"), ip_interface("fe80::5/64")))


@pytest.fixture
def gate() -> Gate:
    gate = Gate()
    gate.set_links([ETH0, ETH1])
    return gate


def sender(
    gate: Gate, host: str, *, scope: int = 0, port: int = 5353, response: bool = True
) -> Sender | None:
    return gate.admit(host, scope, port, response=response, now=0.0)


@pytest.mark.parametrize(
    ("host", "scope", "ip", "interface"),
    [
        ("10.0.0.9", 0, "10.0.0.9", "eth0"),
        ("::ffff:192.168.1.9", 0, "192.168.1.9", "eth1"),
        ("fd00::9", 0, "fd00::9", "eth0"),
        ("fe80::9", 3, "fe80::9%eth1", "eth1"),
        ("fe80::9%eth0", 2, "fe80::9%eth0", "eth0"),
    ],
)
def test_neighbours_are_known_by_their_network(
    gate: Gate, host: str, scope: int, ip: str, interface: str
) -> None:
    """An address tells its interface; a link-local one tells it by the number that the socket gives."""
    found = sender(gate, host, scope=scope)
    assert found is not None
    assert (found.origin.ip, found.origin.interface, found.own) == (ip_address(ip), interface, False)


@pytest.mark.parametrize("host", ["10.0.0.5", "::ffff:10.0.0.5", "fd00::5"])
def test_this_host_knows_itself(gate: Gate, host: str) -> None:
    """By any address of the link."""
    found = sender(gate, host)
    assert found is not None
    assert found.own


@pytest.mark.parametrize("host", ["8.8.8.8", "10.0.1.9", "127.0.0.1", "fd01::1", "::1", "no address"])
@pytest.mark.parametrize("response", [True, False])
def test_what_was_routed_here_is_turned_away(gate: Gate, host: str, response: bool) -> None:
    """Queries as well as responses (RFC 6762 §11)."""
    assert sender(gate, host, response=response) is None
    assert gate.counts == {"off_link": 1}


def test_a_link_local_address_of_another_interface_is_turned_away(gate: Gate) -> None:
    """The network is the same on every interface; the number tells them apart."""
    assert sender(gate, "fe80::9", scope=7) is None


def test_a_response_comes_from_the_port_of_the_protocol(gate: Gate) -> None:
    """Any program may send from another; a query may come from there (RFC 6762 §6.7)."""
    assert sender(gate, "10.0.0.9", port=5354) is None
    assert gate.counts == {"wrong_port": 1}
    assert sender(gate, "10.0.0.9", port=5354, response=False) is not None


def test_links_that_are_gone_are_forgotten(gate: Gate) -> None:
    """Whoever was a neighbour there is none any more."""
    assert sender(gate, "192.168.1.9") is not None
    gate.set_links([ETH0])
    assert sender(gate, "192.168.1.9") is None


def admitted(gate: Gate, host: str, packets: int, *, now: float) -> int:
    return sum(gate.admit(host, 0, 5353, response=True, now=now) is not None for _ in range(packets))


def test_one_address_may_send_so_much(gate: Gate) -> None:
    """A burst, then a rate; nobody else is affected."""
    assert admitted(gate, "10.0.0.9", 10_000, now=0.0) == BURST
    assert admitted(gate, "10.0.0.9", 10_000, now=0.5) == RATE_PER_S / 2
    assert admitted(gate, "10.0.0.8", 10, now=0.5) == 10
    assert gate.counts["rate_limited"] == 20_000 - BURST - RATE_PER_S / 2


def test_this_host_may_send_any_amount(gate: Gate) -> None:
    """Other processes here share our address with us; a limit would make us deaf to ourselves."""
    assert admitted(gate, "10.0.0.5", 10_000, now=0.0) == 10_000


def test_a_flood_is_remembered_for_a_while(gate: Gate) -> None:
    """So that others are asked in a way that the flood cannot drown."""
    assert not gate.is_flooded(now=0.0)
    admitted(gate, "10.0.0.9", 1000, now=1.0)
    assert gate.is_flooded(now=1.0 + FLOODED_S / 2)
    assert not gate.is_flooded(now=1.0 + FLOODED_S)


def test_a_reply_that_is_routed_costs_its_addressee_nothing(gate: Gate) -> None:
    """Where an answer goes is looked up without counting against what that address may send."""
    for _ in range(1000):
        assert gate.admit("10.0.0.9", 0, 5353, response=False, now=0.0, limited=False) is not None
    assert admitted(gate, "10.0.0.9", 1000, now=0.0) == BURST


def test_senders_are_bounded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first."""
    monkeypatch.setattr(module, "MAX_SENDERS", 100)
    for number in range(1000):
        sender(gate, f"fd00::{number:x}")
    assert len(gate._known) == 100
