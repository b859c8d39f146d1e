"""What the registry wants done; the switchboard carries it out, in order."""

from __future__ import annotations

import attrs

from peernet_core.addresses import Address
from peernet_core.decisions.agreement import ConnectionId
from peernet_core.decisions.frames import Dialback, Frame
from peernet_core.decisions.ledger import Candidate
from peernet_core.events import Event
from peernet_core.keys import PeerKey

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


@attrs.frozen
class Publish:
    """Tell the application."""

    event: Event


@attrs.frozen
class Dial:
    """Race these candidates, best first, until one is authenticated."""

    key: PeerKey
    candidates: tuple[Candidate, ...]


@attrs.frozen
class ExtendDial:
    """Add a candidate to the race that is on."""

    key: PeerKey
    candidate: Candidate


@attrs.frozen
class CancelDial:
    """Stop the race; what it had open closes."""

    key: PeerKey


@attrs.frozen
class SendFrame:
    """Queue a frame."""

    connection: ConnectionId
    frame: Frame


@attrs.frozen
class CloseConnection:
    """Close after what was queued has left."""

    connection: ConnectionId
    reason: str


@attrs.frozen
class Remember:
    """We dialed this address and the peer proved its key there."""

    key: PeerKey
    address: Address


@attrs.frozen
class Forget:
    """A key is no longer trusted: end its streams and handshakes too."""

    key: PeerKey


@attrs.frozen
class DialBack:
    """The peer asks us, over the link, to dial a stream that it opens."""

    key: PeerKey
    request: Dialback


@attrs.frozen
class LookUp:
    """Ask the backends where this peer is; `Registry.looked_up` when they have been asked."""

    key: PeerKey


@attrs.frozen
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
