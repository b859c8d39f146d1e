"""Strangers: a small table that floods cannot grow, and from which a newly trusted key is taken over."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from itertools import count

import pytest

from peernet_core.addresses import Address, parse_ip
from peernet_core.contract import Sighting
from peernet_core.decisions.ledger import Kind, Ledger, Statement
from peernet_core.decisions.strangers import (
    MAX_HEARD,
    MAX_REPORTED,
    MAX_STATEMENTS,
    MAX_STRANGERS,
    Stranger,
    Strangers,
)
from peernet_core.events import PeerDiscovered
from peernet_core.keys import PeerKey
from peernet_core.records import Record, SignedRecord

KEY = PeerKey(bytes([3]) * 32)
OTHER = PeerKey(bytes([4]) * 32)
A, B = "10.0.0.1:7100", "10.0.0.2:7100"


def numbered_key(number: int) -> PeerKey:
    return PeerKey(number.to_bytes(4, "big") + bytes([7]) * 28)


def record(sequence: int, *addresses: str, key: PeerKey = KEY, name: str = "") -> SignedRecord:
    made = Record(key, sequence, 7100, tuple(map(Address.parse, addresses)), name)
    return SignedRecord(made, repr(made).encode())


def hint(
    strangers: Strangers,
    address: str = A,
    *,
    key: PeerKey = KEY,
    source: str = "lan",
    ttl_s: float | None = 60.0,
    configured: bool = False,
    now: float = 0.0,
) -> Sighting:
    return strangers.hint_seen(
        source, key, Address.parse(address), ttl_s=ttl_s, configured=configured, now=now
    )


def said(statements: Iterable[Statement]) -> list[tuple[str, str]]:
    return [(str(each.sighting.addresses[0]), each.sighting.source) for each in statements]


@pytest.fixture
def strangers() -> Strangers:
    return Strangers()


def test_strangers_are_listed(strangers: Strangers) -> None:
    """Once for each source, with the latest address; who was seen last comes first."""
    strangers.record_seen("lan", record(1, A, B), ttl_s=60, now=1.0)
    hint(strangers, B, key=OTHER, now=2.0)
    hint(strangers, A, key=OTHER, source="dht", now=3.0)
    hint(strangers, A, key=OTHER, now=4.0)
    assert strangers.listing() == (
        Stranger(OTHER, Address.parse(A, source="lan"), "lan", 4.0),
        Stranger(OTHER, Address.parse(A, source="dht"), "dht", 3.0),
        Stranger(KEY, Address.parse(A, source="lan"), "lan", 1.0),
    )


def test_what_is_heard_at_two_places_is_one_candidate(strangers: Strangers) -> None:
    """A record heard over IPv4 and over IPv6 names each of its addresses once; the longest lease counts."""
    for now, ttl_s, ip in ((0.0, 60.0, "10.0.0.1"), (1.0, 30.0, "10.0.0.2")):
        heard = (parse_ip(ip), "eth0")
        strangers.record_seen("lan", record(1, A, B), ttl_s=ttl_s, heard=heard, now=now)
    found = [(str(each.address), each.seen_at, each.expires_at) for each in strangers.candidates(KEY)]
    assert found == [(A, 1.0, 60.0), (B, 1.0, 60.0)]


def test_a_refresh_is_the_same_sighting(strangers: Strangers) -> None:
    """For records and for hints; the lease counts from the last."""
    first = strangers.record_seen("lan", record(1, A), ttl_s=60, now=0.0)
    assert strangers.record_seen("lan", record(1, A), ttl_s=60, now=30.0) == first
    assert strangers.record_seen("lan", record(2, A), ttl_s=60, now=30.0) != first
    assert strangers.record_seen("dht", record(1, A), ttl_s=60, now=30.0) != first
    other = hint(strangers, B, now=0.0)
    assert hint(strangers, B, now=40.0) == other
    assert hint(strangers, B, configured=True, now=40.0) != other
    assert strangers.next_deadline() == 90.0
    assert len(strangers) == 5


def test_media_that_never_forget_do_not_renew(strangers: Strangers) -> None:
    """The first reading counts."""
    for now in (0.0, 20.0, 40.0):
        strangers.record_seen("folder", record(1, A), ttl_s=60, renew=False, now=now)
    strangers.expire(now=60.0)
    assert strangers.listing() == ()


def test_what_has_run_out_is_dropped(strangers: Strangers) -> None:
    """At its deadline; what has no lease stays."""
    hint(strangers, A, ttl_s=10)
    hint(strangers, B, ttl_s=None, configured=True)
    assert strangers.next_deadline() == 10.0
    strangers.expire(now=9.9)
    assert len(strangers) == 2
    strangers.expire(now=10.0)
    assert [str(each.address) for each in strangers.listing()] == [B]
    assert strangers.next_deadline() is None


def test_a_lease_of_no_time_ends_what_it_repeats(strangers: Strangers) -> None:
    """And is kept no moment itself."""
    hint(strangers, A, ttl_s=0)
    assert len(strangers) == 0
    hint(strangers, A)
    hint(strangers, A, ttl_s=0)
    assert len(strangers) == 0


def test_an_unverified_stop_record_ends_nothing(strangers: Strangers) -> None:
    """Anybody could have made it."""
    strangers.record_seen("lan", record(1, A), ttl_s=60, now=0.0)
    made = Record(KEY, 9, 7100, stopped=True)
    sighting = strangers.record_seen(
        "lan", SignedRecord(made, b"stop"), ttl_s=60, heard=(parse_ip("fe80::5"), "eth0"), now=0.0
    )
    assert sighting.addresses == ()
    assert len(strangers) == 1


def test_a_stranger_without_addresses_is_where_it_is_heard(strangers: Strangers) -> None:
    """If it is heard; once it is trusted, it can be dialed there."""
    strangers.record_seen("dht", record(1), ttl_s=60, now=0.0)
    assert strangers.listing() == ()
    strangers.record_seen("lan", record(1), ttl_s=60, heard=(parse_ip("fe80::5"), "eth0"), now=0.0)
    there = Address.parse("[fe80::5%eth0]:7100", source="lan")
    assert strangers.listing() == (Stranger(KEY, there, "lan", 0.0),)
    ledger = Ledger()
    for statement in strangers.take(KEY, now=1.0):
        assert ledger.admit(statement, now=1.0) == [PeerDiscovered(KEY, there)]
    (candidate,) = ledger.candidates(KEY)
    assert (candidate.kind, candidate.heard) == (Kind.HINT, (there.ip, "eth0"))


def test_withdrawing(strangers: Strangers) -> None:
    """One sighting, once, by its own source."""
    sighting, other = hint(strangers, A), hint(strangers, B)
    strangers.withdraw(Sighting(other.id, KEY, "dht", ()), now=1.0)
    strangers.withdraw(sighting, now=1.0)
    strangers.withdraw(sighting, now=1.0)
    assert [str(each.address) for each in strangers.listing()] == [B]


def test_withdrawing_an_address(strangers: Strangers) -> None:
    """Of that source only, configured or not; without one, all of it."""
    strangers.record_seen("lan", record(1, A, B), ttl_s=60, now=0.0)
    hint(strangers, A, configured=True)
    hint(strangers, B)
    hint(strangers, A, source="dht")
    strangers.withdraw_address("lan", KEY, parse_ip("10.0.0.1"), 7100, now=1.0)
    assert said(strangers.take(KEY, now=1.0)) == [(B, "lan"), (A, "dht")]
    hint(strangers, A)
    hint(strangers, B, configured=True)
    strangers.withdraw_address("lan", KEY, None, None, now=1.0)
    strangers.withdraw_address("lan", OTHER, None, None, now=1.0)
    assert len(strangers) == 0


def test_prefixes(strangers: Strangers) -> None:
    """Whoever matches, in upper and lower case; each once."""
    one, two = sorted(
        [PeerKey(b"\x01\x00" + bytes(30)[:-1] + b"\x05"), PeerKey(b"\x01\x80" + bytes([9]) * 30)]
    )
    hint(strangers, key=one)
    hint(strangers, key=one, source="dht")
    hint(strangers, key=two, configured=True)
    assert strangers.find_prefix("a") == [one, two]
    assert strangers.find_prefix(str(two)[:8].upper()) == [two]
    assert strangers.find_prefix(str(one)) == [one]
    assert strangers.find_prefix("b") == []


def test_taking_lets_go(strangers: Strangers) -> None:
    """All that is live of the key, oldest first, and nothing of others."""
    hint(strangers, A, now=2.0)
    strangers.record_seen("dht", record(1, B), ttl_s=60, now=1.0)
    hint(strangers, B, configured=True, ttl_s=None, now=3.0)
    hint(strangers, A, key=OTHER)
    hint(strangers, "10.0.0.9:7100", ttl_s=5, now=0.0)
    assert said(strangers.take(KEY, now=10.0)) == [(B, "dht"), (A, "lan"), (B, "lan")]
    assert strangers.take(KEY, now=10.0) == ()
    assert [each.key for each in strangers.listing()] == [OTHER]


def test_trust_comes_and_goes() -> None:
    """The backend's handle ends the sighting wherever it is by then, and the lease is the first one's."""
    ids = count(1)
    ledger, strangers = Ledger(ids), Strangers(ids)
    sighting = strangers.record_seen("lan", record(1, A), ttl_s=60, now=0.0)
    (statement,) = strangers.take(KEY, now=10.0)
    assert ledger.admit(statement, now=10.0) == [PeerDiscovered(KEY, Address.parse(A, source="lan"))]
    assert ledger.next_deadline() == 60.0
    (statement,) = ledger.forget(KEY)
    strangers.admit(statement, now=20.0)
    assert strangers.next_deadline() == 60.0
    strangers.withdraw(sighting, now=30.0)
    assert len(strangers) == 0
    newer, _ = ledger.hint_seen("lan", KEY, Address.parse(A), ttl_s=1, configured=False, now=30.0)
    assert newer.id != sighting.id


def test_what_has_run_out_is_not_admitted(strangers: Strangers) -> None:
    """Nor what is there already."""
    ledger = Ledger()
    ledger.hint_seen("lan", KEY, Address.parse(A), ttl_s=5, configured=False, now=0.0)
    (statement,) = ledger.forget(KEY)
    strangers.admit(statement, now=5.0)
    assert len(strangers) == 0
    hint(strangers, A, now=1.0)
    strangers.admit(statement, now=1.0)
    assert len(strangers) == 1


def test_the_least_recently_reported_statement_gives_way(strangers: Strangers) -> None:
    """Of one key from one source; a refresh counts as a report."""
    for last in range(1, MAX_STATEMENTS + 1):
        hint(strangers, f"10.0.0.{last}:7100", now=float(last))
    hint(strangers, "10.0.0.1:7100", now=50.0)
    hint(strangers, "10.0.1.1:7100", now=51.0)
    left = [address for address, _ in said(strangers.take(KEY, now=52.0))]
    assert len(left) == MAX_STATEMENTS
    assert "10.0.0.1:7100" in left
    assert "10.0.0.2:7100" not in left


def test_the_least_recently_reported_key_gives_way(strangers: Strangers) -> None:
    """When the table is full."""
    for number in range(MAX_STRANGERS):
        hint(strangers, key=numbered_key(number))
    hint(strangers, key=numbered_key(0))
    hint(strangers, B, key=numbered_key(1), now=1.0)
    hint(strangers, key=KEY)
    listed = {each.key for each in strangers.listing()}
    assert len(listed) == MAX_STRANGERS
    assert {numbered_key(0), numbered_key(1), KEY} <= listed
    assert numbered_key(2) not in listed


def test_a_flood_from_one_source_pushes_out_its_own(strangers: Strangers) -> None:
    """The stranger on the quiet source can still be trusted by its prefix."""
    hint(strangers, key=KEY, source="bluetooth")
    hint(strangers, key=OTHER, source="lan", configured=True)
    for number in range(5000):
        hint(strangers, key=numbered_key(number))
    assert strangers.find_prefix(str(KEY)) == [KEY]
    assert strangers.find_prefix(str(OTHER)) == [OTHER]


def test_who_comes_after_the_flood_finds_room(strangers: Strangers) -> None:
    """The source that fills the table gives way to the others, not they to each other."""
    for number in range(MAX_STRANGERS):
        hint(strangers, key=numbered_key(number))
    for number in range(5):
        hint(strangers, key=numbered_key(number), source="bluetooth")
    sources = [each.source for each in strangers.listing()]
    assert (sources.count("lan"), sources.count("bluetooth")) == (MAX_STRANGERS - 5, 5)


def test_configured_statements_are_never_evicted(strangers: Strangers) -> None:
    """Neither by others nor by each other: the operator wrote them down."""
    for last in range(1, 41):
        hint(strangers, f"10.0.0.{last}:7100", source="manual", configured=True, ttl_s=None)
    for number in range(3000):
        hint(strangers, key=numbered_key(number), source="manual")
        hint(strangers, f"10.1.{number // 250}.{number % 250 + 1}:7100", source="manual")
    configured = [each for each in strangers.take(KEY, now=1.0) if each.expires_at is None]
    assert len(configured) == 40


def test_memory_is_bounded_under_floods(strangers: Strangers) -> None:
    """Of keys, of records, of spoofed senders, of refreshes."""
    for number in range(4000):
        now = number / 20
        strangers.record_seen("lan", record(1, A, key=numbered_key(number)), ttl_s=600, now=now)
        strangers.record_seen("lan", record(number + 1, A), ttl_s=600, now=now)
        heard = (ip_address(0x0A000000 + number), "eth0")
        strangers.record_seen("dht", record(1, A), ttl_s=600, heard=heard, now=now)
        strangers.should_report(numbered_key(number), "lan", now=now)
    assert len(strangers) <= MAX_STRANGERS + 2 * MAX_STATEMENTS
    assert len(strangers._deadlines) == len(strangers)
    assert len(strangers._deadlines._heap) <= 2 * len(strangers) + 64
    assert len(strangers._reported["lan"]) <= MAX_REPORTED
    strangers.expire(now=1e6)
    assert len(strangers) == len(strangers._deadlines) == 0
    assert strangers._heard == strangers._configured == {}
    assert strangers._heard_from.total() == 0


def test_a_flood_of_reports_pushes_out_its_own_source(strangers: Strangers) -> None:
    """Many of each of many keys: those of the quiet source stay, and so do the latest of the loud one."""
    hint(strangers, key=KEY, source="bluetooth")
    for number in range(1000):
        for port in range(7000, 7010):
            hint(strangers, f"10.0.0.1:{port}", key=numbered_key(number))
    assert MAX_HEARD - 10 <= len(strangers) <= MAX_HEARD
    listed = {each.key for each in strangers.listing()}
    assert {KEY, numbered_key(999), numbered_key(700)} <= listed
    assert numbered_key(500) not in listed


def test_a_stranger_is_reported_once_in_ten_minutes(strangers: Strangers) -> None:
    """For each key and source."""
    assert strangers.should_report(KEY, "lan", now=0.0)
    assert not strangers.should_report(KEY, "lan", now=599.9)
    assert strangers.should_report(KEY, "dht", now=300.0)
    assert strangers.should_report(OTHER, "lan", now=300.0)
    assert strangers.should_report(KEY, "lan", now=600.0)
    assert not strangers.should_report(KEY, "lan", now=601.0)


def test_a_flood_of_strangers_does_not_break_the_promise(strangers: Strangers) -> None:
    """Further keys go unmentioned, nobody is mentioned twice, and other sources are not silenced."""
    told = [strangers.should_report(numbered_key(number), "lan", now=1.0) for number in range(5000)]
    again = [strangers.should_report(numbered_key(number), "lan", now=2.0) for number in range(5000)]
    assert sum(told) == MAX_REPORTED
    assert sum(again) == 0
    assert strangers.should_report(KEY, "bluetooth", now=2.0)
    assert strangers.should_report(KEY, "lan", now=601.0)
