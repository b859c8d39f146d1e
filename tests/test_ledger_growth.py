"""What a sighting costs does not grow with the number of peers; the full form is `benchmarks/ledger.py`."""

from __future__ import annotations

from benchmarks.ledger import LEDGER, STRANGERS, one_round

FEW, MANY = 100, 4000
ROUNDS = 3
GENEROUS = 8.0
"""Caches make forty times the peers up to twice as dear; a search through all of them would be 40."""


def test_a_sighting_costs_the_same_among_many_peers() -> None:
    """New, refreshed, restarted, expired, strangers: each by the fastest of some rounds."""
    few, many = (
        {name: min(each[name] for each in rounds) / peers for name in LEDGER + STRANGERS}
        for peers, rounds in ((peers, [one_round(peers) for _ in range(ROUNDS)]) for peers in (FEW, MANY))
    )
    growth = {name: many[name] / few[name] for name in few}
    assert max(growth.values()) < GENEROUS, growth
