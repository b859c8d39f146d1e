"""Events as JSON objects, one a line, for a program that runs `peernet run --json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from peernet_core.addresses import Address
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
    PeerUnreachable,
    Snapshot,
)
from peernet_core.keys import PeerKey

__all__ = ["JsonLines", "address_object"]

# An object has the event's own fields, but for an address, which becomes ip, port and, here, source.
_NAMES: Final[Mapping[type, str]] = {
    NodeStarted: "node_started",
    NodeStopped: "node_stopped",
    BackendStarted: "backend_started",
    BackendFailed: "backend_failed",
    PeerDiscovered: "peer_discovered",
    PeerLost: "peer_lost",
    PeerDropped: "peer_dropped",
    PeerConnected: "peer_connected",
    PeerDisconnected: "peer_disconnected",
    PeerUnreachable: "peer_unreachable",
    IdentityConflict: "identity_conflict",
    Lagged: "events_lagged",
}
_WITH_SOURCE: Final = frozenset({PeerDiscovered, PeerDropped})


class JsonLines:
    """Turns events into lines.

    After a lag the links that came up or went down unheard are made up for from the snapshot that follows, as
    ordinary lines: a reader that believes the lines always ends with the right links.
    """

    def __init__(self) -> None:
        self._linked: set[PeerKey] = set()
        self._lagged = False

    def lines(self, event: Event, *, t: float) -> Iterator[str]:
        """The lines for an event, without their ends.

        Args:
            event: The next one of a subscription.
            t: When it was heard, in Unix seconds.
        """
        match event:
            case Snapshot():
                for change in self._missed_changes(event):
                    yield _line(change, t)
            case PeerConnected(key=key):
                self._linked.add(key)
                yield _line(event, t)
            case PeerDisconnected(key=key):
                self._linked.discard(key)
                yield _line(event, t)
            case _:
                yield _line(event, t)

    def _missed_changes(self, snapshot: Snapshot) -> Iterator[PeerConnected | PeerDisconnected]:
        linked = {peer.key: peer for peer in snapshot.peers if peer.state is PeerState.LINKED}
        for key in sorted(self._linked - linked.keys()):
            yield PeerDisconnected(key, "not heard")
        for key, peer in linked.items():
            if key not in self._linked and peer.address is not None:
                yield PeerConnected(key, peer.address, peer.label)
        self._linked = set(linked)


def address_object(address: Address) -> dict[str, object]:
    """An address as it stands in an object; an IPv6 zone as in ``fe80::1%eth0``."""
    return {"ip": address.host, "port": address.port}


def _line(event: Event, t: float) -> str:
    shown: dict[str, object] = {"t": t, "event": _NAMES[type(event)]}
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        match value:
            case Address():
                shown |= address_object(value)
                if type(event) in _WITH_SOURCE:
                    shown["source"] = value.source
            case PeerKey():
                shown[field.name] = str(value)
            case tuple():
                shown[field.name] = [str(item) for item in value]
            case _:
                shown[field.name] = value
    return json.dumps(shown)
