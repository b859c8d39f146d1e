"""What to do about somebody who was seen: the application's word on whom to link with."""

from __future__ import annotations

import enum
from typing import Protocol

from peernet_core.addresses import Address
from peernet_core.keys import PeerKey

__all__ = ["Decision", "Policy", "TrustedOnly"]


class Decision(enum.Enum):
    """What becomes of a sighting."""

    DIAL = "dial"
    """Link with the peer."""
    KEEP = "keep"
    """Know where the peer is, and leave it to the other end, or to a later decision, to dial."""
    DROP = "drop"
    """Report it once as a stranger, and do nothing."""


class Policy(Protocol):
    """Decides about each key and address; asked again whenever something about them changes.

    Decisions cannot widen trust: only a key in the trust list is ever dialed or let in, so DIAL for any other
    counts as DROP.
    """

    def decide(self, key: PeerKey, address: Address, *, trusted: bool) -> Decision:
        """Say what to do; called on the loop's thread, so it must not block.

        Args:
            key: Who is said to be there; not proven before the handshake.
            address: Where, and by which source.
            trusted: Whether the key is in the trust list.
        """
        ...


class TrustedOnly:
    """Dial whoever is trusted, drop the rest: the default."""

    def decide(self, key: PeerKey, address: Address, *, trusted: bool) -> Decision:  # noqa: ARG002 - the signature is the protocol's
        """Dial the trusted ones."""
        return Decision.DIAL if trusted else Decision.DROP
