"""zeroconf, as we use it: its sockets and its responder, with our own way for what others answer.

What differs from stock: each wake-up reads all that a socket holds, the gate decides what is looked at,
responses are parsed once and handed on instead of filling zeroconf's cache (which holds some 2,000 peers and
tells nobody whom it evicts), and each link is told the addresses of that link alone.

This module alone knows zeroconf's inner parts; they are those of 0.154.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, cast

import attrs
from zeroconf import (
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSRecord,
    DNSText,
    IPVersion,
    ServiceInfo,
    Zeroconf,
)
from zeroconf._engine import AsyncEngine
from zeroconf._listener import AsyncListener
from zeroconf._transport import _WrappedTransport, make_wrapped_transport

from peernet_mdns.gate import MDNS_PORT, Gate, Sender
from peernet_mdns.inbox import Inbox, ReceiveRecords, SocketAddress
from peernet_mdns.links import Link

__all__ = [
    "LinkZeroconf",
    "Publication",
    "close",
    "open_zeroconf",
    "take_packet",
]

_LOG: Final = logging.getLogger(__name__)
_TYPE_PTR: Final = 12
_HEADER_SIZE: Final = 12
_RESPONSE_BIT: Final = 0x80
_MAX_PACKET_SIZE: Final = 9000
"""RFC 6762 §17; also what zeroconf takes."""
_TYPES: Final = "_services._dns-sd._udp.local."
"""Where a network's types are enumerated (RFC 6763 §9)."""
_BATCH: Final = 256
"""Packets that one wake-up reads at most, so that nothing else on the loop waits for long."""
_SOCKET_OPTIONS: Final = (
    # Asked for; the system grants what it allows.
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024),
    # Of unicast answers; some believe no other (RFC 6762 §11).
    (socket.IPPROTO_IP, socket.IP_TTL, 255),
    (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255),
)
Overhear = Callable[[str, frozenset[str], str], None]
_NOT_SHARED: Final = (
    f"another program uses UDP port {MDNS_PORT}, that of mDNS, and does not share it: stop that program, or "
    f"let it share (avahi-daemon: disallow-other-stacks=no); `ss -ulpn sport = {MDNS_PORT}` shows who it is"
)


@attrs.frozen
class Publication:
    """One service that we publish.

    Attributes:
        info: What zeroconf answers with: the addresses of all links.
        by_link: The packed addresses for each link; a link that is missing gets no record of it.
        ended: Whether goodbye was said: answers that still wait in zeroconf's queue are not sent.
    """

    info: ServiceInfo
    by_link: Mapping[str, frozenset[bytes]]
    ended: bool = False


