"""The inbox: responses that were taken from the sockets and wait to be looked into.

Reading a packet takes a few microseconds, looking into it ten times that. A crowd that answers within a tenth
of a second overflows a socket's buffer in no time, so sockets are emptied first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import attrs
from zeroconf import DNSIncoming, DNSRecord

from peernet_mdns.gate import MAPPED, Sender

__all__ = ["Inbox", "ReceiveRecords", "SocketAddress"]

_LOG: Final = logging.getLogger(__name__)
_CAPACITY: Final = 16_384
"""Packets; of a crowd's usual size they take 10 MB."""
_SLICE_S: Final = 0.002
"""How long the sockets may be left alone."""
_BUSY_S: Final = 0.005
"""How long everything else waits, again and again, while a socket holds more than one wake-up reads."""

ReceiveRecords = Callable[[Sequence[DNSRecord], Sender, bool], None]
"""Takes the records of one response, who sent it, and whether it answers a legacy query."""
SocketAddress = tuple[str, int] | tuple[str, int, int, int]


@attrs.define(eq=False)
class Inbox:
    """Holds responses for as long as others wait in the sockets; the same one twice counts once.

    Attributes:
        receive: Gets the records of each, in order.
        counts: What was dropped, by reason.
    """

    receive: ReceiveRecords
    counts: Counter[str] = attrs.field(factory=Counter)
    _waiting: OrderedDict[tuple[bytes, str], tuple[SocketAddress, Sender, bool]] = attrs.field(
        init=False, factory=OrderedDict
    )
    _next: asyncio.Handle | None = attrs.field(init=False, default=None)
    _busy_until: float = attrs.field(init=False, default=0.0)

    @property
    def is_busy(self) -> bool:
        """Whether the sockets hold so much that nothing else should keep them waiting."""
        return asyncio.get_running_loop().time() < self._busy_until

    def put(self, data: bytes, address: SocketAddress, sender: Sender, *, legacy: bool) -> None:
        """Keep a response; when there is no room it is dropped and counted."""
        key = data, address[0].removeprefix(MAPPED)
        if key in self._waiting:  # asked both ways, many answer both ways
            return
        if len(self._waiting) >= _CAPACITY:
            self.counts["inbox_full"] += 1
            return
        self._waiting[key] = address, sender, legacy

    def work(self, *, more: bool = False) -> None:
        """Look into what is here, for two milliseconds; what is left has its turn after the sockets.

        Args:
            more: Whether the socket holds still more: then it is read on first, for a few milliseconds.
        """
        if more:
            loop = asyncio.get_running_loop()
            self._busy_until = loop.time() + _BUSY_S
            if self._next is None:
                self._next = loop.call_at(self._busy_until, self._work)
        elif self._next is None:
            self._work()

    def close(self) -> None:
        """Drop what is left."""
        self._waiting.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _work(self) -> None:
        self._next = None
        loop = asyncio.get_running_loop()
        until = loop.time() + _SLICE_S
        while self._waiting:
            (data, _), (address, sender, legacy) = self._waiting.popitem(last=False)
            self._look_into(data, address, sender, legacy, now=loop.time())
            if self._waiting and loop.time() >= until:
                self._next = (
                    loop.call_later(_BUSY_S, self._work) if self.is_busy else loop.call_soon(self._work)
                )
                return

    def _look_into(
        self, data: bytes, address: SocketAddress, sender: Sender, legacy: bool, *, now: float
    ) -> None:
        scope = address[3] if len(address) == 4 else 0  # noqa: PLR2004 - an IPv6 socket's address
        try:
            message = DNSIncoming(data, (address[0], address[1]), scope or None, now * 1000.0)
            if message.valid:
                self.receive(message.answers(), sender, legacy)
            else:
                self.counts["malformed"] += 1
        except Exception as error:  # noqa: BLE001 - no packet may end the reading of others
            self.counts["packets_failed"] += 1
            _LOG.debug("a packet from %a could not be read: %s", address[0], ascii(repr(error)))
