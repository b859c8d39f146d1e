"""An address is a literal ip and a port, has one form, and is sorted by what it means to whom."""

from __future__ import annotations

import copy
import pickle
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import (
    Address,
    Interface,
    IPAddress,
    NetworkSnapshot,
    is_metadata,
    may_be_signed,
    normalize_ip,
    parse_ip,
    with_zone,
)
from peernet_core.errors import MalformedAddressError

LO = Interface("lo", 1, (IPv4Interface("127.0.0.1/8"), IPv6Interface("::1/128")))
ETH0 = Interface(
    "eth0",
    2,
    (
        IPv4Interface("10.0.0.5/24"),
        IPv4Interface("169.254.3.3/16"),
        IPv6Interface("2001:db8::5/64"),
        IPv6Interface("fd00::5/64"),
        IPv6Interface("fe80::5/64"),
    ),
)
WLAN0 = Interface("wlan0", 3, (IPv4Interface("192.168.1.7/24"), IPv6Interface("fe80::7%wlan0/64")))
DOCKER0 = Interface("docker0", 4, (IPv4Interface("172.17.0.1/16"),))


def texts(ips: tuple[IPAddress, ...]) -> list[str]:
    return [str(ip) for ip in ips]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.0.0.5:7100", "10.0.0.5:7100"),
        ("[2001:db8::5]:7100", "[2001:db8::5]:7100"),
        ("[2001:DB8:0::0005]:7100", "[2001:db8::5]:7100"),
        ("[fe80::1%eth0]:7100", "[fe80::1%eth0]:7100"),
        ("[fe80::1%2]:1", "[fe80::1%2]:1"),
        ("[fe80::1%br-lan.7]:65535", "[fe80::1%br-lan.7]:65535"),
        ("[::ffff:10.0.0.5]:7100", "10.0.0.5:7100"),
        ("[::1]:7100", "[::1]:7100"),
        ("127.0.0.1:7100", "127.0.0.1:7100"),
        ("10.0.0.5:07100", "10.0.0.5:7100"),
        # The operator's own word may name what a record may not.
        ("[64:ff9b::a00:5]:7100", "[64:ff9b::a00:5]:7100"),
        ("[::255.255.255.255]:7100", "[::ffff:ffff]:7100"),
        ("169.254.169.254:80", "169.254.169.254:80"),
    ],
)
def test_an_address_is_read_and_shown(text: str, shown: str) -> None:
    """What is shown reads back as the same address."""
    address = Address.parse(text, source="lan")
    assert str(address) == shown
    assert Address.parse(shown, source="lan") == address
    assert address.source == "lan"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a literal"),
        ("kitchen-pi:7100", "host names are not looked up"),
        ("localhost:7100", "host names are not looked up"),
        ("example.org:7100", "host names are not looked up"),
        ("10.0.0.5", r"has no port; write it as '10\.0\.0\.5:7100'"),
        ("fe80::1%eth0", r"has no port; write it as '\[fe80::1%eth0\]:7100'"),
        ("10.0.0.5:", "a port is 1 to 65535"),
        ("10.0.0.5:0", "a port is 1 to 65535"),
        ("10.0.0.5:65536", "a port is 1 to 65535"),
        ("10.0.0.5:123456", "a port is 1 to 65535"),
        ("10.0.0.5:http", "a port is 1 to 65535"),
        ("10.0.0.5:+80", "a port is 1 to 65535"),
        ("10.0.0.5:8 0", "a port is 1 to 65535"),
        ("10.0.0.5:\N{ARABIC-INDIC DIGIT SEVEN}", "a port is 1 to 65535"),
        ("2001:db8::5:7:71000", r"stands in brackets, as in '\[2001:db8::5:7\]:7100'"),
        ("[10.0.0.5]:7100", "brackets are for IPv6"),
        ("[2001:db8::5]", "not a literal address and a port"),
        ("[2001:db8::5:7100", "host names|not a literal"),
        ("[fe80::1]:7100", r"needs its interface, as in \[fe80::1%eth0\]:7100"),
        ("[fe80::1%]:7100", "not a literal"),
        ("[fe80::1%a b]:7100", "no interface name"),
        ("[fe80::1%a/b]:7100", "not a literal"),
        ("[fe80::1%\x1b]:7100", "no interface name"),
        ("[2001:db8::1%eth0]:7100", "only link-local"),
        ("10.0.0.05:7100", "not a literal"),
        ("10.0.5:7100", "not a literal"),
        ("0x0a000005:7100", "not a literal"),
        (" 10.0.0.5:7100", "not a literal"),
        ("10.0.0.5:7100\n", "port is|not a literal"),
        ("0.0.0.0:7100", "every address"),
        ("[::]:7100", "every address"),
        ("[::ffff:0.0.0.0]:7100", "every address"),
        ("224.0.0.251:7100", "multicast"),
        ("[ff02::fb]:7100", "multicast"),
        ("[ff02::fb%eth0]:7100", "only link-local"),
        ("255.255.255.255:7100", "broadcast"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, message: str) -> None:
    """The message tells the person at the configuration file what to write instead."""
    with pytest.raises(MalformedAddressError, match=message):
        Address.parse(text)