class LinkZeroconf(Zeroconf):
    """One zeroconf instance whose answers are those of each link.

    It begins on no link; see `set_links`.

    Args:
        gate: What is looked at.
        receive: Gets the records of every response that the gate admits.
        overhear: Gets each question to everybody of a type by multicast: the type's name, the names that the
            asker knows already, all in lower case, and the link.
        ip_version: Of the socket that listens; one that is added later makes it anew.
        ipv6: Whether there is IPv6 at all here; if not, what links have of it is left out.

    Attributes:
        publications: By the lower-cased instance name.
        counts: What was dropped after the gate, by reason.
        inbox: What was admitted and waits to be looked into.
    """

    def __init__(
        self,
        gate: Gate,
        receive: ReceiveRecords,
        overhear: Overhear,
        *,
        ip_version: IPVersion = IPVersion.V4Only,
        ipv6: bool = True,
    ) -> None:
        self.gate = gate
        self.publications: dict[str, Publication] = {}
        self.counts: Counter[str] = Counter()
        self.inbox = Inbox(receive, self.counts)
        self._overhear = overhear
        self._links: dict[str, Link] = {}
        self._has_ipv6 = ipv6
        super().__init__([], ip_version=ip_version, use_asyncio=True)

    def start(self) -> None:
        """Put our own engine in the place of zeroconf's before anything runs."""
        stock = self.engine
        # zeroconf makes its sockets in its constructor; they change hands.
        self.engine = _LinkEngine(self, stock._listen_socket, stock._respond_sockets)  # noqa: SLF001 - see above
        super().start()

    async def set_links(self, links: Sequence[Link]) -> None:
        """Speak on these links from now on; those whose sockets cannot be made yet are left out.

        An interface that was made again keeps its address but has lost its membership in the group: it is
        dropped first.
        """
        before, self._links = self._links, {link.name: link for link in links}
        kept = [link for link in links if before.get(link.name, link).index == link.index]
        if len(kept) < len(links):
            await self._reconcile(kept)
        await self._reconcile(links)

    async def _reconcile(self, links: Sequence[Link]) -> None:
        # Not Zeroconf.async_update_interfaces, which goes on to announce for half a second.
        async with self._interface_update_lock:
            await self.engine.async_update_interfaces(self._choice(links), IPVersion.All, False)

    def _choice(self, links: Iterable[Link]) -> list[str | int]:
        v4 = [str(link.ipv4) for link in links if link.ipv4 is not None]
        return [*v4, *(link.index for link in links if link.has_ipv6 and self._has_ipv6)]

    def silent_links(self) -> tuple[str, ...]:
        """Links on which a family cannot be sent by (yet), as an IPv6 address that is still being checked."""
        open_ = {(self._link_of(each), each.is_ipv6) for each in self.engine.senders}
        return tuple(
            link.name
            for link in self._links.values()
            if (link.ipv4 is not None and (link.name, False) not in open_)
            or (link.has_ipv6 and self._has_ipv6 and (link.name, True) not in open_)
        )

    def send_on(self, links: Iterable[str], out: DNSOutgoing) -> None:
        """Send a query on some links only."""
        names = frozenset(links)
        for transport in tuple(self.engine.senders):
            if self._link_of(transport) in names:
                super().async_send(out, transport=transport)

    def overheard(self, messages: Sequence[DNSIncoming], addr: str, scope: int, port: int) -> None:
        """Look at a query of somebody, whole, for what it spares us to ask."""
        sender = self.gate.admit(addr, scope, port, response=False, now=0.0, limited=False)
        asked = [
            question.key
            for message in messages
            for question in message.questions
            if question.type == _TYPE_PTR and not question.unique
        ]
        if not asked or sender is None or port != MDNS_PORT:
            return
        pointers = [
            record for each in messages for record in each.answers() if isinstance(record, DNSPointer)
        ]
        for name in asked:
            known = frozenset(record.alias_key for record in pointers if record.key == name)
            self._overhear(name, known, sender.origin.interface)

    def async_send(
        self,
        out: DNSOutgoing,
        addr: str | None = None,
        port: int = MDNS_PORT,
        v6_flow_scope: tuple[()] | tuple[int, int] = (),
        transport: _WrappedTransport | None = None,
    ) -> None:
        """Send; each link gets the records of that link."""
        if out.is_query():
            super().async_send(out, addr, port, v6_flow_scope, transport)
            return
        if addr is not None:
            scope = v6_flow_scope[1] if v6_flow_scope else 0
            sender = self.gate.admit(addr, scope, port, response=False, now=0.0, limited=False)
            if sender is not None:
                self._send_for(sender.origin.interface, out, addr, port, v6_flow_scope, transport)
            return
        for each in (transport,) if transport is not None else tuple(self.engine.senders):
            link = self._link_of(each)
            if link is not None:
                self._send_for(link, out, None, port, v6_flow_scope, each)

    def _send_for(
        self,
        link: str,
        out: DNSOutgoing,
        addr: str | None,
        port: int,
        v6_flow_scope: tuple[()] | tuple[int, int],
        transport: _WrappedTransport | None,
    ) -> None:
        variant = self._for_link(link, out)
        if variant.answers:
            super().async_send(variant, addr, port, v6_flow_scope, transport)

    def _for_link(self, link: str, out: DNSOutgoing) -> DNSOutgoing:
        variant = DNSOutgoing(out.flags, out.multicast, out.id)
        variant.questions = out.questions
        variant.answers = [each for each in out.answers if self._belongs(each[0], link)]
        variant.authorities = out.authorities
        variant.additionals = [each for each in out.additionals if self._belongs(each, link)]
        return variant

    def _belongs(self, record: DNSRecord, link: str) -> bool:
        if record.ttl > 0 and self._has_ended(record):
            return False
        if isinstance(record, DNSPointer):
            if record.key == _TYPES:  # the pointer to the type itself is everybody's
                return True
            publication = self.publications.get(record.alias_key)
            return publication is not None and link in publication.by_link
        for publication in self.publications.values():
            info = publication.info
            if record.key == info.key:
                # An answer may have waited in zeroconf's queue for so long that its text is an old one.
                stale = isinstance(record, DNSText) and record.text != info.text
                return link in publication.by_link and not stale
            if record.key == info.server_key:
                here = publication.by_link.get(link)
                return here is not None and (not isinstance(record, DNSAddress) or record.address in here)
        return False  # an answer that waited in zeroconf's queue until its service was gone

    def _has_ended(self, record: DNSRecord) -> bool:
        key = record.alias_key if isinstance(record, DNSPointer) else record.key
        return any(
            key in {each.info.key, each.info.server_key} for each in self.publications.values() if each.ended
        )

    def _link_of(self, transport: _WrappedTransport) -> str | None:
        if transport.is_ipv6:
            index = transport.multicast_index
            return next((link.name for link in self._links.values() if link.index == index), None)
        host = transport.sock_name[0]
        return next((link.name for link in self._links.values() if str(link.ipv4) == host), None)


