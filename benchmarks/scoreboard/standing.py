"""Where peernet stands, by the figures alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from benchmarks.scoreboard.quantities import CASES, Quantity
from benchmarks.scoreboard.ratios import OURS
from benchmarks.scoreboard.results import Results
from benchmarks.scoreboard.wording import shown

__all__ = ["FLOOR", "Behind", "behind", "closing_note"]

FLOOR: Final = "bare"
_EQUAL: Final = 1.05
"""What differs by less is not told apart: two runs differ by more."""


@attrs.frozen
class Behind:
    """A quantity in which somebody is ahead of peernet.

    Attributes:
        ahead: Who, the best first, with their figures.
        ours: Our figure; None: we have none.
    """

    quantity: Quantity
    ahead: tuple[tuple[str, float], ...]
    ours: float | None

    def leaders(self) -> str:
        """Who is ahead and by what, in words."""
        return ", ".join(f"{title} {shown(value)} {self.quantity.unit}" for title, value in self.ahead)

    def own(self) -> str:
        """Our figure, in words."""
        return "no figure" if self.ours is None else f"{shown(self.ours)} {self.quantity.unit}"


def behind(results: Results) -> list[Behind]:
    """Return every quantity in which peernet is not first; the floor competes with nobody."""
    titles = {taker.name: taker.title for taker in results.takers}
    found = []
    for quantity in (each for case in CASES for each in case.quantities):
        ours = results.of(quantity.name, OURS)
        mine = ours.figure if ours is not None else None
        others = [
            (value, titles[each.contender])
            for each in results.quantity(quantity.name)
            if each.contender not in {OURS, FLOOR} and (value := each.figure) is not None
        ]
        ahead = [(title, value) for value, title in sorted(others) if mine is None or value * _EQUAL < mine]
        if ahead:
            found.append(Behind(quantity, tuple(ahead), mine))
    return found


def closing_note(results: Results) -> list[str]:
    """Say why, and what would change it, for each kind of quantity in which peernet is not first."""
    names = {each.quantity.name for each in behind(results)}
    return [say(results) for matches, say in _NOTES if any(matches(name) for name in names)]


def _starts(*prefixes: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(prefixes)


def _of(results: Results, quantity: str, contender: str = OURS) -> float | None:
    found = results.of(quantity, contender)
    return found.figure if found is not None else None


def _about_starting(results: Results) -> str:
    whole, inside, least = (
        _of(results, "newcomer"),
        _of(results, "in-process"),
        _of(results, "newcomer", FLOOR),
    )
    text = "**Starting a process.** What peernet does before it can ask is mostly Python's work: its imports."
    if whole is not None and inside is not None:
        text += (
            f" Of a newcomer's {shown(whole)} ms, {shown(inside)} ms are left when everything is imported "
            f"and a node is started in a running process; {shown(whole - inside)} ms go into starting "
            "Python, the command line and the modules."
        )
    if whole is not None and least is not None:
        text += f" The bare process, which imports next to nothing, takes {shown(least)} ms."
    return f"{text} Importing less, and later, is what would change it."


def _about_calls(results: Results) -> str:
    handshake = _of(results, "handshake", FLOOR)
    beside = "" if handshake is None else f" beside the {shown(handshake)} ms of one handshake"
    return (
        "**The start call.** peernet's includes reading its data directory, starting its backend in "
        "supervision, signing the record that it announces, verifying the one that it hears, and, after "
        f"TLS, an agreement of both sides on one link{beside}. Doing the first of these while waiting for "
        "the network is what would change it."
    )


def _about_cuts(_: Results) -> str:
    return (
        "**After a cut.** Whoever asks again every second, for as long as it takes, is back sooner than "
        "who backs off; it pays with packets for every peer that stays away. A dial as soon as the "
        "carrier is back is what would change it."
    )


def _about_memory(results: Results) -> str:
    few, many = _of(results, "memory-1"), _of(results, "memory-100")
    text = "**Memory.** A peernet process is more than a browser and a socket: most of it is modules"
    if few is not None and many is not None:
        text += f", and each further link takes {shown((many - few) / 99 * 1024)} KiB"
    return f"{text}. Fewer modules and leaner links are what would change it."


def _about_idling(results: Results) -> str:
    few, many = _of(results, "cpu-1"), _of(results, "cpu-100")
    text = (
        "**Idling.** peernet lets TCP ask every idle link whether it is alive, often enough to notice a dead "
        "peer within 15 s, and asks the network for its peers by mDNS from time to time. Whoever asks less "
        "often takes less, and notices later."
    )
    if few is not None and many is not None:
        text += (
            f" Its processor time is {shown(few)} ms a minute with one peer and {shown(many)} ms with 100: "
            "what does not grow with the links is spent by the process's own timers."
        )
    return f"{text} Fewer timers and longer intervals are what would change it."


def _about_crowds(_: Results) -> str:
    return (
        "**Among strangers.** Every announcement of somebody whom nobody trusts is parsed, and its "
        "signature is looked at or put aside; a daemon that serves the whole host does this once for "
        "all. Dropping earlier what is not ours is what would change it."
    )


_NOTES: Final[Sequence[tuple[Callable[[str], bool], Callable[[Results], str]]]] = (
    (lambda name: name in {"newcomer", "together", "restart"}, _about_starting),
    (_starts("in-process"), _about_calls),
    (_starts("cut"), _about_cuts),
    (_starts("memory-"), _about_memory),
    (
        lambda name: name.startswith(("cpu-", "packets-", "bytes-")) and not name.endswith("1000"),
        _about_idling,
    ),
    (lambda name: name.endswith("1000"), _about_crowds),
)
