"""Events as lines for a person who reads a log, or looks at what passes above the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from peernet_core.cli.output import escape
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
from peernet_core.keys import PeerKey

__all__ = ["LogLines"]

_News = (
    NodeStarted
    | NodeStopped
    | BackendStarted
    | BackendFailed
    | PeerDiscovered
    | PeerLost
    | PeerDropped
    | PeerConnected
    | PeerDisconnected
    | PeerUnreachable
    | IdentityConflict
    | Lagged
)
_WHY: Final = {
    UnreachableReason.REFUSED: "nobody listens there",
    UnreachableReason.TIMEOUT: "no answer",
    UnreachableReason.WRONG_KEY: "somebody else answered",
    UnreachableReason.THEY_DO_NOT_TRUST_US: "it does not trust us",
    UnreachableReason.PROTOCOL: "what answered does not speak peernet",
}


class LogLines:
    """Says in a line what happened. The text is safe on a terminal.

    Args:
        label: What the person calls a key; may be empty.
    """

    def __init__(self, label: Callable[[PeerKey], str]) -> None:
        self._label = label
        self._ours: PeerKey | None = None

    def line(self, event: Event) -> str | None:
        """Describe the next event; None: it is no news."""
        if isinstance(event, Snapshot):
            return None
        if isinstance(event, NodeStopped) and self._ours is None:
            return None  # it never started, and why is said elsewhere
        if isinstance(event, NodeStarted):
            self._ours = event.key
        return escape(self._text(event))

    def _text(self, event: _News) -> str:  # noqa: C901 - one case for each event
        match event:
            case NodeStarted(key, port, addresses):
                hosts = ", ".join(address.host for address in addresses)
                text = f"started {key} on port {port}{f', reachable at {hosts}' if hosts else ''}"
            case NodeStopped():
                text = "stopped"
            case BackendStarted(source, backend):
                text = f"discovery {source} started{'' if backend == source else f' ({backend})'}"
            case BackendFailed(source, error):
                text = f"discovery {source} failed: {error}"
            case PeerDiscovered(key, address):
                text = f"discovered {self._who(key)} at {address} through {address.source}"
            case PeerLost(key, source):
                text = f"lost {self._who(key)}: nothing more of it through {source}"
            case PeerDropped(key, address, reason):
                text = f"dropped {address} through {address.source}: {reason}; peernet trust add {key}"
            case PeerConnected(key, address, label):
                text = f"connected {_named(key, label)} at {address}"
            case PeerDisconnected(key, reason):
                text = f"disconnected {self._who(key)}: {reason}"
            case PeerUnreachable(key, address, reason):
                text = f"unreachable {self._who(key)} at {address}: {self._why(reason)}"
            case IdentityConflict(key):
                text = f"two processes run as {self._who(key)}, with a copied identity: refused for a minute"
            case Lagged(missed):
                text = f"{missed} events came too fast to show"
        return text

    def _who(self, key: PeerKey) -> str:
        return _named(key, self._label(key))

    def _why(self, reason: UnreachableReason) -> str:
        if reason is UnreachableReason.THEY_DO_NOT_TRUST_US and self._ours is not None:
            return f"it does not trust us; over there: peernet trust add {self._ours}"
        return _WHY[reason]


def _named(key: PeerKey, label: str) -> str:
    return f"{key.short} ({label})" if label else key.short
