"""Figures: their statistics, where they are kept, and how they are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scoreboard import moments
from benchmarks.scoreboard.aims import aims
from benchmarks.scoreboard.page import MARK, plots, render, write_page
from benchmarks.scoreboard.quantities import CASES, QUANTITIES
from benchmarks.scoreboard.ratios import ratio
from benchmarks.scoreboard.results import Appendix, Measurement, Results, Taker, load, store
from benchmarks.scoreboard.run import Plan, run, smoke_faults
from benchmarks.scoreboard.standing import behind, closing_note

DOCS = Path(__file__).parents[2] / "docs"
OURS = Taker("peernet", "peernet", "how", "1")
OTHER = Taker("zeroconf", "zeroconf + TLS", "how", "1")
ABSENT = Taker("syncthing", "Syncthing", "how", missing="/usr/bin/syncthing was not found")


def results(*measurements: Measurement) -> Results:
    return Results("2026-01-01 00:00 UTC", 60.0, "a machine", (OURS, OTHER, ABSENT), measurements)


def newcomer(ours: float, other: float) -> Results:
    return results(Measurement("newcomer", "peernet", (ours,)), Measurement("newcomer", "zeroconf", (other,)))


@given(st.lists(st.floats(0.1, 1e6), min_size=1))
def test_the_statistics_are_of_the_values(values: list[float]) -> None:
    """Half do not exceed the median, nine of ten not the p90, none the worst; no order is needed."""
    measured = Measurement("newcomer", "peernet", tuple(values))
    assert measured.median is not None
    assert measured.p90 is not None
    assert sum(value <= measured.median for value in values) * 2 >= len(values)
    assert sum(value <= measured.p90 for value in values) * 10 >= len(values) * 9
    assert measured.p90 in values
    assert measured.worst == max(values)


def test_the_share_of_computing_stands_beside_times() -> None:
    """Where it was measured; nobody computes for longer than it takes, though with two processors."""
    ours = Measurement("newcomer", "peernet", (100.0, 200.0, 300.0), busy=(90.0, 150.0, 210.0))
    theirs = Measurement("newcomer", "zeroconf", (100.0,), busy=(150.0,))
    page = render(results(ours, theirs, Measurement("cut", "peernet", (1.0, 2.0))))
    assert "| worst | computing | ratio |" in page
    assert "| **200** |" not in page
    assert "| 200 | 300 | 300 | 75% |" in page
    assert "| 100% |" in page
    assert "| Syncthing | - | - | - | - |  | missing |" in page
    assert page.count("| computing |") == 1


def test_nothing_has_no_statistics() -> None:
    """Where nothing was measured there is no figure, and no ratio."""
    nothing = Measurement("newcomer", "peernet")
    assert (nothing.median, nothing.p90, nothing.worst) == (None, None, None)
    assert ratio(nothing, Measurement("newcomer", "peernet", (1.0,))) is None
    assert ratio(Measurement("newcomer", "zeroconf", (3.0,)), None) is None
    found = ratio(Measurement("newcomer", "zeroconf", (3.0,)), Measurement("newcomer", "peernet", (2.0,)))
    assert found is not None
    assert found.value == 1.5


def test_results_are_kept(tmp_path: Path) -> None:
    """What was stored is loaded; a file of another format is refused."""
    kept = newcomer(100.0, 200.0)
    store(kept, tmp_path / "results.json")
    assert load(tmp_path / "results.json") == kept
    (tmp_path / "results.json").write_text(json.dumps({"format": 0}), encoding="utf-8")
    with pytest.raises(ValueError, match="measure again"):
        load(tmp_path / "results.json")


def test_the_page_says_where_peernet_is_not_first() -> None:
    """By the figures: who is ahead is named, with the medians, and a note says why."""
    losing, winning = render(newcomer(300.0, 100.0)), render(newcomer(100.0, 300.0))
    assert "| newcomer: process start to link | zeroconf + TLS 100 ms | 300 ms |" in losing
    assert "## Why, and what would change it" in losing
    assert "Nowhere, by the figures of this run." in winning
    assert "## Why, and what would change it" not in winning


def test_a_difference_that_two_runs_do_not_tell_apart_is_none() -> None:
    """A few per cent put nobody ahead."""
    assert behind(newcomer(104.0, 100.0)) == []
    assert len(behind(newcomer(110.0, 100.0))) == 1


@pytest.mark.parametrize("quantity", sorted(QUANTITIES))
def test_every_defeat_has_a_note(quantity: str) -> None:
    """Whatever it is in which peernet is not first, the closing note speaks of it; but for the floor's."""
    lost = results(Measurement(quantity, "peernet", (300.0,)), Measurement(quantity, "zeroconf", (100.0,)))
    assert closing_note(lost) or quantity in {"query", "handshake"}


