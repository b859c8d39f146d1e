"""Wants: the aliases that somebody waits for, each asked for by name on a fast schedule. Pure."""

from __future__ import annotations

from typing import Final

import attrs

from peernet_mdns.timers import Timers

__all__ = ["MAX_WANTS", "VERIFIED_STEPS", "Wants"]

MAX_WANTS: Final = 4096

_OFFSETS_S: Final = (0.0, 0.1, 0.3, 0.7, 1.5, 3.0, 4.5)
_PERIOD_S: Final = 2.0
_PATIENCE_S: Final = 30.0
_SETTLE_S: Final = 1.0
"""How long after a claim a want ends; by then a claim that is worth nothing was refused."""

VERIFIED_STEPS: Final = 4
"""Steps that a round of questions about an alias that is known takes the place of."""


@attrs.define(eq=False)
class _Want:
    start: float
    until: float
    step: int
    resume: float | None = None  # when to ask next if the claim that met it is refused

    def next_due(self) -> float:
        last = len(_OFFSETS_S) - 1
        offset = _OFFSETS_S[min(self.step, last)] + _PERIOD_S * max(self.step - last, 0)
        return min(self.start + offset, self.until)


class Wants:
    """Who is wanted: asked at 0, 0.1, 0.3, 0.7, 1.5, 3 and 4.5 s, then every 2 s, for 30 s."""

    __slots__ = ("_timers", "_wants")

    def __init__(self) -> None:
        self._wants: dict[str, _Want] = {}
        self._timers = Timers()

    def __len__(self) -> int:
        return len(self._wants)

    def __contains__(self, alias: str) -> bool:
        return alias in self._wants

    def add(self, alias: str, *, skip: int = 0, now: float) -> bool:
        """Want an alias, or want it for longer; False when there are too many already.

        The first `skip` steps are left out.
        """
        want = self._wants.get(alias)
        if want is not None:
            want.until = now + _PATIENCE_S
            return True
        if len(self._wants) >= MAX_WANTS:
            return False
        want = self._wants[alias] = _Want(now, now + _PATIENCE_S, skip)
        self._timers.set(alias, want.next_due())
        return True

    def remove(self, alias: str) -> None:
        """Want an alias no longer."""
        if self._wants.pop(alias, None) is not None:
            self._timers.discard(alias)

    def met(self, alias: str, *, now: float) -> None:
        """Stop asking: there is a claim, which may yet be refused."""
        want = self._wants.get(alias)
        if want is not None and want.resume is None:
            want.resume = self._timers.due(alias)
            self._timers.set(alias, now + _SETTLE_S)

    def refused(self, alias: str) -> None:
        """Go on asking: the claim was worth nothing."""
        want = self._wants.get(alias)
        if want is not None and want.resume is not None:
            self._timers.set(alias, want.resume)
            want.resume = None

    def next_deadline(self) -> float | None:
        """When the next is asked or given up."""
        return self._timers.next()

    def take(self, *, now: float) -> tuple[str, int | None] | None:
        """Take the next that is due: its alias, and which step to ask; None: its want has ended."""
        alias = self._timers.pop(until=now)
        if alias is None:
            return None
        want = self._wants[alias]
        if want.resume is not None or now >= want.until:
            del self._wants[alias]
            return alias, None
        step = want.step
        want.step += 1
        # After a pause, what was missed is not made up for.
        while (due := want.next_due()) <= now and due < want.until:
            want.step += 1
        self._timers.set(alias, due)
        return alias, step
