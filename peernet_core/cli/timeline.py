"""When each side of the demo got where."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from peernet_core.cli.output import align

__all__ = ["Step", "Timeline"]


class Step(enum.StrEnum):
    """What both sides go through, in this order."""

    STARTED = "process started"
    LISTENING = "listening"
    DISCOVERED = "discovered"
    CONNECTED = "connected"
    GREETED = "greeted"


class Timeline:
    """The first time of each step on each side.

    Args:
        sides: Their names.
        start: Unix seconds that count as zero.
    """

    def __init__(self, sides: Sequence[str], *, start: float) -> None:
        self._start = start
        self._times: dict[str, dict[Step, float]] = {side: {} for side in sides}

    def mark(self, side: str, step: Step, t: float) -> None:
        """Note that a side got to a step at Unix time `t`; only the first time counts."""
        self._times[side].setdefault(step, t)

    def lines(self) -> list[str]:
        """A table in milliseconds, a row a step and a column a side; a dash where a side did not get."""
        header = ["", *(side.rjust(len("12345 ms")) for side in self._times)]
        rows = [[str(step), *(self._cell(side, step) for side in self._times)] for step in Step]
        return align([header, *rows])

    def _cell(self, side: str, step: Step) -> str:
        t = self._times[side].get(step)
        # Two clocks are read, a parent's and a child's, and a clock may be set.
        text = "-" if t is None else f"{max(0, round((t - self._start) * 1000))} ms"
        return text.rjust(max(len(side), len("12345 ms")))