def test_what_is_counted_is_told_by_its_mean() -> None:
    """What happens every other minute counts half; a time is told by its median, and so is memory."""
    minutes = (10.0, 10.0, 10.0, 10.0, 60.0)
    assert Measurement("packets-1", "peernet", minutes).figure == 20.0
    assert Measurement("memory-1", "peernet", minutes).figure == 10.0
    assert Measurement("newcomer", "peernet", minutes).figure == 10.0
    assert Measurement("packets-1", "peernet").figure is None
    page = render(results(Measurement("packets-1", "peernet", minutes)))
    assert "| mean | least | most | ratio | minutes |" in page
    assert "| peernet | **20.0** | 10.0 | 60.0 |  | 5 |" in page


def test_the_page_tells_no_ratio_that_another_run_may_change() -> None:
    """Who is steady has a number; who takes anything between one second and nine has a range."""
    ours = Measurement("cut", "peernet", (100.0, 100.0, 101.0, 101.0, 102.0))
    steady = Measurement("cut", "zeroconf", (200.0, 200.0, 201.0, 201.0, 202.0))
    spread = attrs.evolve(steady, values=(1.0, 100.0, 200.0, 500.0, 900.0))
    assert re.search(r"\| 202 \| 202 \| 1\.99 \(1\.9\d-2\.0\d\) \| 5 \|", render(results(ours, steady)))
    assert re.search(r"\| 900 \| 900 \| \d\S*-\d\S* \| 5 \|", render(results(ours, spread)))


def test_aims_are_met_missed_or_cannot_be_told() -> None:
    """By the figures of the newcomer; a figure that is missing is no success."""

    def told(ours: float) -> list[str]:
        theirs = Measurement("newcomer", "syncthing", (4000.0,))
        return aims(results(Measurement("newcomer", "peernet", (ours,)), theirs))

    assert "Syncthing: **met**; 1,000 ms, and a quarter is 1,000 ms" in told(1000.0)[0]
    assert "Syncthing: **missed**; 1,001 ms" in told(1001.0)[0]
    assert told(1000.0)[1].endswith("libp2p: cannot be told, a figure is missing.")
    assert "\n".join(told(1000.0)[:1]) in render(
        results(
            Measurement("newcomer", "peernet", (1000.0,)), Measurement("newcomer", "syncthing", (4000.0,))
        )
    )


def test_peernet_without_a_figure_is_behind() -> None:
    """Failing is no way to be first."""
    failed = results(
        Measurement("newcomer", "peernet", failures=("no 'linked'",)),
        Measurement("newcomer", "zeroconf", (100.0,)),
    )
    assert "| zeroconf + TLS 100 ms | no figure |" in render(failed)


def test_who_is_missing_or_failed_is_shown() -> None:
    """With the reason; what went wrong in some rounds is told beside the figures of the others."""
    partly = Measurement("newcomer", "zeroconf", (100.0,), ("no 'linked' within 60 s",))
    page = render(results(Measurement("newcomer", "peernet", (50.0,)), partly))
    assert "| Syncthing | - | - | - |  | missing |" in page or "| Syncthing | - |  | missing |" in page
    assert "missing: /usr/bin/syncthing was not found" in page
    assert "1, 1 failed" in page
    assert "zeroconf + TLS failed: `no 'linked' within 60 s`" in page


def test_a_link_that_was_never_lost_is_no_time() -> None:
    """It has no figure, and the table says why."""
    page = render(results(Measurement("cut", "peernet", (12.0,)), Measurement("cut", "zeroconf", kept=3)))
    assert "0, 3 not noticed" in page


