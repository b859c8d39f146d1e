"""How often something happened in the last minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peernet_core.decisions.rates import PerMinute


def test_what_is_older_than_a_minute_does_not_count() -> None:
    """Second by second."""
    rate = PerMinute()
    rate.count(now=1000.0)
    rate.count(now=1000.9)
    rate.count(now=1030.0)
    assert rate.total(now=1059.9) == 3
    assert rate.total(now=1060.0) == 1
    assert rate.total(now=1089.9) == 1
    assert rate.total(now=1090.0) == 0


@given(st.lists(st.floats(0, 40), max_size=60))
def test_it_counts_as_a_list_of_times_would(steps: list[float]) -> None:
    """Whatever the pauses: seconds, minutes, none."""
    rate, times, now = PerMinute(), [], 5000.0
    for step in steps:
        now += step
        rate.count(now=now)
        times.append(int(now))
        assert rate.total(now=now) == sum(each > int(now) - 60 for each in times)
