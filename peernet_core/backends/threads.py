"""Threads of backends that use blocking libraries, and the way of their reports to the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from peernet_core.addresses import IPAddress
from peernet_core.backends.containment import Ending
from peernet_core.backends.reports import AddressReport, LossReport, RecordReport, Report
from peernet_core.contract import ThreadContext
from peernet_core.keys import PeerKey

__all__ = ["HostThread", "Mailbox"]

MAX_WAITING: Final = 1024
_AT_ONCE: Final = 64


class Mailbox:
    """Carries reports from threads to the loop: bounded, in order, and without blocking either side.

    When it is full the oldest report goes: of two statements about a peer the newer one is the better.

    Args:
        deliver: Called on the loop for each report; must not raise.
        limit: How many reports may wait.

    Attributes:
        dropped: How many had to go.
    """

    def __init__(self, deliver: Callable[[Report], object], *, limit: int = MAX_WAITING) -> None:
        self.dropped = 0
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: deque[Report] = deque()
        self._limit = limit
        self._called = False

    def put(self, report: Report) -> None:
        """Leave a report; from any thread."""
        with self._lock:
            if len(self._waiting) == self._limit:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(report)
            if self._called:
                return
            self._called = True
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody reads any more
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        try:
            # A few at a time, so that a thread that floods does not keep the loop from its other work.
            self._take(_AT_ONCE)
        finally:
            with self._lock:
                self._called = bool(self._waiting)
            if self._called:
                self._loop.call_soon(self._turn)

    def empty(self) -> None:
        """Deliver all that waits; on the loop's thread."""
        self._take(self._limit)

    def _take(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                if not self._waiting:
                    return
                report = self._waiting.popleft()
            self._deliver(report)


class HostThread(ThreadContext):
    """One thread of a backend, with the context that its function gets.

    A daemon: one that ignores `stopping` must not keep the process from ending.

    Args:
        function: Runs in the thread.
        name: The thread's.
        key: Our own.
        source: The backend instance's.
        log: Its logger.
        mailbox: Where reports go.
        stopping: What tells it to end.
        on_end: Called on the loop when it has ended, with what it raised.
    """

    def __init__(
        self,
        function: Callable[[ThreadContext], object],
        *,
        name: str,
        key: PeerKey,
        source: str,
        log: logging.LoggerAdapter[logging.Logger],
        mailbox: Mailbox,
        stopping: threading.Event,
        on_end: Callable[[HostThread, BaseException | None], None],
    ) -> None:
        self.name = name
        self.key = key
        self.source = source
        self.log = log
        self.stopping = stopping
        self._function = function
        self._mailbox = mailbox
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        raised: BaseException | None = None
        try:
            self._function(self)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is reported and goes no further
            raised = error
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._finish, raised)

    def _finish(self, raised: BaseException | None) -> None:
        self._thread.join()  # it has nothing left to do
        self._ended.set_result(None)
        self._on_end(self, raised)

    async def end(self, timeout_s: float) -> Ending:
        """Ask it to end, and wait; nothing can force it."""
        self.stopping.set()
        await asyncio.wait({self._ended}, timeout=timeout_s)
        return Ending.WILLING if self._ended.done() else Ending.NEVER

    def record_received(
        self,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool = True,
        heard: tuple[IPAddress, str] | None = None,
    ) -> None:
        """See `Context.record_received`."""
        self._mailbox.put(RecordReport.of(record, ttl_s, renew, heard))

    def peer_discovered(
        self,
        key: PeerKey,
        ip: IPAddress,
        port: int,
        *,
        ttl_s: float | None = None,
        configured: bool = False,
    ) -> None:
        """See `Context.peer_discovered`."""
        self._mailbox.put(AddressReport.of(self.source, key, ip, port, ttl_s, configured))

    def peer_lost(self, key: PeerKey, ip: IPAddress | None = None, port: int | None = None) -> None:
        """See `ThreadContext.peer_lost`."""
        self._mailbox.put(LossReport.of(key, ip, port))
