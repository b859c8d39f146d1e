"""Lines to a file descriptor that may stall: a thread writes, so that the node never waits for a reader."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["LineWriter"]

MAX_LINES: Final = 1024
FLUSH_S: Final = 1.0

_Room = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class LineWriter:
    """Writes whole lines to a descriptor in a thread of its own.

    Args:
        descriptor: Where to; it is not closed.
        encoding: The reader's; what it lacks is escaped.
        on_broken: Called once, in the writer's thread, when nobody will ever read the lines.
        max_lines: How many may wait.

    Attributes:
        error: Why the lines will never be read; None: they may be.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        encoding: str = "utf-8",
        on_broken: Callable[[], object] | None = None,
        max_lines: int = MAX_LINES,
    ) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._on_broken = on_broken
        self._max_lines = max_lines
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.error: OSError | None = None
        self._room: _Room | None = None
        # A daemon: it may be inside a write that never ends.
        self._thread = threading.Thread(target=self._write_all, name=f"write to {descriptor}", daemon=True)
        self._thread.start()

    def offer(self, line: str) -> bool:
        """Queue a line if there is room; never blocks, from any thread.

        Returns:
            Whether it was taken; also True when nobody reads any more.
        """
        return self._queue(line, None)

    async def write(self, line: str) -> None:
        """Queue a line, and wait while there is no room. One task at a time."""
        loop = asyncio.get_running_loop()
        while not self._queue(line, (loop, room := asyncio.Event())):
            await room.wait()

    def close(self, *, last: str = "", timeout_s: float = FLUSH_S) -> bool:
        """Write what is queued and end the thread; give up after the timeout.

        Args:
            last: One more line, for which there is always room.
            timeout_s: How long it may take.

        Returns:
            Whether everything went out.
        """
        with self._changed:
            self._closing = True
            if last and self.error is None:
                self._lines.append(self._encode(last))
            self._changed.notify()
            self._wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self.error is None

    def _queue(self, line: str, room: _Room | None) -> bool:
        data = self._encode(line)
        with self._changed:
            if self.error is not None or self._closing:
                return True
            if len(self._lines) >= self._max_lines:
                self._room = room or self._room
                return False
            self._lines.append(data)
            self._changed.notify()
        return True

    def _encode(self, line: str) -> bytes:
        return line.encode(self._encoding, "backslashreplace") + b"\n"

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                if not self._lines:
                    return
                data = self._lines.popleft()
            try:
                self._write(data)
            except OSError as error:
                self._break(error)
                return
            with self._changed:
                self._wake()

    def _break(self, error: OSError) -> None:
        with self._changed:
            self.error = error
            self._lines.clear()
            self._wake()
        if self._on_broken is not None:
            self._on_broken()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody who shares the descriptor made it non-blocking
                select.select((), (self._descriptor,), ())

    def _wake(self) -> None:
        if self._room is not None:
            loop, room = self._room
            self._room = None
            if not loop.is_closed():
                loop.call_soon_threadsafe(room.set)
