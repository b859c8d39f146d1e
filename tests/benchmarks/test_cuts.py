"""Cutting links: when cables come back, and what is noted of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scoreboard import cuts
from benchmarks.scoreboard.contender import Contender, Site
from benchmarks.scoreboard.cuts import cut_and_healed, in_their_time, spread
from benchmarks.scoreboard.pairs import Notes, Pair
from benchmarks.scoreboard.results import Measurement
from benchmarks.scoreboard.watched import Watched


@attrs.define
class Clock:
    """In the place of the module `time`: nobody waits."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only the benchmark moves."""
    clock = Clock()
    monkeypatch.setattr(cuts, "time", clock)
    return clock


@attrs.define(eq=False)
class Said:
    """A process, by what it has said and when; what is still to come is not heard yet."""

    clock: Clock
    lines: list[tuple[float, str]]

    def _heard(self) -> list[tuple[float, str]]:
        return [each for each in self.lines if each[0] <= self.clock.now]

    def mark(self) -> int:
        return len(self._heard())

    def look(self, what: str, _: str, *, since: int, timeout_s: float) -> float | None:
        assert timeout_s == 0, "others are to be cut meanwhile"
        return next((at for at, said in self._heard()[since:] if said == what), None)

    def last_linked(self, _: str) -> float | None:
        at, said = self._heard()[-1]
        return at if said == "linked" else None

    def report(self) -> str:
        return "what it said"


@attrs.define(eq=False)
class Cable:
    """A site, its host and its contender at once: when its cable was out."""

    clock: Clock
    moments: list[float] = attrs.field(factory=list)
    key = name = "zeroconf"

    @property
    def host(self) -> Cable:
        return self

    def unplug(self) -> None:
        self.moments.append(self.clock.now)

    plug_in = unplug


def told(clock: Clock, there: list[tuple[float, str]], here: list[tuple[float, str]]) -> tuple[Notes, Cable]:
    """Cut, at 1010, a link of which both sides say this; it was made at 1000.25."""
    cable, notes = Cable(clock), Notes()
    pair = Pair(cast("Contender", cable), cast("Site", cable), cast("Site", cable))
    pair.running = cast("Watched", Said(clock, [(1000.2, "linked"), *there]))
    pair.coming = cast("Watched", Said(clock, [(1000.25, "linked"), *here]))
    in_their_time([cut_and_healed(pair, notes, 1010.0, 0.5)])
    return notes, cable


LOST = (1025.0, "lost")


def test_a_cable_comes_back_at_its_share_of_a_second(clock: Clock) -> None:
    """At least half a minute after it was out, half a second after the second that begins with the link."""
    _, cable = told(clock, [LOST, (1041.0, "linked")], [LOST, (1041.0, "linked")])
    assert cable.moments == [1010.0, 1040.75]


@pytest.mark.parametrize(
    ("there", "here", "took_ms"),
    [
        pytest.param([LOST, (1041.0, "linked")], [LOST, (1041.25, "linked")], 500, id="the later side"),
        pytest.param([], [LOST, (1041.25, "linked")], 500, id="a side that lost nothing"),
        pytest.param([LOST, (1090.0, "linked")], [LOST, (1089.0, "linked")], 49_250, id="after long"),
        pytest.param(
            [LOST, (1041.0, "linked"), (1042.0, "lost"), (1043.75, "linked")],
            [LOST, (1041.0, "linked")],
            3000,
            id="linked, lost and linked again",
        ),
        pytest.param([LOST, (1039.0, "linked")], [LOST, (1039.0, "linked")], 0, id="before it came back"),
    ],
)
def test_a_link_is_back_when_both_sides_have_it(
    clock: Clock, there: list[tuple[float, str]], here: list[tuple[float, str]], took_ms: float
) -> None:
    """For good, and those who had lost it; from when the cable came back."""
    notes, _ = told(clock, there, here)
    assert notes.taken() == (Measurement("cut", "zeroconf", (pytest.approx(took_ms),)),)  # type: ignore[arg-type]


def test_a_cut_that_nobody_notices_is_no_time(clock: Clock) -> None:
    """There is nothing to be linked again."""
    notes, _ = told(clock, [], [])
    assert notes.taken() == (Measurement("cut", "zeroconf", kept=1),)
    assert clock.now == 1040.75 + 15.0


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ([(1005.0, "lost")], "its link ended before it was cut: what it said; what it said"),
        ([LOST], "not linked again within 60 s: what it said; what it said"),
    ],
)
def test_a_link_that_is_gone_is_a_failure(clock: Clock, there: list[tuple[float, str]], why: str) -> None:
    """Before the cut, or for a minute after it."""
    notes, _ = told(clock, there, [LOST])
    assert notes.taken() == (Measurement("cut", "zeroconf", failures=(why,)),)
    assert clock.now < 1040.75 + 62.0


@given(st.integers(1, 300))
def test_shares_lie_evenly(number: int) -> None:
    """No part of a second that is three times as long as its share has none."""
    shares = sorted(spread(number))
    assert len(shares) == number
    assert all(0.0 <= share < 1.0 for share in shares)
    following = [*shares[1:], shares[0] + 1.0]
    assert max(after - share for share, after in zip(shares, following, strict=True)) <= 3.0 / number
    assert math.isclose(shares[0], 0.0)


def test_each_goes_on_in_its_own_time(clock: Clock) -> None:
    """Whoever is due first is first, also who asked later; who has ended is not asked again."""
    happened: list[tuple[str, float]] = []

    def each(name: str, *moments: float) -> Iterator[float]:
        for at in moments:
            yield at
            happened.append((name, clock.now))

    in_their_time([each("one", 1001.0, 1006.0), each("other", 1002.0, 1003.0), each("none")])
    assert happened == [("one", 1001.0), ("other", 1002.0), ("other", 1003.0), ("one", 1006.0)]
    in_their_time([])
