"""Deadlines against a plain dictionary: the same answers, and a heap that refreshes do not grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.decisions.deadlines import Deadlines

ITEMS = st.integers(0, 5)
TIMES = st.integers(0, 20).map(float)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), ITEMS, st.one_of(st.none(), TIMES)),
        st.tuples(st.just("discard"), ITEMS, st.none()),
        st.tuples(st.just("due"), st.just(0), TIMES),
    ),
    max_size=60,
)


@pytest.mark.parametrize("slack", [0, 64])
@given(steps=STEPS)
def test_like_a_dictionary(slack: int, steps: list[tuple[str, int, float | None]]) -> None:
    """`next` is the least end, `pop_due` takes out what is due in its order, once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peernet_core.decisions.deadlines._SLACK", slack)
        compare(steps)


def compare(steps: list[tuple[str, int, float | None]]) -> None:
    deadlines, model = Deadlines(), dict[int, float]()
    for what, item, at in steps:
        if what == "due":
            assert at is not None
            due = [each for _, each in sorted((end, each) for each, end in model.items() if end <= at)]
            assert deadlines.pop_due(now=at) == due
            for each in due:
                del model[each]
        elif what == "set" and at is not None:
            deadlines.set(item, at)
            model[item] = at
        else:
            deadlines.set(item, None) if what == "set" else deadlines.discard(item)
            model.pop(item, None)
        assert deadlines.next() == min(model.values(), default=None)
        assert len(deadlines) == len(model)


def test_clearing_away_keeps_what_was_refreshed() -> None:
    """Its entry in the heap is older than its end."""
    deadlines = Deadlines()
    deadlines.set(0, 5.0)
    deadlines.set(0, 9.0)
    for item in range(1, 200):
        deadlines.set(item, 7.0)
        deadlines.discard(item)
    assert len(deadlines._heap) < 100
    assert deadlines.next() == 9.0


def test_refreshes_leave_the_heap_alone() -> None:
    """A million refreshes of a hundred leases would otherwise be a million entries."""
    deadlines = Deadlines()
    for tick in range(200):
        for item in range(100):
            deadlines.set(item, tick + 120.0)
    assert len(deadlines._heap) == 100
    assert deadlines.next() == 199 + 120.0


def test_neither_shrinking_leases_nor_coming_and_going_grow_it() -> None:
    """Dead entries are cleared away before they are most of the heap."""
    deadlines = Deadlines()
    for tick in range(10_000):
        deadlines.set(tick % 10, 20_000.0 - tick)
        deadlines.set(1000 + tick, 1.0)
        deadlines.discard(1000 + tick)
        assert len(deadlines._heap) <= 2 * 10 + 64
    for item in range(5000):
        deadlines.set(item, 5.0)
    for item in range(5000):
        deadlines.discard(item)
    assert deadlines.next() is None
    assert len(deadlines._heap) == 0


def test_what_was_brought_forward_and_is_over_takes_no_memory() -> None:
    """The dead entries of a burst go with it, although nothing else is set or forgotten."""
    deadlines = Deadlines()
    deadlines.set(1000, 70.0)
    for item in range(1000):
        deadlines.set(item, 100.0)
        deadlines.set(item, 50.0)
    assert len(deadlines.pop_due(now=60.0)) == 1000
    assert len(deadlines._heap) <= 2 + 64
