"""Sightings per second that the ledger takes in, beside bare updates of a dictionary.

Run with ``python -m benchmarks.ledger``. Each round times, in turn, over the same peers: a dictionary's first
and second update; then the ledger's first sight of each peer, a refresh of each, a restart of each (a new
sequence on another port), and the end of all leases. Every report is an object of its own, as it is when it
comes from a medium; making it and checking its signature is not counted, asking for the next deadline after
each is. Given are medians of the rounds.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from peernet_core.addresses import Address
from peernet_core.decisions.ledger import Ledger
from peernet_core.keys import PeerKey
from peernet_core.records import Record, SignedRecord

ROUNDS = 11
PEERS = (1000, 10_000)
ADDRESSES = 2
TTL_S = 120.0
DICTIONARY = ("dictionary, new", "dictionary, again")
LEDGER = ("ledger, new", "ledger, refresh", "ledger, restart", "ledger, expiry")


def reports(peers: int, *, sequence: int) -> list[SignedRecord]:
    """One record of each peer, in objects that nothing else holds."""
    made = []
    for number in range(peers):
        key = PeerKey(number.to_bytes(4, "big") + bytes([7]) * 28)
        port = 7000 + sequence
        addresses = tuple(
            Address(IPv4Address(0x0A000000 + number * ADDRESSES + each), port) for each in range(ADDRESSES)
        )
        data = bytes(150) + sequence.to_bytes(8, "big") + bytes(key)
        made.append(SignedRecord(Record(key, sequence, port, addresses), data))
    return made


def timed(act: Callable[[], object]) -> float:
    """Seconds that it takes."""
    gc.collect()
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def update(table: dict[bytes, tuple[SignedRecord, float]], signed: list[SignedRecord], now: float) -> None:
    """What a bare dictionary would note of each report."""
    for each in signed:
        table[each.record.key.raw] = (each, now + TTL_S)


def see(ledger: Ledger, signed: list[SignedRecord], now: float) -> None:
    """Report each record, and ask for the deadline as the shell does after every report."""
    for each in signed:
        ledger.record_seen("lan", each, ttl_s=TTL_S, now=now)
        ledger.next_deadline()


def one_round(peers: int) -> dict[str, float]:
    """Seconds for each kind of work, all on this round's own objects."""
    first, again, restarted = (reports(peers, sequence=sequence) for sequence in (1, 1, 2))
    table: dict[bytes, tuple[SignedRecord, float]] = {}
    ledger = Ledger()
    works: tuple[Callable[[], object], ...] = (
        lambda: update(table, first, 0.0),
        lambda: update(table, again, 30.0),
        lambda: see(ledger, first, 0.0),
        lambda: see(ledger, again, 30.0),
        lambda: see(ledger, restarted, 60.0),
        lambda: ledger.expire(now=1000.0),
    )
    taken = {name: timed(work) for name, work in zip(DICTIONARY + LEDGER, works, strict=True)}
    assert len(table) == peers
    assert len(ledger) == 0
    return taken


def main() -> None:
    """Print one table for each number of peers."""
    for peers in PEERS:
        rounds = [one_round(peers) for _ in range(ROUNDS)]
        median = {name: statistics.median(each[name] for each in rounds) for name in DICTIONARY + LEDGER}
        print(f"{peers:,} peers, {ADDRESSES} addresses each, median of {ROUNDS} rounds")
        for name, seconds in median.items():
            bare = median[DICTIONARY[0] if name.endswith("new") else DICTIONARY[1]]
            ratio = "" if name in DICTIONARY else f"{seconds / bare:8.1f} times the dictionary"
            print(f"  {name:18} {peers / seconds:12,.0f} /s {seconds / peers * 1e6:8.2f} µs each {ratio}")


if __name__ == "__main__":
    main()
