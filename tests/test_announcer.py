"""What we say of ourselves: signed, numbered, and no more than others may know."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface

import pytest

from peernet_core.addresses import Address, Interface, NetworkSnapshot, parse_ip
from peernet_core.announcer import Announcer
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.keys import Identity
from peernet_core.records import MAX_RECORD_SIZE, decode_record
from peernet_core.storage.sequence_file import MemorySequence

ME = Identity.generate()
ANY = (ListenAddress(parse_ip("0.0.0.0"), 0), ListenAddress(parse_ip("::"), 0))
NETWORK = NetworkSnapshot(
    (
        Interface("lo", 1, (IPv4Interface("127.0.0.1/8"),)),
        Interface("eth0", 2, (IPv4Interface("10.0.0.5/24"), IPv6Interface("2001:db8::5/64"))),
        Interface("eth1", 3, (IPv4Interface("192.168.1.5/24"), IPv6Interface("fe80::5/64"))),
    )
)


def announcer(
    listen: tuple[ListenAddress, ...] = ANY, advertise: tuple[Address, ...] = (), name: str = ""
) -> Announcer:
    return Announcer(ME, MemorySequence(lambda: 5.0), name=name, advertise=advertise, listen=listen)


def texts(addresses: tuple[Address, ...]) -> set[str]:
    return {str(address) for address in addresses}


def test_the_record_says_where_we_listen_and_is_signed() -> None:
    """Never loopback or link-local."""
    announcement = announcer(name="kitchen").announcement(7100, NETWORK)
    signed = decode_record(announcement.record)
    signed.verify()
    assert (signed.record.key, signed.record.port, signed.record.name) == (ME.key, 7100, "kitchen")
    assert texts(signed.record.addresses) == {"10.0.0.5:7100", "192.168.1.5:7100", "[2001:db8::5]:7100"}
    assert announcement.alias == ME.key.alias
    assert {str(ip) for ip in announcement.addresses} == {"10.0.0.5", "192.168.1.5", "2001:db8::5"}


def test_each_record_has_a_higher_number() -> None:
    """Also above what somebody else holds of us."""
    me = announcer()
    numbers = [decode_record(me.announcement(7100, NETWORK).record).record.sequence for _ in range(3)]
    assert numbers == sorted(set(numbers))
    me.announcement(7100, NETWORK, above=10**15)
    assert me.sequence == 10**15 + 1


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1", set()),
        ("10.0.0.5", {"10.0.0.5:7100"}),
        ("::", {"[2001:db8::5]:7100"}),
        ("0.0.0.0", {"10.0.0.5:7100", "192.168.1.5:7100"}),
    ],
)
def test_only_what_we_listen_on_is_announced(listen: str, expected: set[str]) -> None:
    """A node on one address or family does not promise others."""
    me = announcer((ListenAddress(parse_ip(listen), 0),))
    assert texts(me.addresses(7100, NETWORK)) == expected


def test_the_operators_list_replaces_ours() -> None:
    """With its own ports, behind a port forwarding."""
    me = announcer(advertise=(Address.parse("203.0.113.7:7200"),))
    record = decode_record(me.announcement(7100, NETWORK).record).record
    assert texts(record.addresses) == {"203.0.113.7:7200"}


def test_the_last_record_says_that_we_have_stopped() -> None:
    """It voids the rest; the operator's own addresses are not in it either."""
    for me in (announcer(), announcer(advertise=(Address.parse("203.0.113.7:7200"),))):
        announcement = me.announcement(7100, NETWORK, stopping=True)
        record = decode_record(announcement.record).record
        assert (record.addresses, record.stopped) == ((), True)
        assert announcement.addresses == ()


def test_a_host_with_link_local_addresses_only_has_not_stopped() -> None:
    """Its record has no addresses, and does not say that it has stopped."""
    network = NetworkSnapshot((Interface("eth0", 2, (IPv6Interface("fe80::5/64"),)),))
    for each in (network, NetworkSnapshot()):
        record = decode_record(announcer().announcement(7100, each).record).record
        assert (record.addresses, record.stopped) == ((), False)


def test_what_does_not_fit_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The record stays within its bound whatever the host has."""
    caplog.set_level("INFO")
    many = tuple(IPv6Interface(f"2001:db8:{n:x}::1/64") for n in range(1, 30))
    network = NetworkSnapshot((Interface("eth0", 2, many),))
    record = announcer(name="å" * 40).announcement(7100, network).record
    assert len(record) <= MAX_RECORD_SIZE
    assert decode_record(record).record.name == "å" * 12
    assert "more does not fit" in caplog.text
