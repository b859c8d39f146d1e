"""What the application is told. All are frozen values; DESIGN's table of events says when each is sent."""

from __future__ import annotations

import enum

from peernet_core.addresses import Address
from peernet_core.keys import PeerKey
from peernet_core.values import frozen

__all__ = [
    "BackendFailed",
    "BackendStarted",
    "BackendStatus",
    "Event",
    "IdentityConflict",
    "Lagged",
    "NodeStarted",
    "NodeStopped",
    "PeerConnected",
    "PeerDisconnected",
    "PeerDiscovered",
    "PeerDropped",
    "PeerLost",
    "PeerState",
    "PeerStatus",
    "PeerUnreachable",
    "Snapshot",
    "UnreachableReason",
]


class UnreachableReason(enum.StrEnum):
    """Why an address could not be turned into a link."""

    REFUSED = "refused"
    """Nobody listens there."""
    TIMEOUT = "timeout"
    """No answer in time; also a route that does not exist."""
    WRONG_KEY = "wrong_key"
    """Somebody else answered."""
    THEY_DO_NOT_TRUST_US = "they_do_not_trust_us"
    """The right peer answered, and most probably does not have our key in its trust list."""
    PROTOCOL = "protocol"
    """What answered does not speak peernet's link protocol."""


class PeerState(enum.StrEnum):
    """What the registry is doing about a trusted peer."""

    LINKED = "linked"
    DIALING = "dialing"
    WAITING = "waiting"
    """It has addresses; the next dial is due later."""
    UNSEEN = "unseen"
    """No address is known."""


@frozen
class PeerStatus:
    """One trusted peer as it stands now.

    Attributes:
        address: The link's remote address, else the best candidate, else None.
        since: Wall-clock time (Unix seconds) of the last change of state.
        addresses: Every live address, best first.
    """

    key: PeerKey
    label: str
    state: PeerState
    address: Address | None
    since: float
    addresses: tuple[Address, ...] = ()


@frozen
class BackendStatus:
    """One discovery backend as it stands now.

    Attributes:
        source: The table that configures it.
        backend: Its entry point's name.
        provider: Name, distribution and version, for people; may be empty.
        state: new, starting, running, waiting (it failed, and is started again), stopping, stopped or failed.
        since: Wall-clock time (Unix seconds) of the last start or failure.
        restarts: How often another instance took its place.
        error: The last failure; empty: none.
        resolves: Whether it runs and can be asked for a peer.
        sightings_per_minute: What it reported in the last minute.
    """

    source: str
    backend: str
    provider: str
    state: str
    since: float
    restarts: int = 0
    error: str = ""
    resolves: bool = False
    sightings_per_minute: int = 0


@frozen
class Snapshot:
    """All trusted peers at the moment of subscription; every later event follows it."""

    peers: tuple[PeerStatus, ...]


@frozen
class Lagged:
    """The reader was too slow: `missed` events were dropped. A fresh Snapshot follows."""

    missed: int


@frozen
class NodeStarted:
    """The acceptor is bound; backends start next."""

    key: PeerKey
    port: int
    addresses: tuple[Address, ...]


@frozen
class NodeStopped:
    """The last event."""


@frozen
class PeerDiscovered:
    """A trusted key's address became live through a source; never on a refresh."""

    key: PeerKey
    address: Address


@frozen
class PeerLost:
    """That source's last lease for the key ended."""

    key: PeerKey
    source: str


@frozen
class PeerDropped:
    """A stranger was seen; at most once per key and source in ten minutes."""

    key: PeerKey
    address: Address
    reason: str


@frozen
class PeerConnected:
    """The link is up on both sides."""

    key: PeerKey
    address: Address
    label: str


@frozen
class PeerDisconnected:
    """The link is gone."""

    key: PeerKey
    reason: str


@frozen
class IdentityConflict:
    """Two processes run with the key of this peer: a copied identity. It is refused for a minute."""

    key: PeerKey


@frozen
class PeerUnreachable:
    """Dialing this address failed; once per change of reason."""

    key: PeerKey
    address: Address
    reason: UnreachableReason


@frozen
class BackendStarted:
    """The backend listens."""

    source: str
    backend: str


@frozen
class BackendFailed:
    """The backend failed; `error` names the distribution and version where they are known."""

    source: str
    error: str


Event = (
    Snapshot
    | Lagged
    | NodeStarted
    | NodeStopped
    | PeerDiscovered
    | PeerLost
    | PeerDropped
    | PeerConnected
    | PeerDisconnected
    | PeerUnreachable
    | IdentityConflict
    | BackendStarted
    | BackendFailed
)
