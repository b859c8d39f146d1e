"""Laws of good manners: nothing blocks the loop, nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from peernet_core.testing.blocking import blocking_calls
from peernet_core.testing.cancelling import CancelledAt
from peernet_core.testing.conformance.subject import Subject
from peernet_core.testing.discovery_node import DiscoveryNode, HookFailedError
from peernet_core.testing.laws import LawBrokenError, law
from peernet_core.testing.leaks import open_descriptors, running_threads, unfinished_tasks
from peernet_core.testing.place import Place

__all__ = ["LawsOfTidiness"]

_MOST_STEPS: Final = 200
_POOLS: Final = ("asyncio_", "AnyIO worker")


class LawsOfTidiness(Subject):
    """What a backend may not do to its neighbours."""

    @law("await blocking calls with anyio.to_thread.run_sync, or make them in a thread: context.spawn_thread")
    async def test_the_loop_is_never_blocked(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """No hook and no task makes a call that blocks: files, names, waits, sleep, processes."""
        first, second = nodes(), nodes()
        plugins = [self._make(place), self._make(place)]
        with blocking_calls() as calls:
            await self._keeps(first.start(plugins[0]))
            await self._keeps(second.start(plugins[1]))
            await asyncio.sleep(self._a_while_s)
            await self._keeps(first.lives[0].call("resolve", second.key))
            await second.stop()
        if calls:
            raise LawBrokenError("; ".join(dict.fromkeys(calls)))

    @law("in a thread use the ThreadContext that spawn_thread hands over, not the Context of start")
    async def test_threads_report_through_their_own_context(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`Context` is used on the loop's thread only."""
        first, second = nodes(), nodes()
        await self._keeps(first.start(self._make(place)))
        await self._keeps(second.start(self._make(place)))
        await asyncio.sleep(self._a_while_s)
        if first.wrong_threads or second.wrong_threads:
            raise LawBrokenError((first.wrong_threads + second.wrong_threads)[0])

    @law("start tasks with context.spawn, or cancel and await them in stop")
    async def test_no_task_is_left(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """When an instance has ended none of its tasks runs."""
        before = await unfinished_tasks()
        await self._live_and_end(place, nodes)
        left = await unfinished_tasks(but=before)
        if left:
            raise LawBrokenError(f"still running: {', '.join(sorted(task.get_name() for task in left))}")

    @law("start threads with context.spawn_thread, and let them end when stopping is set")
    async def test_no_thread_is_left(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """When an instance has ended none of its threads runs."""
        await asyncio.to_thread(int)  # the loop's own workers stay
        before = running_threads()
        await self._live_and_end(place, nodes)
        left = _left_threads(before)
        if left:
            raise LawBrokenError(f"still running: {', '.join(left)}")

    @law("close sockets and files in stop, also where something else raises: try … finally")
    async def test_no_socket_or_file_is_left(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """When an instance has ended it holds no socket and no file."""
        await self._live_and_end(place, nodes)  # what is opened once and for all is open now
        before = open_descriptors()
        await self._live_and_end(place, nodes)
        self._all_closed(before)

    @law("whatever start has opened must be where stop finds it before the next await")
    async def test_a_start_that_is_cancelled_leaves_nothing(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`start` may be cancelled wherever it waits: after `stop` nothing is left."""
        await self._cancel_everywhere(place, nodes, "start")

    @law("whatever announce_self has opened must be where stop finds it before the next await")
    async def test_an_announcement_that_is_cancelled_leaves_nothing(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`announce_self` may be cancelled wherever it waits: after `stop` nothing is left."""
        await self._cancel_everywhere(place, nodes, "announce_self")

    @law(
        "let go of everything in a finally clause: a stop that takes too long is cancelled, once and for all"
    )
    async def test_a_stop_that_is_cancelled_leaves_nothing(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`stop` may be cancelled wherever it waits: nothing is left."""
        await self._cancel_everywhere(place, nodes, "stop")

    async def _live_and_end(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """A whole life, in which something happens."""
        first, second = nodes(), nodes()
        for node in (first, second):
            await self._keeps(node.start(self._make(place)))
        await asyncio.sleep(self._a_while_s / 10)
        for node in (first, second):
            await node.close()

    async def _cancel_everywhere(self, place: Place, nodes: Callable[[], DiscoveryNode], hook: str) -> None:
        await asyncio.to_thread(int)
        await self._live_and_end(place, nodes)
        for step in range(1, _MOST_STEPS):
            node = nodes()
            life = node.life(self._make(place))
            tasks, threads, descriptors = await unfinished_tasks(), running_threads(), open_descriptors()
            given: dict[str, object] = {"start": life.context, "announce_self": node.announcement()}
            if hook != "start":
                await self._keeps(life.call("start", life.context))
            coroutine = life.coroutine(hook, *([given[hook]] if hook in given else []))
            if coroutine is None:
                await life.close()
                return
            cancelled = CancelledAt(coroutine, step)
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.create_task(_await(cancelled))
            if hook != "stop":
                with contextlib.suppress(HookFailedError):
                    await life.call("stop")
            await life.end()
            left = sorted(task.get_name() for task in await unfinished_tasks(but=tasks))
            left += _left_threads(threads)
            if left:
                raise LawBrokenError(
                    f"{hook} was cancelled at its wait {step}; still running: {', '.join(left)}"
                )
            self._all_closed(descriptors, f"{hook} was cancelled at its wait {step}; ")
            if not cancelled.reached:
                return

    @staticmethod
    def _all_closed(before: frozenset[tuple[int, int]], when: str = "") -> None:
        left = open_descriptors() - before
        if left:
            shown = sorted(_what_is(descriptor) for descriptor, _ in left)
            raise LawBrokenError(f"{when}still open: {', '.join(shown)}")


async def _await(awaitable: CancelledAt) -> None:
    await awaitable


def _left_threads(before: frozenset[threading.Thread]) -> list[str]:
    """The names of threads that were not there before; a pool's workers stay for the next call."""
    pooled = {thread for thread in running_threads() if thread.name.startswith(_POOLS)}
    return sorted(thread.name for thread in running_threads(but=before | pooled, within_s=2.0))


def _what_is(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return f"descriptor {descriptor}"
