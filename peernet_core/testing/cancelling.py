"""A coroutine that is cancelled at a step of one's choice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["CancelledAt"]


class CancelledAt:
    """Awaits a coroutine, and has the current task cancelled where that waits for the `step`-th time.

    Args:
        coroutine: Whatever it does.
        step: From 1.

    Attributes:
        reached: Whether it waited so often.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: int) -> None:
        self.reached = False
        self._coroutine = coroutine
        self._step = step

    def __await__(self) -> Generator[Any, Any, Any]:
        """Pass on what the coroutine waits for."""
        waits, inner = 0, self._coroutine.__await__()
        value: object = None
        error: BaseException | None = None
        while True:
            try:
                waited = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as end:
                return end.value
            waits += 1
            if waits == self._step:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()  # takes hold of what is handed out below
            value, error = None, None
            try:
                value = yield waited
            except BaseException as thrown:  # noqa: BLE001 - belongs to the coroutine
                error = thrown
