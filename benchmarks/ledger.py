"""What taking in one sighting costs, from 100 to 100,000 peers, beside a bare update of a dictionary.

Run with ``python -m benchmarks.ledger``. Each round times, in turn, over the same number of peers: a
dictionary's first and second update; then the ledger's first sight of each peer, a refresh of each, a
restart of each (a new sequence on another port), and the end of all leases; then as many strangers, new and
again, of which the table keeps only the last. Every report is an object of its own, as it is when it comes
from a medium; making it and checking its signature is not counted, asking for the next deadline after each
is. Given are medians of the rounds. "flat" is what one costs at the most peers, by what it costs at the
fewest.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from peernet_core.addresses import Address
from peernet_core.decisions.ledger import Ledger
from peernet_core.decisions.strangers import MAX_STRANGERS, Strangers
from peernet_core.keys import PeerKey
from peernet_core.records import Record, SignedRecord

ROUNDS = {100: 101, 1000: 31, 10_000: 11, 100_000: 5}
ADDRESSES = 2
TTL_S = 120.0
DICTIONARY = ("dictionary, new", "dictionary, again")
LEDGER = ("ledger, new", "ledger, refresh", "ledger, restart", "ledger, expiry")
STRANGERS = ("stranger, new", "stranger, again")


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


def meet(strangers: Strangers, signed: list[SignedRecord], now: float) -> None:
    """Report each record as a stranger's; what is told of one to the application included."""
    for each in signed:
        strangers.should_report(each.record.key, "lan", now=now)
        strangers.record_seen("lan", each, ttl_s=TTL_S, now=now)
        strangers.next_deadline()


def one_round(peers: int) -> dict[str, float]:
    """Seconds for each kind of work, all on this round's own objects."""
    first, again, restarted = (reports(peers, sequence=sequence) for sequence in (1, 1, 2))
    table: dict[bytes, tuple[SignedRecord, float]] = {}
    ledger, strangers = Ledger(), Strangers()
    works: tuple[Callable[[], object], ...] = (
        lambda: update(table, first, 0.0),
        lambda: update(table, again, 30.0),
        lambda: see(ledger, first, 0.0),
        lambda: see(ledger, again, 30.0),
        lambda: see(ledger, restarted, 60.0),
        lambda: ledger.expire(now=1000.0),
        lambda: meet(strangers, first, 0.0),
        lambda: meet(strangers, again, 30.0),
    )
    taken = {name: timed(work) for name, work in zip(DICTIONARY + LEDGER + STRANGERS, works, strict=True)}
    assert len(table) == peers
    assert len(ledger) == 0
    assert len(strangers) == min(peers, MAX_STRANGERS)
    return taken


def main() -> None:
    """Print one table: a row for each kind of work, a column for each number of peers."""
    cost: dict[str, list[float]] = {name: [] for name in DICTIONARY + LEDGER + STRANGERS}
    for peers, rounds in ROUNDS.items():
        taken = [one_round(peers) for _ in range(rounds)]
        for name, column in cost.items():
            column.append(statistics.median(each[name] for each in taken) / peers)
    print(f"µs each, by peers, {ADDRESSES} addresses each; in brackets by the dictionary's")
    print(f"{'':16}" + "".join(f"{peers:>16,}" for peers in ROUNDS) + f"{'flat':>10}")
    for name, column in cost.items():
        bare = cost[DICTIONARY[0] if name.endswith("new") else DICTIONARY[1]]
        cells = (f"{each * 1e6:7.2f} ({each / by:5.1f})" for each, by in zip(column, bare, strict=True))
        print(f"{name:16}" + "".join(f"{cell:>16}" for cell in cells) + f"{column[-1] / column[0]:10.2f}")


if __name__ == "__main__":
    main()
