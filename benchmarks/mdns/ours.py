"""`peernet-mdns`, driven as core drives it."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.mdns.recording import RecordingContext, Reported, StillNetwork
from peernet_core.addresses import Address
from peernet_core.contract import Announcement
from peernet_core.keys import Identity, PeerKey
from peernet_core.records import Record, encode_record
from peernet_mdns import MdnsDiscovery

__all__ = ["Ours"]


class Ours:
    """One backend instance and its context."""

    def __init__(self, report: Callable[[Reported], None]) -> None:
        self._identity = Identity.generate()
        self.key = self._identity.key
        self._network = StillNetwork()
        self._context = RecordingContext(self.key, self._network, report)
        self._backend = MdnsDiscovery()
        self._port = 0

    @property
    def known(self) -> int:
        """How many peers it knows."""
        return self._context.known

    async def start(self) -> None:
        """Listen and browse."""
        await self._backend.start(self._context)

    async def announce(self, port: int) -> None:
        """Make us known at that port."""
        self._port = port
        await self._announce(stopped=False)

    async def want(self, key: PeerKey) -> None:
        """Look for one peer."""
        await self._backend.resolve(key)

    async def stop(self) -> None:
        """Say goodbye, with the record that says so, and let go of everything."""
        if self._port:
            await self._announce(stopped=True)
        await self._backend.stop()
        await self._context.aclose()

    async def _announce(self, *, stopped: bool) -> None:
        ips = tuple(
            address.ip
            for interface in self._network.snapshot.interfaces
            for address in interface.addresses
            if not (address.is_loopback or address.is_link_local)
        )
        addresses = () if stopped else tuple(Address(ip, self._port) for ip in ips)
        sequence = time.time_ns() // 1000
        record = Record(self.key, sequence, self._port, addresses, stopped=stopped)
        data = encode_record(record, self._identity)
        announcement = Announcement(self._port, () if stopped else ips, data, self.key.alias)
        await self._backend.announce_self(announcement)