@pytest.mark.parametrize("port", [0, -1, 65536, True, 7100.0, "7100", None])
def test_a_port_is_a_number_in_its_range(port: Any) -> None:
    """True is no port 1."""
    with pytest.raises(MalformedAddressError, match="a port is"):
        Address(IPv4Address("10.0.0.5"), port)


@pytest.mark.parametrize("ip", ["10.0.0.5", b"\x0a\0\0\5", 5, None, IPv4Interface("10.0.0.5/24").network])
def test_an_ip_is_an_ip_object(ip: Any) -> None:
    """Text is refused where an object is due, and not first where it is dialed."""
    with pytest.raises(MalformedAddressError, match="expected an IPv4Address or IPv6Address"):
        Address(ip, 7100)


ports = st.integers(1, 65535)
v4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
v6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
zones = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-_@:", min_size=1, max_size=15)
zoned = st.builds(
    lambda n, zone: IPv6Address(f"{IPv6Address((0xFE80 << 112) + n)}%{zone}"), st.integers(0, 2**64), zones
)
tricky = st.sampled_from(
    [
        *("::", "::1", "::2", "::ffff:0:0", "::ffff:127.0.0.1", "::1:0:0", "64:ff9b::1", "64:ff9b:1::1"),
        *("64:ff9b:2::", "2002::", "2003::", "fe80::", "febf::", "fec0::", "fd00::", "ff02::1", "2001:db8::"),
        *("0.0.0.0", "0.0.0.1", "127.0.0.0", "127.255.255.255", "128.0.0.0", "169.254.0.0", "169.255.0.0"),
        *(
            "223.255.255.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
        ),
    ]
).map(ip_address)
any_ip = v4 | v6 | zoned | tricky


@given(any_ip, ports, st.text(max_size=5))
def test_an_address_that_can_be_made_reads_back(ip: IPAddress, port: int, source: str) -> None:
    """Text and back, for all but a link-local address that lacks its zone; and its parts are as given."""
    try:
        address = Address(ip, port, source)
    except MalformedAddressError:
        assert (
            int(ip) in {0, 0xFFFF << 32}
            or ip.is_multicast
            or "255.255.255.255" in {str(ip), str(unmapped(ip))}
        )
        return
    assert address.endpoint == (unmapped(ip), port)
    assert address.host == str(unmapped(ip))
    if isinstance(ip, IPv6Address) and ip.is_link_local and ip.scope_id is None:
        with pytest.raises(MalformedAddressError, match="needs its interface"):
            Address.parse(str(address))
    else:
        assert Address.parse(str(address), source=source) == address


def unmapped(ip: IPAddress) -> IPAddress:
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


@given(st.text() | st.from_regex(r"\A[\[\]0-9a-f:.%]{0,30}:[0-9]{0,6}\Z"))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """No other error comes out."""
    try:
        address = Address.parse(text)
    except MalformedAddressError:
        return
    assert Address.parse(str(address)) == address


@given(
    st.sampled_from(["", "host", "10.0.0.5:", "fe80::1%", "[fe80::1%", "[fe80::1]:", "2001:db8::1:", "[::1"]),
    st.sampled_from(["\x1b[31m", "\u202e", "\n", "\udc80"]),
    st.sampled_from(["", ":", ":7100", "]:7100"]),
)
def test_a_message_holds_nothing_that_a_terminal_acts_upon(start: str, odd: str, end: str) -> None:
    """What was read is shown escaped, wherever in the text it stood."""
    with pytest.raises(MalformedAddressError) as caught:
        Address.parse(start + odd + end)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_a_zone_is_part_of_a_link_local_address_and_of_no_other() -> None:
    """The same link-local address on two interfaces is two; elsewhere a zone means nothing and goes."""
    one, two = (Address(ip_address(f"fe80::1%{zone}"), 7100) for zone in ("eth0", "eth1"))
    assert one != two
    assert Address(ip_address("2001:db8::1%eth0"), 7100) == Address(ip_address("2001:db8::1"), 7100)
    assert Address(ip_address("::ffff:10.0.0.5%eth0"), 7100) == Address(ip_address("10.0.0.5"), 7100)


