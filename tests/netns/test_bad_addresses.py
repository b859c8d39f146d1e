"""One good address among many bad ones: it is found, and it is remembered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peernet_core.testing.lab import INTERFACE, PORT, LabNode, Laboratory, NodeProcess

pytestmark = pytest.mark.netns

HOLES = [f"10.77.0.{number}" for number in range(150, 159)]


def configure(node: LabNode, peer: LabNode, addresses: list[str]) -> None:
    """Let `node` trust `peer` and look for it at all these addresses, in this order."""
    node.configure(trust=[peer])
    peers = ", ".join(f'{{ key = "{peer.key}", address = "{each}:{PORT}" }}' for each in addresses)
    text = node.config.read_text(encoding="utf-8")
    assert "peers = []" in text
    node.config.write_text(text.replace("peers = []", f"peers = [{peers}]"), encoding="utf-8")


def first_link(node: NodeProcess, peer: LabNode) -> float:
    """Seconds from listening to the link."""
    listening = node.wait("node_started")
    return node.wait("peer_connected", key=str(peer.key)).received_at - listening.received_at


@pytest.mark.parametrize("place", ["first", "last"])
def test_nine_black_holes_and_an_impostor_do_not_keep_a_peer_from_its_link(
    lab: Laboratory, place: str, measured: Callable[[str], None]
) -> None:
    """No black hole is waited for; the second time none is even tried."""
    alpha, beta, impostor = map(lab.node, ("alpha", "beta", "impostor"))
    hole = lab.host("hole")
    for address in HOLES:
        hole.ip("address", "add", f"{address}/24", "dev", INTERFACE)
    hole.lose(100)
    good, bad = [str(beta.host.ipv4)], [*HOLES, str(impostor.host.ipv4)]
    configure(alpha, beta, good + bad if place == "first" else bad + good)
    for other in (beta, impostor):
        other.configure(trust=[alpha])
    with impostor.start() as impostor_process, beta.start() as peer:
        impostor_process.wait("node_started")
        peer.wait("node_started")
        with alpha.start() as node:
            took_s = first_link(node, beta)
            measured(
                f"ten bad addresses, the good one {place}: linked after {took_s * 1000:.0f} ms (aim: 1000)"
            )
            assert not node.seen("peer_unreachable", reason="timeout"), node.report()
            peer.wait("peer_connected")
            node.terminate()
        impostor.host.count_attempts()
        with alpha.start() as node:
            took_s = first_link(node, beta)
            measured(f"ten bad addresses, the good one {place}, next time: {took_s * 1000:.0f} ms")
        assert impostor.host.attempts == 0
    assert not impostor_process.seen("peer_connected")
