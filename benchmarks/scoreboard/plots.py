"""Plots as SVG, on logarithmic axes: what is ten times as far is ten times as much."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.scoreboard.wording import shown

__all__ = ["growth_plot", "spread_plot"]

_WIDTH: Final = 720
_LEFT: Final = 200
_RIGHT: Final = 90
_ROW: Final = 30
_TOP: Final = 56
_COLOURS: Final = ("#0b6e4f", "#3b6fb6", "#c7762b", "#8a4fa3", "#b23a48", "#666666")
_STYLE: Final = (
    "text{font:13px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}"
    ".small{font-size:11px;fill:#666}.line{stroke-width:2;fill:none}"
)


class _Scale:
    """A logarithmic axis over whole powers of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.first = math.floor(math.log10(min(values)))
        self.last = max(self.first + 1, math.ceil(math.log10(max(values))))
        self._start = start
        self._end = end

    def at(self, value: float) -> float:
        """Where it is."""
        share = (math.log10(value) - self.first) / (self.last - self.first)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """The powers of ten."""
        return [10.0**power for power in range(self.first, self.last + 1)]


def spread_plot(title: str, unit: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A row for each: a large dot at the median, a small one for each value.

    Args:
        title: What is measured.
        unit: Of the values.
        rows: Names and their values, all above zero; a row without values says so.
    """
    everything = [value for _, values in rows for value in values]
    height = _TOP + _ROW * len(rows) + 24
    parts = [_label(12, 22, title, style="title")]
    if everything:
        scale = _Scale(everything, _LEFT, _WIDTH - _RIGHT)
        for tick in scale.ticks():
            x = scale.at(tick)
            parts += [
                _rule(x, _TOP - 14, x, height - 20),
                _label(x, height - 6, f"{_tick(tick)} {unit}", style="small", anchor="middle"),
            ]
        for place, (name, values) in enumerate(rows):
            parts += _row(scale, name, values, unit, _TOP + _ROW * place, _COLOURS[place % len(_COLOURS)])
    return _document(height, parts)


def _row(scale: _Scale, name: str, values: Sequence[float], unit: str, y: float, colour: str) -> list[str]:
    parts = [_label(_LEFT - 12, y + 4, name, anchor="end")]
    if not values:
        return [*parts, _label(_LEFT, y + 4, "nothing was measured", style="small")]
    low, high, middle = scale.at(min(values)), scale.at(max(values)), statistics.median(values)
    return [
        *parts,
        _rule(low, y, high, y, style="line", colour=colour),
        *(_dot(scale.at(value), y, 2.5, colour) for value in values),
        _dot(scale.at(middle), y, 5.5, colour),
        _label(high + 10, y + 4, f"{shown(middle)} {unit}"),
    ]


def growth_plot(title: str, unit: str, series: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """A line for each: the number of peers, and the value.

    Args:
        title: What is measured.
        unit: Of the values.
        series: Names, and pairs of a number of peers and a value above zero.
    """
    height = 320
    parts = [_label(12, 22, title, style="title")]
    points = [point for each in series.values() for point in each]
    if points:
        across = _Scale([count for count, _ in points], 80, _WIDTH - 170)
        up = _Scale([value for _, value in points], height - 46, _TOP - 10)
        for tick in across.ticks():
            x = across.at(tick)
            parts += [
                _rule(x, _TOP - 10, x, height - 46),
                _label(x, height - 30, _tick(tick), style="small", anchor="middle"),
            ]
        for tick in up.ticks():
            y = up.at(tick)
            parts += [
                _rule(80, y, _WIDTH - 170, y),
                _label(72, y + 4, f"{_tick(tick)} {unit}", style="small", anchor="end"),
            ]
        parts.append(_label((_WIDTH - 90) / 2, height - 10, "linked peers", style="small", anchor="middle"))
        labels = _apart([(up.at(each[-1][1]), name) for name, each in series.items() if each])
        for place, (name, each) in enumerate(series.items()):
            if each:
                at = [(across.at(count), up.at(value)) for count, value in each]
                parts += _line(name, at, labels[name], _COLOURS[place % len(_COLOURS)])
    return _document(height, parts)


def _line(name: str, at: Sequence[tuple[float, float]], label_y: float, colour: str) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    return [
        f'<polyline class="line" points="{path}" stroke="{colour}"/>',
        *(_dot(x, y, 4, colour) for x, y in at),
        _label(_WIDTH - 160, label_y + 4, name, colour=colour),
    ]


def _apart(labels: Sequence[tuple[float, str]]) -> dict[str, float]:
    """Move labels down so far that none covers another."""
    found: dict[str, float] = {}
    below = -math.inf
    for y, name in sorted(labels):
        found[name] = below = max(y, below + 16)
    return found


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _label(x: float, y: float, text: str, *, style: str = "", anchor: str = "start", colour: str = "") -> str:
    kind = (f'class="{style}" ' if style else "") + (f'style="fill:{colour}" ' if colour else "")
    return f'<text {kind}x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, *, style: str = "grid", colour: str = "#ddd") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{style}" {ends} stroke="{colour}"/>'


def _dot(x: float, y: float, radius: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" fill-opacity="0.6"/>'


def _document(height: float, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{_STYLE}</style>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            *parts,
            "</svg>\n",
        )
    )
