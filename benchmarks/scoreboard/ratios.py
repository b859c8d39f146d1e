"""Ratios to peernet's figures, how far they can be trusted, and whether two runs agree on them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Final

import attrs

from benchmarks.scoreboard.quantities import QUANTITIES
from benchmarks.scoreboard.results import Measurement, Results
from benchmarks.scoreboard.wording import shown

__all__ = ["OURS", "REPEATED", "Compared", "Interval", "compare", "interval", "is_wide", "ratio"]

OURS: Final = "peernet"
REPEATED: Final = 0.15
"""By how much the ratios of two runs may differ."""
_FEWEST: Final = 3
"""Values from which on their spread says anything."""
_DRAWS: Final = 500
_LEFT_OUT: Final = 0.025


def ratio(measurement: Measurement, ours: Measurement | None) -> float | None:
    """How many times ours a figure is; None: one of them is missing, or ours is nothing."""
    theirs, mine = measurement.figure, ours.figure if ours is not None else None
    return theirs / mine if theirs is not None and mine else None


@attrs.frozen
class Interval:
    """Where a ratio lies in 95 of 100 cases if the rounds of this run are drawn again, at random."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{shown(self.low)}-{shown(self.high)}"

    def meets(self, other: Interval) -> bool:
        """Whether there are ratios that lie in both."""
        return self.low <= other.high and other.low <= self.high


def interval(measurement: Measurement, ours: Measurement | None) -> Interval | None:
    """By the bootstrap, the same each time; None: too few values say nothing about their spread."""
    if ours is None or min(len(measurement.values), len(ours.values)) < _FEWEST:
        return None
    counted = QUANTITIES[measurement.quantity].counted
    # Not the same draws for both: equal values are no less uncertain than others.
    theirs, mine = _drawn(measurement.values, counted, seed=1), _drawn(ours.values, counted, seed=2)
    found = sorted(one / other for one, other in zip(theirs, mine, strict=True) if other)
    if not found:
        return None
    left_out = round(_LEFT_OUT * len(found))
    return Interval(found[left_out], found[-1 - left_out])


def is_wide(measurement: Measurement, ours: Measurement | None) -> bool:
    """Whether another run may well be apart by more than two are to be, by the spread in this one."""
    their, spread = ratio(measurement, ours), interval(measurement, ours)
    if their is None or spread is None:
        return False
    return spread.high > their * (1 + REPEATED) or spread.low < their / (1 + REPEATED)


@cache
def _drawn(values: Sequence[float], counted: bool, *, seed: int) -> tuple[float, ...]:
    figure: Callable[[Sequence[float]], float] = statistics.fmean if counted else statistics.median
    random = Random(seed)
    return tuple(figure(random.choices(values, k=len(values))) for _ in range(_DRAWS))


@attrs.frozen
class Compared:
    """A ratio of two runs.

    Attributes:
        what: Of which quantity and contender.
        before: Of the first; None: there is none.
        after: Of the second; the same.
        spreads: The interval of each, as far as there is one.
    """

    what: str
    before: float | None
    after: float | None
    spreads: tuple[Interval | None, Interval | None]

    @property
    def apart(self) -> float | None:
        """By which share the greater is above the smaller; None: only one run has it, or one is nothing."""
        if not self.before or not self.after:
            return None
        return max(self.before, self.after) / min(self.before, self.after) - 1

    @property
    def agrees(self) -> bool:
        """Whether both runs say the same."""
        return self.before == self.after or (self.apart is not None and self.apart <= REPEATED)

    def __str__(self) -> str:
        found = [
            f"{shown(value)}{f' ({spread})' if spread else ''}"
            for value, spread in zip((self.before, self.after), self.spreads, strict=True)
        ]
        apart = "" if self.apart is None else f": {self.apart:.0%} apart"
        return f"{self.what}: {', then '.join(found)}{apart}{'' if self.agrees else self._overlap()}"

    def _overlap(self) -> str:
        one, other = self.spreads
        if one is None or other is None:
            return ", and there are too few values to tell their spread"
        return f", the intervals {'overlap' if one.meets(other) else 'do not overlap'}"


def compare(one: Results, other: Results) -> list[Compared]:
    """Return every ratio to ours that at least one of two runs has, in the order of the first."""
    pairs = {(each.quantity, each.contender): None for run in (one, other) for each in run.measurements}
    found = []
    for quantity, contender in pairs:
        if contender == OURS:
            continue
        told = [_told(run, quantity, contender) for run in (one, other)]
        (before, one_spread), (after, other_spread) = told
        if before is not None or after is not None:
            found.append(Compared(f"{quantity}, {contender}", before, after, (one_spread, other_spread)))
    return found


def _told(run: Results, quantity: str, contender: str) -> tuple[float | None, Interval | None]:
    theirs, ours = run.of(quantity, contender), run.of(quantity, OURS)
    return (None, None) if theirs is None else (ratio(theirs, ours), interval(theirs, ours))
