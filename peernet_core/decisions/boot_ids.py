"""Boot ids: which process of a peer is the living one, and whether two run with one key at the same time.

Pure; `now` is the loop's time in seconds. Each start of a process draws a boot id, and a restart never brings
back that of an earlier run. So one that is heard again after another one was heard in between comes from a
connection that was slow to arrive, once; or from a second process with the same identity, again and again.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from typing import Final

__all__ = ["CONFLICT_RETURNS", "CONFLICT_S", "BootIds", "Verdict"]

CONFLICT_S: Final = 60.0
"""How long a boot id is remembered after another one followed it, and a key is refused after a conflict."""
CONFLICT_RETURNS: Final = 3
"""So many returns in that time are no accident."""
_MAX_REMEMBERED: Final = 64


class Verdict(enum.Enum):
    """What to make of a connection with a boot id."""

    WELCOME = enum.auto()
    STALE = enum.auto()
    """Of a process that has been followed by another one: it is refused."""
    CONFLICT = enum.auto()
    """Two processes run with the key: from now on it is refused."""


class BootIds:
    """The boot ids of one key that were heard lately."""

    __slots__ = ("_current", "_followed", "_refused_until", "_returns")

    def __init__(self) -> None:
        self._current: bytes | None = None
        self._followed: OrderedDict[bytes, float] = OrderedDict()  # when another one came after it
        self._returns: deque[float] = deque()
        self._refused_until = float("-inf")

    def heard(self, boot_id: bytes, *, linked: bool, now: float) -> Verdict:
        """Note the boot id of a connection.

        Args:
            boot_id: The boot id.
            linked: Whether there is a link with the process that was heard last.
            now: The time.
        """
        self._forget_old(now)
        if boot_id == self._current:
            return Verdict.WELCOME
        if boot_id in self._followed:
            self._returns.append(now)
            if len(self._returns) >= CONFLICT_RETURNS:
                self._current = None
                self._followed.clear()
                self._returns.clear()
                self._refused_until = now + CONFLICT_S
                return Verdict.CONFLICT
            if linked:
                return Verdict.STALE
            del self._followed[boot_id]
        if self._current is not None:
            self._followed[self._current] = now
            if len(self._followed) > _MAX_REMEMBERED:
                self._followed.popitem(last=False)
        self._current = boot_id
        return Verdict.WELCOME

    def refused_until(self, *, now: float) -> float | None:
        """When the key is dealt with again; None: now."""
        return self._refused_until if now < self._refused_until else None

    def _forget_old(self, now: float) -> None:
        while self._followed and now - next(iter(self._followed.values())) >= CONFLICT_S:
            self._followed.popitem(last=False)
        while self._returns and now - self._returns[0] >= CONFLICT_S:
            self._returns.popleft()
