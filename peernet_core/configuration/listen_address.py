"""Where we listen: an address of our own and a port, 0 for any that is free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from peernet_core.addresses import IPAddress, parse_ip
from peernet_core.errors import MalformedAddressError
from peernet_core.values import frozen

__all__ = ["ListenAddress", "check_together"]

_MAX_PORT: Final = 65535
_BROADCAST: Final = IPv4Address("255.255.255.255")
_SHAPE: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<v4>[^\[\]:]*)):(?P<port>[0-9]{1,5})")


@frozen
class ListenAddress:
    """One place to accept connections at.

    Attributes:
        ip: 0.0.0.0 and :: mean every address of their family; a link-local IPv6 address carries its zone.
        port: 0 to 65535; 0 takes a free one.

    Raises:
        MalformedAddressError: nobody can listen there.
    """

    ip: IPAddress
    port: int

    def __attrs_post_init__(self) -> None:
        if type(self.port) is not int or not 0 <= self.port <= _MAX_PORT:
            raise MalformedAddressError(f"a port to listen on is 0 to {_MAX_PORT}, not {self.port!a}")
        if self.ip.is_multicast or self.ip == _BROADCAST:
            raise MalformedAddressError(f"{self.ip} is no address of a host; nobody can listen there")
        if isinstance(self.ip, IPv6Address) and self.ip.is_link_local and self.ip.scope_id is None:
            raise MalformedAddressError(
                f"{self.ip} is link-local and needs its interface, as in [{self.ip}%eth0]:{self.port}"
            )

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read ``0.0.0.0:7100``, ``[::]:0`` or ``[fe80::5%eth0]:7100``.

        Raises:
            MalformedAddressError: anything else; the common mistakes each have their own message.
        """
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise MalformedAddressError(_why_malformed(text))
        if match["v4"] == "":
            port = match["port"]
            raise MalformedAddressError(
                f"{text!a} has no address; every address is 0.0.0.0:{port} and [::]:{port}"
            )
        ip = parse_ip(match["v4"] or match["v6"])
        if match["v6"] is not None and isinstance(ip, IPv4Address):
            raise MalformedAddressError(f"{text!a}: write the IPv4 address itself, {ip}:{match['port']}")
        return cls(ip, int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if isinstance(self.ip, IPv6Address) else f"{self.ip}:{self.port}"


def _why_malformed(text: str) -> str:
    shown = ascii(text)
    for ip_text in (text, text.removeprefix("[").removesuffix("]")):
        try:
            ip = ip_address(ip_text)
        except ValueError:
            continue
        if ":" in (getattr(ip, "scope_id", None) or ""):  # fe80::1%eth0:7100, without its brackets
            break
        example = f"[{ip}]:0" if isinstance(ip, IPv6Address) else f"{ip}:0"
        return f"{shown} has no port; write {example} for a free one"
    host, _, port = text.rpartition(":")
    try:
        ip = ip_address(host)
    except ValueError:
        return f"{shown} is not an address and a port, as in 0.0.0.0:7100 or [::]:7100"
    if isinstance(ip, IPv6Address):
        return f"{shown}: an IPv6 address stands in brackets, as in [{ip}]:{port}"
    return f"{shown}: a port to listen on is 0 to {_MAX_PORT}"


def check_together(addresses: Sequence[ListenAddress]) -> None:
    """Check what holds for all addresses of one node: one port, and no address twice.

    Raises:
        MalformedAddressError: they cannot all be bound; the message says which.
    """
    if not addresses:
        raise MalformedAddressError("expected at least one address to listen on")
    everywhere = {address.ip.version for address in addresses if address.ip.is_unspecified}
    seen: set[IPAddress] = set()
    for address in addresses:
        if address.ip in seen:
            raise MalformedAddressError(f"{address.ip} is there twice")
        if address.ip.version in everywhere and not address.ip.is_unspecified:
            every = "0.0.0.0" if address.ip.version == IPv4Address(0).version else "::"
            raise MalformedAddressError(f"{every} listens on {address.ip} already")
        seen.add(address.ip)
        if address.port != addresses[0].port:
            raise MalformedAddressError(
                f"one port for all: {addresses[0]} and {address} differ, and a record names only one"
            )
