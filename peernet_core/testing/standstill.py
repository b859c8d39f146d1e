"""A loop that stands still, because something on its thread blocks for ever, is broken off at that line."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType, TracebackType
from typing import Final, Self

__all__ = ["LoopStoodStillError", "Watchman"]

_LOOKS: Final = 4  # in the time that a loop may stand still


class LoopStoodStillError(Exception):
    """Raised by a `Watchman` in whatever the loop's thread was doing."""


class Watchman:
    """Watches from a thread that a loop keeps turning; where it does not, raises in the loop's thread.

    What blocks is interrupted by a signal, SIGUSR2, so that only a loop in the main thread can be watched; in
    any other this does nothing.

    Args:
        limit_s: How long the loop may stand still, in seconds of real time.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._over = threading.Event()
        self._turned = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: signal.Handlers | object = None
        self._is_main = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._watch, name="watchman", daemon=True)

    def __enter__(self) -> Self:
        """Stand ready."""
        if self._is_main:
            self._before = signal.signal(signal.SIGUSR2, self._interrupt)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Watch no more."""
        self._over.set()
        if self._is_main:
            self._thread.join()
            signal.signal(signal.SIGUSR2, self._before)  # type: ignore[arg-type]  # what `signal` gave

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch this loop, which runs in the thread that entered."""
        self._loop = loop

    def _watch(self) -> None:
        stood_s = 0.0
        self._turned.set()
        while not self._over.wait(self._limit_s / _LOOKS):
            if self._loop is None:
                continue
            if self._turned.is_set():
                stood_s = 0.0
                self._turned.clear()
                try:
                    self._loop.call_soon_threadsafe(self._turned.set)
                except RuntimeError:  # it is closed
                    return
                continue
            stood_s += self._limit_s / _LOOKS
            if stood_s >= self._limit_s and not self._over.is_set():
                stood_s = 0.0
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self._turned.is_set():
            raise LoopStoodStillError(f"the event loop stood still for {self._limit_s:g} s here")
