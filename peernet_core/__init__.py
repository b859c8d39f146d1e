"""Find the peers that you trust on whatever network you share, and keep an authenticated link to them.

Everything public is importable from here; each name's module is loaded when it is first asked for, so that
a short command does not pay for the whole node.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peernet_core.addresses import Address, Interface, NetworkSnapshot
    from peernet_core.configuration.config import Config
    from peernet_core.configuration.entrypoints import Backend
    from peernet_core.configuration.options import Secret
    from peernet_core.contract import (
        Announcement,
        Context,
        DiscoverySpec,
        NetworkMonitor,
        Sighting,
        ThreadContext,
        hookimpl,
    )
    from peernet_core.decisions.explanation import ExplainedAddress, Explanation
    from peernet_core.errors import (
        BackendError,
        ConfigurationError,
        MalformedAddressError,
        MalformedKeyError,
        NodeClosedError,
        PeerNetError,
        PeerNotTrustedError,
        PeerUnreachableError,
        ProtocolRefusedError,
        StorageError,
    )
    from peernet_core.events import (
        BackendFailed,
        BackendStarted,
        BackendStatus,
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
    from peernet_core.keys import Identity, PeerKey
    from peernet_core.links.stream import Stream
    from peernet_core.node import Node
    from peernet_core.policy import Decision, Policy, TrustedOnly
    from peernet_core.trust import TrustedPeer, TrustList

__version__ = "0.1.0"

__all__ = [
    "Address",
    "Announcement",
    "Backend",
    "BackendError",
    "BackendFailed",
    "BackendStarted",
    "BackendStatus",
    "Config",
    "ConfigurationError",
    "Context",
    "Decision",
    "DiscoverySpec",
    "Event",
    "ExplainedAddress",
    "Explanation",
    "Identity",
    "IdentityConflict",
    "Interface",
    "Lagged",
    "MalformedAddressError",
    "MalformedKeyError",
    "NetworkMonitor",
    "NetworkSnapshot",
    "Node",
    "NodeClosedError",
    "NodeStarted",
    "NodeStopped",
    "PeerConnected",
    "PeerDisconnected",
    "PeerDiscovered",
    "PeerDropped",
    "PeerKey",
    "PeerLost",
    "PeerNetError",
    "PeerNotTrustedError",
    "PeerState",
    "PeerStatus",
    "PeerUnreachable",
    "PeerUnreachableError",
    "Policy",
    "ProtocolRefusedError",
    "Secret",
    "Sighting",
    "Snapshot",
    "StorageError",
    "Stream",
    "ThreadContext",
    "TrustList",
    "TrustedOnly",
    "TrustedPeer",
    "UnreachableReason",
    "hookimpl",
]

_MODULES = {
    "addresses": "Address Interface NetworkSnapshot",
    "configuration.config": "Config",
    "contract": "Announcement Context DiscoverySpec NetworkMonitor Sighting ThreadContext hookimpl",
    "configuration.entrypoints": "Backend",
    "decisions.explanation": "ExplainedAddress Explanation",
    "errors": (
        "BackendError ConfigurationError MalformedAddressError MalformedKeyError NodeClosedError "
        "PeerNetError PeerNotTrustedError PeerUnreachableError ProtocolRefusedError StorageError"
    ),
    "events": (
        "BackendFailed BackendStarted BackendStatus Event IdentityConflict Lagged NodeStarted NodeStopped "
        "PeerConnected "
        "PeerDisconnected PeerDiscovered PeerDropped PeerLost PeerState PeerStatus PeerUnreachable Snapshot "
        "UnreachableReason"
    ),
    "keys": "Identity PeerKey",
    "node": "Node",
    "configuration.options": "Secret",
    "policy": "Decision Policy TrustedOnly",
    "links.stream": "Stream",
    "trust": "TrustList TrustedPeer",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
