"""How a running node is told to stop: by a signal, or by the one who read its output going away."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["Stopping"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """One request to stop, from wherever it comes.

    Args:
        force: Called when somebody insists with a second Ctrl-C; it ends the process.

    Attributes:
        asked_at: When somebody asked first, in the loop's time; None: nobody has.
    """

    def __init__(self, force: Callable[[], object]) -> None:
        self.asked_at: float | None = None
        self._force = force
        self._asked = asyncio.Event()
        self._starting: asyncio.Task[object] | None = None

    def ask(self) -> None:
        """Ask to stop; what is still starting is cancelled, once."""
        if self.asked_at is None:
            self.asked_at = asyncio.get_running_loop().time()
        self._asked.set()
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()

    async def wait(self) -> None:
        """Wait until somebody asks; a start counts as done now."""
        self._starting = None
        await self._asked.wait()

    @contextmanager
    def cancelling_start(self) -> Iterator[None]:
        """Cancel what is inside when somebody asks before `wait` is called."""
        task = asyncio.current_task()
        assert task is not None
        if self._asked.is_set():
            task.cancel()
        else:
            self._starting = task
        try:
            yield
        except asyncio.CancelledError:
            # Not an anyio scope: what cleans up may wait, because a task is cancelled only once.
            if not self._asked.is_set() or task.uncancel():
                raise
        finally:
            self._starting = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGHUP as a request to stop, and a later SIGINT as an order."""
        loop = asyncio.get_running_loop()
        before = {each: signal.getsignal(each) for each in _SIGNALS}
        # Whoever ignores a signal (nohup does) wants it ignored.
        taken = [each for each in _SIGNALS if before[each] is not signal.SIG_IGN]
        for each in taken:
            loop.add_signal_handler(each, self._on_signal)
        try:
            yield
        finally:
            for each in taken:
                loop.remove_signal_handler(each)
                signal.signal(each, before[each])

    @contextmanager
    def on_reader_gone(self, descriptor: int) -> Iterator[None]:
        """Take it as a request to stop when the other end of a pipe is closed."""
        if not _is_pipe_to_write(descriptor):
            yield
            return
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(descriptor)
            self.ask()

        # The writing end of a pipe becomes 'readable' only by the error that nobody reads it.
        loop.add_reader(descriptor, gone)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)

    def _on_signal(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        # Not through the loop: it may be the loop that hangs.
        signal.signal(signal.SIGINT, self._on_second)
        self.ask()

    def _on_second(self, _number: int, _frame: FrameType | None) -> None:
        self._force()


def _is_pipe_to_write(descriptor: int) -> bool:
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return is_pipe and access == os.O_WRONLY
