"""The host's side of `Context`: what a backend may call, and all that it has running."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any, Protocol

from peernet_core.addresses import IPAddress
from peernet_core.backends.containment import ContainedTask, Ending, describe
from peernet_core.backends.reports import AddressReport, LossReport, RecordReport, Report, check_key
from peernet_core.backends.threads import HostThread, Mailbox
from peernet_core.contract import Clock, Context, NetworkMonitor, Sighting, ThreadContext
from peernet_core.keys import PeerKey

__all__ = ["HostContext", "Intake"]

_log = logging.getLogger(__name__)
_backend_log = logging.getLogger("peernet_core.discovery")

NOBODYS_SIGHTING = 0
"""The id of a sighting that was reported too late to be kept."""


class Intake(Protocol):
    """Where reports go; the node implements it.

    Called on the loop's thread with checked arguments; never raises for what the network sent. Every ip is
    in its one form.
    """

    def record_received(
        self,
        source: str,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool,
        heard: tuple[IPAddress, str] | None,
    ) -> Sighting | None:
        """Bytes that may be a record; None when they are none, or our own."""
        ...

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        """A key and an address without proof."""
        ...

    def peer_lost(self, sighting: Sighting) -> None:
        """One sighting has ended; it may have ended before."""
        ...

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        """What one source said of a key, or of that key at that ip or port, has ended."""
        ...


class HostContext(Context):
    """What one instance of a backend is given, and the owner of its tasks and threads.

    Args:
        source: The instance's name in the configuration.
        key: Our own public key.
        intake: Where its reports go.
        network: The network monitor.
        clock: Loop time; the running loop's unless given.

    Attributes:
        on_crash: Called on the loop when a task or thread of the backend's ends with an exception that is
            not our cancelling it: with what it was ('task "browse"'), and the exception.
        late: Calls after `aclose`; they had no effect.
        make_stopping: Makes the event that tells a thread to end.
    """

    def __init__(
        self,
        source: str,
        *,
        key: PeerKey,
        intake: Intake,
        network: NetworkMonitor,
        clock: Clock | None = None,
    ) -> None:
        self.source = source
        self.key = key
        self.network = network
        self.clock = asyncio.get_running_loop().time if clock is None else clock
        self.log = _SourceLog(_backend_log, {"source": source})
        self.on_crash: Callable[[str, BaseException], None] = self._log_crash
        self.late = 0
        self.make_stopping: Callable[[], threading.Event] = threading.Event
        self._intake = intake
        self._loop_thread = threading.get_ident()
        self._tasks: set[ContainedTask] = set()
        self._threads: set[HostThread] = set()
        self._mailbox = Mailbox(self._deliver)
        self._ending = False
        self._closed = False

    @property
    def dropped(self) -> int:
        """How many reports of threads were lost because the loop did not keep up."""
        return self._mailbox.dropped

    def record_received(
        self,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool = True,
        heard: tuple[IPAddress, str] | None = None,
    ) -> Sighting | None:
        """See `Context.record_received`."""
        self._check_thread("record_received")
        return self._deliver(RecordReport.of(record, ttl_s, renew, heard))

    def peer_discovered(
        self,
        key: PeerKey,
        ip: IPAddress,
        port: int,
        *,
        ttl_s: float | None = None,
        configured: bool = False,
    ) -> Sighting:
        """See `Context.peer_discovered`."""
        self._check_thread("peer_discovered")
        report = AddressReport.of(self.source, key, ip, port, ttl_s, configured)
        return self._deliver(report) or Sighting(NOBODYS_SIGHTING, key, self.source, (report.address,))

    def peer_lost(self, sighting: Sighting) -> None:
        """See `Context.peer_lost`."""
        self._check_thread("peer_lost")
        if not isinstance(sighting, Sighting):
            raise TypeError(f"peer_lost: expected a Sighting, not {type(sighting).__name__}")
        if sighting.source != self.source:
            raise ValueError(f"peer_lost: that is a sighting of {sighting.source!r}, this is {self.source!r}")
        if not self._is_late("peer_lost") and sighting.id != NOBODYS_SIGHTING:
            self._intake.peer_lost(sighting)

    def spawn(self, coroutine: Coroutine[Any, Any, object], name: str | None = None) -> None:
        """See `Context.spawn`."""
        self._check_thread("spawn")
        if not inspect.iscoroutine(coroutine):
            hint = "; call it" if inspect.iscoroutinefunction(coroutine) else ""
            raise TypeError(f"spawn: expected a coroutine, not {type(coroutine).__name__}{hint}")
        if self._ending:
            coroutine.close()
            self._count_late("spawn")
            return
        shown = coroutine.__qualname__ if name is None else name
        on_end = functools.partial(self._task_ended, shown)
        self._tasks.add(ContainedTask(coroutine, name=f"{self.source}: {shown}", on_end=on_end))

    def spawn_thread(self, function: Callable[[ThreadContext], object], name: str | None = None) -> None:
        """See `Context.spawn_thread`."""
        self._check_thread("spawn_thread")
        if inspect.iscoroutinefunction(function):
            raise TypeError("spawn_thread: expected a plain function, not a coroutine function; use spawn")
        if not callable(function):
            raise TypeError(f"spawn_thread: expected a function, not {type(function).__name__}")
        if self._ending:
            self._count_late("spawn_thread")
            return
        shown = str(getattr(function, "__qualname__", type(function).__name__)) if name is None else name
        thread = HostThread(
            function,
            name=f"{self.source}: {shown}",
            key=self.key,
            source=self.source,
            log=self.log,
            mailbox=self._mailbox,
            stopping=self.make_stopping(),
            on_end=functools.partial(self._thread_ended, shown),
        )
        self._threads.add(thread)

    def alias(self, key: PeerKey) -> str:
        """See `Context.alias`."""
        return check_key("alias", key).alias

    async def aclose(self, *, thread_timeout_s: float) -> tuple[str, ...]:
        """End everything that the backend has running, then accept nothing more.

        Tasks are cancelled, and ended by force after their second of grace; threads are asked to end.

        Args:
            thread_timeout_s: How long threads may take.

        Returns:
            The names of tasks and threads that are still running, because nothing ends them.
        """
        self._ending = True
        tasks, threads = tuple(self._tasks), tuple(self._threads)
        ended = await asyncio.gather(
            *(task.end() for task in tasks), *(thread.end(thread_timeout_s) for thread in threads)
        )
        names = [task.name for task in tasks] + [thread.name for thread in threads]
        left = tuple(name for name, ending in zip(names, ended, strict=True) if ending is Ending.NEVER)
        self._mailbox.empty()
        self._closed = True
        if self.dropped:
            self.log.warning("%d reports of threads were dropped: they came too fast", self.dropped)
        return left

    def _deliver(self, report: Report) -> Sighting | None:
        match report:
            case RecordReport(record, ttl_s, renew, heard):
                if not self._is_late("record_received"):
                    return self._intake.record_received(
                        self.source, record, ttl_s=ttl_s, renew=renew, heard=heard
                    )
            case AddressReport(key, address, ttl_s, configured):
                if not self._is_late("peer_discovered"):
                    return self._intake.peer_discovered(
                        self.source, key, address.ip, address.port, ttl_s=ttl_s, configured=configured
                    )
            case LossReport(key, ip, port):
                if not self._is_late("peer_lost"):
                    self._intake.source_lost(self.source, key, ip, port)
        return None

    def _task_ended(self, name: str, task: ContainedTask) -> None:
        self._tasks.discard(task)
        error = task.outcome.error if task.outcome is not None else None
        self._ended(f'task "{name}"', error, asked=task.was_cancelled)

    def _thread_ended(self, name: str, thread: HostThread, error: BaseException | None) -> None:
        self._threads.discard(thread)
        self._ended(f'thread "{name}"', error, asked=thread.stopping.is_set())

    def _ended(self, what: str, error: BaseException | None, *, asked: bool) -> None:
        if error is not None and not asked:
            self.on_crash(what, error)
        elif error is not None and not isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.log.warning("%s raised when it was told to end: %s", what, describe(error))

    def _log_crash(self, what: str, error: BaseException) -> None:
        self.log.error("%s raised", what, exc_info=error)

    def _check_thread(self, call: str) -> None:
        if threading.get_ident() != self._loop_thread:
            raise RuntimeError(
                f"{call} was called in thread {threading.current_thread().name!r}; "
                "from there use the ThreadContext that spawn_thread hands to its function"
            )

    def _is_late(self, call: str) -> bool:
        if self._closed:
            self._count_late(call)
        return self._closed

    def _count_late(self, call: str) -> None:
        self.late += 1
        if self.late == 1:
            self.log.warning("%s was called after the end; this and all later calls have no effect", call)


class _SourceLog(logging.LoggerAdapter[logging.Logger]):
    """Puts the source before every line, and into `extra` for handlers that sort by it."""

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """See `logging.LoggerAdapter.process`."""
        source = (self.extra or {}).get("source")
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "source": source}
        return f"[discovery.{source}] {msg}", kwargs
