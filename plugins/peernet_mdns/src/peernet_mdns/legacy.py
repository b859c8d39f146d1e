"""Legacy queries: questions from a port of our own, whose answers nobody else on this host can take.

Answers to them come by unicast to that port (RFC 6762 §6.7), where answers to port 5353 may reach another
process that shares it, or drown in a flood.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs
from zeroconf import DNSOutgoing

from peernet_mdns.gate import MDNS_PORT
from peernet_mdns.inbox import SocketAddress
from peernet_mdns.links import Link

__all__ = ["LegacySockets"]

_LOG: Final = logging.getLogger(__name__)
_GROUP_V4: Final = "224.0.0.251"
_GROUP_V6: Final = "ff02::fb"
_MAX_PACKET_SIZE: Final = 9000
_BATCH: Final = 256


@attrs.define(eq=False)
class LegacySockets:
    """One socket for each link, made when it is first needed.

    Attributes:
        receive: Takes each packet and where it came from.
    """

    receive: Callable[[bytes, SocketAddress], None]
    _links: dict[str, Link] = attrs.field(init=False, factory=dict)
    _sockets: dict[str, socket.socket] = attrs.field(init=False, factory=dict)

    def set_links(self, links: Sequence[Link]) -> None:
        """Let go of sockets on links that are gone or have changed."""
        before, self._links = self._links, {link.name: link for link in links}
        for name in tuple(self._sockets):
            if before.get(name) != self._links.get(name):
                self._close(name)

    def send(self, names: Iterable[str], out: DNSOutgoing) -> None:
        """Ask on these links; what cannot be sent is left out."""
        for name in names:
            link = self._links.get(name)
            if link is None:
                continue
            try:
                sock = self._sockets.get(name) or self._open(link)
                group = (_GROUP_V4, MDNS_PORT) if link.ipv4 else (_GROUP_V6, MDNS_PORT, 0, link.index)
                for packet in out.packets():
                    sock.sendto(packet, group)
            except OSError as error:
                _LOG.debug("no legacy query on %a: %s", name, ascii(str(error)))
                self._close(name)

    def close(self) -> None:
        """Close every socket."""
        for name in tuple(self._sockets):
            self._close(name)

    def _open(self, link: Link) -> socket.socket:
        family = socket.AF_INET if link.ipv4 is not None else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if link.ipv4 is not None:
                sock.bind((str(link.ipv4), 0))
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, link.ipv4.packed)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.index)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
                sock.bind(("::", 0))
            asyncio.get_running_loop().add_reader(sock, self._read, sock)
        except BaseException:
            sock.close()
            raise
        self._sockets[link.name] = sock
        return sock

    def _read(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data, address = sock.recvfrom(_MAX_PACKET_SIZE + 1)  # so that a longer one is seen to be so
            except OSError:
                return
            self.receive(data, address)

    def _close(self, name: str) -> None:
        sock = self._sockets.pop(name, None)
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
