"""Backoff doubles with full jitter up to its bound; buckets let through their rate, in bounded memory."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.decisions.backoff import FIRST_S, LONGEST_S, Backoff, KeyedBuckets, TokenBucket


class Highest(Random):
    """Draws the upper end each time."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0
        return b


def test_waits_double_up_to_the_longest() -> None:
    """0.5 s doubling to 30 s, and it stays there."""
    backoff = Backoff(Highest())
    waits = [backoff.failed(now=100.0) - 100.0 for _ in range(9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_reset_begins_again() -> None:
    """After a success, or new evidence, the waits are short again."""
    backoff = Backoff(Highest())
    for _ in range(5):
        backoff.failed(now=0.0)
    backoff.reset()
    assert backoff.failed(now=0.0) == FIRST_S


def test_ten_thousand_failures_are_no_overflow() -> None:
    """The bound is kept, not computed from the number of failures."""
    backoff = Backoff(Random(1))
    assert all(0 <= backoff.failed(now=5.0) - 5.0 <= LONGEST_S for _ in range(10_000))


def test_jitter_is_full() -> None:
    """Nodes that fail together come back spread over the whole wait, not in a bunch at its end."""
    random = Random(7)
    waits = []
    for _ in range(2000):
        backoff = Backoff(random, first_s=8.0)
        waits.append(backoff.failed(now=0.0))
    for start in range(8):
        share = sum(start <= wait < start + 1 for wait in waits) / len(waits)
        assert share == pytest.approx(1 / 8, abs=0.03)


def test_a_bucket_starts_full_and_refills() -> None:
    """Its capacity at once, then its rate."""
    bucket = TokenBucket(2.0, 3)
    assert [bucket.take(now=10.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(now=10.25)
    assert [bucket.take(now=10.5) for _ in range(2)] == [True, False]
    assert [bucket.take(now=1000.0) for _ in range(4)] == [True, True, True, False]


def test_asking_an_empty_bucket_does_not_keep_it_empty() -> None:
    """Refused requests cost nothing, however small the time between them."""
    bucket = TokenBucket(1.0, 1)
    bucket.take(now=0.0)
    assert [bucket.take(now=tick / 8) for tick in range(1, 9)] == [False] * 7 + [True]


@given(
    st.lists(st.floats(0, 3), max_size=200),
    st.floats(0.1, 50),
    st.integers(1, 10),
)
def test_no_window_lets_through_more_than_its_share(gaps: list[float], rate: float, capacity: int) -> None:
    """In any stretch of time: the capacity, and the rate times its length."""
    bucket = TokenBucket(rate, capacity)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now=now):
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= capacity + rate * (taken[last] - start) + 1e-6


def test_each_key_has_its_own_bucket() -> None:
    """What one key uses up, another does not miss."""
    buckets: KeyedBuckets[str] = KeyedBuckets(20.0, 20, 100)
    assert sum(buckets.take("loud", now=0.0) for _ in range(500)) == 20
    assert buckets.take("quiet", now=0.0)
    assert sum(buckets.take("loud", now=1.0) for _ in range(500)) == 20


def test_buckets_that_are_full_again_are_forgotten() -> None:
    """Memory goes back once the flood is over, and nobody gains tokens by it."""
    buckets: KeyedBuckets[int] = KeyedBuckets(20.0, 20, 1000)
    for key in range(1000):
        buckets.take(key, now=0.0)
    assert len(buckets) == 1000
    buckets.take(-1, now=1.0)
    assert len(buckets) == 1


def test_a_busy_key_keeps_no_other_from_being_forgotten() -> None:
    """Whoever was asked for least recently is looked at first."""
    buckets: KeyedBuckets[str] = KeyedBuckets(20.0, 20, 2)
    for _ in range(20):
        buckets.take("busy", now=0.0)
    buckets.take("gone", now=0.1)
    buckets.take("busy", now=0.9)
    buckets.take("new", now=1.2)
    assert set(buckets._buckets) == {"busy", "new"}


def test_a_flood_of_keys_is_bounded_and_takes_nothing_from_those_known() -> None:
    """Newcomers share one bucket while the table is full; those in it keep theirs, empty ones too."""
    buckets: KeyedBuckets[int] = KeyedBuckets(20.0, 20, 50)
    for key in range(50):
        assert buckets.take(key, now=0.0)
    assert sum(buckets.take(0, now=0.0) for _ in range(100)) == 19
    assert sum(buckets.take(key, now=0.0) for key in range(1000, 20_000)) == 20
    assert len(buckets) == 50
    assert sum(buckets.take(1, now=0.0) for _ in range(100)) == 19
    assert not buckets.take(0, now=0.0)
