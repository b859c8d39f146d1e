"""One backend's life: started, told about us, asked, stopped; and what it does wrong, attributed to it.

Hooks of one instance never overlap, except `resolve`.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from typing import Any, Final

import pluggy

from peernet_core.backends.containment import describe, outlast
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.instance import BackendInstance, failed, plugin_manager
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import Announcement
from peernet_core.decisions.backoff import TokenBucket
from peernet_core.errors import BackendError, ConfigurationError, NodeClosedError
from peernet_core.keys import PeerKey

__all__ = ["BackendRunner", "MakeContext", "RunnerState"]

_log = logging.getLogger(__name__)

ANNOUNCE_TIMEOUT_S: Final = 5.0
RESOLVE_TIMEOUT_S: Final = 10.0
_LOOKUP_REPORTS_PER_S: Final = 1 / 60
_LOOKUP_REPORTS_BURST: Final = 5

MakeContext = Callable[[Backend], HostContext]


class RunnerState(enum.Enum):
    """Where a backend is in its life."""

    NEW = enum.auto()
    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()
    STOPPED = enum.auto()
    FAILED = enum.auto()
    """Its start failed, and what it had begun is undone."""


class BackendRunner:
    """Takes one backend through its life.

    A task of its own calls the hooks, one after another; whoever calls `start`, `announce` or `stop` waits
    for that task, and being cancelled ends only the waiting (a cancelled `start` is undone first).

    Args:
        backend: What to run.
        make_context: Makes the context of an instance, on the running loop.
        on_started: Called when `start` has returned.
        on_failed: Called at once for each failure: of a hook, a task or a thread; its cause is the exception.
        on_broken: Called when this instance had better be replaced: its start failed, a task or thread of it
            crashed, or it failed to take an announcement. It runs on until it is stopped.
        plugins: The node's plugin manager.

    Attributes:
        state: Where it is in its life.
        left_running: Names of tasks and threads that nothing could end.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        make_context: MakeContext,
        on_started: Callable[[Backend], None],
        on_failed: Callable[[BackendError], None],
        on_broken: Callable[[], None] = lambda: None,
        plugins: pluggy.PluginManager | None = None,
    ) -> None:
        self.backend = backend
        self.state = RunnerState.NEW
        self.left_running: tuple[str, ...] = ()
        self._make_context = make_context
        self._on_started = on_started
        self._on_failed = on_failed
        self._on_broken = on_broken
        self._plugins = plugin_manager() if plugins is None else plugins
        self._instance: BackendInstance | None = None
        self._lookups: set[asyncio.Task[None]] = set()
        self._lookup_failure = ""
        self._lookup_reports = TokenBucket(_LOOKUP_REPORTS_PER_S, _LOOKUP_REPORTS_BURST)
        self._announcement: Announcement | None = None
        self._is_told = True
        self._news = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._told: asyncio.Future[None] = loop.create_future()
        self._settled: asyncio.Future[BackendError | None] = loop.create_future()
        self._stop: asyncio.Future[None] = loop.create_future()
        self._life: asyncio.Task[None] | None = None

    @property
    def instance(self) -> object | None:
        """The backend's current instance; None before it is made and after it has stopped or failed."""
        return None if self._instance is None else self._instance.plugin

    def begin(self) -> None:
        """Start without waiting; once."""
        if self.state is RunnerState.NEW:
            self.state = RunnerState.STARTING
            self._life = asyncio.create_task(self._live(), name=f"{self.backend.source}: supervision")

    async def start(self) -> None:
        """Make an instance and start it.

        Raises:
            BackendError: it failed; nothing of it is left.
            NodeClosedError: `stop` came first.
        """
        self.begin()
        try:
            await asyncio.wait({self._settled})
        except asyncio.CancelledError:
            await self.stop()
            raise
        failure = self._settled.result()
        if failure is not None or self.state is not RunnerState.RUNNING:
            await self.stop()  # the last step of its end
        if failure is not None:
            raise failure
        if self.state is not RunnerState.RUNNING:
            raise NodeClosedError(f"[discovery.{self.backend.source}] was stopped before it had started")

    def tell(self, announcement: Announcement) -> None:
        """Let the backend be told about us, as soon as it has started; the newest announcement wins."""
        self._announcement = announcement
        self._is_told = False
        self._news.set()

    async def announce(self, announcement: Announcement) -> None:
        """Tell the backend about us, and wait.

        Returns when the backend was told this, or something newer, or has failed to take it, or has ended.
        """
        self.tell(announcement)
        if self.state not in {RunnerState.STOPPED, RunnerState.FAILED}:
            await asyncio.wait({self._told})

    @property
    def resolves(self) -> bool:
        """Whether it is running, and can look peers up."""
        return (
            self.state is RunnerState.RUNNING and self._instance is not None and self._instance.has("resolve")
        )

    async def resolve(self, key: PeerKey) -> None:
        """Let the backend look a peer up; returns when it has, or has failed to. If it cannot: at once."""
        if not self.resolves or self._instance is None:
            return
        enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lookup = asyncio.create_task(
            self._resolve(self._instance, key, enough), name=f"{self.backend.source}: lookup"
        )
        self._lookups.add(lookup)
        lookup.add_done_callback(self._lookups.discard)
        try:
            await asyncio.wait({lookup})
        finally:
            _set(enough)

    async def stop(self) -> None:
        """Stop the backend and end all that it runs; at any time, any number of times.

        What it does wrong on the way is reported, and never raised.
        """
        _set(self._stop)
        self._news.set()
        if self._life is not None:
            await outlast({self._life})
            if not self._life.cancelled():
                self._life.result()  # raises a mistake of ours; those of the backend were reported
        else:
            self.state = RunnerState.STOPPED
            _set(self._settled)
            _set(self._told)

    async def _live(self) -> None:
        failure: BackendError | None = None
        try:
            failure = await self._start()
            if failure is None and not self._stop.done():
                self.state = RunnerState.RUNNING
                self._on_started(self.backend)
                _set(self._settled)
                await self._serve()
        finally:
            self.state = RunnerState.STOPPING
            _set(self._stop)
            try:
                await self._end()
            finally:
                self.state = RunnerState.STOPPED if failure is None else RunnerState.FAILED
                if not self._settled.done():
                    self._settled.set_result(failure)
                _set(self._told)
                if failure is not None:
                    self._on_broken()

    async def _start(self) -> BackendError | None:
        context = self._make_context(self.backend)
        context.on_crash = self._crashed
        self._instance = BackendInstance(self.backend, context, self._plugins)
        failure = self._instance.make()
        if failure is None:
            timeout_s = self.backend.start_timeout_s
            failure = await self._instance.call("start", timeout_s, unless=(self._stop,), context=context)
        if failure is not None:
            self._report(failure)
        return failure

    async def _serve(self) -> None:
        assert self._instance is not None
        while not self._stop.done():
            if self._is_told:
                self._news.clear()
                await self._news.wait()
                continue
            self._is_told = True
            told, self._told = self._told, asyncio.get_running_loop().create_future()
            try:
                failure = await self._instance.call(
                    "announce_self",
                    ANNOUNCE_TIMEOUT_S,
                    unless=(self._stop,),
                    announcement=self._announcement,
                )
                if failure is not None:
                    self._report(failure)
                    self._break()
            finally:
                _set(told)

    async def _resolve(self, instance: BackendInstance, key: PeerKey, enough: asyncio.Future[None]) -> None:
        failure = await instance.call("resolve", RESOLVE_TIMEOUT_S, unless=(self._stop, enough), key=key)
        # Lookups come often, and one that fails mostly fails like the one before; or each names its key.
        reason = "" if failure is None else failure.reason
        if failure is not None and reason != self._lookup_failure:
            if self._lookup_reports.take(now=asyncio.get_running_loop().time()):
                self._report(failure)
            else:
                _log.debug("%s", failure)
        self._lookup_failure = reason

    async def _end(self) -> None:
        instance = self._instance
        if instance is None:
            return
        if instance.entered:
            failure = await instance.call("stop", self.backend.stop_timeout_s)
            if failure is not None:
                self._report(failure)
        if self._lookups:
            await asyncio.wait(self._lookups)
        left = await instance.context.aclose(thread_timeout_s=self.backend.stop_timeout_s)
        self.left_running = (*instance.left_running, *left)
        if self.left_running:
            _log.error(
                "[discovery.%s] still running, and nothing ends it: %s",
                self.backend.source,
                ", ".join(self.left_running),
            )
        instance.discard()
        self._instance = None

    def _crashed(self, what: str, error: BaseException) -> None:
        self._report(failed(self.backend, f"{what} raised {describe(error)}", error))
        self._break()

    def _break(self) -> None:
        if not self._stop.done():
            self._on_broken()

    def _report(self, failure: BackendError) -> None:
        cause = failure.__cause__
        # What the world or the user did is said in the message; for the rest its author needs the traceback.
        expected = cause is None or isinstance(cause, OSError | ConfigurationError)
        _log.error("%s", failure, exc_info=None if expected else cause)
        self._on_failed(failure)


def _set(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
