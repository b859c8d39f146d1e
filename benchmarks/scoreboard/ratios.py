"""Ratios to peernet's figures, how surely each is known, and whether two runs agree on them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Final

import attrs

from benchmarks.scoreboard.quantities import QUANTITIES
from benchmarks.scoreboard.results import Measurement, Results
from benchmarks.scoreboard.wording import shown

__all__ = ["OURS", "REPEATED", "SLOWER", "SURE", "Compared", "Interval", "Ratio", "compare", "ratio"]

OURS: Final = "peernet"
REPEATED: Final = 0.15
"""By how much the ratios of two runs may differ."""
SURE: Final = 0.10
"""How far the interval of a ratio may reach, to either side: then hardly one of a hundred is further than
`REPEATED` from that of another run."""
SLOWER: Final = 1.2
"""How many times as long all that computes has taken in one run as in another, hours apart, on the virtual
machine of the runs so far. What waits takes as long as before."""
_FEWEST: Final = 3
"""Values from which on their spread says anything."""
_DRAWS: Final = 500
_LEFT_OUT: Final = 0.025


@attrs.frozen
class Interval:
    """Where a ratio lies."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{shown(self.low)}-{shown(self.high)}"

    def wider(self, factor: float) -> Interval:
        """The same, reaching that much further to both sides."""
        return Interval(self.low / factor, self.high * factor)

    def apart(self, other: Interval) -> float:
        """By which share all of one is above all of the other; 0: there are ratios that lie in both."""
        lower, upper = sorted((self, other), key=lambda each: each.low)
        if upper.low <= lower.high:
            return 0.0
        return upper.low / lower.high - 1 if lower.high else math.inf


@attrs.frozen
class Ratio:
    """How many times ours a figure is.

    Attributes:
        value: By the figures of this run.
        interval: Where it lies in 95 of 100 cases if the rounds of this run are drawn again, at random, on
            a machine that may be `SLOWER` or faster; or where two runs have found it, for a quantity that
            differs from run to run. None: what is counted has none, and too few values say nothing about
            their spread.
    """

    value: float
    interval: Interval | None = None

    @property
    def is_sure(self) -> bool:
        """Whether it is told as a number: another run would find the same. If not, the interval is told."""
        return self.interval is None or (
            self.interval.low >= self.value * (1 - SURE) and self.interval.high <= self.value * (1 + SURE)
        )

    @property
    def told(self) -> Interval:
        """What is said of it: the interval, or nothing but the number."""
        return Interval(self.value, self.value) if self.interval is None or self.is_sure else self.interval

    def __str__(self) -> str:
        if self.interval is None:
            return shown(self.value)
        return f"{shown(self.value)} ({self.interval})" if self.is_sure else str(self.interval)


def ratio(measurement: Measurement, ours: Measurement | None) -> Ratio | None:
    """Return how many times ours a figure is; None: one of them is missing, or ours is nothing."""
    theirs, mine = measurement.figure, ours.figure if ours is not None else None
    if ours is None or theirs is None or not mine:
        return None
    value, quantity = theirs / mine, QUANTITIES[measurement.quantity]
    if quantity.differs > 1:
        return Ratio(value, Interval(value / quantity.differs, value * quantity.differs))
    if quantity.counted:
        return Ratio(value)
    drawn = _drawn_again(measurement.values, ours.values)
    return Ratio(value, drawn and drawn.wider(_by_the_machine(measurement, ours)))


def _by_the_machine(theirs: Measurement, ours: Measurement) -> float:
    """By which factor a ratio moves with the machine: not at all between two that compute as much."""
    if theirs.computing is None or ours.computing is None:
        return 1.0
    return math.pow(SLOWER, abs(theirs.computing - ours.computing))


def _drawn_again(theirs: Sequence[float], ours: Sequence[float]) -> Interval | None:
    """By the bootstrap, the same each time."""
    if min(len(theirs), len(ours)) < _FEWEST:
        return None
    # Not the same draws for both: equal values are no less uncertain than others.
    drawn = zip(_medians(theirs, seed=1), _medians(ours, seed=2), strict=True)
    found = sorted(one / other for one, other in drawn if other)
    if not found:
        return None
    left_out = round(_LEFT_OUT * len(found))
    return Interval(found[left_out], found[-1 - left_out])


@cache
def _medians(values: Sequence[float], *, seed: int) -> tuple[float, ...]:
    random = Random(seed)
    return tuple(statistics.median(random.choices(values, k=len(values))) for _ in range(_DRAWS))


@attrs.frozen
class Compared:
    """A ratio of two runs.

    Attributes:
        what: Of which quantity and contender.
        before: Of the first; None: there is none.
        after: Of the second; the same.
    """

    what: str
    before: Ratio | None
    after: Ratio | None

    @property
    def is_sure(self) -> bool:
        """Whether both runs tell a number."""
        return (
            self.before is not None and self.after is not None and self.before.is_sure and self.after.is_sure
        )

    @property
    def apart(self) -> float | None:
        """By which share one is told to be above the other; None: only one run has it."""
        if self.before is None or self.after is None:
            return None
        return self.before.told.apart(self.after.told)

    @property
    def agrees(self) -> bool:
        """Whether both runs say the same, within `REPEATED`."""
        return self.apart is not None and self.apart <= REPEATED

    def __str__(self) -> str:
        found = [str(each) if each is not None else "-" for each in (self.before, self.after)]
        apart = "only one run has it" if self.apart is None else f"{self.apart:.0%} apart"
        return f"{self.what}: {', then '.join(found)}: {apart}"


def compare(one: Results, other: Results) -> list[Compared]:
    """Return every ratio to ours that at least one of two runs has, in the order of the first."""
    pairs = {(each.quantity, each.contender): None for run in (one, other) for each in run.measurements}
    found = []
    for quantity, contender in pairs:
        if contender == OURS:
            continue
        before, after = (_told(run, quantity, contender) for run in (one, other))
        if before is not None or after is not None:
            found.append(Compared(f"{quantity}, {contender}", before, after))
    return found


def _told(run: Results, quantity: str, contender: str) -> Ratio | None:
    theirs = run.of(quantity, contender)
    return None if theirs is None else ratio(theirs, run.of(quantity, OURS))
