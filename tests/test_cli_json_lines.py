"""`run --json`: the objects that programs rely on, exactly."""

from __future__ import annotations

import json
import typing

import pytest

from peernet_core.addresses import Address
from peernet_core.cli.json_lines import JsonLines
from peernet_core.events import (
    BackendFailed,
    BackendStarted,
    Event,
    IdentityConflict,
    Lagged,
    NodeStarted,
    NodeStopped,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerDropped,
    PeerLost,
    PeerState,
    PeerStatus,
    PeerUnreachable,
    Snapshot,
    UnreachableReason,
)
from peernet_core.keys import Identity

KEY = Identity.generate().key
OTHER = Identity.generate().key
V4 = Address.parse("10.0.0.5:7100", source="lan")
V6 = Address.parse("[fe80::1%eth0]:7100", source="lan")

OBJECTS: list[tuple[Event, dict[str, object]]] = [
    (
        NodeStarted(KEY, 7100, (V4, V6)),
        {
            "event": "node_started",
            "key": str(KEY),
            "port": 7100,
            "addresses": ["10.0.0.5:7100", "[fe80::1%eth0]:7100"],
        },
    ),
    (BackendStarted("lan", "mdns"), {"event": "backend_started", "source": "lan", "backend": "mdns"}),
    (BackendFailed("lan", "no"), {"event": "backend_failed", "source": "lan", "error": "no"}),
    (
        PeerDiscovered(KEY, V6),
        {"event": "peer_discovered", "key": str(KEY), "ip": "fe80::1%eth0", "port": 7100, "source": "lan"},
    ),
    (PeerLost(KEY, "lan"), {"event": "peer_lost", "key": str(KEY), "source": "lan"}),
    (
        PeerDropped(KEY, V4, "not trusted"),
        {
            "event": "peer_dropped",
            "key": str(KEY),
            "ip": "10.0.0.5",
            "port": 7100,
            "source": "lan",
            "reason": "not trusted",
        },
    ),
    (
        PeerConnected(KEY, V4, "küche"),
        {"event": "peer_connected", "key": str(KEY), "ip": "10.0.0.5", "port": 7100, "label": "küche"},
    ),
    (PeerDisconnected(KEY, "bye"), {"event": "peer_disconnected", "key": str(KEY), "reason": "bye"}),
    (IdentityConflict(KEY), {"event": "identity_conflict", "key": str(KEY)}),
    (
        PeerUnreachable(KEY, V4, UnreachableReason.THEY_DO_NOT_TRUST_US),
        {
            "event": "peer_unreachable",
            "key": str(KEY),
            "ip": "10.0.0.5",
            "port": 7100,
            "reason": "they_do_not_trust_us",
        },
    ),
    (Lagged(7), {"event": "events_lagged", "missed": 7}),
    (NodeStopped(), {"event": "node_stopped"}),
]


def heard(lines: JsonLines, event: Event) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.lines(event, t=12.5)]


@pytest.mark.parametrize(("event", "shown"), OBJECTS, ids=[str(shown["event"]) for _, shown in OBJECTS])
def test_each_event_has_its_object(event: Event, shown: dict[str, object]) -> None:
    """One line each, with the time first, and nothing in it that was not promised."""
    (line,) = JsonLines().lines(event, t=12.5)
    assert json.loads(line) == {"t": 12.5, **shown}
    assert list(json.loads(line))[:2] == ["t", "event"]
    assert line.isascii()


def test_every_kind_of_event_is_here() -> None:
    """An event that is added to the contract must be given its object."""
    assert {type(event) for event, _ in OBJECTS} == {*typing.get_args(Event)} - {Snapshot}


def status(state: PeerState) -> PeerStatus:
    return PeerStatus(OTHER, "garden", state, V4, since=0.0)


def test_a_snapshot_alone_says_nothing() -> None:
    """At the start nobody is linked, and nothing is printed for it."""
    assert heard(JsonLines(), Snapshot(())) == []
    assert heard(JsonLines(), Snapshot((status(PeerState.DIALING),))) == []


def test_links_missed_in_a_lag_are_made_up_for() -> None:
    """Who reads the lines ends with the right links, whatever was dropped in between."""
    lines = JsonLines()
    heard(lines, PeerConnected(KEY, V4, ""))
    heard(lines, Lagged(3))
    made_up = heard(lines, Snapshot((status(PeerState.LINKED),)))
    assert [(line["event"], line["key"]) for line in made_up] == [
        ("peer_disconnected", str(KEY)),
        ("peer_connected", str(OTHER)),
    ]
    assert made_up[1] == {
        "t": 12.5,
        "event": "peer_connected",
        "key": str(OTHER),
        "ip": "10.0.0.5",
        "port": 7100,
        "label": "garden",
    }
    assert heard(lines, Snapshot((status(PeerState.LINKED),))) == []
    heard(lines, PeerDisconnected(OTHER, "bye"))
    assert heard(lines, Snapshot(())) == []
