"""Questions: what is asked when. Pure.

Questions about one alias follow a plan, a list of steps; when all were asked and none was answered, the plan
has failed. Each step waits in a lane, and a lane sends at a bounded rate: a flood makes questions late, never
many. A step counts when it was sent, so nobody is given up for want of asking.
"""

from __future__ import annotations

from enum import IntEnum
from random import Random
from typing import Final

import attrs

from peernet_mdns.timers import Timers

__all__ = [
    "COMPLETE",
    "DOUBT",
    "MAX_NAMES",
    "MAX_URGENT",
    "REFRESH",
    "REST",
    "WANTED",
    "Lane",
    "Lanes",
    "Plan",
    "Query",
    "Step",
    "TypeSchedule",
]

MAX_NAMES: Final = 64
"""Names in one query."""

MAX_URGENT: Final = 40
"""Names in one query for those that are wanted: it fits one packet."""


@attrs.frozen
class Query:
    """What one query asks.

    Attributes:
        names: Aliases whose SRV and TXT are asked.
        everybody: Whether the PTR of the type is asked.
        unicast: Whether the answer may come by unicast (RFC 6762 §5.4).
        known: Known answers to PTR (§7.1): the alias, and the TTL that is left, in seconds.
    """

    names: tuple[str, ...] = ()
    everybody: bool = False
    unicast: bool = False
    known: tuple[tuple[str, float], ...] = ()


class Lane(IntEnum):
    """Where a step waits until it may be sent."""

    URGENT = 0
    VERIFY = 1
    REFRESH = 2
    COMPLETE = 3


@attrs.frozen
class Step:
    """One question: at which share of the lease, plus an offset and some jitter, after the plan's start.

    Attributes:
        gap_s: How long after the step before, at least.
    """

    lane: Lane
    share: tuple[float, float] = (0.0, 0.0)
    offset_s: tuple[float, float] = (0.0, 0.0)
    gap_s: float = 0.0

    def due(self, start: float, lease_s: float, sent: float, jitter: Random) -> float:
        """When to ask, in loop seconds."""
        at = start + lease_s * jitter.uniform(*self.share) + jitter.uniform(*self.offset_s)
        return max(at, sent + self.gap_s)


@attrs.frozen
class Plan:
    """Some steps, and when they have failed: half a second after the last at the earliest."""

    steps: tuple[Step, ...]
    share: float = 0.0
    offset_s: float = 0.0
    gap_s: float = 0.5

    def fails(self, start: float, lease_s: float, sent: float) -> float:
        """When the silence is long enough, once every step was sent."""
        return max(start + lease_s * self.share + self.offset_s, sent + self.gap_s)


def _round(lane: Lane) -> Plan:
    steps = (
        Step(lane),
        Step(lane, offset_s=(0.1, 0.1), gap_s=0.1),
        Step(lane, offset_s=(0.25, 0.25), gap_s=0.1),
        Step(lane, offset_s=(0.5, 0.5), gap_s=0.1),
    )
    return Plan(steps, offset_s=1.0)


DOUBT: Final = _round(Lane.VERIFY)
"""After a goodbye."""

WANTED: Final = _round(Lane.URGENT)
"""After a want: whoever wants a peer could not reach it."""

REFRESH: Final = Plan(
    (
        Step(Lane.REFRESH, share=(0.8, 0.9)),
        Step(Lane.VERIFY, share=(0.9, 0.95), gap_s=0.1),
        Step(Lane.VERIFY, share=(1.0, 1.0), gap_s=0.1),
        Step(Lane.VERIFY, share=(1.0, 1.0), offset_s=(0.5, 0.5), gap_s=0.5),
    ),
    share=1.0,
    offset_s=1.0,
)
"""As the lease ends."""

COMPLETE: Final = Plan(
    (
        Step(Lane.COMPLETE, offset_s=(0.02, 0.1)),
        Step(Lane.COMPLETE, offset_s=(0.5, 0.6), gap_s=0.3),
        Step(Lane.COMPLETE, offset_s=(1.5, 2.0), gap_s=0.3),
    ),
    offset_s=3.0,
    gap_s=1.0,
)
"""For an alias whose record was lost on the way."""

REST: Final = Plan((), offset_s=120.0)
"""For an alias whose record was refused: it is not asked, and forgotten after a while."""


@attrs.frozen
class _Pace:
    unicast: bool
    partial_gap_s: float
    full_gap_s: float
    ahead_s: float = 0.0


_PACES: Final = {
    Lane.VERIFY: _Pace(unicast=True, partial_gap_s=0.05, full_gap_s=0.05),
    # Everyone hears the answer. What is due soon goes along.
    Lane.REFRESH: _Pace(unicast=False, partial_gap_s=0.25, full_gap_s=0.05, ahead_s=0.25),
    Lane.COMPLETE: _Pace(unicast=True, partial_gap_s=0.25, full_gap_s=0.25),
}


