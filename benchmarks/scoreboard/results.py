"""What a run has measured, and the file that keeps it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import cattrs

from benchmarks.scoreboard.quantities import QUANTITIES

__all__ = ["FORMAT", "Appendix", "Measurement", "Results", "Taker", "load", "store"]

FORMAT: Final = 1


@attrs.frozen
class Taker:
    """Someone who takes part, or would have.

    Attributes:
        missing: Why it did not; empty: it did.
    """

    name: str
    title: str
    how: str
    version: str = ""
    missing: str = ""


@attrs.frozen
class Measurement:
    """One quantity of one contender.

    Attributes:
        quantity: Its name in `quantities`.
        values: In the quantity's unit.
        failures: What went wrong instead, once for each time.
        kept: How often there was nothing to measure because the link was never given up.
        busy: Of times: how much of each value its process was on a processor.
    """

    quantity: str
    contender: str
    values: tuple[float, ...] = ()
    failures: tuple[str, ...] = ()
    kept: int = 0
    busy: tuple[float, ...] = ()

    @property
    def computing(self) -> float | None:
        """The share of its time that it computes, by the medians; the rest it waits. None: it is unknown."""
        if not self.busy or not self.median:
            return None
        return min(1.0, statistics.median(self.busy) / self.median)

    @property
    def figure(self) -> float | None:
        """What stands for all of them: the median, or the mean of what is counted; None: there is nothing."""
        if self.values and QUANTITIES[self.quantity].counted:
            return statistics.fmean(self.values)
        return self.median

    @property
    def median(self) -> float | None:
        """The middle of the values; None: there is none."""
        return statistics.median(self.values) if self.values else None

    @property
    def p90(self) -> float | None:
        """What nine of ten values do not exceed."""
        if not self.values:
            return None
        return sorted(self.values)[math.ceil(0.9 * len(self.values)) - 1]

    @property
    def least(self) -> float | None:
        """The smallest."""
        return min(self.values, default=None)

    @property
    def worst(self) -> float | None:
        """The largest."""
        return max(self.values, default=None)


@attrs.frozen
class Appendix:
    """A section of the page that was measured in another way.

    Attributes:
        name: Of its drawing.
        text: What stands under its heading, in Markdown.
        drawing: SVG.
    """

    name: str
    heading: str
    text: str
    drawing: str


@attrs.frozen
class Results:
    """One whole run.

    Attributes:
        began: Date and time of day, in UTC.
        took_s: How long it took.
        machine: What it ran on.
        takers: Everybody, those who are missing included.
    """

    began: str
    took_s: float
    machine: str
    takers: tuple[Taker, ...]
    measurements: tuple[Measurement, ...]
    appendices: tuple[Appendix, ...] = ()
    format: int = FORMAT

    def of(self, quantity: str, contender: str) -> Measurement | None:
        """What was measured of that one; None: nothing was."""
        wanted = (quantity, contender)
        return next((each for each in self.measurements if (each.quantity, each.contender) == wanted), None)

    def quantity(self, name: str) -> Sequence[Measurement]:
        """Everybody's measurement of that quantity, in the order of the contenders."""
        order = [taker.name for taker in self.takers]
        found = [each for each in self.measurements if each.quantity == name]
        return sorted(found, key=lambda each: order.index(each.contender))


def store(results: Results, path: Path) -> None:
    """Write them down."""
    text = json.dumps(cattrs.unstructure(results), indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read them again.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no results, or results of another format.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"results of format {found['format']!r}, and not {FORMAT}: measure again")
        return cattrs.structure(found, Results)
    except (
        json.JSONDecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        cattrs.BaseValidationError,
    ) as error:
        raise ValueError("no results of a run, which are called results.json") from error
