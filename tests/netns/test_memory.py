"""A node that starts again where nothing moved links from memory, without any backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peernet_core.testing.lab import PORT, LabNode, Laboratory

pytestmark = pytest.mark.netns

NOBODY = f'[node]\nlisten = ["0.0.0.0:{PORT}", "[::]:{PORT}"]\n'


@pytest.fixture
def pair(lab: Laboratory) -> tuple[LabNode, LabNode]:
    """Alpha was configured with beta's address, and linked with it once; beta waits to be found."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    alpha.configure(trust=[beta], peers={beta: str(beta.host.ipv4)})
    beta.configure(trust=[alpha])
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        assert (a.terminate(), b.terminate()) == (0, 0)
    alpha.config.write_text(NOBODY, encoding="utf-8")
    beta.config.write_text(NOBODY, encoding="utf-8")
    return alpha, beta


def test_a_restart_where_nothing_moved_needs_no_backend(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """Neither has a backend now; the one that dialed before dials again, at once."""
    alpha, beta = pair
    with beta.start() as b:
        b.wait("node_started")
        with alpha.start() as a:
            started = a.wait("node_started")
            a.wait("peer_discovered", key=str(beta.key), source="known", ip=str(beta.host.ipv4))
            linked = a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))
            took_ms = (linked.received_at - started.received_at) * 1000
            measured(f"linked from memory {took_ms:.0f} ms after it was listening")


def test_who_lost_trust_is_not_dialed_from_memory(pair: tuple[LabNode, LabNode]) -> None:
    """Its line stays without effect, and falls out."""
    alpha, beta = pair
    alpha.peernet("trust", "remove", str(beta.key))
    beta.host.count_attempts()
    with beta.start() as b, alpha.start() as a:
        b.wait("node_started")
        a.wait("node_started")
        assert (a.terminate(), b.terminate()) == (0, 0)
        assert not a.seen("peer_discovered")
    assert beta.host.attempts == 0


def test_a_damaged_memory_is_no_reason_to_stop(pair: tuple[LabNode, LabNode]) -> None:
    """It is told once; what can be read in it counts."""
    alpha, beta = pair
    path = alpha.data_dir / "known_addresses"
    path.write_bytes(b"\xff\x00 garbage\n" + path.read_bytes())
    with beta.start() as b, alpha.start() as a:
        b.wait("node_started")
        a.wait("peer_connected", key=str(beta.key))
        assert a.report().count("known_addresses, line 1: no place; passed over") == 1
