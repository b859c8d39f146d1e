"""The inbox: responses that were taken from the sockets and wait to be looked into.

Reading a packet takes a few microseconds, looking into it ten times that. A crowd that answers within a tenth
of a second overflows a socket's buffer in no time, so sockets are emptied first. Senders take turns: whoever
sends most waits longest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

import attrs
from zeroconf import DNSIncoming, DNSRecord

from peernet_mdns.gate import MAPPED, Sender

__all__ = ["Inbox", "ReceiveRecords", "SocketAddress"]

_LOG: Final = logging.getLogger(__name__)
_MAX_BYTES: Final = 8 * 1024 * 1024
"""What may wait in all; the answers of 16,000 peers."""
_MAX_BYTES_OF_NEW: Final = 12 * 1024 * 1024
"""The same for somebody of whom nothing waits: a flood of others does not keep them out."""
_MAX_OF_ONE: Final = 256
"""Packets of one sender."""
_SLICE_S: Final = 0.0005
"""How long the sockets may be left alone."""
_BUSY_S: Final = 0.005
"""How long everything else waits, again and again, while a socket holds more than one wake-up reads."""

ReceiveRecords = Callable[[Sequence[DNSRecord], Sender, bool], None]
"""Takes the records of one response, who sent it, and whether it answers a legacy query."""
SocketAddress = tuple[str, int] | tuple[str, int, int, int]
_Packet = tuple[bytes, SocketAddress, Sender, bool]


@attrs.define(eq=False)
class Inbox:
    """Holds responses for as long as others wait in the sockets.

    Attributes:
        receive: Gets the records of each; of one sender in order.
        counts: What was dropped, by reason.
    """

    receive: ReceiveRecords
    counts: Counter[str] = attrs.field(factory=Counter)
    _waiting: OrderedDict[str, deque[_Packet]] = attrs.field(init=False, factory=OrderedDict)
    _bytes: int = attrs.field(init=False, default=0)
    _next: asyncio.Handle | None = attrs.field(init=False, default=None)
    _busy_until: float = attrs.field(init=False, default=0.0)

    @property
    def is_busy(self) -> bool:
        """Whether the sockets hold so much that nothing else should keep them waiting."""
        return asyncio.get_running_loop().time() < self._busy_until

    def put(self, data: bytes, address: SocketAddress, sender: Sender, *, legacy: bool) -> None:
        """Keep a response; when there is no room it is dropped and counted."""
        host = address[0].removeprefix(MAPPED)
        waiting = self._waiting.get(host)
        if waiting is None:
            if self._bytes + len(data) > _MAX_BYTES_OF_NEW:
                self.counts["inbox_full"] += 1
                return
            waiting = self._waiting[host] = deque()
        elif waiting[-1][0] == data:  # asked both ways, many answer both ways
            return
        elif len(waiting) >= _MAX_OF_ONE or self._bytes + len(data) > _MAX_BYTES:
            self.counts["inbox_full"] += 1
            return
        self._bytes += len(data)
        waiting.append((data, address, sender, legacy))

    def work(self, *, more: bool = False) -> None:
        """Look into what is here, for half a millisecond; what is left has its turn after the sockets.

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
        self._bytes = 0
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _work(self) -> None:
        self._next = None
        loop = asyncio.get_running_loop()
        until = loop.time() + _SLICE_S
        while self._waiting:
            self._look_into(*self._take(), now=loop.time())
            if self._waiting and loop.time() >= until:
                self._next = (
                    loop.call_later(_BUSY_S, self._work) if self.is_busy else loop.call_soon(self._work)
                )
                return

    def _take(self) -> _Packet:
        """The oldest packet of whoever has waited longest for a turn."""
        host, waiting = next(iter(self._waiting.items()))
        packet = waiting.popleft()
        self._bytes -= len(packet[0])
        if waiting:
            self._waiting.move_to_end(host)
        else:
            del self._waiting[host]
        return packet

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
