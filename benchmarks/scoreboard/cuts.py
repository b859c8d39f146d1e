"""Case: the cable of one of two is out for half a minute; how long until they are linked again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from typing import Final

from benchmarks.mdns.bench import WaitedInVainError
from benchmarks.scoreboard.contender import Contender
from benchmarks.scoreboard.pairs import LINK_S, WHOLE, Notes, Pair, in_turn, link, make_pairs
from benchmarks.scoreboard.results import Measurement

__all__ = ["cut", "cut_and_healed", "in_their_time", "spread"]

_CASE: Final = "cut"
_CUT_S: Final = 30.0
_AGAIN_S: Final = 1.0
"""After how long whoever dials on a schedule does so again."""
_UNNOTICED_S: Final = 15.0
"""Who has not noticed by then that the link was cut has no reason to notice any more."""
_APART_S: Final = 0.2
_LOOK_S: Final = 0.5
_GOLDEN: Final = (5**0.5 - 1) / 2

Waking = Iterator[float]
"""What yields, each time, when it is to go on, in seconds of `time.monotonic`."""


def cut(contenders: Sequence[Contender], links: int, times: int) -> tuple[Measurement, ...]:
    """Cut so many links of each contender at once, and so often, between fresh processes each time.

    All wait at the same time, while one after the other is cut and healed. The moments of healing are spread
    evenly over the second between two dials, counted from when that link was made: left to chance it would
    take hundreds of them until all parts of that second are met equally often.
    """
    notes = Notes()
    with make_pairs(contenders, notes, _CASE, links) as pairs:
        shares = {each.name: spread(links * times) for each in contenders}
        for _ in range(times):
            link(pairs, notes, _CASE, WHOLE)
            linked = in_turn(pairs)
            began = time.monotonic()
            in_their_time(
                cut_and_healed(pair, notes, began + place * _APART_S, next(shares[pair.name]))
                for place, pair in enumerate(linked)
            )
            for pair in pairs:
                pair.end()
    return notes.taken()


def spread(number: int) -> Iterator[float]:
    """Yield so many shares of a whole, in no order; as many as there are by then lie evenly in it."""
    # The multiples of the golden ratio, of which no new one comes close to an old one.
    return ((place * _GOLDEN) % 1.0 for place in range(number))


def in_their_time(all_of_them: Iterable[Waking]) -> None:
    """Let each go on whenever it is its time, until all have ended."""
    waiting = [(0.0, place, each) for place, each in enumerate(all_of_them)]
    heapify(waiting)
    while waiting:
        at, place, first = waiting[0]
        time.sleep(max(0.0, at - time.monotonic()))
        following = next(first, None)
        if following is None:
            heappop(waiting)
        else:
            heapreplace(waiting, (following, place, first))


def cut_and_healed(pair: Pair, notes: Notes, begin: float, share: float) -> Waking:
    """Cut it then, heal it at that share of a second, and note how long it took."""
    yield begin
    with pair.noting(notes, _CASE):
        made = pair.made()
        if made is None:
            raise WaitedInVainError(f"its link ended before it was cut: {pair.report()}")
        marks = pair.marks()
        pair.here.host.unplug()
        least = time.monotonic() + _CUT_S
        yield least + (made + share * _AGAIN_S - least) % _AGAIN_S
        pair.here.host.plug_in()
        healed = time.monotonic()
        yield healed + _UNNOTICED_S
        if not pair.has_lost(marks):
            notes.keep(_CASE, pair.name)
            return
        while (again := pair.made()) is None:
            if time.monotonic() > healed + LINK_S:
                raise WaitedInVainError(f"not linked again within {LINK_S:g} s: {pair.report()}")
            yield time.monotonic() + _LOOK_S
        notes.add(_CASE, pair.name, (max(again, healed) - healed) * 1000)
