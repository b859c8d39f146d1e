"""On which interfaces we speak, and which addresses we publish there."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from peernet_core.addresses import Interface, NetworkSnapshot
from peernet_mdns.links import Link, select_links


def interface(name: str, *addresses: str, index: int = 2) -> Interface:
    return Interface(name, index, tuple(ip_interface(each) for each in addresses))


HOST = NetworkSnapshot(
    (
        interface("lo", "127.0.0.1/8", "::1/128", index=1),
        interface("eth0", "10.0.0.5/24", "10.0.0.6/24", "fd00::5/64", "fe80::5/64"),
        interface("wlan0", "192.168.1.7/24", index=3),
        interface("docker0", "172.17.0.1/16", index=4),
        interface("veth12ab", "fe80::9/64", index=5),
        interface("wg0", "10.9.0.2/32", index=6),
        interface("br-lan", "10.3.0.1/24", index=7),
        interface("usb0", index=8),
    )
)


def names(*chosen: str) -> list[str]:
    return [link.name for link in select_links(HOST, chosen)]


def test_by_default_physical_networks_are_chosen() -> None:
    """Loopback, containers, tunnels, and what has no address are left out; a bridge of a router is not."""
    assert names() == ["eth0", "wlan0", "br-lan"]


def test_the_operator_may_choose_any() -> None:
    """Exactly what was named, loopback too; what is not there is passed over."""
    assert names("wg0", "lo", "eth9") == ["lo", "wg0"]
    assert names("eth9") == []


def link(*addresses: str) -> Link:
    return Link("eth0", 2, tuple(ip_interface(each) for each in addresses))


def test_ipv4_packets_leave_from_the_first_address() -> None:
    """A second one would repeat every packet on the same network."""
    assert link("fe80::1/64", "10.0.0.5/24", "10.0.0.6/24").ipv4 == ip_address("10.0.0.5")
    assert link("fe80::1/64").ipv4 is None


def test_loopback_speaks_ipv4_only() -> None:
    """Its IPv6 address cannot carry a multicast."""
    assert not link("127.0.0.1/8", "::1/128").has_ipv6
    assert link("10.0.0.5/24", "fe80::1/64").has_ipv6


def published(on: Link, *announced: str) -> set[str]:
    return {str(ip_address(each)) for each in on.published([ip_address(each) for each in announced])}


def test_of_the_announced_addresses_those_of_the_link_are_published() -> None:
    """Others' links' addresses would be dead ends there."""
    eth0 = link("10.0.0.5/24", "fd00::5/64", "fe80::5/64")
    assert published(eth0, "10.0.0.5", "fd00::5", "192.168.1.7") == {"10.0.0.5", "fd00::5"}


def test_where_none_was_announced_the_sender_is_published() -> None:
    """What the packet's header shows anyway: an isolated network has link-local addresses alone."""
    assert published(link("169.254.7.7/16", "fe80::5/64")) == {"169.254.7.7"}
    assert published(link("fe80::5/64")) == {"fe80::5"}
    assert published(link("127.0.0.1/8", "::1/128"), "10.0.0.5") == {"127.0.0.1"}
