"""Running somebody else's coroutine so that nothing gets out: not what it raises, nor its refusal to end."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import anyio

from peernet_core.values import frozen

__all__ = ["GRACE_S", "ContainedTask", "Ending", "Outcome", "describe", "outlast"]

GRACE_S: Final = 1.0
"""How long a cancelled task may take to end by itself."""

_FORCED_ENDING_S: Final = 0.1
_CLOSING_ATTEMPTS: Final = 3
_SHOWN_CHARACTERS: Final = 500


class Ending(enum.Enum):
    """How a task came to its end."""

    WILLING = enum.auto()
    """By itself, or when cancelled."""
    FORCED = enum.auto()
    """It swallowed the cancellation; its coroutine was closed under it."""
    NEVER = enum.auto()
    """It is still running, and nothing more can be done about it."""


@frozen
class Outcome:
    """What a coroutine returned, or raised: anything at all, CancelledError included."""

    value: object = None
    error: BaseException | None = None


class ContainedTask:
    """A task around a coroutine that may do anything.

    Whatever the coroutine raises becomes its `Outcome`: asyncio would let SystemExit and KeyboardInterrupt
    through to the loop and end it, and would warn of exceptions that nobody asked for.

    Args:
        coroutine: Runs at once, as a task of its own.
        name: The task's.
        on_end: Called on the loop when it has ended.

    Attributes:
        outcome: None while it runs.
        was_cancelled: Whether somebody asked it to end, so that a CancelledError is no act of its own.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, object],
        *,
        name: str,
        on_end: Callable[[ContainedTask], None] | None = None,
    ) -> None:
        self.name = name
        self.outcome: Outcome | None = None
        self.was_cancelled = False
        self._coroutine = coroutine
        self._on_end = on_end
        self._shell = self._run()
        self._task = asyncio.create_task(self._shell, name=name)
        self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        try:
            value = await self._coroutine
        except BaseException as error:  # noqa: BLE001 - whatever it is, it stays here
            self.outcome = Outcome(error=error)
            task = asyncio.current_task()
            self.was_cancelled |= task is not None and task.cancelling() > 0
        else:
            self.outcome = Outcome(value)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.was_cancelled = True
        else:
            task.exception()  # that of a closed coroutine; asking keeps asyncio from warning
        if self.outcome is None:
            self.outcome = Outcome(error=asyncio.CancelledError())
        self._coroutine.close()  # cancelled before its first step, it would warn that it never ran
        if self._on_end is not None:
            self._on_end(self)

    async def wait(
        self, timeout_s: float | None = None, *, unless: Iterable[asyncio.Future[None]] = ()
    ) -> None:
        """Wait until it has ended, the time is up, or one of `unless` is done."""
        await asyncio.wait({self._task, *unless}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)

    async def end(self, *, grace_s: float = GRACE_S) -> Ending:
        """Cancel it, and see that it ends: by itself within the time of grace, or else by force."""
        if not self._task.done():
            self.was_cancelled = True
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=grace_s)
        if self._task.done():
            return Ending.WILLING
        self._close()
        # The task still waits for what its coroutine waited for. Cancelling that wakes it, and it finds its
        # coroutine finished.
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=_FORCED_ENDING_S)
        return Ending.FORCED if self._task.done() else Ending.NEVER

    def _close(self) -> None:
        for coroutine in (*[self._coroutine] * _CLOSING_ATTEMPTS, self._shell):
            try:
                coroutine.close()
            except BaseException:  # noqa: BLE001, S112 - it raised, or awaited, on its way out: once more
                continue


async def outlast(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Wait until all are done, even while being cancelled; the cancellation goes on afterwards.

    For tasks whose own time is bounded, and that nobody else would wait for.
    """
    pending, cancelled = set(tasks), None
    with anyio.CancelScope(shield=True):  # anyio would cancel again at every turn of the loop
        while pending:
            try:
                _, pending = await asyncio.wait(pending)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled


def describe(error: BaseException) -> str:
    """An exception on one line, printable whatever it holds, and even when it cannot say itself."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the exception is somebody else's as well
        text = "(it cannot be shown)"
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    kind = type(error).__name__
    return f"{kind}: {shown[:_SHOWN_CHARACTERS]}" if shown else kind
