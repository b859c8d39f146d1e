"""Which interfaces and addresses this host has now, and when that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface

import ifaddr

from peernet_core.addresses import Interface, NetworkSnapshot

__all__ = ["PolledNetwork", "read_network"]

_log = logging.getLogger(__name__)


def read_network() -> NetworkSnapshot:
    """Ask the system for its interfaces; takes well under a millisecond for a few of them.

    Returns:
        Interfaces that have an address, by index.

    Raises:
        OSError: the system does not say, for example when out of descriptors.
    """
    found: dict[str, tuple[int, list[IPv4Interface | IPv6Interface]]] = {}
    for adapter in ifaddr.get_adapters():
        # Linux labels further IPv4 addresses of one interface eth0:1; they are no interfaces.
        name = adapter.name.partition(":")[0]
        if adapter.index is None:  # gone since it was listed
            continue
        _, addresses = found.setdefault(name, (adapter.index, []))
        for ip in adapter.ips:
            if isinstance(ip.ip, tuple):
                addresses.append(IPv6Interface((ip.ip[0], ip.network_prefix)))
            else:
                addresses.append(IPv4Interface((ip.ip, ip.network_prefix)))
    # The system promises no order, and a change of order is no change.
    return NetworkSnapshot(
        tuple(
            Interface(name, index, tuple(dict.fromkeys(addresses)))
            for name, (index, addresses) in sorted(found.items(), key=lambda item: item[1][0])
        )
    )


class PolledNetwork:
    """A network monitor that looks again from time to time.

    When the system cannot say, the last snapshot stands: that a host has lost its network is a claim that
    nobody should make for want of a descriptor.

    Args:
        read: Where snapshots come from.
    """

    def __init__(self, read: Callable[[], NetworkSnapshot] = read_network) -> None:
        self._read = read
        self._snapshot = NetworkSnapshot()
        self._change = asyncio.Event()
        self._failing = False
        self.poll()

    @property
    def snapshot(self) -> NetworkSnapshot:
        """The newest state; never blocks."""
        return self._snapshot

    async def changed(self) -> NetworkSnapshot:
        """Wait for the next change and return the state after it."""
        await self._change.wait()
        return self._snapshot

    def poll(self) -> None:
        """Look now; never raises for what the system says or does not say."""
        try:
            snapshot = self._read()
        except Exception as error:  # noqa: BLE001 - ifaddr also asserts and decodes; any of it means: unknown
            if not self._failing:
                _log.warning("the network cannot be read, keeping what was known: %s", ascii(str(error)))
            self._failing = True
            return
        self._failing = False
        if snapshot != self._snapshot:
            self._snapshot = snapshot
            self._change.set()
            self._change = asyncio.Event()

    async def run(self, poll_s: float = 5.0) -> None:
        """Look again every `poll_s` seconds until cancelled."""
        while True:
            await asyncio.sleep(poll_s)
            self.poll()
