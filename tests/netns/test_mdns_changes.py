"""The network changes under nodes that found each other by mDNS: they find each other again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from peernet_core.testing.lab import INTERFACE, LabNode, Laboratory, NodeProcess, eventually

pytestmark = pytest.mark.netns

AIM_S = 2.0


@pytest.fixture
def pair(lab: Laboratory) -> tuple[LabNode, LabNode]:
    """Two nodes that trust each other and have no configuration."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node, other in ((alpha, beta), (beta, alpha)):
        node.configure(trust=[other])
        node.config.unlink()
    return alpha, beta


def test_a_node_that_starts_without_a_network_waits_for_one(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """Only loopback at first; when the interface comes up it finds and links its peer."""
    alpha, beta = pair
    beta.host.ip("link", "set", INTERFACE, "down")
    with alpha.start() as a, beta.start() as b:
        b.wait("backend_started", source="mdns")
        a.wait("backend_started", source="mdns")
        changed_at = time.monotonic()
        beta.host.ip("link", "set", INTERFACE, "up")
        line = a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        measured(f"network came later: linked {line.received_at - changed_at:.2f} s after (aim: {AIM_S})")


def test_a_link_that_was_down_comes_back(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """Down for as long as it takes to lose the link, then up."""
    alpha, beta = pair
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        since_b = b.mark()
        beta.host.ip("link", "set", INTERFACE, "down")
        b.wait("peer_disconnected", key=str(alpha.key), since=since_b)
        changed_at = time.monotonic()
        beta.host.ip("link", "set", INTERFACE, "up")
        # IPv6 addresses go with the link, and come back by hand here.
        beta.host.ip("address", "add", f"{beta.host.link_local}/64", "dev", INTERFACE, "nodad")
        line = b.wait("peer_connected", key=str(alpha.key), since=since_b)
        eventually(lambda: _is_linked(a, beta), "the other is linked, still or again")
        measured(f"link down and up: linked {line.received_at - changed_at:.2f} s after (aim: {AIM_S})")


def test_a_cable_that_was_out_is_noticed_on_both_ends(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """The interface keeps its addresses and loses its carrier, then has it again."""
    alpha, beta = pair
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        since_b = b.mark()
        beta.host.unplug()
        b.wait("peer_disconnected", key=str(alpha.key), since=since_b)
        changed_at = time.monotonic()
        beta.host.plug_in()
        line = b.wait("peer_connected", key=str(alpha.key), since=since_b)
        eventually(lambda: _is_linked(a, beta), "the other is linked, still or again")
        measured(f"cable out and in: linked {line.received_at - changed_at:.2f} s after (aim: {AIM_S})")


def test_a_changed_address_is_discovered(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """One address goes, another comes: the peer hears of it while the link stays or is made again."""
    alpha, beta = pair
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        since, changed_at = a.mark(), time.monotonic()
        beta.host.ip("address", "del", f"{beta.host.ipv4}/24", "dev", INTERFACE)
        beta.host.ip("address", "add", "10.77.0.99/24", "dev", INTERFACE)
        line = a.wait("peer_discovered", key=str(beta.key), ip="10.77.0.99", source="mdns", since=since)
        measured(f"address changed: discovered {line.received_at - changed_at:.2f} s after (aim: {AIM_S})")
        eventually(lambda: _is_linked(a, beta) and _is_linked(b, alpha), "the link is up, still or again")
        took = time.monotonic() - changed_at
        measured(f"address changed: linked {took:.2f} s after (aim: {AIM_S})")


def _is_linked(process: NodeProcess, peer: LabNode) -> bool:
    lines = [
        line.event
        for line in process.lines
        if line.event in {"peer_connected", "peer_disconnected"} and line.fields["key"] == str(peer.key)
    ]
    return lines[-1] == "peer_connected"


def test_an_interface_that_appears_after_the_start_is_used(
    lab: Laboratory, measured: Callable[[str], None]
) -> None:
    """Two hosts get a second cable between them alone, after both have started, and link over it."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node, other in ((alpha, beta), (beta, alpha)):
        node.configure(trust=[other])
        node.config.unlink()
        node.host.ip("link", "set", INTERFACE, "down")
    with alpha.start() as a, beta.start() as b:
        for process in (a, b):
            process.wait("backend_started", source="mdns")
        pair = ["eth1", "type", "veth", "peer", "name", "eth1", "netns", beta.host.namespace]
        alpha.host.ip("link", "add", *pair)
        changed_at = time.monotonic()
        for node, address in ((alpha, "10.88.0.1/24"), (beta, "10.88.0.2/24")):
            node.host.ip("address", "add", address, "dev", "eth1")
            node.host.ip("link", "set", "eth1", "up")
        line = a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        measured(f"interface added: linked {line.received_at - changed_at:.2f} s after (aim: {AIM_S})")


def test_an_interface_that_is_made_again_is_joined_again(lab: Laboratory) -> None:
    """Same name, same address, another number: the system has forgotten that we wanted the group."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node, other in ((alpha, beta), (beta, alpha)):
        node.configure(trust=[other])
        node.config.unlink()
        node.host.ip("link", "set", INTERFACE, "down")

    def connect() -> None:
        pair = ["eth1", "type", "veth", "peer", "name", "eth1", "netns", beta.host.namespace]
        alpha.host.ip("link", "add", *pair)
        for node, address in ((alpha, "10.88.0.1/24"), (beta, "10.88.0.2/24")):
            node.host.ip("address", "add", address, "dev", "eth1")
            node.host.ip("link", "set", "eth1", "up")

    connect()
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        since_a, since_b = a.mark(), b.mark()
        alpha.host.ip("link", "del", "eth1")
        a.wait("peer_disconnected", key=str(beta.key), since=since_a)
        connect()
        a.wait("peer_connected", key=str(beta.key), since=since_a)
        b.wait("peer_connected", key=str(alpha.key), since=since_b)


def test_a_flapping_interface_leaves_nodes_linked(pair: tuple[LabNode, LabNode]) -> None:
    """Twenty times down and up within a second or two: afterwards they are linked, and nothing has ended."""
    alpha, beta = pair
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        script = f"for i in $(seq 20); do ip link set {INTERFACE} down; ip link set {INTERFACE} up; done"
        subprocess.run(beta.host.command("sh", "-c", script), check=True, timeout=20)
        beta.host.ip("address", "add", f"{beta.host.link_local}/64", "dev", INTERFACE, "nodad")
        eventually(lambda: _is_linked(a, beta) and _is_linked(b, alpha), "both are linked")
        assert (a.terminate(), b.terminate()) == (0, 0)
