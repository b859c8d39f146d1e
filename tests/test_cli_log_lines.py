"""Log lines: for people, one line an event, with what to do where there is something to do."""

from __future__ import annotations

import typing

import pytest

from peernet_core.addresses import Address
from peernet_core.cli.log_lines import LogLines
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
    PeerUnreachable,
    Snapshot,
    UnreachableReason,
)
from peernet_core.keys import Identity, PeerKey

OURS = Identity.generate().key
KEY = Identity.generate().key
STRANGER = Identity.generate().key
ADDRESS = Address.parse("10.0.0.5:7100", source="lan")

LINES: list[tuple[Event, str]] = [
    (NodeStarted(OURS, 7100, (ADDRESS,)), f"started {OURS} on port 7100, reachable at 10.0.0.5"),
    (NodeStarted(OURS, 7100, ()), f"started {OURS} on port 7100"),
    (NodeStopped(), "stopped"),
    (BackendStarted("lan", "mdns"), "discovery lan started (mdns)"),
    (BackendStarted("mdns", "mdns"), "discovery mdns started"),
    (BackendFailed("lan", "no\nway"), r"discovery lan failed: no\nway"),
    (PeerDiscovered(KEY, ADDRESS), f"discovered {KEY.short} (kitchen) at 10.0.0.5:7100 through lan"),
    (PeerLost(KEY, "lan"), f"lost {KEY.short} (kitchen): nothing more of it through lan"),
    (
        PeerDropped(STRANGER, ADDRESS, "not trusted"),
        f"dropped 10.0.0.5:7100 through lan: not trusted; peernet trust add {STRANGER}",
    ),
    (PeerConnected(KEY, ADDRESS, "\x1bkitchen"), rf"connected {KEY.short} (\x1bkitchen) at 10.0.0.5:7100"),
    (PeerConnected(STRANGER, ADDRESS, ""), f"connected {STRANGER.short} at 10.0.0.5:7100"),
    (PeerDisconnected(KEY, "bye"), f"disconnected {KEY.short} (kitchen): bye"),
    (
        PeerUnreachable(KEY, ADDRESS, UnreachableReason.REFUSED),
        f"unreachable {KEY.short} (kitchen) at 10.0.0.5:7100: nobody listens there",
    ),
    (
        IdentityConflict(KEY),
        f"two processes run as {KEY.short} (kitchen), with a copied identity: refused for a minute",
    ),
    (Lagged(7), "7 events came too fast to show"),
]


def label(key: PeerKey) -> str:
    return "kitchen" if key == KEY else ""


@pytest.mark.parametrize(("event", "line"), LINES)
def test_each_event_has_its_line(event: Event, line: str) -> None:
    """A line says who, where and why; what came from elsewhere is escaped."""
    lines = LogLines(label)
    lines.line(NodeStarted(OURS, 7100, ()))
    assert lines.line(event) == line


def test_what_never_started_does_not_stop() -> None:
    """Why it failed is told elsewhere."""
    assert LogLines(label).line(NodeStopped()) is None


def test_every_kind_of_event_is_here() -> None:
    """An event that is added to the contract must be given its line; a snapshot is no news."""
    assert {type(event) for event, _ in LINES} == {*typing.get_args(Event)} - {Snapshot}
    assert LogLines(label).line(Snapshot(())) is None


def test_who_does_not_trust_us_is_told_how() -> None:
    """The line holds the command for the other side, with our key in it."""
    lines = LogLines(label)
    lines.line(NodeStarted(OURS, 7100, ()))
    line = lines.line(PeerUnreachable(KEY, ADDRESS, UnreachableReason.THEY_DO_NOT_TRUST_US))
    assert line is not None
    assert line.endswith(f"it does not trust us; over there: peernet trust add {OURS}")


@pytest.mark.parametrize("reason", UnreachableReason)
def test_every_reason_has_words(reason: UnreachableReason) -> None:
    """No reason is missing, also before our own key is known."""
    line = LogLines(label).line(PeerUnreachable(KEY, ADDRESS, reason))
    assert line is not None
    assert len(line.rpartition(": ")[2]) > len("no")
