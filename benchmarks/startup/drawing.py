"""A start drawn as a waterfall, in plain SVG."""

from __future__ import annotations

import math
from html import escape
from typing import Final

from benchmarks.startup.budget import Budget

__all__ = ["waterfall"]

_LABELS_PX: Final = 190
_CHART_PX: Final = 560
_FIGURES_PX: Final = 70
_ROW_PX: Final = 22
_BAR_PX: Final = 14
_TOP_PX: Final = 44
_BOTTOM_PX: Final = 30
_TICKS: Final = 8
_STEP: Final = "#7fb3d5"
_IMPORTS: Final = "#1f618d"
_FLOOR: Final = "#c0392b"
_QUIET: Final = "#555555"
_GRID: Final = "#dddddd"


def waterfall(budget: Budget, *, floor_ms: float | None = None, title: str = "From process to link") -> str:
    """Draw a budget: a bar for each step at its time, the part of it that is imports darker.

    Args:
        budget: What is drawn.
        floor_ms: Where the line of the floor process is; None: there is none.
        title: Stands above.

    Returns:
        A whole SVG document.
    """
    end = max([budget.total_ms, *(step.ended_ms for step in budget.steps)])
    tick = _tick(end / _TICKS)
    scale = _CHART_PX / (math.ceil(end / tick) * tick)
    bottom = _TOP_PX + _ROW_PX * len(budget.steps)
    width, height = _LABELS_PX + _CHART_PX + _FIGURES_PX, bottom + _BOTTOM_PX

    def x(ms: float) -> float:
        return _LABELS_PX + ms * scale

    parts = [
        _rectangle(0, 0, width, height, "white"),
        _text(8, 18, title, size=14),
        _text(8, 34, f"{budget.total_ms:.0f} ms, median of {budget.rounds}; dark: imports", colour=_QUIET),
    ]
    for number in range(math.ceil(end / tick) + 1):
        at = x(number * tick)
        parts += [
            _line(at, _TOP_PX, bottom, _GRID),
            _text(at, bottom + 16, f"{number * tick:g} ms", anchor="middle", colour=_QUIET),
        ]
    for row, step in enumerate(budget.steps):
        y = _TOP_PX + row * _ROW_PX + (_ROW_PX - _BAR_PX) / 2
        begin, imports_px = x(step.began_ms), step.imports_ms * scale
        parts += [
            _text(_LABELS_PX - 8, y + 11, step.name, anchor="end"),
            _rectangle(begin, y, max(1.0, step.took_ms * scale), _BAR_PX, _STEP),
            _rectangle(begin, y, imports_px, _BAR_PX, _IMPORTS),
            _text(x(step.ended_ms) + 5, y + 11, f"{step.took_ms:.1f}"),
        ]
    if floor_ms is not None:
        parts += [
            _line(x(floor_ms), _TOP_PX - 4, bottom, _FLOOR, dashes="4 3"),
            _text(x(floor_ms), _TOP_PX - 6, f"floor {floor_ms:.0f} ms", anchor="middle", colour=_FLOOR),
        ]
    begin_tag = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif">'
    )
    return "\n".join([begin_tag, f"<title>{escape(title)}</title>", *parts, "</svg>", ""])


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = "black", size: int = 12
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-size="{size}">{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _line(x: float, top: float, bottom: float, colour: str, *, dashes: str = "none") -> str:
    ends = f'x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-dasharray="{dashes}"/>'


def _tick(least: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50 and so on."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= least)
