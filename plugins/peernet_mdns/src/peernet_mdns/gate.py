"""The gate: which packets are looked at at all, by where they come from and how many there are. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import attrs

from peernet_core.addresses import IPAddress, with_zone
from peernet_mdns.browser import Origin
from peernet_mdns.links import Link

__all__ = ["MAPPED", "MDNS_PORT", "Gate", "Sender"]

MDNS_PORT: Final = 5353
RATE_PER_S: Final = 200.0
"""Packets that one address may send for long; a host with a hundred nodes stays far below."""
BURST: Final = 400.0
MAX_SENDERS: Final = 12_288
MAPPED: Final = "::ffff:"
"""What an IPv6 socket puts before the IPv4 address of a sender; no other address begins so."""
FLOODED_S: Final = 30.0
"""How long after the last packet over the limit the link counts as flooded."""


@attrs.frozen
class Sender:
    """Whom a packet came from.

    Attributes:
        origin: Its address, and the interface whose network that belongs to.
        own: Whether it is an address of this host: ourselves, or another process.
    """

    origin: Origin
    own: bool


@attrs.define(eq=False)
class _Known:
    """What was decided about one address, and what it may still send."""

    sender: Sender | None
    tokens: float
    counted_at: float


class Gate:
    """Admits packets.

    A response must come from port 5353, and every packet from an address on the network of one of our links
    (RFC 6762 §11): what was routed here is not believed. Each address may send only so much.

    Attributes:
        counts: Packets turned away, by reason.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._links: tuple[Link, ...] = ()
        self._networks: dict[int, tuple[_Network, ...]] = {4: (), 6: ()}
        self._known: dict[tuple[str, int], _Known] = {}
        self._limited_at: float | None = None

    def set_links(self, links: Iterable[Link]) -> None:
        """Judge every address anew by these links."""
        links = tuple(links)
        if links != self._links:
            self._links = links
            self._networks = {version: tuple(_networks(links, version)) for version in (4, 6)}
            self._known.clear()

    def is_flooded(self, *, now: float) -> bool:
        """Whether somebody sent too much lately, so that our own sockets may have lost what others sent."""
        return self._limited_at is not None and now - self._limited_at < FLOODED_S

    def admit(
        self, host: str, scope: int, port: int, *, response: bool, now: float, limited: bool = True
    ) -> Sender | None:
        """Decide about one packet.

        Args:
            host: Its source address as the socket gives it, with or without a zone.
            scope: The interface's number where the socket gives one, else 0.
            port: Its source port.
            response: Whether it is a response.
            now: The time.
            limited: Whether it counts against what the address may send.

        Returns:
            Who sent it; None when it is turned away.
        """
        if response and port != MDNS_PORT:
            self.counts["wrong_port"] += 1
            return None
        host = host.removeprefix(MAPPED)
        known = self._known.get((host, scope))
        if known is None:
            known = self._judge(host, scope, now)
        if known.sender is None:
            self.counts["off_link"] += 1
            return None
        if limited and not known.sender.own:
            tokens = min(BURST, known.tokens + (now - known.counted_at) * RATE_PER_S)
            known.counted_at = now
            known.tokens = tokens
            if tokens < 1.0:
                self.counts["rate_limited"] += 1
                self._limited_at = now
                return None
            known.tokens = tokens - 1.0
        return known.sender

    def _judge(self, host: str, scope: int, now: float) -> _Known:
        if len(self._known) >= MAX_SENDERS:
            del self._known[next(iter(self._known))]
        known = _Known(self._identify(host, scope), BURST, now)
        self._known[host, scope] = known
        return known

    def _identify(self, host: str, scope: int) -> Sender | None:
        text = host.partition("%")[0]
        # In a crowd everybody is new; the parser for either family takes several times as long.
        try:
            ip: IPAddress = IPv6Address(text) if ":" in text else IPv4Address(text)
        except ValueError:
            return None
        number = int(ip)
        for network in self._networks[ip.version]:
            if number & network.mask == network.prefix and scope in {0, network.link.index}:
                origin = Origin(with_zone(ip, network.link.name), network.link.name)
                return Sender(origin, number in network.own)
        return None


@attrs.frozen
class _Network:
    """One network that a link is on, as numbers.

    Attributes:
        own: This host's addresses on the link.
    """

    link: Link
    prefix: int
    mask: int
    own: frozenset[int]


def _networks(links: Iterable[Link], version: int) -> Iterable[_Network]:
    for link in links:
        addresses = [each for each in link.addresses if each.version == version]
        own = frozenset(int(each.ip) for each in addresses)
        for each in addresses:
            yield _Network(link, int(each.network.network_address), int(each.netmask), own)
