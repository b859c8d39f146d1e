"""Cases: how long until two are linked, after one thing or another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.scoreboard.contender import Contender, Site
from benchmarks.scoreboard.pairs import LINK_S, WHOLE, Notes, Pace, Pair, in_turn, link, make_pairs, settle
from benchmarks.scoreboard.results import Measurement
from benchmarks.scoreboard.watched import Watched
from benchmarks.warmth import warm_memory

__all__ = ["batches", "come", "floor", "in_process", "newcomer", "restart", "together"]

_SHARING: Final = 5
"""How many rounds of a case wait at the same time; what takes processors is done in turn."""


def newcomer(contenders: Sequence[Contender], rounds: int, pace: Pace = WHOLE) -> tuple[Measurement, ...]:
    """A peer runs; another one's process is started."""
    return _come(contenders, rounds, pace, "newcomer", lambda site: site.start(), "")


def in_process(contenders: Sequence[Contender], rounds: int, pace: Pace = WHOLE) -> tuple[Measurement, ...]:
    """The same, from the call that starts it."""
    return _come(contenders, rounds, pace, "in-process", lambda site: site.start_call(), "started")


def batches(rounds: int, most: int) -> tuple[int, int]:
    """Divide so many rounds, or a few more: how often, and how many then share their waits."""
    times = math.ceil(rounds / most)
    return times, math.ceil(rounds / times)


def _come(
    contenders: Sequence[Contender],
    rounds: int,
    pace: Pace,
    quantity: str,
    start: Callable[[Site], Watched],
    begins: str,
) -> tuple[Measurement, ...]:
    notes = Notes()
    times, each = batches(rounds, _SHARING)
    with make_pairs(contenders, notes, quantity, each, turns=pace.turns) as pairs:
        come(pairs, notes, quantity, times, pace, start=start, begins=begins)
    return notes.taken()


def come(
    pairs: Sequence[Pair],
    notes: Notes,
    quantity: str,
    times: int,
    pace: Pace,
    *,
    start: Callable[[Site], Watched] = lambda site: site.start(),
    begins: str = "",
) -> None:
    """Let somebody come to everybody, with fresh processes on both sides each time.

    Args:
        pairs: Who is there, and who comes.
        notes: Where the times go.
        quantity: As what.
        times: How often.
        pace: How much time things are given.
        start: Starts who comes.
        begins: What it says when its time begins; empty: that is when it is started.
    """
    for number in range(times):
        for pair in pairs:
            pair.start_there()
        settle(pairs, notes, quantity, pace)
        for pair in in_turn(pairs, number):
            with pair.noting(notes, quantity):
                pair.coming = start(pair.here)
                pair.expect(pace.patience_s)
        for pair in in_turn(pairs):
            with pair.noting(notes, quantity):
                assert pair.coming is not None
                linked_s = pair.linked_s(pair.coming.began)
                waited_s = pair.coming.wait(begins, timeout_s=0) - pair.coming.began if begins else 0.0
                notes.add(quantity, pair.name, (linked_s - waited_s) * 1000, pair.busy_ms(begins))
        for pair in pairs:
            pair.end()


def together(contenders: Sequence[Contender], rounds: int, pace: Pace = WHOLE) -> tuple[Measurement, ...]:
    """Both processes are started at once."""
    notes = Notes()
    times, each = batches(rounds, _SHARING)
    with make_pairs(contenders, notes, "together", each) as pairs:
        for number in range(times):
            for pair in in_turn(pairs, number):
                with pair.noting(notes, "together"):
                    pair.forget()
                    pair.running, pair.coming = pair.there.load(), pair.here.load()
                    warm_memory()
                    pair.running.begin()
                    pair.coming.begin()
                    pair.expect(pace.patience_s)
            for pair in in_turn(pairs):
                with pair.noting(notes, "together"):
                    assert pair.running is not None
                    linked_s = pair.linked_s(pair.running.began)
                    notes.add("together", pair.name, linked_s * 1000, pair.busy_ms())
            for pair in pairs:
                pair.end()
    return notes.taken()


def restart(contenders: Sequence[Contender], rounds: int, pace: Pace = WHOLE) -> tuple[Measurement, ...]:
    """One is killed and started again, on another port."""
    notes = Notes()
    times, each = batches(rounds, _SHARING)
    with make_pairs(contenders, notes, "restart", each, turns=pace.turns) as pairs:
        for number in range(times):
            link(pairs, notes, "restart", pace)
            began = [(pair, *_restart(pair, notes, pace)) for pair in in_turn(pairs, number)]
            for pair, since, at in began:
                if pair.fault is None:
                    with pair.noting(notes, "restart"):
                        linked_s = pair.linked_s(at, since=since)
                        notes.add("restart", pair.name, linked_s * 1000, pair.busy_ms())
            for pair in pairs:
                pair.end()
    return notes.taken()


def _restart(pair: Pair, notes: Notes, pace: Pace) -> tuple[int, float]:
    """Return what the other side had said by then, and when it was."""
    assert pair.running is not None
    assert pair.coming is not None
    since, began = pair.running.mark(), time.monotonic()
    with pair.noting(notes, "restart"):
        pair.coming.kill()
        pair.coming = pair.here.start()
        began = pair.coming.began
        pair.expect(pace.patience_s, since=since)
    return since, began


def floor(contenders: Sequence[Contender], rounds: int, pace: Pace = WHOLE) -> tuple[Measurement, ...]:
    """One question and its answer, one handshake."""
    notes = Notes()
    with make_pairs(contenders, notes, "query") as pairs:
        for pair in pairs:
            pair.start_there()
        settle(pairs, notes, "query", pace)
        for _ in range(rounds):
            for pair in in_turn(pairs):
                with pair.noting(notes, "query"):
                    pair.coming = pair.here.start()
                    pair.coming.wait("linked", timeout_s=LINK_S)
                    at = {what: pair.coming.wait(what, timeout_s=0) for what in _FLOOR}
                    notes.add("query", pair.name, (at["answered"] - at["asked"]) * 1000)
                    notes.add("handshake", pair.name, (at["linked"] - at["dialed"]) * 1000)
                    pair.coming.kill()
        for pair in pairs:
            pair.end()
    return notes.taken()


_FLOOR: Final = ("asked", "answered", "dialed", "linked")