def test_addresses_are_values() -> None:
    """Equal, and one in a set, by ip, port and source; frozen; equal after copying and pickling."""
    address = Address.parse("[fe80::1%eth0]:7100", source="lan")
    assert address.with_source("wan") != address
    assert address.with_source("wan").endpoint == address.endpoint
    assert len({address, address.with_source("lan"), address.with_source("wan")}) == 2
    plain = Address.parse("[2001:db8::1]:7100", source="lan")  # 3.11.2 loses a zone in copying
    assert copy.deepcopy(plain) == plain
    assert pickle.loads(pickle.dumps(plain)) == plain
    with pytest.raises(AttributeError):
        address.port = 1  # type: ignore[misc]  # the very thing that must fail


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1%eth0", "127.0.0.1"),
        ("2001:db8::5", "2001:db8::5"),
        ("2001:db8::5%eth0", "2001:db8::5"),
        ("fe80::5%eth0", "fe80::5%eth0"),
        ("::1", "::1"),
        ("::", "::"),
        ("64:ff9b:2::1", "64:ff9b:2::1"),
        ("2003::1", "2003::1"),
        ("::1:0:0", "::1:0:0"),
    ],
)
def test_an_ip_has_one_form(text: str, normal: str) -> None:
    """Unmapped, and with a zone only where it means something."""
    assert str(normalize_ip(ip_address(text))) == normal


@pytest.mark.parametrize(
    "text",
    ["64:ff9b::10.0.0.5", "64:ff9b:1::10.0.0.5", "64:ff9b:1:ffff::1", "2002:a00:5::1", "::10.0.0.5", "::2"],
)
def test_ipv4_in_the_clothes_of_ipv6_is_refused(text: str) -> None:
    """Behind NAT64, 6to4 and v4-compatible addresses stand ones that our rules would not let through."""
    with pytest.raises(MalformedAddressError, match="stands for an IPv4 address"):
        normalize_ip(ip_address(text))
    assert not may_be_signed(ip_address(text))


NEVER_SIGNED = [
    ip_network(text)
    for text in (
        *("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fe80::/10", "ff00::/8"),
    )
]


@given(any_ip)
def test_what_may_be_signed_means_the_same_to_every_reader(ip: IPAddress) -> None:
    """All but the networks listed here, by the standard library's arithmetic."""
    listed = any(ip in network for network in NEVER_SIGNED)
    assert may_be_signed(ip) is not listed
    if not listed:
        assert normalize_ip(ip) == ip
        assert Address(ip, 7100).ip == ip


@pytest.mark.parametrize("network", NEVER_SIGNED, ids=str)
def test_the_edges_of_what_is_never_signed(network: Any) -> None:
    """First and last address of each network are in it; its neighbours are not, unless in another."""
    assert not may_be_signed(network[0])
    assert not may_be_signed(network[-1])
    for number in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= number < 2**network.max_prefixlen:
            neighbour = type(network[0])(number)
            assert may_be_signed(neighbour) is not any(neighbour in other for other in NEVER_SIGNED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.169.254", True),
        ("169.254.170.2", True),
        ("100.100.100.200", True),
        ("168.63.129.16", True),
        ("192.0.0.192", True),
        ("fd00:ec2::254", True),
        ("fd00:ec2::254%eth0", True),
        ("169.254.169.253", False),
        ("10.0.0.5", False),
        ("2001:db8::5", False),
    ],
)
def test_metadata_services_are_known(text: str, expected: bool) -> None:
    """A peer's record must not make us ask a cloud's metadata service."""
    assert is_metadata(ip_address(text)) is expected


def test_a_zone_is_added_where_it_means_something() -> None:
    """As heard on an interface: link-local IPv6 only; another zone is replaced."""
    assert with_zone(ip_address("fe80::1"), "eth0") == ip_address("fe80::1%eth0")
    assert with_zone(ip_address("fe80::1%eth1"), "eth0") == ip_address("fe80::1%eth0")
    assert with_zone(ip_address("fe80::1%eth1"), "") == ip_address("fe80::1%eth1")
    for text in ("2001:db8::1", "10.0.0.5", "169.254.1.1"):
        assert with_zone(ip_address(text), "eth0") == ip_address(text)


def test_our_addresses_carry_their_interface() -> None:
    """However the system wrote them: a link-local address comes with the name of its interface."""
    network = NetworkSnapshot((LO, ETH0, WLAN0))
    assert ip_address("fe80::5%eth0") in network.ips()
    assert ip_address("fe80::7%wlan0") in network.ips()
    assert ip_address("10.0.0.5") in network.ips()
    assert len(network.ips()) == 9


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("10.0.0.5", True),
        ("fe80::5%eth0", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("fe80::5%wlan0", False),
        ("10.0.0.6", False),
        ("2001:db8::6", False),
    ],
)
def test_our_own_addresses_are_told(text: str, own: bool) -> None:
    """All of loopback is ourselves, and a link-local address on its own interface only."""
    assert NetworkSnapshot((LO, ETH0, WLAN0)).is_own(parse_ip(text)) is own


