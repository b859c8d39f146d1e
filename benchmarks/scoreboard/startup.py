"""The budget of a peernet process's start, as a section of the page."""

from __future__ import annotations

import statistics
import sysconfig
from pathlib import Path
from typing import Final

from benchmarks.scoreboard.results import Appendix
from benchmarks.scoreboard.wording import shown
from benchmarks.startup import Comparison, measure, table, waterfall

__all__ = ["describe", "startup"]

_PROGRAM: Final = "peernet"
_AIM_MS: Final = 60.0


def startup(rounds: int) -> Appendix:
    """Measure it: with and without the probe, beside its imports alone, and beside its own floor."""
    return describe(measure({_PROGRAM: Path(sysconfig.get_path("scripts")) / "peernet"}, rounds))


def describe(found: Comparison) -> Appendix:
    """Put what was measured into words and a drawing."""
    budget, floor = found.budgets[_PROGRAM], statistics.median(found.floor)
    link, imports = statistics.median(found.links[_PROGRAM]), statistics.median(found.imports[_PROGRAM])
    over = found.over_floor(_PROGRAM)
    verdict = "met" if over <= _AIM_MS else "missed"
    text = (
        f"From process start to link {shown(link)} ms; a bare Python that imports the same modules takes "
        f"{shown(imports)} ms, and the floor, a Python that imports only what is needed and makes one TLS "
        f"handshake with the same peer, {shown(floor)} ms: medians of {len(found.floor)} rounds, in turn.\n\n"
        f"- A newcomer of peernet takes at most {shown(_AIM_MS)} ms longer than that floor: **{verdict}**; "
        f"{shown(over)} ms longer, round by round.\n\n{table(budget)}"
    )
    drawing = waterfall(budget, floor_ms=floor, title="peernet: process to link")
    return Appendix("startup", "Where a start of peernet spends its time", text, f"{drawing.rstrip()}\n")
