"""Stock python-zeroconf: its browser, its look-up, its registration, as its documentation shows them."""

from __future__ import annotations

import asyncio

from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from benchmarks.scoreboard.programs.tls_links import Address, Links

__all__ = ["ZeroconfFinder"]

_REQUEST_MS = 3000


class ZeroconfFinder:
    """One `AsyncZeroconf`.

    Args:
        service: The service's type.
        ip: Our address.
    """

    def __init__(self, service: str, ip: str) -> None:
        self._type = f"{service}.local."
        self._ip = ip
        self._zeroconf: AsyncZeroconf | None = None
        self._known: set[str] = set()

    async def find(self, name: str) -> Address | None:
        """Where that peer is: from the cache, or asked for."""
        assert self._zeroconf is not None
        info = AsyncServiceInfo(self._type, f"{name}.{self._type}")
        if name not in self._known or not await info.async_request(self._zeroconf.zeroconf, _REQUEST_MS):
            return None
        addresses = info.parsed_addresses(IPVersion.V4Only)
        return (addresses[0], info.port) if addresses and info.port else None

    async def run(self, name: str, port: int, links: Links) -> None:
        """Browse, register, and go on."""
        self._zeroconf = AsyncZeroconf()

        def changed(
            zeroconf: Zeroconf,  # noqa: ARG001 - zeroconf passes these by name
            service_type: str,
            name: str,
            state_change: ServiceStateChange,
        ) -> None:
            found = name.removesuffix(f".{service_type}")
            if state_change is ServiceStateChange.Removed:
                self._known.discard(found)
            else:
                self._known.add(found)
                links.found(found)

        browser = AsyncServiceBrowser(self._zeroconf.zeroconf, self._type, handlers=[changed])
        info = AsyncServiceInfo(
            self._type,
            f"{name}.{self._type}",
            port=port,
            properties={"txtvers": "1"},
            server=f"{name}.local.",
            parsed_addresses=[self._ip],
        )
        await self._zeroconf.async_register_service(info)
        await asyncio.Event().wait()
        await browser.async_cancel()
