"""All backends of a node: started, told, asked and stopped together, and none in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from peernet_core.backends.containment import outlast
from peernet_core.backends.instance import plugin_manager
from peernet_core.backends.keeper import BackendKeeper
from peernet_core.backends.runner import BackendRunner, MakeContext, RunnerState
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import Announcement
from peernet_core.errors import BackendError, NodeClosedError
from peernet_core.events import BackendFailed, BackendStarted, BackendStatus, Event
from peernet_core.keys import PeerKey

__all__ = ["BackendRunner", "RunnerState", "Supervisor"]


class Supervisor:
    """Keeps a node's backends.

    Args:
        make_context: Makes the context of one instance.
        publish: Gets BackendStarted and BackendFailed, at once; must neither block nor raise.
    """

    def __init__(self, *, make_context: MakeContext, publish: Callable[[Event], None]) -> None:
        self._make_context = make_context
        self._publish = publish
        self._plugins = plugin_manager()
        self._runners: dict[str, BackendKeeper] = {}
        self._announcement: Announcement | None = None
        self._started = False
        self._stopping = False

    async def start(self, backends: Sequence[Backend]) -> None:
        """Start all backends at once, and wait for the required ones.

        Those that are not required go on starting by themselves, and say by an event what became of it: one
        that hangs delays nobody. What was announced before is told to each backend once it has started.

        Raises:
            ExceptionGroup: of BackendError, one for each required backend that failed; everything that had
                started is stopped again.
            NodeClosedError: `stop` came first.
            ValueError: two backends of one source, or a second start.
        """
        self._admit(backends)
        for runner in self._advertising():
            if self._announcement is not None:
                runner.tell(self._announcement)
        for runner in self._runners.values():
            runner.begin()
        starting = [
            asyncio.create_task(runner.start(), name=f"{source}: start")
            for source, runner in self._runners.items()
            if runner.backend.required
        ]
        try:
            await asyncio.sleep(0)  # every instance is made now, and the application may ask for it
            if starting:
                await asyncio.wait(starting)
        except asyncio.CancelledError:
            await self._stop_and_outlast(starting)
            raise
        errors = [error for task in starting if (error := task.exception()) is not None]
        if errors:
            await self.stop()
            _raise(errors)

    def _admit(self, backends: Sequence[Backend]) -> None:
        if self._started:
            raise ValueError("a supervisor starts its backends once")
        if len({backend.source for backend in backends}) < len(backends):
            raise ValueError(f"two backends of one source: {', '.join(each.source for each in backends)}")
        if self._stopping:
            raise NodeClosedError("the backends were stopped before they were started")
        self._started = True
        self._runners = {backend.source: self._runner(backend) for backend in backends}

    async def announce(self, announcement: Announcement) -> None:
        """Tell every backend that advertises; before `start` as well.

        Returns when each has been told, has failed to take it, or has ended. One that still starts is waited
        for: whoever cannot wait calls this in a task.
        """
        self._announcement = announcement
        await asyncio.gather(*(runner.announce(announcement) for runner in self._advertising()))

    async def resolve(self, key: PeerKey) -> None:
        """Let every running backend that can look a peer up; what they find comes as reports."""
        await asyncio.gather(*(runner.resolve(key) for runner in self._runners.values() if runner.resolves))

    def resolves(self, *sources: str) -> bool:
        """Whether any of these backends, or of all if none is named, runs and can look peers up."""
        return any(self._runners[source].resolves for source in sources or self._runners)

    async def stop(self) -> None:
        """Stop all backends at once; any number of times. Within seconds, whatever they do."""
        await self._stop_and_outlast([])

    def instance(self, source: str) -> object:
        """The current instance of a backend.

        Raises:
            BackendError: there is no such source, or it has failed, or is stopped.
        """
        runner = self._runners.get(source)
        if runner is None:
            known = ", ".join(self._runners) or "none"
            raise BackendError(source, "", f"there is no such source; there are: {known}")
        if runner.instance is None:
            reason = "it failed to start" if runner.state is RunnerState.FAILED else "it is not running"
            if runner.retry_in_s is not None:
                reason = f"it failed, and is started again in {runner.retry_in_s:.0f} s"
            raise BackendError(source, runner.backend.provider, reason)
        return runner.instance

    def statuses(self) -> tuple[BackendStatus, ...]:
        """How each backend stands now."""
        return tuple(runner.status() for runner in self._runners.values())

    @property
    def left_running(self) -> tuple[str, ...]:
        """Names of tasks and threads that nothing could end; such a task keeps a loop from closing."""
        return tuple(name for runner in self._runners.values() for name in runner.left_running)

    async def _stop_and_outlast(self, tasks: list[asyncio.Task[None]]) -> None:
        self._stopping = True
        stops = [asyncio.create_task(runner.stop()) for runner in self._runners.values()]
        await outlast([*stops, *tasks])
        for task in tasks:
            task.exception()  # that it was stopped is known
        for task in stops:
            task.result()  # raises a mistake of ours

    def _advertising(self) -> Iterator[BackendKeeper]:
        return (runner for runner in self._runners.values() if runner.backend.advertise)

    def _runner(self, backend: Backend) -> BackendKeeper:
        return BackendKeeper(
            backend,
            make_context=self._make_context,
            on_started=self._on_started,
            on_failed=self._on_failed,
            plugins=self._plugins,
        )

    def _on_started(self, backend: Backend) -> None:
        self._publish(BackendStarted(backend.source, backend.name))

    def _on_failed(self, failure: BackendError) -> None:
        self._publish(BackendFailed(failure.source, str(failure)))


def _raise(errors: Sequence[BaseException]) -> NoReturn:
    failures = [error for error in errors if isinstance(error, BackendError)]
    for error in errors:
        if error not in failures:  # stopped meanwhile, or a mistake of ours
            raise error
    raise ExceptionGroup("required discovery backends failed to start", failures)
