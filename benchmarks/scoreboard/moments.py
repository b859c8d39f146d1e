"""Cases: how long until two are linked, after one thing or another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.mdns.bench import WaitedInVainError
from benchmarks.scoreboard.contender import Contender, Site
from benchmarks.scoreboard.pairs import LINK_S, WHOLE, Notes, Pace, Pair, in_turn, make_pairs, settle
from benchmarks.scoreboard.results import Measurement
from benchmarks.scoreboard.watched import Watched

__all__ = ["batches", "come", "cut", "floor", "in_process", "newcomer", "restart", "together"]

_SHARING: Final = 3
_SHARING_A_CUT: Final = 4
"""How many rounds of a case wait at the same time; what takes processors is done in turn."""
_CUT_S: Final = 30.0
_APART_S: Final = 0.5
_UNNOTICED_S: Final = 15.0


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
    with make_pairs(contenders, notes, quantity, each) as pairs:
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
                notes.add(quantity, pair.name, (linked_s - waited_s) * 1000)
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
                    pair.running.begin()
                    pair.coming.begin()
                    pair.expect(pace.patience_s)
            for pair in in_turn(pairs):
                with pair.noting(notes, "together"):
                    assert pair.running is not None
                    notes.add("together", pair.name, pair.linked_s(pair.running.began) * 1000)
            for pair in pairs:
                pair.end()
    return notes.taken()


def restart(contenders: Sequence[Contender], rounds: int, pace: Pace = WHOLE) -> tuple[Measurement, ...]:
    """One is killed and started again, on another port."""
    notes = Notes()
    times, each = batches(rounds, _SHARING)
    with make_pairs(contenders, notes, "restart", each) as pairs:
        for number in range(times):
            _link(pairs, notes, "restart", pace)
            began = [(pair, *_restart(pair, notes, pace)) for pair in in_turn(pairs, number)]
            for pair, since, at in began:
                if pair.fault is None:
                    with pair.noting(notes, "restart"):
                        notes.add("restart", pair.name, pair.linked_s(at, since=since) * 1000)
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


def _link(pairs: Sequence[Pair], notes: Notes, quantity: str, pace: Pace) -> None:
    """Start everybody, and wait until all links are some seconds old."""
    for pair in pairs:
        pair.start_there()
    settle(pairs, notes, quantity, pace)
    for pair in in_turn(pairs):
        with pair.noting(notes, quantity):
            pair.coming = pair.here.start()
    for pair in in_turn(pairs):
        with pair.noting(notes, quantity):
            pair.linked_s(0.0)
    time.sleep(pace.stable_s)


def cut(contenders: Sequence[Contender], rounds: int) -> tuple[Measurement, ...]:
    """The cable of one is out for half a minute."""
    notes = Notes()
    times, each = batches(rounds, _SHARING_A_CUT)
    with make_pairs(contenders, notes, "cut", each) as pairs:
        for number in range(times):
            _link(pairs, notes, "cut", WHOLE)
            order = in_turn(pairs, number)
            marks = [_marks(pair) for pair in order]
            began = time.monotonic()
            for place, pair in enumerate(order):
                _sleep_until(began + place * _APART_S)
                pair.here.host.unplug()
            healed = []
            for place, pair in enumerate(order):
                _sleep_until(began + _CUT_S + place * _APART_S)
                pair.here.host.plug_in()
                healed.append(time.monotonic())
            for pair, said, at in zip(order, marks, healed, strict=True):
                with pair.noting(notes, "cut"):
                    back = _back_s(pair, said, at)
                    if back is None:
                        notes.keep("cut", pair.name)
                    else:
                        notes.add("cut", pair.name, back * 1000)
            for pair in pairs:
                pair.end()
    return notes.taken()


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))


def _marks(pair: Pair) -> tuple[int, int]:
    assert pair.running is not None
    assert pair.coming is not None
    return pair.running.mark(), pair.coming.mark()


def _back_s(pair: Pair, marks: tuple[int, int], healed: float) -> float | None:
    """Return how long after the healing both were linked; None: neither ever said that it was lost.

    Raises:
        WaitedInVainError: a link was lost and did not come back.
    """
    times = [healed]
    assert pair.running is not None
    assert pair.coming is not None
    sides = ((pair.running, marks[0], pair.here.key), (pair.coming, marks[1], pair.there.key))
    # Who has not noticed by then has no reason to notice any more.
    until = healed + _UNNOTICED_S
    lost = [
        process.look("lost", peer, since=mark, timeout_s=max(0.0, until - time.monotonic()))
        for process, mark, peer in sides
    ]
    if lost == [None, None]:
        return None
    for (process, mark, peer), at in zip(sides, lost, strict=True):
        if at is not None:
            times.append(_linked_for_good(process, peer, mark, healed))
    return max(times) - healed


def _linked_for_good(process: Watched, peer: str, mark: int, healed: float) -> float:
    """Return when it was last linked: one that was linked and lost again was not."""
    deadline = healed + LINK_S
    while (at := process.last_linked(peer, since=mark)) is None:
        if time.monotonic() > deadline:
            raise WaitedInVainError(f"not linked again within {LINK_S:g} s: {process.report()}")
        time.sleep(0.1)
    return at


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
