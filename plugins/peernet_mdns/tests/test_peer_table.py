"""The table is bounded, fair to its sources, and hands out what changed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from peernet_mdns.browser import Gone, Origin
from peernet_mdns.peer_table import GRACE_S, Entry, PeerTable, Statement
from peernet_mdns.quotas import Level

IPS = [ip_address(f"10.0.0.{host}") for host in range(1, 9)]
ORIGIN = Origin(IPS[0], "eth0")


def add(table: PeerTable, alias: str, ip: int = 0, level: Level = Level.PLAIN) -> Entry | None:
    entry, _ = table.add(alias, IPS[ip], level)
    return entry


def state(table: PeerTable, alias: str, record: bytes = b"r", ip: int = 0) -> Entry:
    entry = table.get(alias) or add(table, alias, ip)
    assert entry is not None
    entry.statement = Statement(record, 0.0, 120.0, ((ORIGIN, 0.0),))
    table.report(entry, ORIGIN, 120.0)
    return entry


def known(table: PeerTable, aliases: str) -> str:
    return "".join(each for each in aliases if table.get(each) is not None)


def test_a_source_makes_room_for_itself() -> None:
    """Over its quota it loses its own oldest entry; nobody else does."""
    table = PeerTable(capacity=10, quota=2)
    add(table, "x", ip=1)
    for alias in "abc":
        add(table, alias)
    assert known(table, "xabc") == "xbc"


def test_who_holds_most_makes_room_for_others() -> None:
    """Over the capacity the largest source loses its oldest."""
    table = PeerTable(capacity=4, quota=3)
    add(table, "x", ip=1)
    for alias in "abc":
        add(table, alias)
    add(table, "y", ip=2)
    assert known(table, "xabcy") == "xbcy"


def test_where_all_hold_alike_those_that_answered_stay() -> None:
    """A flood from forged addresses pushes itself out."""
    table = PeerTable(capacity=3, quota=3)
    add(table, "a", ip=1, level=Level.ANSWERED)
    for ip, alias in enumerate("bcde", start=2):
        add(table, alias, ip=ip)
    assert known(table, "abcde") == "ade"


def test_wanted_ones_never_make_room() -> None:
    """A newcomer finds none then, neither in its quota nor in the table."""
    table = PeerTable(capacity=2, quota=1)
    add(table, "a", ip=0, level=Level.WANTED)
    assert add(table, "b", ip=0) is None
    add(table, "c", ip=1, level=Level.WANTED)
    assert add(table, "d", ip=2) is None
    assert known(table, "abcd") == "ac"
    assert table.evicted == 2


def test_eviction_is_silent_and_takes_back_what_waits() -> None:
    """What was not handed out is not; what was is left to its lease."""
    table = PeerTable(capacity=10, quota=1)
    state(table, "a")
    state(table, "b")
    assert [each.alias for each in table.take_changes(9)] == ["b"]
    state(table, "c")
    assert [each.alias for each in table.take_changes(9)] == ["c"]


def test_changes_coalesce_and_come_oldest_first() -> None:
    """One place an alias; the newest record counts."""
    table = PeerTable(capacity=10, quota=9)
    state(table, "a", b"1")
    state(table, "b", b"2")
    state(table, "a", b"3")
    taken = table.take_changes(1) + table.take_changes(9)
    assert [(each.alias, getattr(each, "record", None)) for each in taken] == [("a", b"3"), ("b", b"2")]
    assert not table.pending()


def test_another_origin_of_a_record_is_not_lost_by_coalescing() -> None:
    """A host is heard twice, by IPv4 and IPv6: both addresses are handed out, within the limit."""
    table = PeerTable(capacity=10, quota=9)
    other = Origin(ip_address("fe80::1"), "eth0")
    table.report(state(table, "a"), other, 120.0)
    first, second = table.take_changes(1), table.take_changes(1)
    assert [getattr(each, "heard", None) for each in first + second] == [ORIGIN, other]
    assert getattr(first[0], "ttl_s", None) == 120.0 + GRACE_S


@pytest.mark.parametrize("taken", [True, False])
def test_only_what_was_handed_out_is_gone(taken: bool) -> None:
    """Nobody is told of the end of what he never heard of."""
    table = PeerTable(capacity=10, quota=9)
    entry = state(table, "a")
    if taken:
        table.take_changes(9)
    table.lose(entry)
    assert table.take_changes(9) == ([Gone("a")] if taken else [])


def test_a_large_flood_leaves_the_table_at_its_capacity() -> None:
    """And the quotas agree with the entries."""
    table = PeerTable(capacity=50, quota=7)
    for number in range(5000):
        level = Level(number % 3) if number % 11 == 0 else Level.PLAIN
        entry = add(table, str(number), ip=number * number % 8, level=level)
        if entry is not None and number % 5 == 0:
            table.protect(entry, Level.PLAIN)
            table.charge(entry, IPS[number % 8])
        assert len(table) <= 50
    held = sum(table._quotas.held(ip.packed) for ip in IPS)
    assert held == len(table)
