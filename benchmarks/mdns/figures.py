"""Figures of a case, and the table that shows them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

import attrs

__all__ = ["Comparison", "Fact", "percentile", "show"]

_NOTHING: Final = "-"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@attrs.define
class Comparison:
    """One thing measured many times, of ours and of others, in the same run.

    Attributes:
        name: What.
        unit: What the figures are.
        shares: Which percentiles are shown beside the median and the worst.
        missed: How often nothing came in time, for each engine.
    """

    name: str
    unit: str = "ms"
    shares: tuple[float, ...] = (0.9,)
    values: dict[str, list[float]] = attrs.field(factory=dict)
    missed: dict[str, int] = attrs.field(factory=dict)

    def add(self, engine: str, value: float | None) -> None:
        """Note one; None: it did not come."""
        values = self.values.setdefault(engine, [])
        self.missed.setdefault(engine, 0)
        if value is None:
            self.missed[engine] += 1
        else:
            values.append(value)

    def rows(self) -> list[tuple[str, ...]]:
        """One row of text for each engine."""
        ours = self.values.get("ours")
        middle = statistics.median(ours) if ours else None
        rows = []
        for place, (engine, values) in enumerate(self.values.items()):
            figures = [_NOTHING] * (len(self.shares) + 2)
            ratio = _NOTHING
            if values:
                median = statistics.median(values)
                more = [percentile(values, share) for share in self.shares]
                figures = [_shown(each) for each in (median, *more, max(values))]
                if engine != "ours" and middle:
                    ratio = f"{median / middle:.1f}"
            total = len(values) + self.missed[engine]
            unit = self.unit if values else ""
            name = self.name if place == 0 else ""
            rows.append((name, engine, *figures, unit, ratio, str(total), str(self.missed[engine])))
        return rows


@attrs.frozen
class Fact:
    """Something measured once, or that stands for several measurements."""

    name: str
    text: str


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show(title: str, results: Sequence[Comparison | Fact]) -> str:
    """A table of plain text."""
    lines = [title]
    comparisons = [each for each in results if isinstance(each, Comparison)]
    for shares in dict.fromkeys(each.shares for each in comparisons):
        names = tuple(f"p{share * 100:g}" for share in shares)
        rows = [("", "", "median", *names, "worst", "", "ratio", "runs", "missed")]
        rows += [row for each in comparisons if each.shares == shares for row in each.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = [
                cell.ljust(width) if column < 2 or column == len(row) - 4 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  " + "  ".join(cells).rstrip())
    facts = [each for each in results if isinstance(each, Fact)]
    width = max((len(each.name) for each in facts), default=0)
    lines += [f"  {each.name.ljust(width)}  {each.text}" for each in facts]
    return "\n".join(lines)
