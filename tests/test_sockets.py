"""Sockets: one port for all, zones as the system wants them, and who the other end is."""

from __future__ import annotations

import socket
from contextlib import closing
from ipaddress import IPv6Address

import pytest

from peernet_core.addresses import Address, parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.links.sockets import (
    BindError,
    _refuse_self_connection,
    bind,
    far_end,
    socket_address,
)

V4 = ListenAddress(parse_ip("127.0.0.1"), 0)
V6 = ListenAddress(parse_ip("::1"), 0)


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def test_all_addresses_share_one_port() -> None:
    """The first decides."""
    sockets = bind((V4, V6))
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert [each.family for each in sockets] == [socket.AF_INET, socket.AF_INET6]
    finally:
        close(sockets)


def test_the_port_of_the_last_run_is_taken_when_it_is_free() -> None:
    """And another one when it is not."""
    first = bind((V4,))
    port = first[0].getsockname()[1]
    other = bind((V4,), preferred_port=port)
    assert other[0].getsockname()[1] != port
    close(first + other)
    again = bind((V4,), preferred_port=port)
    assert again[0].getsockname()[1] == port
    close(again)


def test_an_address_that_is_not_ours_is_named() -> None:
    """With the system's reason, and nothing stays bound."""
    with pytest.raises(BindError, match=r"192\.0\.2\.1.*Cannot assign"):
        bind((V4, ListenAddress(parse_ip("192.0.2.1"), 0)))


def test_a_port_that_is_taken_is_named() -> None:
    """A fixed one is never replaced by another."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match=rf"127\.0\.0\.1:{port}.*in use"):
            bind((ListenAddress(parse_ip("127.0.0.1"), port),))


def test_a_zone_is_an_interface_s_name_or_number() -> None:
    """The system's calls want the number."""
    ip = IPv6Address("fe80::1%lo")
    index = socket.if_nametoindex("lo")
    assert socket_address(ip, 7100) == ("fe80::1", 7100, 0, index)
    assert socket_address(IPv6Address("fe80::1%77"), 7100) == ("fe80::1", 7100, 0, 77)
    for zone in ("no-such-one", "0", "4294967296", "a\0b", "²"):
        with pytest.raises(OSError, match="no interface"):
            socket_address(IPv6Address(f"fe80::1%{zone}"), 7100)


def test_the_other_end_of_a_link_local_connection_has_its_zone() -> None:
    """By the name of the interface; other addresses have none."""
    index = socket.if_nametoindex("lo")
    assert far_end(("fe80::1%lo", 7100, 0, index), "inbound") == Address.parse(
        "[fe80::1%lo]:7100", source="inbound"
    )
    assert far_end(("2001:db8::1", 7100, 0, 0), "x") == Address.parse("[2001:db8::1]:7100", source="x")
    assert far_end(("10.0.0.5", 7100), "x") == Address.parse("10.0.0.5:7100", source="x")


def test_a_connection_with_itself_is_refused() -> None:
    """TCP connects a socket to itself where the port that it dials is its own."""
    with socket.socket() as itself:
        itself.bind(("127.0.0.1", 0))
        itself.connect(itself.getsockname())
        with pytest.raises(ConnectionRefusedError):
            _refuse_self_connection(itself)
