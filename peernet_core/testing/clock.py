"""An event loop whose time jumps: a test of ten minutes of waiting takes no time, and always goes alike.

Give it to anyio's pytest plugin::

    @pytest.fixture
    def anyio_backend() -> tuple[str, dict[str, object]]:
        return "asyncio", {"loop_factory": JumpingEventLoop}
"""

from __future__ import annotations

import asyncio
import enum
import queue
import selectors
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures import thread as executor_threads
from types import FrameType
from typing import Final, TypeVar, TypeVarTuple

from peernet_core.testing import blocking

__all__ = ["JumpingEventLoop"]

START_S: Final = 1000.0  # not zero, so that `now - lease` is still a time

QUIET_S: Final = 0.002  # on loopback what was sent has arrived before the sender goes on
PARKED_S: Final = 0.05  # a thread that was just woken needs the processor once
BUSY_S: Final = 5.0

_PARKING: Final = frozenset({threading.__file__, queue.__file__, blocking.__file__})
_THREAD_BODY: Final = frozenset({"run", "_bootstrap_inner", "_bootstrap"})  # of threading, but no wait

_R = TypeVar("_R")
_A = TypeVarTuple("_A")


class JumpingEventLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock stands still while anything happens, and jumps when nothing does.

    When no callback is ready and a timer is due later, the loop first looks whether something *outside* it
    may still happen in real time, and only then moves its clock to that timer:

    1. Nothing but the loop itself (no other file descriptor is registered, no other thread lives): at once.
    2. File descriptors are registered: after `QUIET_S` of real time in which none became ready.
    3. Other threads live, all of them parked in a wait of `threading` or `queue`: after `PARKED_S`, because
       one of them may just have been woken. Workers of a thread pool that wait for work do not count.
    4. A thread that waits for an event of `make_event` does not count until the event is set, or its
       timeout is over: the loop's clock says when that is.
    5. A thread computes, or blocks in a system call, or a call of `run_in_executor` has not returned: not
       until it is done, or parked; after `BUSY_S` all the same, so that a thread that blocks for ever cannot
       stop the test.

    Any readiness, and any `call_soon_threadsafe`, ends the wait without moving the clock. Without any timer
    the loop waits for the outside without limit, as every loop does. Threads that lived before the loop was
    made never count. What another *process* does takes real time that none of these rules can see: test that
    on an ordinary loop.
    """

    def __init__(self) -> None:
        self._now = START_S
        self._in_executor = 0
        self._waiting: dict[threading.Thread, threading.Event] = {}  # threads in an event of `make_event`
        self._earlier_threads = frozenset(threading.enumerate())
        selector = _JumpingSelector(self)
        super().__init__(selector)
        selector.watch_from_here()

    def time(self) -> float:
        """The loop's own time, in seconds; it has nothing to do with the computer's."""
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_A], _R], *args: *_A
    ) -> asyncio.Future[_R]:
        """Run in a thread, and let time stand still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._in_executor += 1
        future.add_done_callback(self._left_executor)
        return future

    def make_event(self) -> threading.Event:
        """An event for a thread to wait on; the timeout of such a wait is in the loop's time."""
        return _LoopTimeEvent(self)

    def _wait_in_thread(self, over: threading.Event) -> None:
        thread = threading.current_thread()
        self._waiting[thread] = over
        try:
            over.wait()
        finally:
            del self._waiting[thread]

    def _left_executor(self, _: object) -> None:
        self._in_executor -= 1

    def _jump(self, seconds: float) -> None:
        self._now += seconds

    def _outside(self, *, watching: bool) -> tuple[bool, float]:
        """Whether something outside is at work, and how much quiet in real time there must be otherwise."""
        threads = [
            thread
            for thread in threading.enumerate()
            if thread not in self._earlier_threads and thread is not threading.current_thread()
        ]
        frames = sys._current_frames() if threads else {}  # noqa: SLF001 - documented; there is no other way
        waiting = dict(self._waiting)
        states = {
            (_ThreadState.BUSY if waiting[thread].is_set() else _ThreadState.IDLE)
            if thread in waiting
            else _state(thread, frames.get(thread.ident or 0))
            for thread in threads
        }
        busy = self._in_executor > 0 or _ThreadState.BUSY in states
        return busy, PARKED_S if _ThreadState.PARKED in states else QUIET_S if watching else 0.0


class _LoopTimeEvent(threading.Event):
    """An event for threads; a wait for it counts the loop's seconds, and the clock may jump meanwhile."""

    def __init__(self, loop: JumpingEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._waits: set[threading.Event] = set()

    def set(self) -> None:
        super().set()
        for over in tuple(self._waits):
            over.set()

    def wait(self, timeout: float | None = None) -> bool:
        over = threading.Event()
        self._waits.add(over)
        try:
            if not self.is_set():
                if timeout is not None:
                    self._loop.call_soon_threadsafe(self._loop.call_later, timeout, over.set)
                self._loop._wait_in_thread(over)  # noqa: SLF001 - two halves of one thing
        finally:
            self._waits.discard(over)
        return self.is_set()


class _ThreadState(enum.Enum):
    BUSY = enum.auto()
    PARKED = enum.auto()
    IDLE = enum.auto()


def _state(thread: threading.Thread, frame: FrameType | None) -> _ThreadState:
    if frame is None:  # just starting, or just ending
        return _ThreadState.BUSY
    if frame.f_code.co_filename == executor_threads.__file__ and frame.f_code.co_name == "_worker":
        return _ThreadState.IDLE  # or about to take a call, but those are counted
    caller: FrameType | None = frame
    while caller is not None and _is_wait(caller):
        caller = caller.f_back
    if caller is frame:
        return _ThreadState.BUSY
    work = getattr(thread, "queue", None)  # a worker of anyio's waits for it at the top of its run()
    run = getattr(type(thread).run, "__code__", None)
    if isinstance(work, queue.Queue) and caller is not None and caller.f_code is run:
        return _ThreadState.BUSY if work.unfinished_tasks else _ThreadState.IDLE
    return _ThreadState.PARKED


def _is_wait(frame: FrameType) -> bool:
    return frame.f_code.co_filename in _PARKING and frame.f_code.co_name not in _THREAD_BODY


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for the outside in real time as the rules say, then makes the loop's clock jump."""

    def __init__(self, loop: JumpingEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._own_descriptors = 0

    def watch_from_here(self) -> None:
        """What is registered up to now is the loop's own."""
        self._own_descriptors = len(self.get_map())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        give_up = time.monotonic() + BUSY_S
        while True:
            watching = len(self.get_map()) > self._own_descriptors
            busy, quiet_s = self._loop._outside(watching=watching)  # noqa: SLF001 - two halves of one thing
            busy = busy and time.monotonic() < give_up
            ready = super().select(PARKED_S if busy else quiet_s)
            if ready or not busy:
                break
        if not ready:
            self._loop._jump(timeout)  # noqa: SLF001 - two halves of one thing
        return ready