class _LinkEngine(AsyncEngine):
    """zeroconf's engine with our listener."""

    async def _async_add_interface(
        self,
        interface: str | tuple[tuple[str, int, int], int],
        listen_socket: socket.socket | None,
        apple_p2p: bool,
    ) -> bool:
        try:
            return await super()._async_add_interface(interface, listen_socket, apple_p2p)
        except OSError as error:  # it has just gone (ENODEV), and must not keep the others from being added
            _LOG.debug("cannot speak on %a (yet): %s", interface, ascii(str(error)))
            return False

    async def _async_wrap_socket(self, sock: socket.socket, is_sender: bool) -> _WrappedTransport:
        for level, option, value in _SOCKET_OPTIONS:
            with contextlib.suppress(OSError):  # not this family's, or not granted
                sock.setsockopt(level, option, value)
        zeroconf = cast("LinkZeroconf", self.zc)
        assert self.loop is not None
        transport, listener = await self.loop.create_datagram_endpoint(
            lambda: _LinkListener(zeroconf, sock), sock=sock
        )
        reader = make_wrapped_transport(transport)
        self.protocols.append(listener)
        self.readers.append(reader)
        if is_sender:
            self.senders.append(make_wrapped_transport(transport))
        return reader


class _LinkListener(AsyncListener, asyncio.DatagramProtocol):
    """Reads what a socket holds: queries go to zeroconf's responder, responses to us."""

    def __init__(self, zeroconf: LinkZeroconf, sock: socket.socket) -> None:
        super().__init__(zeroconf)
        self._zeroconf = zeroconf
        self._sock = sock

    def datagram_received(  # pyright: ignore[reportIncompatibleMethodOverride]  # the bases disagree on the name
        self, data: bytes, addrs: SocketAddress
    ) -> None:
        """Take a packet, and all that wait behind it: the buffer is small, and asyncio takes one a turn."""
        self._take(data, addrs)
        receive, more = self._sock.recvfrom, True
        for _ in range(_BATCH):
            try:
                data, addrs = receive(_MAX_PACKET_SIZE + 1)  # so that a longer one is seen to be so
            except OSError as error:
                if error.errno not in {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.EBADF}:
                    self.error_received(error)
                more = False
                break
            self._take(data, addrs)
        self._zeroconf.inbox.work(more=more)

    def _respond_query(
        self,
        msg: DNSIncoming | None,
        addr: str,
        port: int,
        transport: _WrappedTransport,
        v6_flow_scope: tuple[()] | tuple[int, int],
    ) -> None:
        # Here a query is whole, also one whose known answers came in several packets.
        messages = [*self._deferred.get(addr, ()), *(() if msg is None else (msg,))]
        super()._respond_query(msg, addr, port, transport, v6_flow_scope)
        self._zeroconf.overheard(messages, addr, v6_flow_scope[1] if v6_flow_scope else 0, port)

    def error_received(self, exc: Exception) -> None:
        """A network that is gone for a while is nothing to warn of."""
        self._zeroconf.counts["socket_errors"] += 1
        _LOG.debug("a socket reports: %s", ascii(str(exc)))

    def _take(self, data: bytes, addrs: SocketAddress) -> None:
        sender = take_packet(self._zeroconf, data, addrs)
        if sender is None:
            return
        try:
            # Also of our own answers zeroconf must know when they went out (RFC 6762 §5.4, §6).
            super().datagram_received(data, addrs)
        except Exception as error:  # noqa: BLE001 - no packet may end the reading of others
            self._zeroconf.counts["packets_failed"] += 1
            _LOG.debug("zeroconf failed at a packet from %a: %s", addrs[0], ascii(repr(error)))