@pytest.mark.parametrize(
    ("text", "on_link"),
    [
        ("10.0.0.77", True),
        ("10.0.1.77", False),
        ("192.168.1.1", True),
        ("169.254.200.1", True),
        ("8.8.8.8", False),
        ("2001:db8::ffff", True),
        ("2001:db8:0:1::1", False),
        ("fe80::99%eth0", True),
        ("fe80::99%2", True),
        ("fe80::99%eth7", False),
        ("fe80::99", False),
        ("127.0.0.1", False),
        ("127.0.0.2", False),
        ("::1", False),
    ],
)
def test_what_is_on_link(text: str, on_link: bool) -> None:
    """In a network of one of our interfaces; link-local IPv6 by its zone; loopback never."""
    assert NetworkSnapshot((LO, ETH0, WLAN0)).is_on_link(parse_ip(text)) is on_link


def test_nothing_is_on_link_without_a_network() -> None:
    """An empty snapshot, as before the first reading, knows no address but loopback."""
    network = NetworkSnapshot()
    assert network.ips() == frozenset()
    assert network.advertisable() == ()
    assert not network.is_on_link(ip_address("10.0.0.5"))
    assert not network.is_on_link(ip_address("fe80::1%eth0"))
    assert network.is_own(ip_address("127.0.0.1"))


def test_versions_take_turns_in_what_we_advertise() -> None:
    """IPv4 first, then by turns, so that a full record keeps both; nothing local, nothing of containers."""
    network = NetworkSnapshot((LO, DOCKER0, ETH0, WLAN0))
    assert texts(network.advertisable()) == ["10.0.0.5", "2001:db8::5", "192.168.1.7", "fd00::5"]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "docker0",
            "docker_gwbridge",
            "br-0123456789ab",
            "veth1a2b3c",
            "virbr0",
            "lxcbr0",
            "lxdbr0",
            "cni0",
        ),
        *("tun0", "tap0", "utun3", "wg0", "tailscale0", "ztabcdefgh", "podman1", "cali12345", "flannel.1"),
    ],
)
def test_addresses_of_containers_and_tunnels_are_not_advertised(name: str) -> None:
    """Peers on the physical network cannot use them; with nothing else they are better than nothing."""
    virtual = Interface(name, 9, (IPv4Interface("172.18.0.1/16"),))
    assert texts(NetworkSnapshot((virtual, WLAN0)).advertisable()) == ["192.168.1.7"]
    assert texts(NetworkSnapshot((LO, virtual)).advertisable()) == ["172.18.0.1"]


@pytest.mark.parametrize(
    "name", ["eth0", "enp3s0", "wlan0", "wlp2s0", "br-lan", "br0", "bond0", "en0", "usb0"]
)
def test_addresses_of_real_networks_are_advertised(name: str) -> None:
    """A plain bridge is somebody's real network: OpenWrt's is br-lan."""
    real = Interface(name, 9, (IPv4Interface("10.1.0.1/16"),))
    assert texts(NetworkSnapshot((real, WLAN0)).advertisable()) == ["10.1.0.1", "192.168.1.7"]


def test_what_stands_on_the_loopback_interface_is_not_advertised() -> None:
    """What is sent there stays on the host, whatever the address (some put 10.255.255.254 on lo)."""
    lo = Interface("lo", 1, (*LO.addresses, IPv4Interface("10.255.255.254/32")))
    other_name = Interface("Loopback Pseudo-Interface 1", 1, lo.addresses)
    assert NetworkSnapshot((lo,)).advertisable() == ()
    assert NetworkSnapshot((other_name,)).advertisable() == ()


def test_an_address_on_two_interfaces_is_advertised_once() -> None:
    """A record has no room to say a thing twice."""
    bridge = Interface("br0", 7, (ip_interface("10.0.0.5/24"),))
    assert texts(NetworkSnapshot((bridge, ETH0)).advertisable()) == ["10.0.0.5", "2001:db8::5", "fd00::5"]


def test_equal_networks_are_equal() -> None:
    """A monitor tells a change by comparing; hashing works too."""
    assert NetworkSnapshot((LO, ETH0)) == NetworkSnapshot((LO, ETH0))
    assert hash(NetworkSnapshot((LO, ETH0))) == hash(NetworkSnapshot((LO, ETH0)))
    assert NetworkSnapshot((LO, ETH0)) != NetworkSnapshot((LO,))


def test_waking_up_is_a_difference() -> None:
    """The addresses are the same, and who compares acts all the same."""
    awake = NetworkSnapshot((LO, ETH0), resumes=1)
    assert awake != NetworkSnapshot((LO, ETH0))
    assert awake.ips() == NetworkSnapshot((LO, ETH0)).ips()
