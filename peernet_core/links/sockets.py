"""Sockets: what is bound, connected and tuned before anything else is said over it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from peernet_core.addresses import Address, IPAddress
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.errors import PeerNetError
from peernet_core.links.tcp import TcpStream

__all__ = ["BindError", "SocketAddress", "bind", "connect", "far_end", "is_ours", "socket_address", "tune"]

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

_BACKLOG: Final = 1024
_PORTS_TRIED: Final = 16
_MAX_INTERFACE_INDEX: Final = 2**32 - 1

# A dead peer is noticed within 15 s. Idle: after 5 s of silence a probe every 3 s, and with the fourth, at
# 14 s, it is given up. Where Linux has a user timeout, that counts instead of the number of probes, and is
# looked at only when a probe is due: 15 s would mean 17. With data on the way the user timeout alone decides.
_KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPALIVE", 5),  # what macOS calls it
    ("TCP_KEEPINTVL", 3),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 13_000),
)


class BindError(PeerNetError):
    """A configured address cannot be listened on."""

    def __init__(self, address: ListenAddress, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"cannot listen on {address}: {reason}")


def bind(addresses: tuple[ListenAddress, ...], *, preferred_port: int = 0) -> list[socket.socket]:
    """Bind every address to one port, and listen: the first decides, the rest take its number.

    Args:
        addresses: At least one; port 0 means any.
        preferred_port: Tried first where a port is 0: the one of the last run.

    Raises:
        BindError: an address is taken, is not ours, or its family is not there.
    """
    wanted = addresses[0].port
    if wanted:
        return _bind_all(addresses, wanted)
    if preferred_port:
        with contextlib.suppress(BindError):
            return _bind_all(addresses, preferred_port)
    for _ in range(_PORTS_TRIED - 1):  # the number may be free in one family and taken in the other
        with contextlib.suppress(BindError):
            return _bind_all(addresses, 0)
    return _bind_all(addresses, 0)


async def connect(address: Address) -> TcpStream:
    """Connect by TCP.

    Raises:
        OSError: whatever the system says; ENODEV where the address's zone is no interface of ours.
    """
    # Not anyio.connect_tcp: that looks an address with a zone up in a thread.
    raw_socket = socket.socket(_family(address.ip), socket.SOCK_STREAM)
    try:
        raw_socket.setblocking(False)
        target = socket_address(address.ip, address.port)
        await asyncio.get_running_loop().sock_connect(raw_socket, target)
        _refuse_self_connection(raw_socket)
        return TcpStream(raw_socket)
    except BaseException:
        raw_socket.close()
        raise


def tune(raw_socket: socket.socket) -> None:
    """Send small frames at once, and notice a dead peer; without effect on what is no TCP socket."""
    if raw_socket.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            raw_socket.setsockopt(socket.IPPROTO_TCP, option, value)


def socket_address(ip: IPAddress, port: int) -> SocketAddress:
    """What the system wants to be told; the zone as the number of its interface.

    Raises:
        OSError: there is no such interface.
    """
    if isinstance(ip, IPv4Address):
        return str(ip), port
    return str(IPv6Address(int(ip))), port, 0, _zone_index(ip.scope_id)


def far_end(told: SocketAddress, source: str) -> Address:
    """What the system told of the other end; a link-local one with the name of its interface."""
    ip = ip_address(told[0].partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.is_link_local:
        with contextlib.suppress(OSError):
            ip = IPv6Address(f"{ip}%{socket.if_indextoname(told[-1])}")
    return Address(ip, told[1], source)


def is_ours(told: SocketAddress) -> bool:
    """Whether this host still has an address that one of its sockets is bound to.

    That of an interface without a carrier counts: what runs over it may go on when the carrier is back.
    """
    family = socket.AF_INET6 if ":" in told[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((told[0], 0, *told[2:]))
    except OSError as error:
        return error.errno not in {errno.EADDRNOTAVAIL, errno.ENODEV}
    return True


def _family(ip: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if isinstance(ip, IPv4Address) else socket.AF_INET6


def _zone_index(zone: str | None) -> int:
    if zone is None:
        return 0
    try:
        return socket.if_nametoindex(zone)
    except (OSError, ValueError):
        if zone.isdecimal() and 0 < int(zone) <= _MAX_INTERFACE_INDEX:
            return int(zone)
        raise OSError(errno.ENODEV, f"there is no interface {zone!a}") from None


def _refuse_self_connection(raw_socket: socket.socket) -> None:
    # Where nobody listens on an ephemeral port of this host, TCP can meet itself (RFC 9293 §3.5).
    if raw_socket.getsockname() == raw_socket.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")


def _bind_all(addresses: tuple[ListenAddress, ...], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            listening = _bind_one(address, port)
            if listening is not None:
                sockets.append(listening)
                port = listening.getsockname()[1]
    except BaseException:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise BindError(addresses[0], "this host has no such address family")
    return sockets


def _bind_one(address: ListenAddress, port: int) -> socket.socket | None:
    """None where the host lacks the family of an address that only says 'any'."""
    try:
        listening = socket.socket(_family(address.ip), socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT and address.ip.is_unspecified:
            return None  # nobody to miss there
        raise BindError(address, error.strerror or str(error)) from error
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(socket_address(address.ip, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRNOTAVAIL and address.ip.is_unspecified:
            return None
        raise BindError(address, error.strerror or str(error)) from error
    return listening
