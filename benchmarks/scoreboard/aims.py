"""What a newcomer's time is held against, and whether it holds."""

from __future__ import annotations

from typing import Final

from benchmarks.scoreboard.ratios import OURS
from benchmarks.scoreboard.results import Results
from benchmarks.scoreboard.wording import shown

__all__ = ["AIMS", "aims"]

AIMS: Final = (("syncthing", 4.0, "a quarter"), ("libp2p", 8.0, "an eighth"))
"""Whom peernet is to be so many times as fast as, in the case `newcomer`."""


def aims(results: Results) -> list[str]:
    """Return a line for each aim: it is met, missed, or cannot be told, by the medians of this run."""
    titles = {taker.name: taker.title for taker in results.takers}
    ours = results.of("newcomer", OURS)
    mine = ours.median if ours is not None else None
    lines = []
    for contender, times, share in AIMS:
        their = results.of("newcomer", contender)
        theirs = their.median if their is not None else None
        title = titles.get(contender, contender)
        what = f"A newcomer of peernet takes at most {share} of the time of one of {title}"
        if mine is None or theirs is None:
            lines.append(f"- {what}: cannot be told, a figure is missing.")
        else:
            verdict = "met" if mine * times <= theirs else "missed"
            lines.append(
                f"- {what}: **{verdict}**; {shown(mine)} ms, and {share} is {shown(theirs / times)} ms."
            )
    return lines