@given(st.integers(1, 30), st.integers(1, 8))
def test_rounds_share_their_waits(rounds: int, most: int) -> None:
    """No fewer than were asked for, and not a whole batch more; never more at once than can be."""
    times, each = moments.batches(rounds, most)
    assert 1 <= each <= most
    assert rounds <= times * each < rounds + times


def test_plots_are_svg() -> None:
    """Also with one value, with equal ones, and with none."""
    measured = [
        Measurement(quantity, contender, values)
        for quantity in QUANTITIES
        for contender, values in (("peernet", (5.0, 5.0)), ("zeroconf", ()))
    ]
    drawn = plots(results(*measured))
    assert {"newcomer", "cut", "memory", "cpu", "packets"} <= set(drawn)
    for text in drawn.values():
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in text


def test_the_page_and_its_plots_are_written_together(tmp_path: Path) -> None:
    """Every plot that the page shows is there; one that nothing shows any more goes."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "old.svg").touch()
    write_page(newcomer(100.0, 200.0), tmp_path)
    assert {path.name for path in (tmp_path / "benchmarks").iterdir()} == {"newcomer.svg", "results.json"}
    assert "](benchmarks/newcomer.svg)" in (tmp_path / "benchmarks.md").read_text("utf-8")


def test_an_appendix_has_its_section_and_its_drawing(tmp_path: Path) -> None:
    """What was measured in another way stands on the same page, also when that is written anew."""
    appendix = Appendix("startup", "Where the time goes", "| step | ms |\n| --- | ---: |\n", "<svg/>")
    write_page(attrs.evolve(newcomer(100.0, 200.0), appendices=(appendix,)), tmp_path)
    assert "](benchmarks/startup.svg)\n\n| step | ms |" in (tmp_path / "benchmarks.md").read_text("utf-8")
    assert plots(load(tmp_path / "benchmarks" / "results.json"))["startup"] == "<svg/>"


def test_a_defect_in_one_case_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown as the failure that it is."""

    def broken(*_: object) -> tuple[Measurement, ...]:
        raise RuntimeError("oh")

    monkeypatch.setattr(moments, "newcomer", broken)
    monkeypatch.setattr(moments, "floor", lambda *_: (Measurement("query", "bare", (1.0,)),))
    found = run(Plan(("newcomer", "floor"), ("peernet", "bare"), rounds=1, smoke=False))
    (failed,) = [each for each in found.quantity("newcomer") if each.contender == "peernet"]
    assert failed.failures == ("the benchmark itself failed: RuntimeError('oh')",)
    assert found.of("query", "bare") == Measurement("query", "bare", (1.0,))


def test_the_page_in_the_repository_is_the_programs() -> None:
    """Rendered again from the figures beside it, page and plots are the same to the byte."""
    kept = load(DOCS / "benchmarks" / "results.json")
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert page.startswith(MARK)
    assert page == render(kept)
    for name, text in plots(kept).items():
        assert (DOCS / "benchmarks" / f"{name}.svg").read_text(encoding="utf-8") == text


def test_the_page_in_the_repository_is_of_a_whole_run() -> None:
    """Every case has figures, and everybody is named."""
    kept = load(DOCS / "benchmarks" / "results.json")
    for case in CASES:
        assert any(kept.quantity(quantity.name) for quantity in case.quantities) or not case.quantities
    assert {"peernet", "zeroconf", "avahi", "libp2p", "syncthing", "bare"} == {
        each.name for each in kept.takers
    }


def test_a_smoke_test_can_fail() -> None:
    """It does not pass over a failure, over a measurement of nothing, or over nothing at all."""
    fine = newcomer(100.0, 200.0)
    assert smoke_faults(fine) == []
    assert smoke_faults(attrs.evolve(fine, measurements=()))
    assert smoke_faults(results(Measurement("newcomer", "peernet", failures=("no link",))))
    assert smoke_faults(results(Measurement("newcomer", "peernet")))
    sometimes = results(Measurement("newcomer", "peernet", (1.0,), ("no link",)))
    assert smoke_faults(sometimes) == ["peernet, newcomer: no link"]
    absent = attrs.evolve(fine, takers=(attrs.evolve(OURS, missing="gone"), OTHER))
    assert smoke_faults(absent) == ["peernet is not here: gone"]
