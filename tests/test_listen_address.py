"""Where we listen is a literal address and a port; what cannot be bound together is refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.configuration.listen_address import ListenAddress, check_together
from peernet_core.errors import MalformedAddressError


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0:0", "[::]:0", "127.0.0.1:7100", "[::1]:65535", "[fe80::1%eth0]:7100", "169.254.1.1:7100"],
)
def test_addresses_of_this_host_are_read(text: str) -> None:
    """Port 0 and the unspecified addresses have their meaning here."""
    assert str(ListenAddress.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("localhost:7100", "'localhost' is not a literal IPv4 or IPv6 address; host names are not looked up"),
        ("kitchen.local", "'kitchen.local' is not an address and a port, as in 0.0.0.0:7100 or [::]:7100"),
        ("", "'' is not an address and a port, as in 0.0.0.0:7100 or [::]:7100"),
        ("7100", "'7100' is not an address and a port, as in 0.0.0.0:7100 or [::]:7100"),
        ("0.0.0.0", "'0.0.0.0' has no port; write 0.0.0.0:0 for a free one"),
        ("[::]", "'[::]' has no port; write [::]:0 for a free one"),
        ("::", "'::' has no port; write [::]:0 for a free one"),
        ("fe80::1%eth0:7100", "an IPv6 address stands in brackets, as in [fe80::1%eth0]:7100"),
        ("2001:db8:0:0:0:0:0:1:7100", "brackets, as in [2001:db8::1]:7100"),
        (":7100", "':7100' has no address; every address is 0.0.0.0:7100 and [::]:7100"),
        ("0.0.0.0:65536", "a port to listen on is 0 to 65535, not 65536"),
        ("0.0.0.0:http", "'0.0.0.0:http': a port to listen on is 0 to 65535"),
        ("0.0.0.0:-1", "'0.0.0.0:-1': a port to listen on is 0 to 65535"),
        ("0.0.0.0: 1", "'0.0.0.0: 1': a port to listen on is 0 to 65535"),
        ("224.0.0.251:0", "224.0.0.251 is no address of a host; nobody can listen there"),
        ("255.255.255.255:0", "255.255.255.255 is no address of a host; nobody can listen there"),
        ("[ff02::1]:0", "ff02::1 is no address of a host; nobody can listen there"),
        ("[fe80::1]:0", "fe80::1 is link-local and needs its interface, as in [fe80::1%eth0]:0"),
        ("[::ffff:10.0.0.5]:0", "write the IPv4 address itself, 10.0.0.5:0"),
        ("[10.0.0.5]:0", "write the IPv4 address itself, 10.0.0.5:0"),
        ("256.0.0.1:0", "'256.0.0.1' is not a literal IPv4 or IPv6 address"),
    ],
)
def test_each_common_mistake_has_its_message(text: str, reason: str) -> None:
    """The message says what to write in its place."""
    with pytest.raises(MalformedAddressError) as caught:
        ListenAddress.parse(text)
    assert reason in str(caught.value)


def test_a_port_is_an_integer() -> None:
    """From code, too."""
    for port in (True, "80", -1, 65536):
        with pytest.raises(MalformedAddressError):
            ListenAddress(IPv4Address(0), port)  # type: ignore[arg-type]  # what a caller should not do


@given(st.text(alphabet="0123456789abcdef:.[]%", max_size=40) | st.text())
def test_any_text_is_an_address_or_the_one_error(text: str) -> None:
    """What is read, is read again from its own text."""
    try:
        address = ListenAddress.parse(text)
    except MalformedAddressError:
        return
    assert ListenAddress.parse(str(address)) == address


@given(st.ip_addresses(), st.integers(0, 65535))
def test_addresses_round_trip(ip: IPv4Address | IPv6Address, port: int) -> None:
    """Every address that somebody can listen at can be written and read."""
    try:
        address = ListenAddress(ip, port)
    except MalformedAddressError:
        return
    if getattr(ip, "ipv4_mapped", None) is None:
        assert ListenAddress.parse(str(address)) == address


def together(*texts: str) -> None:
    check_together([ListenAddress.parse(text) for text in texts])


def test_addresses_with_one_port_go_together() -> None:
    """Both families, and several addresses of one."""
    together("0.0.0.0:0", "[::]:0")
    together("10.0.0.5:7100", "10.0.0.6:7100", "[::]:7100")
    together("[fe80::1%eth0]:0", "[fe80::1%eth1]:0")


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ((), "expected at least one address to listen on"),
        (("0.0.0.0:0", "0.0.0.0:0"), "0.0.0.0 is there twice"),
        (("0.0.0.0:7100", "0.0.0.0:7200"), "0.0.0.0 is there twice"),
        (("0.0.0.0:0", "10.0.0.5:0"), "0.0.0.0 listens on 10.0.0.5 already"),
        (("[::1]:0", "[::]:0"), ":: listens on ::1 already"),
        (
            ("0.0.0.0:7100", "[::]:7200"),
            "one port for all: 0.0.0.0:7100 and [::]:7200 differ, and a record names only one",
        ),
        (
            ("0.0.0.0:7100", "[::]:0"),
            "one port for all: 0.0.0.0:7100 and [::]:0 differ, and a record names only one",
        ),
    ],
)
def test_addresses_that_cannot_be_bound_together_are_refused(texts: tuple[str, ...], reason: str) -> None:
    """A record has one port, and no two sockets have one address."""
    with pytest.raises(MalformedAddressError) as caught:
        together(*texts)
    assert str(caught.value) == reason
