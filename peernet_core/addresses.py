"""Addresses: where a peer can be reached, and what this host's own network looks like.

Only literal addresses: a name would let whoever answers for it choose where we connect. Plain values; nothing
here touches the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from itertools import zip_longest
from typing import Final

import attrs

from peernet_core.errors import MalformedAddressError
from peernet_core.values import frozen

__all__ = [
    "Address",
    "IPAddress",
    "Interface",
    "NetworkSnapshot",
    "is_metadata",
    "may_be_signed",
    "normalize_ip",
    "parse_ip",
    "with_zone",
]

IPAddress = IPv4Address | IPv6Address

MAX_PORT: Final = 65535

_BROADCAST_V4: Final = 0xFFFFFFFF
_MULTICAST_V4: Final = 0xE  # 224.0.0.0/4, its first four bits
_MULTICAST_V6: Final = 0xFF  # ff00::/8
_LOOPBACK_V4: Final = 127  # 127.0.0.0/8
_LINK_LOCAL_V4: Final = 0xA9FE  # 169.254.0.0/16
_LINK_LOCAL_V6: Final = 0xFE80 >> 6  # fe80::/10
_MAPPED: Final = 0xFFFF  # ::ffff:0:0/96
_NAT64: Final = 0x64FF9B << 64  # 64:ff9b::/96
_NAT64_LOCAL: Final = 0x64FF9B0001  # 64:ff9b:1::/48
_SIX_TO_FOUR: Final = 0x2002  # 2002::/16

# What cloud machines ask for their credentials. A peer that could make us connect there would learn what
# answers; none of these is ever a peer.
_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
        ),
    )
)

# These would make the text of an address ambiguous; the system's names hold none of them.
_NOT_IN_ZONE: Final = frozenset("%/[] ")
_ENDPOINT: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<v4>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
# Bridges of containers and virtual machines, tunnels and overlays: their addresses mean nothing to the peers
# that hear our record on the physical network. Docker's bridges are br- and twelve hex digits; a plain br-lan
# is somebody's real network.
_VIRTUAL_NAME: Final = re.compile(
    r"docker|br-[0-9a-f]{12}$|veth|virbr|vnet|vmnet|vboxnet|lxcbr|lxdbr|incusbr|podman|cni|cali|flannel"
    r"|tun|tap|utun|wg|tailscale|zt|nebula|ppp|awdl|llw|anpi"
)
_LOOPBACK_NAMES: Final = frozenset({"lo", "lo0"})


def _plain_ip(ip: IPAddress) -> IPAddress:
    """Give each address its one form: unmapped, and with a zone only where a zone has a meaning."""
    if isinstance(ip, IPv4Address):
        return ip
    if not isinstance(ip, IPv6Address):
        raise MalformedAddressError(f"expected an IPv4Address or IPv6Address, got {type(ip).__name__}")
    number = int(ip)
    if number >> 32 == _MAPPED:
        return IPv4Address(number & 0xFFFFFFFF)
    if ip.scope_id is not None and number >> 118 != _LINK_LOCAL_V6:
        return IPv6Address(number)
    return ip


@frozen(cache_hash=True)
class Address:
    """One place to connect to.

    Attributes:
        ip: Unmapped; a link-local IPv6 address carries its zone, which means something on this host only.
        port: 1 to 65535.
        source: Which configured backend said so; empty where nobody has yet.

    Raises:
        MalformedAddressError: the port is out of range, or the ip can be nobody's (unspecified, multicast,
            broadcast).
    """

    ip: IPAddress = attrs.field(converter=_plain_ip)
    port: int
    source: str = ""

    def __attrs_post_init__(self) -> None:
        if type(self.port) is not int or not 1 <= self.port <= MAX_PORT:
            raise MalformedAddressError(f"a port is 1 to {MAX_PORT}, not {self.port!a}")
        ip, number = self.ip, int(self.ip)
        if number == 0:
            raise MalformedAddressError(f"{ip} means every address, and cannot be connected to")
        if isinstance(ip, IPv6Address):
            if number >> 120 == _MULTICAST_V6:
                raise MalformedAddressError(f"{ip} is a multicast address")
        elif number >> 28 >= _MULTICAST_V4:
            if number >> 28 == _MULTICAST_V4:
                raise MalformedAddressError(f"{ip} is a multicast address")
            if number == _BROADCAST_V4:
                raise MalformedAddressError(f"{ip} is the broadcast address")

    @classmethod
    def parse(cls, text: str, *, source: str = "") -> Address:
        """Read ``10.0.0.5:7100``, ``[2001:db8::5]:7100`` or ``[fe80::5%eth0]:7100``.

        Args:
            text: A literal address and a port, without white space.
            source: Kept in the result.

        Raises:
            MalformedAddressError: anything else; a host name, a missing port, missing brackets and a missing
                zone each have their own message.
        """
        match = _ENDPOINT.fullmatch(text)
        if match is None:
            raise MalformedAddressError(_why_no_endpoint(text))
        if match["v6"] is None:
            ip = parse_ip(match["v4"])
        else:
            ip = parse_ip(match["v6"])
            if ":" not in match["v6"]:
                raise MalformedAddressError(f"{text!a}: brackets are for IPv6 addresses")
        if isinstance(ip, IPv6Address) and ip.scope_id is None and _is_link_local(ip, int(ip)):
            raise MalformedAddressError(
                f"{text!a}: a link-local address needs its interface, as in [{ip}%eth0]:{match['port']}"
            )
        return cls(ip, int(match["port"]), source)

    def with_source(self, source: str) -> Address:
        """The same place, said by `source`."""
        return Address(self.ip, self.port, source)

    @property
    def host(self) -> str:
        """The ip as text, with its zone."""
        return str(self.ip)

    @property
    def endpoint(self) -> tuple[IPAddress, int]:
        """Ip and port: what tells two places apart whoever named them."""
        return self.ip, self.port

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if isinstance(self.ip, IPv6Address) else f"{self.ip}:{self.port}"


def _why_no_endpoint(text: str) -> str:
    """What is wrong with a text that has not the shape of an address and a port."""
    shown = ascii(text)
    try:
        ip = ip_address(text)
    except ValueError:
        pass
    else:
        example = f"[{ip}]:7100" if isinstance(ip, IPv6Address) else f"{ip}:7100"
        return f"{shown} has no port; write it as {example!a}"
    host = text.rpartition(":")[0]
    try:
        ip = ip_address(host)
    except ValueError:
        return f"{shown} is not a literal address and a port, as in 10.0.0.5:7100 or [fe80::5%eth0]:7100"
    if isinstance(ip, IPv6Address):
        bracketed = f"[{ip}]:7100"
        return f"{shown}: an IPv6 address stands in brackets, as in {bracketed!a}"
    return f"{shown}: a port is 1 to {MAX_PORT}"


def parse_ip(text: str) -> IPAddress:
    """Read a literal address; an IPv4-mapped one comes back unmapped.

    Args:
        text: Without brackets; a zone only on a link-local IPv6 address.

    Raises:
        MalformedAddressError: not an address; a host name gets a message that says so.
    """
    try:
        ip = ip_address(text)
    except ValueError:
        raise MalformedAddressError(
            f"{text!a} is not a literal IPv4 or IPv6 address; host names are not looked up"
        ) from None
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        if not _is_link_local(ip, int(ip)):
            raise MalformedAddressError(f"{text!a}: only link-local addresses have a zone")
        if not ip.scope_id.isprintable() or not _NOT_IN_ZONE.isdisjoint(ip.scope_id):
            raise MalformedAddressError(f"{text!a}: the zone is no interface name")
    return _plain_ip(ip)


def normalize_ip(ip: IPAddress) -> IPAddress:
    """Give an address that came over the network its one form, or refuse it.

    An IPv4-mapped IPv6 address comes back as IPv4. The other ways to write an IPv4 address as an IPv6 one are
    refused: behind them stand addresses that our rules would otherwise not let through.

    Raises:
        MalformedAddressError: NAT64 (64:ff9b::/96, 64:ff9b:1::/48), 6to4 (2002::/16), v4-compatible (::/96).

    Source: RFC 4291 §2.5.5, RFC 6052 §2.1, RFC 8215, RFC 3056 §2.
    """
    plain = _plain_ip(ip)
    if isinstance(plain, IPv6Address) and _embeds_v4(int(plain)):
        raise MalformedAddressError(f"{plain} stands for an IPv4 address; only that itself is accepted")
    return plain


def with_zone(ip: IPAddress, zone: str) -> IPAddress:
    """The address as heard on the interface `zone`: a link-local IPv6 address gets it, others stay."""
    if isinstance(ip, IPv6Address) and zone and _is_link_local(ip, int(ip)):
        return IPv6Address(f"{IPv6Address(int(ip))}%{zone}")
    return ip


def is_metadata(ip: IPAddress) -> bool:
    """Whether a cloud's metadata service answers there."""
    plain = _plain_ip(ip)
    return plain in _METADATA


