"""Boot ids: whether two processes run with one key at the same time.

Pure; `now` is the loop's time in seconds. Each start of a process draws a boot id. One that is heard again
after another one was heard in between can only come from a second process with the same identity: a restart
never brings back the id of an earlier run.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["CONFLICT_S", "BootIds"]

CONFLICT_S: Final = 60.0
"""How long a boot id is remembered, and how long a key is refused after a conflict."""
_MAX_REMEMBERED: Final = 64


class BootIds:
    """The boot ids of one key that were heard lately."""

    __slots__ = ("_heard", "_refused_until")

    def __init__(self) -> None:
        self._heard: deque[tuple[bytes, float]] = deque(maxlen=_MAX_REMEMBERED)
        self._refused_until = float("-inf")

    def heard(self, boot_id: bytes, *, now: float) -> bool:
        """Note the boot id of a connection; returns whether two alternate: from now on the key is refused."""
        while self._heard and now - self._heard[0][1] >= CONFLICT_S:
            self._heard.popleft()
        earlier = [each for each, _ in self._heard]
        if earlier and earlier[-1] == boot_id:
            self._heard[-1] = (boot_id, now)
            return False
        if boot_id in earlier:
            self._heard.clear()
            self._refused_until = now + CONFLICT_S
            return True
        self._heard.append((boot_id, now))
        return False

    def refused_until(self, *, now: float) -> float | None:
        """When the key is dealt with again; None: now."""
        return self._refused_until if now < self._refused_until else None
