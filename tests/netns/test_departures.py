"""How soon the other side knows that a node has gone, and links with it when it is back."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from peernet_core.testing.lab import LabNode, Laboratory

pytestmark = pytest.mark.netns


@pytest.fixture
def pair(lab: Laboratory) -> tuple[LabNode, LabNode]:
    """Two nodes, each with the other as a configured peer."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    alpha.configure(trust=[beta], peers={beta: str(beta.host.ipv4)})
    beta.configure(trust=[alpha], peers={alpha: str(alpha.host.ipv4)})
    return alpha, beta


def test_a_clean_stop_is_known_at_once(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """SIGTERM to one: the other prints peer_disconnected, and the first ends with status 0."""
    alpha, beta = pair
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        stopped_at = time.monotonic()
        assert b.terminate() == 0
        line = a.wait("peer_disconnected", key=str(beta.key), guard_s=5)
        measured(f"SIGTERM was known after {(line.received_at - stopped_at) * 1000:.0f} ms (aim: 500)")
        assert [line.event for line in b.lines][-1] == "node_stopped"


def test_a_killed_node_is_linked_again_when_it_is_back(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """SIGKILL and a restart on the same data directory: both sides link again."""
    alpha, beta = pair
    with alpha.start() as a:
        with beta.start() as b:
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))
            since = a.mark()
        with beta.start() as b:
            again = b.wait("peer_connected", key=str(alpha.key))
            gone = a.wait("peer_disconnected", key=str(beta.key), since=since)
            back = a.wait("peer_connected", key=str(beta.key), since=gone.number)
            took = max(back.received_at, again.received_at) - b.started_at
            measured(f"linked again {took * 1000:.0f} ms after the process was started (aim: 2000)")


def test_a_machine_that_lost_power_is_linked_again_when_it_is_back(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """It told nobody; the other side believes in the old link until the new process dials it."""
    alpha, beta = pair
    with alpha.start() as a:
        with beta.start() as b:
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))
            since = a.mark()
            beta.host.power_off()
        assert not a.seen("peer_disconnected"), a.report()
        beta.host.power_on()
        with beta.start() as b:
            listening = b.wait("node_started")
            again = b.wait("peer_connected", key=str(alpha.key))
            back = a.wait("peer_connected", key=str(beta.key), since=since)
            took = max(back.received_at, again.received_at) - listening.received_at
            measured(f"power lost and back: linked {took * 1000:.0f} ms after it listened (aim: 1000)")
            a.wait("peer_disconnected", since=since)


def test_both_killed_at_once_link_again(pair: tuple[LabNode, LabNode]) -> None:
    """Nothing that either kept in its data directory stands in the way."""
    alpha, beta = pair
    for _ in range(2):
        with alpha.start() as a, beta.start() as b:
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))


@pytest.mark.soak
def test_a_pulled_cable_is_noticed_and_forgotten_when_it_is_back(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """Without a goodbye a dead link is noticed by its silence, and made anew when the cable is back."""
    alpha, beta = pair
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        pulled_at = time.monotonic()
        beta.host.unplug()
        gone = [process.wait("peer_disconnected", guard_s=60) for process in (a, b)]
        took = max(line.received_at for line in gone) - pulled_at
        measured(f"a pulled cable was noticed after {took:.1f} s (aim: 15)")
        beta.host.plug_in()
        for process, line in zip((a, b), gone, strict=True):
            process.wait("peer_connected", since=line.number, guard_s=60)