class Lanes:
    """Where steps wait: at most 20 queries a second each to verify and to refresh, and 4 to complete.

    Urgent steps are sent when they are due; how many there are is up to whoever wants them.
    """

    __slots__ = ("_free", "_timers")

    def __init__(self) -> None:
        self._timers = {lane: Timers() for lane in Lane}
        self._free = dict.fromkeys(_PACES, float("-inf"))

    def set(self, lane: Lane, alias: str, due: float) -> None:
        """Let an alias wait in a lane; it waits in no other."""
        self._timers[lane].set(alias, due)

    def discard(self, lane: Lane, alias: str) -> None:
        """Let an alias not wait there any more."""
        self._timers[lane].discard(alias)

    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._timers.values()))

    def next_deadline(self) -> float | None:
        """When the next query may be sent."""
        found = [self._timers[Lane.URGENT].next()]
        found += [self._ready_at(lane) for lane in _PACES]
        return min((each for each in found if each is not None), default=None)

    def take_urgent(self, limit: int, *, now: float) -> list[str]:
        """Take out the urgent ones that are due, at most `limit`."""
        return self._take(Lane.URGENT, limit, until=now)

    def take(self, *, now: float) -> tuple[list[str], bool] | None:
        """Take out what one query may ask now: the aliases, and whether by unicast."""
        for lane, pace in _PACES.items():
            ready = self._ready_at(lane)
            if ready is None or ready > now:
                continue
            names = self._take(lane, MAX_NAMES, until=now + pace.ahead_s)
            self._free[lane] = now + (pace.full_gap_s if len(names) == MAX_NAMES else pace.partial_gap_s)
            return names, pace.unicast
        return None

    def _ready_at(self, lane: Lane) -> float | None:
        due = self._timers[lane].next()
        return None if due is None else max(due, self._free[lane])

    def _take(self, lane: Lane, limit: int, *, until: float) -> list[str]:
        timers = self._timers[lane]
        taken: list[str] = []
        while len(taken) < limit and (alias := timers.pop(until=until)) is not None:
            taken.append(alias)
        return taken


_GAPS_S: Final = (1.0, 2.0, 6.0, 21.0)
_FIRST_PERIOD_S: Final = 60.0
_PERIOD_S: Final = 300.0
_HEARD_AGAIN_S: Final = 1.0
"""A question is heard by IPv4 and IPv6, and so is one's own."""
_BURST: Final = 4
"""Moments of a start that are kept however crowded it is: 0, 1, 3 and 9 s."""


class TypeSchedule:
    """When everybody is asked: at the start both ways, after 1, 3, 9 and 30 s, then ever more rarely.

    Where it is crowded, only the burst of the start stays, both ways each time, then one query every 300 s.

    What comes after the start is left out where somebody else has asked the same (RFC 6762 §7.3): of all who
    are on a link, one asks each time.
    """

    __slots__ = ("_both", "_due", "_jitter", "_step", "last")

    def __init__(self, jitter: Random) -> None:
        self.last = float("-inf")
        self._jitter = jitter
        self._due: float | None = None
        self._step = 0
        self._both = False

    def search(self, *, now: float, delay_s: float) -> None:
        """Start anew; a start that is still to come is never put off."""
        start = now + max(delay_s, 0.0)
        if self._step == 0 and self._due is not None:
            start = min(start, self._due)
        self._step, self._due, self._both = 0, start, False

    def next_deadline(self) -> float | None:
        """When everybody is asked next."""
        return self._due

    def take(self, *, now: float, crowded: bool) -> bool | None:
        """Whether to ask everybody by unicast; None: not now."""
        if self._due is None or self._due > now:
            return None
        if crowded and self._step >= _BURST and now < self.last + 0.9 * _PERIOD_S:
            self._due = self.last + _PERIOD_S * self._jitter.uniform(0.9, 1.1)
            return None
        self.last = now
        if not self._both and (self._step == 0 or (crowded and self._step < _BURST)):
            # And at once again by multicast: the other way may be deaf. In a crowd's answers both ways many
            # are lost, and not the same ones.
            self._both = True
            return True
        self._both = False
        self._asked(now=now, crowded=crowded)
        return False

    def overheard(self, *, now: float, crowded: bool) -> None:
        """Somebody else asked for answers that everybody hears; ours of the start are asked all the same."""
        start = _BURST if crowded else len(_GAPS_S) + 1
        if self._step >= start and now >= self.last + _HEARD_AGAIN_S:
            self.last = now
            self._asked(now=now, crowded=crowded)

    def _asked(self, *, now: float, crowded: bool) -> None:
        self._due = now + self._gap_s(crowded=crowded) * self._jitter.uniform(0.9, 1.1)
        self._step += 1

    def _gap_s(self, *, crowded: bool) -> float:
        if self._step < len(_GAPS_S):
            return _PERIOD_S if crowded and self._step >= _BURST - 1 else _GAPS_S[self._step]
        doublings = min(self._step - len(_GAPS_S), 3)
        return _PERIOD_S if crowded else min(_FIRST_PERIOD_S * 2**doublings, _PERIOD_S)
