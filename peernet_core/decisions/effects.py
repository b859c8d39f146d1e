"""What the registry wants done; the switchboard carries it out, in order."""

from __future__ import annotations

from peernet_core.addresses import Address
from peernet_core.decisions.agreement import ConnectionId
from peernet_core.decisions.frames import Dialback, Frame
from peernet_core.decisions.ledger import Candidate
from peernet_core.events import Event
from peernet_core.keys import PeerKey
from peernet_core.values import frozen

__all__ = [
    "CancelDial",
    "CloseConnection",
    "Dial",
    "DialBack",
    "Effect",
    "ExtendDial",
    "Forget",
    "LookUp",
    "Publish",
    "RaiseSequence",
    "Remember",
    "SendFrame",
]


@frozen
class Publish:
    """Tell the application."""

    event: Event


@frozen
class Dial:
    """Race these candidates, best first, until one is authenticated."""

    key: PeerKey
    candidates: tuple[Candidate, ...]


@frozen
class ExtendDial:
    """Add a candidate to the race that is on."""

    key: PeerKey
    candidate: Candidate


@frozen
class CancelDial:
    """Stop the race; what it had open closes."""

    key: PeerKey


@frozen
class SendFrame:
    """Queue a frame."""

    connection: ConnectionId
    frame: Frame


@frozen
class CloseConnection:
    """Close after what was queued has left."""

    connection: ConnectionId
    reason: str


@frozen
class Remember:
    """We dialed this address and the peer proved its key there."""

    key: PeerKey
    address: Address


@frozen
class Forget:
    """A key is no longer trusted: end its streams and handshakes too."""

    key: PeerKey


@frozen
class DialBack:
    """The peer asks us, over the link, to dial a stream that it opens."""

    key: PeerKey
    request: Dialback


@frozen
class LookUp:
    """Ask the backends where this peer is; `Registry.looked_up` when they have been asked."""

    key: PeerKey


@frozen
class RaiseSequence:
    """Somebody holds a higher sequence of ours than we do: go above it and announce again."""

    above: int


Effect = (
    Publish
    | Dial
    | ExtendDial
    | CancelDial
    | DialBack
    | SendFrame
    | CloseConnection
    | Forget
    | LookUp
    | RaiseSequence
    | Remember
)
