"""Where a test takes place: what its nodes share, and what a backend's options can name."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

import attrs

from peernet_core.addresses import Address, Interface, NetworkSnapshot
from peernet_core.keys import Identity, PeerKey
from peernet_core.testing.broadcast import BroadcastMedium

__all__ = ["FixedNetwork", "Place"]

_ETHERNET = NetworkSnapshot((Interface("eth0", 1, (ip_interface("192.0.2.1/24"),)),))
_NOWHERE = Address(IPv4Address("192.0.2.250"), 7250)


class FixedNetwork:
    """A network monitor that says what the test wants.

    Args:
        snapshot: What it says at first; the default is one interface at an address that is nobody's.
    """

    def __init__(self, snapshot: NetworkSnapshot = _ETHERNET) -> None:
        self._snapshot = snapshot
        self._change = asyncio.Event()

    @property
    def snapshot(self) -> NetworkSnapshot:
        """See `NetworkMonitor.snapshot`."""
        return self._snapshot

    async def changed(self) -> NetworkSnapshot:
        """See `NetworkMonitor.changed`."""
        await self._change.wait()
        return self._snapshot

    def become(self, snapshot: NetworkSnapshot) -> None:
        """Change, and wake whoever waits."""
        self._snapshot = snapshot
        self._change.set()
        self._change = asyncio.Event()


@attrs.define(eq=False)
class Place:
    """What all nodes of one test share.

    Attributes:
        folder: Empty at first.
        medium: A simulated broadcast medium, with a name.
        network: What the nodes are told of the network.
        peer, address: Somebody trusted, for backends that are told of peers and do not announce.
    """

    folder: Path
    medium: BroadcastMedium = attrs.Factory(BroadcastMedium)
    network: FixedNetwork = attrs.Factory(FixedNetwork)
    peer: PeerKey = attrs.field(factory=lambda: Identity.generate().key)
    address: Address = _NOWHERE
