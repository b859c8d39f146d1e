"""Stock python-zeroconf: a browser, a service, and a request for what is incomplete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Final

from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from benchmarks.mdns.packets import TYPE_NAME
from benchmarks.mdns.recording import Reported
from peernet_core.addresses import Address
from peernet_core.errors import MalformedRecordError
from peernet_core.keys import Identity, PeerKey
from peernet_core.network import read_network
from peernet_core.records import Record, decode_record, encode_record

__all__ = ["Stock"]

_REQUEST_MS: Final = 3000
_WANT_MS: Final = 30_000
_MAX_REQUESTS: Final = 256
"""At a time; without a limit a flood takes all memory, and the machine with it."""


class Stock:
    """One `AsyncZeroconf`.

    Args:
        report: Called with each change.
        cooperating: Register without probing, which is ten times as fast and is not the default.
    """

    def __init__(self, report: Callable[[Reported], None], *, cooperating: bool) -> None:
        self._identity = Identity.generate()
        self.key = self._identity.key
        self._report = report
        self._cooperating = cooperating
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, tuple[PeerKey, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._info: AsyncServiceInfo | None = None
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        ips = [
            (interface, address)
            for interface in read_network().interfaces
            if interface.name == "eth0"
            for address in interface.addresses
        ]
        self._addresses = [address.ip for _, address in ips if not address.is_link_local]
        self._interfaces: list[str | int | tuple[tuple[str, int, int], int]] = [
            *(str(address.ip) for _, address in ips[:1]),
            ips[0][0].index,
        ]
        assert ip_interface(str(ips[0][1])).version == 4

    @property
    def known(self) -> int:
        """How many peers it knows."""
        return len(self._known)

    async def start(self) -> None:
        """Listen and browse."""
        self._zeroconf = AsyncZeroconf(interfaces=self._interfaces, ip_version=IPVersion.All)
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, TYPE_NAME, handlers=[self._changed])

    async def announce(self, port: int) -> None:
        """Make us known at that port."""
        assert self._zeroconf is not None
        addresses = tuple(Address(ip, port) for ip in self._addresses)
        record = encode_record(Record(self.key, time.time_ns() // 1000, port, addresses), self._identity)
        info = AsyncServiceInfo(
            TYPE_NAME,
            f"{self.key.alias}.{TYPE_NAME}",
            port=port,
            properties={"txtvers": "1", "record": record},
            server=f"{self.key.alias}.local.",
            parsed_addresses=[str(ip) for ip in self._addresses],
        )
        if self._info is None:
            await self._zeroconf.async_register_service(info, cooperating_responders=self._cooperating)
        else:
            await self._zeroconf.async_update_service(info)
        self._info = info

    async def want(self, key: PeerKey) -> None:
        """Ask for one peer by its name, for half a minute."""
        await self._request(f"{key.alias}.{TYPE_NAME}", _WANT_MS)

    async def stop(self) -> None:
        """Say goodbye and let go of everything."""
        assert self._zeroconf is not None
        assert self._browser is not None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._info is not None:
            await (await self._zeroconf.async_unregister_service(self._info))
        await self._browser.async_cancel()
        await self._zeroconf.async_close()

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            known = self._known.pop(name, None)
            if known is not None:
                self._report(Reported("lost", self._loop.time(), known[0]))
            return
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf) and self._take(info):
            return
        if len(self._tasks) < _MAX_REQUESTS:
            task = self._loop.create_task(self._request(name, _REQUEST_MS))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _request(self, name: str, timeout_ms: int) -> None:
        assert self._zeroconf is not None
        info = AsyncServiceInfo(TYPE_NAME, name)
        if await info.async_request(self._zeroconf.zeroconf, timeout_ms):
            self._take(info)

    def _take(self, info: AsyncServiceInfo) -> bool:
        """Report it if it is new; False when it is not complete yet."""
        data = info.properties.get(b"record")
        if not data or not info.port:
            return False
        try:
            key = decode_record(data).record.key
        except MalformedRecordError:
            return True
        if key != self.key and self._known.get(info.name) != (key, info.port):
            self._known[info.name] = (key, info.port)
            self._report(Reported("seen", self._loop.time(), key, info.port))
        return True
