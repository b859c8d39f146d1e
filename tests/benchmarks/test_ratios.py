"""Ratios: how far one run can be trusted, and whether two agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks.scoreboard.ratios import Interval, compare, interval, is_wide
from benchmarks.scoreboard.results import Measurement, Results, Taker, store

TAKERS = (Taker("peernet", "peernet", "how", "1"), Taker("zeroconf", "zeroconf + TLS", "how", "1"))
VALUES = st.lists(st.floats(1.0, 1e4), min_size=3, max_size=24)


def results(*measurements: Measurement) -> Results:
    return Results("2026-01-01 00:00 UTC", 60.0, "a machine", TAKERS, measurements)


def newcomer(ours: tuple[float, ...], other: tuple[float, ...]) -> Results:
    return results(Measurement("newcomer", "peernet", ours), Measurement("newcomer", "zeroconf", other))


def told(one: Results, other: Results) -> list[tuple[bool, str]]:
    return [(each.agrees, str(each)) for each in compare(one, other)]


def test_two_runs_are_compared_by_their_ratios() -> None:
    """A machine that is slower altogether changes nothing; one contender that is, or has no figure, does."""
    before = newcomer((100.0,), (200.0,))
    assert told(before, newcomer((150.0,), (300.0,))) == [
        (True, "newcomer, zeroconf: 2.00, then 2.00: 0% apart")
    ]
    assert [each.agrees for each in compare(before, newcomer((100.0,), (229.0,)))] == [True]
    ((agrees, text),) = told(before, newcomer((100.0,), (240.0,)))
    assert not agrees
    assert text.startswith("newcomer, zeroconf: 2.00, then 2.40: 20% apart, ")
    assert text.endswith("and there are too few values to tell their spread")
    assert [each.agrees for each in compare(before, newcomer((240.0,), (400.0,)))] == [False]


def test_a_figure_that_only_one_run_has_is_no_agreement() -> None:
    """In whichever run it is missing; where neither has one, there is nothing to compare."""
    before, without = newcomer((100.0,), (200.0,)), newcomer((100.0,), ())
    for one, other in ((before, without), (without, before), (before, results()), (results(), before)):
        ((agrees, text),) = told(one, other)
        assert not agrees
        assert "-" in text
    assert told(without, without) == []


def test_where_two_runs_differ_their_intervals_are_held_together() -> None:
    """Who is spread over seconds may differ by chance; who is steady, and is elsewhere, does not."""
    ours = (100.0, 101.0, 102.0, 103.0)
    spread = newcomer(ours, (100.0, 200.0, 300.0, 900.0)), newcomer(ours, (110.0, 400.0, 500.0, 800.0))
    steady = newcomer(ours, (200.0, 201.0, 202.0)), newcomer(ours, (300.0, 301.0, 302.0))
    ((agrees, text),) = told(*spread)
    assert (agrees, text.endswith("apart, the intervals overlap")) == (False, True)
    ((agrees, text),) = told(*steady)
    assert (agrees, text.endswith("apart, the intervals do not overlap")) == (False, True)


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [((1, 2), (2, 3), True), ((1, 2), (3, 4), False), ((3, 4), (1, 2), False), ((1, 9), (2, 3), True)],
)
def test_intervals_meet(one: tuple[float, float], other: tuple[float, float], meets: bool) -> None:
    """Where there is something that lies in both."""
    assert Interval(*one).meets(Interval(*other)) is meets


@given(VALUES, VALUES)
def test_an_interval_lies_between_the_extremes(theirs: list[float], ours: list[float]) -> None:
    """It is in order, the same each time, and no ratio is beyond that of the worst to the best."""
    pair = Measurement("newcomer", "zeroconf", tuple(theirs)), Measurement("newcomer", "peernet", tuple(ours))
    found = interval(*pair)
    assert found is not None
    assert found == interval(*pair)
    assert min(theirs) / max(ours) <= found.low <= found.high <= max(theirs) / min(ours)


def test_an_interval_is_as_wide_as_the_values_are_spread() -> None:
    """Equal values have none; more of them, or steadier ones, narrow it; a few say nothing."""
    ours = Measurement("newcomer", "peernet", (100.0,) * 12)

    def of(*values: float) -> Measurement:
        return Measurement("newcomer", "zeroconf", values)

    def width(*values: float) -> float:
        found = interval(of(*values), ours)
        assert found is not None
        return found.high - found.low

    few = (100.0, 150.0, 200.0, 250.0, 300.0)
    assert width(200.0, 200.0, 200.0) == 0.0
    assert 0.0 < width(*few * 10) < width(*few)
    assert width(190.0, 195.0, 200.0, 205.0, 210.0) < width(*few)
    assert interval(of(100.0, 200.0), ours) is None
    assert interval(of(*few), None) is None
    assert is_wide(of(*few), ours)
    assert not is_wide(of(190.0, 195.0, 200.0, 205.0, 210.0), ours)
    assert not is_wide(of(200.0), ours)


def test_what_is_counted_is_drawn_by_its_mean() -> None:
    """One minute of twelve that has everything counts in the interval; of a time it is an exception."""
    values, steady = (0.0,) * 11 + (1200.0,), (100.0,) * 12

    def high(quantity: str) -> float:
        found = interval(Measurement(quantity, "zeroconf", values), Measurement(quantity, "peernet", steady))
        assert found is not None
        return found.high

    assert high("bytes-1") >= 2.0
    assert high("newcomer") == high("memory-1") == 0.0


def test_beside_nothing_there_is_no_interval() -> None:
    """No ratio to a figure that is always nothing."""
    some, nothing = (Measurement("bytes-1", "peernet", (value,) * 5) for value in (100.0, 0.0))
    assert interval(some, nothing) is None
    assert interval(nothing, some) == Interval(0.0, 0.0)


def test_comparing_lists_both_kinds_and_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that was compared is printed; the exit status says whether all agrees, or there was nothing."""

    def run(one: Results, other: Results) -> tuple[object, str]:
        store(one, tmp_path / "one.json")
        store(other, tmp_path / "other.json")
        arguments = ["benchmarks", "--compare", str(tmp_path / "one.json"), str(tmp_path / "other.json")]
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit) as ended:
            command.main()
        return ended.value.code, capsys.readouterr().out

    same = newcomer((100.0,), (200.0,))
    status, text = run(same, same)
    assert status == 0
    assert "1 of 1 ratios agree, at 15%:\n  newcomer, zeroconf: 2.00, then 2.00" in text
    status, text = run(same, newcomer((100.0,), (300.0,)))
    assert status == 1
    assert "0 of 1 ratios agree" in text
    assert "1 of 1 ratios differ, at 15%:\n  newcomer, zeroconf: 2.00, then 3.00: 50% apart" in text
    assert run(results(), results())[0] == 1