def may_be_signed(ip: IPAddress) -> bool:
    """Whether the address may stand in a record: it means the same, and one host, to every reader.

    Not loopback, link-local, unspecified, multicast or broadcast, and none that `normalize_ip` changes or
    refuses.
    """
    number = int(ip)
    if isinstance(ip, IPv4Address):
        return (
            0 < number < _BROADCAST_V4
            and number >> 24 != _LOOPBACK_V4
            and number >> 28 != _MULTICAST_V4
            and number >> 16 != _LINK_LOCAL_V4
        )
    return (
        number > 1
        and number >> 120 != _MULTICAST_V6
        and number >> 118 != _LINK_LOCAL_V6
        and number >> 32 != _MAPPED
        and not _embeds_v4(number)
    )


def _embeds_v4(number: int) -> bool:
    # ::/96 without :: and ::1, which have meanings of their own
    return (
        1 < number < 1 << 32
        or number >> 112 == _SIX_TO_FOUR
        or number >> 32 == _NAT64
        or number >> 80 == _NAT64_LOCAL
    )


def _is_link_local(ip: IPAddress, number: int) -> bool:
    return number >> 118 == _LINK_LOCAL_V6 if isinstance(ip, IPv6Address) else number >> 16 == _LINK_LOCAL_V4


@frozen
class Interface:
    """One network interface of this host.

    Attributes:
        name: As in a zone.
        index: The system's number for it.
        addresses: Each with its prefix length; zones are not needed.
    """

    name: str
    index: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...]

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent here never leaves the host."""
        return self.name in _LOOPBACK_NAMES or any(address.ip.is_loopback for address in self.addresses)

    @property
    def is_virtual(self) -> bool:
        """Whether, by its name, it leads to containers or into a tunnel and not to a shared network."""
        return _VIRTUAL_NAME.match(self.name) is not None

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """The addresses without their networks; link-local IPv6 ones with this interface as their zone."""
        return tuple(with_zone(address.ip, self.name) for address in self.addresses)


@frozen
class NetworkSnapshot:
    """What this host's network looked like at one moment.

    Attributes:
        interfaces: Those that are up, in the system's order.
        resumes: How often the host has woken from suspension since somebody began to watch. After that
            nothing is certain: everybody else has gone on.
    """

    interfaces: tuple[Interface, ...] = ()
    resumes: int = 0
    _ips: frozenset[IPAddress] = attrs.field(init=False, eq=False, repr=False)
    _zones: frozenset[str] = attrs.field(init=False, eq=False, repr=False)
    _networks: tuple[tuple[int, int, int], ...] = attrs.field(init=False, eq=False, repr=False)

    @_ips.default  # pyright: ignore[reportAttributeAccessIssue]  # on the field, not its value
    def _collect_ips(self) -> frozenset[IPAddress]:
        return frozenset(ip for interface in self.interfaces for ip in interface.ips)

    @_zones.default  # pyright: ignore[reportAttributeAccessIssue]  # on the field, not its value
    def _collect_zones(self) -> frozenset[str]:
        # A zone may be written as the interface's number, too.
        return frozenset(zone for each in self.interfaces for zone in (each.name, str(each.index)))

    @_networks.default  # pyright: ignore[reportAttributeAccessIssue]  # on the field, not its value
    def _collect_networks(self) -> tuple[tuple[int, int, int], ...]:
        # As numbers: who floods us with addresses has each of them looked up here.
        networks = (address.network for interface in self.interfaces for address in interface.addresses)
        return tuple((each.version, int(each.network_address), int(each.netmask)) for each in networks)

    def ips(self) -> frozenset[IPAddress]:
        """Every address of this host; link-local IPv6 ones with their zone."""
        return self._ips

    def is_own(self, ip: IPAddress) -> bool:
        """Whether connecting there reaches this host itself."""
        return ip in self._ips or ip.is_loopback or ip.is_unspecified

    def is_on_link(self, ip: IPAddress) -> bool:
        """Whether the address belongs to a network that one of our interfaces is on.

        A link-local IPv6 address does when its zone is one of our interfaces. Loopback is on no link.
        """
        if ip.is_loopback:
            return False
        if isinstance(ip, IPv6Address) and _is_link_local(ip, int(ip)):
            return ip.scope_id in self._zones
        number, version = int(ip), ip.version
        return any(number & mask == network for of, network, mask in self._networks if of == version)

    def advertisable(self) -> tuple[IPAddress, ...]:
        """Our addresses that peers elsewhere could use, best first.

        Loopback and link-local ones are left out, and those of containers, virtual machines and tunnels as
        well unless there are no others. IPv4 and IPv6 take turns, so that both survive when a record is full.
        """
        candidates = [interface for interface in self.interfaces if not interface.is_loopback]
        physical = [interface for interface in candidates if not interface.is_virtual]
        return tuple(_signable(physical)) or tuple(_signable(candidates))


def _signable(interfaces: list[Interface]) -> Iterator[IPAddress]:
    ips = dict.fromkeys(ip for interface in interfaces for ip in interface.ips if may_be_signed(ip))
    by_version = ([ip for ip in ips if ip.version == version] for version in (4, 6))
    for pair in zip_longest(*by_version):
        yield from (ip for ip in pair if ip is not None)
