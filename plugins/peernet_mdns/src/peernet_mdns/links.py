"""Links: the interfaces on which we speak, and which of our addresses are published on each. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

import attrs

from peernet_core.addresses import Interface, IPAddress, NetworkSnapshot

__all__ = ["Link", "select_links"]


@attrs.frozen
class Link:
    """One interface on which we speak.

    Attributes:
        name: As in a zone.
        index: The system's number for it; a new one for an interface that was removed and made again.
        addresses: Ours on it, with their networks.
    """

    name: str
    index: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...]

    @property
    def ipv4(self) -> IPv4Address | None:
        """The address that IPv4 packets leave from: one, since further ones would repeat every packet."""
        return next((each.ip for each in self.addresses if isinstance(each, IPv4Interface)), None)

    @property
    def has_ipv6(self) -> bool:
        """Whether IPv6 packets can leave here; on loopback IPv4 is enough."""
        return any(isinstance(each, IPv6Interface) and not each.ip.is_loopback for each in self.addresses)

    def published(self, announced: Collection[IPAddress]) -> frozenset[bytes]:
        """What stands in the A and AAAA records that are sent here.

        Those of the announced addresses that belong to this link; where none does, the address that the
        packets leave from, which their header shows anyway.

        Args:
            announced: What core lets us publish.

        Returns:
            Packed addresses.
        """
        own = [each.ip for each in self.addresses]
        here = [ip for ip in own if ip in announced]
        if not here:
            here = [self.ipv4] if self.ipv4 is not None else own[:1]
        return frozenset(ip.packed for ip in here)


def select_links(snapshot: NetworkSnapshot, names: Iterable[str] = ()) -> tuple[Link, ...]:
    """The interfaces to speak on.

    Args:
        snapshot: The host's network.
        names: The operator's choice; those that are not there (yet) are passed over. When empty: all but
            loopback and those that lead to containers, virtual machines or into tunnels.
    """
    chosen = frozenset(names)
    return tuple(
        Link(each.name, each.index, each.addresses)
        for each in snapshot.interfaces
        if each.addresses and (each.name in chosen if chosen else _leads_to_a_network(each))
    )


def _leads_to_a_network(interface: Interface) -> bool:
    return not interface.is_loopback and not interface.is_virtual
