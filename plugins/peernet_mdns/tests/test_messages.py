"""What is sent can be read by anybody's parser, and says no more than it should."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, IPVersion

from peernet_core.contract import Announcement
from peernet_mdns.answers import Claim, read_claims
from peernet_mdns.browser import Query
from peernet_mdns.messages import HOST_TTL_S, query_message, service_info
from peernet_mdns.txt import record_in

SERVICE: Final = "_peernet._tcp"
TYPE: Final = "_peernet._tcp.local."
ALIAS, OTHER = "a" * 26, "b" * 26
SRV, TXT, PTR = 33, 16, 12


def read(message: DNSOutgoing) -> DNSIncoming:
    (packet,) = message.packets()
    return DNSIncoming(packet)


def asked(message: DNSIncoming) -> list[tuple[str, int, bool]]:
    return [(each.name, each.type, each.unique) for each in message.questions]


def test_everybody_is_asked_by_the_type() -> None:
    """With the bit that lets answers come by unicast, or without."""
    for unicast in (False, True):
        message = read(query_message(Query(everybody=True, unicast=unicast), SERVICE))
        assert message.is_query()
        assert message.id == 0
        assert asked(message) == [(TYPE, PTR, unicast)]


def test_a_peer_is_asked_for_by_its_name() -> None:
    """SRV and TXT, and no more: addresses are not needed."""
    message = read(query_message(Query(names=(ALIAS, OTHER), unicast=True), SERVICE))
    names = [f"{alias}.{TYPE}" for alias in (ALIAS, OTHER)]
    assert asked(message) == [(name, kind, True) for name in names for kind in (SRV, TXT)]


def test_the_known_need_not_answer() -> None:
    """Each with the whole seconds that are left of it (RFC 6762 §7.1)."""
    query = Query(everybody=True, known=((ALIAS, 4000.9), (OTHER, 2300.0)))
    answers = read(query_message(query, SERVICE)).answers()
    assert [
        (each.name, each.alias, each.ttl, each.unique) for each in answers if isinstance(each, DNSPointer)
    ] == [
        (TYPE, f"{ALIAS}.{TYPE}", 4000, False),
        (TYPE, f"{OTHER}.{TYPE}", 2300, False),
    ]


def test_a_legacy_query_is_plain_dns() -> None:
    """No unicast bit, no known answers (RFC 6762 §6.7), and all in one packet."""
    query = Query(names=(ALIAS,), everybody=True, unicast=True, known=((OTHER, 2300.0),))
    message = read(query_message(query, SERVICE, legacy=True))
    assert asked(message) == [
        (TYPE, PTR, False),
        (f"{ALIAS}.{TYPE}", SRV, False),
        (f"{ALIAS}.{TYPE}", TXT, False),
    ]
    assert message.answers() == []


def test_many_known_answers_take_several_packets() -> None:
    """The question is asked once, and all but the last packet say that more comes (RFC 6762 §7.2)."""
    known = tuple((f"{number:026}".translate(str.maketrans("0189", "abcd")), 100.0) for number in range(200))
    packets = query_message(Query(everybody=True, known=known), SERVICE).packets()
    messages = [DNSIncoming(packet) for packet in packets]
    assert len(messages) > 1
    assert [len(each.questions) for each in messages] == [1] + [0] * (len(messages) - 1)
    assert [each.truncated for each in messages] == [True] * (len(messages) - 1) + [False]
    assert sum(len(each.answers()) for each in messages) == len(known)


def test_what_we_publish_is_read_as_what_we_said() -> None:
    """Name, port, TTLs, addresses, and the record byte by byte; nothing of the host's own name."""
    record = bytes(range(230))
    addresses = (IPv6Address("2001:db8::5"), IPv4Address("10.0.0.5"))
    announcement = Announcement(7100, addresses, record, ALIAS)
    info = service_info(announcement, SERVICE, [ip.packed for ip in addresses])
    assert (info.type, info.name, info.server) == (TYPE, f"{ALIAS}.{TYPE}", f"{ALIAS}.local.")
    assert (info.port, info.priority, info.weight) == (7100, 0, 0)
    assert {ip.packed for ip in addresses} == set(info.addresses_by_version(IPVersion.All))
    assert info.text is not None
    assert record_in(info.text) == record
    out = DNSOutgoing(0x8400)
    for each in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
        out.add_answer_at_time(each, 0)
    answers = read(out).answers()
    assert [(each.type, each.ttl) for each in answers] == [
        (PTR, 4500),
        (SRV, HOST_TTL_S),
        (TXT, 4500),
        (1, HOST_TTL_S),
        (28, HOST_TTL_S),
    ]
    assert read_claims(answers, SERVICE).claims == (Claim(ALIAS, record, float(HOST_TTL_S), complete=True),)


def test_a_node_without_an_address_is_published_all_the_same() -> None:
    """Before there is a network; its name and record are known already."""
    info = service_info(Announcement(7100, (), b"r", ALIAS), SERVICE, ())
    assert info.dns_addresses() == []
    assert info.dns_service().port == 7100
