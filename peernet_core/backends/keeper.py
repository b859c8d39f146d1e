"""Keeps one backend running: where it fails, a new instance with a new context takes its place.

What the old instance reported stands until its leases end: that a backend failed says nothing about peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Final

import pluggy

from peernet_core.backends.containment import outlast
from peernet_core.backends.runner import BackendRunner, MakeContext, RunnerState
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import Announcement
from peernet_core.decisions.backoff import Backoff
from peernet_core.errors import BackendError, NodeClosedError
from peernet_core.events import BackendStatus
from peernet_core.keys import PeerKey

__all__ = ["BackendKeeper"]

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
SHORTEST_WAIT_S: Final = 0.25
"""Jitter may draw none at all; one that fails at once must not spin."""
PROVEN_S: Final = 60.0
"""An instance that ran this long worked: the waits begin anew after it."""


class BackendKeeper:
    """Takes one backend through as many lives as it needs.

    An instance is replaced when its start fails, when a task or thread of its own crashes, and when it fails
    to take an announcement; not when a lookup fails, which is a favour. The waits in between double from one
    second to a minute, with full jitter. One that is required and fails at the node's start is not tried
    again: the node does not start. With `restart = false` there is one instance only.

    Args:
        backend: What to run.
        make_context: Makes the context of an instance, on the running loop.
        on_started: Called each time a `start` has returned.
        on_failed: Called at once for each failure.
        plugins: The node's plugin manager.
        jitter: For the waits.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        make_context: MakeContext,
        on_started: Callable[[Backend], None],
        on_failed: Callable[[BackendError], None],
        plugins: pluggy.PluginManager,
        jitter: random.Random | None = None,
    ) -> None:
        self.backend = backend
        self._make_context = make_context
        self._on_started = on_started
        self._on_failed = on_failed
        self._restarts = 0
        self._error = ""
        self._since = time.time()
        self._plugins = plugins
        self._backoff = Backoff(jitter or random.Random(), first_s=FIRST_WAIT_S, longest_s=LONGEST_WAIT_S)
        self._broken = asyncio.Event()
        self._stopping = False
        self._started_at: float | None = None
        self._retry_at: float | None = None
        self._left_running: tuple[str, ...] = ()
        self._announcement: Announcement | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._runner = self._make_runner()

    @property
    def state(self) -> RunnerState:
        """Where the current instance is in its life."""
        return self._runner.state

    @property
    def instance(self) -> object | None:
        """The current instance; None while there is none."""
        return self._runner.instance

    @property
    def retry_in_s(self) -> float | None:
        """How long until another instance is started; None when none is waited for."""
        if self._retry_at is None:
            return None
        return max(0.0, self._retry_at - asyncio.get_running_loop().time())

    @property
    def left_running(self) -> tuple[str, ...]:
        """Names of tasks and threads, of any instance, that nothing could end."""
        return self._left_running + self._runner.left_running

    @property
    def resolves(self) -> bool:
        """Whether it is running, and can look peers up."""
        return self._runner.resolves

    def status(self) -> BackendStatus:
        """How it stands now."""
        backend = self.backend
        state = "waiting" if self._retry_at is not None else self._runner.state.name.lower()
        return BackendStatus(
            source=backend.source,
            backend=backend.name,
            provider=backend.provider,
            state=state,
            since=self._since,
            restarts=self._restarts,
            error=self._error,
            resolves=self.resolves,
        )

    def begin(self) -> None:
        """Start without waiting; once."""
        self._runner.begin()
        if self._keeping is None and self.backend.restart and not self._stopping:
            self._keeping = asyncio.create_task(self._keep(), name=f"{self.backend.source}: restarts")

    async def start(self) -> None:
        """Start the first instance, and wait.

        Raises:
            BackendError: it failed.
            NodeClosedError: `stop` came first.
        """
        self.begin()
        await self._runner.start()

    def tell(self, announcement: Announcement) -> None:
        """Let the backend be told about us, as soon as it has started; the newest announcement wins."""
        self._announcement = announcement
        self._runner.tell(announcement)

    async def announce(self, announcement: Announcement) -> None:
        """Tell the backend about us, and wait; while there is no instance, the next one will be told."""
        self._announcement = announcement
        await self._runner.announce(announcement)

    async def resolve(self, key: PeerKey) -> None:
        """Let the backend look a peer up; returns when it has, or has failed to. If it cannot: at once."""
        await self._runner.resolve(key)

    async def stop(self) -> None:
        """Stop the backend for good; at any time, any number of times."""
        self._stopping = True
        if self._keeping is not None:
            self._keeping.cancel()
            await outlast({self._keeping})
        self._retry_at = None
        await self._runner.stop()

    def _make_runner(self) -> BackendRunner:
        return BackendRunner(
            self.backend,
            make_context=self._make_context,
            on_started=self._on_start,
            on_failed=self._on_failure,
            on_broken=self._broken.set,
            plugins=self._plugins,
        )

    def _on_start(self, backend: Backend) -> None:
        self._started_at = asyncio.get_running_loop().time()
        self._since = time.time()
        self._on_started(backend)

    def _on_failure(self, failure: BackendError) -> None:
        self._error = failure.reason
        self._since = time.time()
        self._on_failed(failure)

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self._broken.wait()
            self._broken.clear()
            if not await self._has_started() and self.backend.required:
                return  # the node does not start
            ran_s = 0.0 if self._started_at is None else clock() - self._started_at
            if ran_s >= PROVEN_S:
                self._backoff.reset()
            await self._runner.stop()
            self._left_running += self._runner.left_running
            self._retry_at = max(self._backoff.failed(now=clock()), clock() + SHORTEST_WAIT_S)
            await asyncio.sleep(self._retry_at - clock())
            self._retry_at = None
            self._broken.clear()  # what the old one did while it was stopped
            self._restarts += 1
            self._runner = self._make_runner()
            if self._announcement is not None and self.backend.advertise:
                self._runner.tell(self._announcement)
            await self._has_started()  # if not, that was reported, and it is broken again

    async def _has_started(self) -> bool:
        """Wait until the current instance has started or failed to; whether any has ever started."""
        with contextlib.suppress(BackendError, NodeClosedError):
            await self._runner.start()
        return self._started_at is not None
