"""Ratios: how surely one run knows them, and whether two agree."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks.scoreboard.ratios import SLOWER, Interval, Ratio, compare, ratio
from benchmarks.scoreboard.results import Measurement, Results, Taker, store

TAKERS = (Taker("peernet", "peernet", "how", "1"), Taker("zeroconf", "zeroconf + TLS", "how", "1"))
VALUES = st.lists(st.floats(1.0, 1e4), min_size=3, max_size=24)


def results(*measurements: Measurement) -> Results:
    return Results("2026-01-01 00:00 UTC", 60.0, "a machine", TAKERS, measurements)


def newcomer(ours: tuple[float, ...], other: tuple[float, ...]) -> Results:
    return results(Measurement("newcomer", "peernet", ours), Measurement("newcomer", "zeroconf", other))


def interval(theirs: Measurement, ours: Measurement) -> Interval | None:
    found = ratio(theirs, ours)
    assert found is not None
    return found.interval


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
    assert text == "newcomer, zeroconf: 2.00, then 2.40: 20% apart"
    assert [each.agrees for each in compare(before, newcomer((240.0,), (400.0,)))] == [False]


def test_a_figure_that_only_one_run_has_is_no_agreement() -> None:
    """In whichever run it is missing; where neither has one, there is nothing to compare."""
    before, without = newcomer((100.0,), (200.0,)), newcomer((100.0,), ())
    for one, other in ((before, without), (without, before), (before, results()), (results(), before)):
        ((agrees, text),) = told(one, other)
        assert not agrees
        assert "-" in text
    assert told(without, without) == []


def test_what_is_not_told_as_a_number_agrees_where_its_ranges_meet() -> None:
    """Who is spread over seconds may differ by chance; who is steady and elsewhere does not."""
    ours = (100.0, 101.0, 102.0, 103.0)
    spread, other, steady, far = (
        newcomer(ours, values)
        for values in (
            (100.0, 200.0, 300.0, 900.0),
            (110.0, 400.0, 500.0, 800.0),
            (200.0, 201.0, 202.0),
            (9000.0, 9010.0, 9020.0),
        )
    )

    def agree(one: Results, two: Results) -> bool:
        ((agrees, _),) = told(one, two)
        return agrees

    assert agree(spread, other)
    assert agree(spread, steady)
    assert not agree(spread, far)
    assert not agree(steady, far)


def test_a_range_may_be_as_far_from_a_number_as_two_numbers() -> None:
    """From its nearer end: what was told in two ways is no further apart for that."""
    ours = Measurement("cpu-1", "peernet", (10.0,))
    range_, near, far = (
        results(ours, Measurement("cpu-1", "zeroconf", (value,))) for value in (100.0, 290.0, 300.0)
    )
    assert told(range_, near) == [(True, "cpu-1, zeroconf: 6.25-16.0, then 18.1-46.4: 13% apart")]
    assert [agrees for agrees, _ in told(range_, far)] == [False]


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ((1, 2), (2, 3), 0.0),
        ((1, 2), (3, 4), 0.5),
        ((3, 4), (1, 2), 0.5),
        ((1, 9), (2, 3), 0.0),
        ((0, 0), (1, 2), math.inf),
        ((0, 0), (0, 0), 0.0),
    ],
)
def test_intervals_are_as_far_apart_as_they_come_close(
    one: tuple[float, float], other: tuple[float, float], apart: float
) -> None:
    """Nothing where they meet; else from the upper end of one to the lower end of the other."""
    assert Interval(*one).apart(Interval(*other)) == apart


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
    assert ratio(of(*few), None) is None


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Ratio(2.0), "2.00"),
        (Ratio(2.0, Interval(1.81, 2.19)), "2.00 (1.81-2.19)"),
        (Ratio(2.0, Interval(1.79, 2.19)), "1.79-2.19"),
        (Ratio(2.0, Interval(1.81, 2.21)), "1.81-2.21"),
    ],
)
def test_only_what_is_known_closely_is_told_as_a_number(found: Ratio, text: str) -> None:
    """Within a tenth; of anything else the range."""
    assert str(found) == text


def test_between_who_computes_and_who_waits_the_machine_counts() -> None:
    """The further apart their shares are, the wider is the interval; where one is unknown, it is not."""
    steady = (100.0,) * 12

    def of(theirs: float | None, ours: float | None) -> Ratio | None:
        one, other = (
            Measurement("newcomer", name, steady, busy=() if share is None else (share * 100.0,) * 12)
            for name, share in (("zeroconf", theirs), ("peernet", ours))
        )
        return ratio(one, other)

    alike, apart = Ratio(1.0, Interval(1.0, 1.0)), Ratio(1.0, Interval(1 / SLOWER, SLOWER))
    assert of(0.9, 0.9) == of(None, 0.9) == of(0.1, None) == of(0.0, 0.0) == alike
    assert of(0.0, 1.0) == of(1.0, 0.0) == of(2.0, 0.0) == apart
    found = of(0.75, 0.25)
    assert found is not None
    assert found.interval is not None
    assert found.interval.low == pytest.approx(SLOWER**-0.5)
    assert found.interval.high == pytest.approx(SLOWER**0.5)


def test_what_is_counted_is_no_sample() -> None:
    """Every run counts over the same minutes, unlike as these are: of their mean nothing is drawn."""
    values, steady = (0.0,) * 11 + (1200.0,), (100.0,) * 12

    def of(quantity: str) -> Ratio | None:
        return ratio(Measurement(quantity, "zeroconf", values), Measurement(quantity, "peernet", steady))

    assert of("bytes-1") == Ratio(1.0)
    assert of("newcomer") == of("memory-1") == Ratio(0.0, Interval(0.0, 0.0))


def test_processor_time_is_told_as_a_range() -> None:
    """However steady the minutes of one run are: another run finds something else."""
    steady = Measurement("cpu-1", "zeroconf", (160.0,) * 5), Measurement("cpu-1", "peernet", (10.0,) * 5)
    assert str(ratio(*steady)) == "10.0-25.6"


def test_beside_nothing_there_is_no_ratio() -> None:
    """Whatever the others have."""
    some, nothing = (Measurement("bytes-1", "peernet", (value,) * 5) for value in (100.0, 0.0))
    assert ratio(some, nothing) is None
    assert ratio(nothing, some) == Ratio(0.0)
    mostly = Measurement("newcomer", "peernet", (0.0, 0.0, 0.0, 0.0, 9.0)), Measurement("newcomer", "peernet")
    assert ratio(*mostly) is None


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
    assert "1 of 1 ratios that are told as numbers agree within 15%:\n  newcomer, zeroconf: 2.00" in text
    status, text = run(same, newcomer((100.0,), (300.0,)))
    assert status == 1
    assert "0 of 1 ratios that are told as numbers agree" in text
    assert "\n  ! newcomer, zeroconf: 2.00, then 3.00: 50% apart\n" in text
    wide, far = (newcomer((100.0,) * 5, (1.0 * k, 2.0 * k, 3.0 * k, 4.0 * k, 9.0 * k)) for k in (100, 10_000))
    status, text = run(wide, wide)
    assert status == 0
    assert "1 of 1 ratios that are told as ranges agree within 15%:\n  newcomer, zeroconf: 1.00-9.00" in text
    status, text = run(wide, far)
    assert (status, "0 of 1 ratios that are told as ranges agree within 15%:\n  ! " in text) == (1, True)
    assert run(results(), results())[0] == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file or directory; a whole run writes one"),
        ("no JSON", "no results of a run"),
        ("[]", "no results of a run"),
        ("{}", "no results of a run"),
        ('{"format": 1}', "no results of a run"),
        ('{"format": 0}', "results of format 0, and not 1: measure again"),
    ],
)
@pytest.mark.parametrize("option", ["--compare", "--render"])
def test_a_file_without_results_is_named(
    text: str | None, why: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one message; and nothing is written."""
    path = tmp_path / "benchmarks" / "results.json"
    path.parent.mkdir()
    if text is not None:
        path.write_text(text, encoding="utf-8")
    arguments = [str(path)] * 2 if option == "--compare" else ["--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["benchmarks", option, *arguments])
    with pytest.raises(SystemExit, match=re.escape(f"{path}: {why}")):
        command.main()
    assert list(tmp_path.iterdir()) == [path.parent]