def take_packet(
    zeroconf: LinkZeroconf, data: bytes, addrs: SocketAddress, *, legacy: bool = False
) -> Sender | None:
    """Judge a packet by its header, and put it into the inbox if it is a response.

    Args:
        zeroconf: Whose gate and inbox these are.
        data: The packet.
        addrs: Where it came from, as the socket gives it.
        legacy: Whether it came to a socket of its own.

    Returns:
        Who sent it, if zeroconf is to take it as well: a query, or a response of this very host.
    """
    if len(data) < _HEADER_SIZE:
        zeroconf.counts["truncated"] += 1
        return None
    if len(data) > _MAX_PACKET_SIZE:
        zeroconf.counts["oversized"] += 1
        return None
    scope = addrs[3] if len(addrs) == 4 else 0  # noqa: PLR2004 - an IPv6 socket's address
    response = bool(data[2] & _RESPONSE_BIT)
    assert zeroconf.loop is not None
    sender = zeroconf.gate.admit(addrs[0], scope, addrs[1], response=response, now=zeroconf.loop.time())
    if sender is None or not response:
        return sender
    zeroconf.inbox.put(data, addrs, sender, legacy=legacy)
    return sender if sender.own and not legacy else None


async def open_zeroconf(
    links: Iterable[Link], gate: Gate, receive: ReceiveRecords, overhear: Overhear
) -> LinkZeroconf:
    """Open it for these links, which it does not speak on yet: see `set_links`.

    Raises:
        OSError: port 5353 is not shared, which the message says; or the system gives no socket.
    """
    ip_version = IPVersion.All if any(link.has_ipv6 for link in links) else IPVersion.V4Only
    ipv6 = True
    try:
        _check_port(ip_version)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT or ip_version is IPVersion.V4Only:
            raise
        ip_version, ipv6 = IPVersion.V4Only, False
        _check_port(ip_version)
    zeroconf = LinkZeroconf(gate, receive, overhear, ip_version=ip_version, ipv6=ipv6)
    try:
        await zeroconf.async_wait_for_start()
    except BaseException:
        await close(zeroconf)
        raise
    return zeroconf


def _check_port(ip_version: IPVersion) -> None:
    """See whether zeroconf will get its socket: it says less, and leaves its own open, when it does not."""
    family = socket.AF_INET if ip_version is IPVersion.V4Only else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind(("", MDNS_PORT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(errno.EADDRINUSE, _NOT_SHARED) from None


async def close(zeroconf: LinkZeroconf) -> None:
    """Close the sockets; nothing is said any more."""
    zeroconf.inbox.close()
    zeroconf.registry.async_remove(zeroconf.registry.async_get_service_infos())
    # Not AsyncZeroconf.async_close, which gives up where the wait for the start was cancelled.
    await zeroconf._async_close()  # noqa: SLF001 - see above
