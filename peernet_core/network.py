"""Which interfaces and addresses this host has now, as the system says."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import sys
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path
from typing import Final

import ifaddr

from peernet_core.addresses import Interface, NetworkSnapshot

__all__ = ["read_network"]

# <linux/sockios.h>; elsewhere _IOWR('i', 17, struct ifreq) of <sys/sockio.h>.
_SIOCGIFFLAGS: Final = 0x8913 if sys.platform == "linux" else 0xC0206911
# struct ifreq: the name, then the flags. Linux's is 40 bytes long, the others' 32.
_IFREQ: Final = struct.Struct("=16sH22x")
# <net/if.h>, the same everywhere. Running means: with a carrier.
_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_IN_USE: Final = _IFF_UP | _IFF_RUNNING

# <linux/if_addr.h>
_IFA_F_OPTIMISTIC: Final = 0x04
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_TENTATIVE: Final = 0x40

# The namespace of the calling thread; /proc/net is that of the process's first one.
_IF_INET6: Final = Path("/proc/thread-self/net/if_inet6")

# What fails for want of these says nothing about the network.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO})


def read_network() -> NetworkSnapshot:
    """Ask the system for its interfaces; takes about a millisecond for a few of them.

    An IPv6 address that is still looked for on the link (duplicate address detection), or that another host
    has, cannot be bound, and is left out; only Linux says which.

    Returns:
        Interfaces that are up, have a carrier and have an address, by index.

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
    in_use = _in_use(found)
    unusable = _unusable()  # after the list: what became an address in between is in neither
    interfaces = (
        Interface(
            name,
            index,
            tuple(each for each in dict.fromkeys(addresses) if (index, each.ip) not in unusable),
        )
        # The system promises no order, and a change of order is no change.
        for name, (index, addresses) in sorted(found.items(), key=lambda item: item[1][0])
        if name in in_use
    )
    return NetworkSnapshot(tuple(interface for interface in interfaces if interface.addresses))


def _in_use(names: Iterable[str]) -> frozenset[str]:
    """Those that are up and have a carrier; all, where the system does not say.

    By ioctl, because a socket belongs to the namespace of the thread that makes it; /sys may show another.
    """
    try:
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        return frozenset(names)
    with asking:
        return frozenset(name for name in names if _is_in_use(asking, name))


def _is_in_use(asking: socket.socket, name: str) -> bool:
    try:
        answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
    except OSError as error:
        return error.errno not in _GONE
    flags: int = _IFREQ.unpack(answer)[1]
    return flags & _IN_USE == _IN_USE


def _unusable() -> frozenset[tuple[int, IPv6Address]]:
    """The IPv6 addresses that cannot be bound (yet), each with its interface; none, where nothing says so.

    Source: RFC 4862 §5.4; optimistic ones may be used at once, RFC 4429 §3.1.
    """
    try:
        lines = _IF_INET6.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        return frozenset()
    found = set()
    for line in lines:
        digits, index, _, _, flags, *_ = line.split()
        state = int(flags, 16)
        failed, tentative = state & _IFA_F_DADFAILED, state & _IFA_F_TENTATIVE
        if failed or (tentative and not state & _IFA_F_OPTIMISTIC):
            found.add((int(index, 16), IPv6Address(int(digits, 16))))
    return frozenset(found)
