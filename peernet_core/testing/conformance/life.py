"""Laws of a backend's life: started, stopped, several of them side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from peernet_core.errors import PeerNetError
from peernet_core.testing.conformance.subject import Subject, Trial
from peernet_core.testing.discovery_node import DiscoveryNode, HookFailedError
from peernet_core.testing.laws import LawBrokenError, law
from peernet_core.testing.place import Place

__all__ = ["LawsOfLife"]

_MOST_CALLS: Final = 200


class LawsOfLife(Subject):
    """What holds from `start` to `stop`, whatever happens between."""

    @law("return from start as soon as you listen; look for peers in a task: context.spawn")
    async def test_start_returns_where_nobody_is(self, trial: Trial) -> None:
        """`start` returns when the backend listens; it never waits for peers."""
        if trial.broken is not None:
            raise trial.broken
        if trial.took_s > 1 and not self.real_time:
            raise LawBrokenError(f"start took {trial.took_s:.1f} s of the loop's time with nobody there")

    @law("in stop, leave the medium and cancel your own callbacks; tasks that core spawned end by themselves")
    async def test_nothing_is_reported_after_stop(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """After `stop` an instance reports nothing, whatever happens on the medium."""
        first, life = nodes(), None
        await self._keeps(first.start(self._make(place)))
        (life,) = first.lives
        with contextlib.suppress(HookFailedError):
            await life.stop()
        if self.announces:
            second = nodes()
            await self._keeps(second.start(self._make(place)))
        await asyncio.sleep(self._a_while_s)
        if life.context.late:
            raise LawBrokenError(f"{life.context.late} calls of the context came after stop had returned")

    @law("let stop find out what there is to end; the second time that is nothing")
    async def test_stop_may_come_twice(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """`stop` may be called twice."""
        life = nodes().life(self._make(place))
        await self._keeps(life.start())
        with contextlib.suppress(HookFailedError):
            await life.call("stop")
        await self._keeps(life.call("stop"), "the second time ")

    @law("give the fields that start sets a default, and let stop look at them")
    async def test_stop_may_come_without_a_start(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`stop` may be called without a `start`."""
        await self._keeps(nodes().life(self._make(place)).call("stop"))

    @law("set what stop needs as soon as it is there, and let stop expect each of them to be missing")
    async def test_stop_may_come_after_a_start_that_failed(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`stop` may be called after a `start` that failed, wherever it failed."""
        for calls in range(_MOST_CALLS):
            life = nodes().life(self._make(place))
            context = _FailingContext(life.context, calls)
            with contextlib.suppress(HookFailedError):
                await life.call("start", context)
            if not context.has_failed:
                await life.close()
                return
            await self._keeps(life.call("stop"), f"after a start whose context failed at call {calls + 1} ")
            await life.end()

    @law("keep nothing in class attributes or modules that one instance's stop would end for the others")
    async def test_two_nodes_in_one_loop_end_apart(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """Of two nodes in one loop one can stop, and the other goes on."""
        first, second = nodes(), nodes()
        for node in (first, second):
            await self._keeps(node.start(self._make(place)))
        await first.stop()
        if self.announces:
            third = nodes()
            await self._keeps(third.start(self._make(place)))
            await self._finds(second, third, why="which came after another node in its loop had stopped")
        await self._keeps(second.lives[0].stop())

    @law("let each instance have sockets, tasks and files of its own, or share them by counting")
    async def test_three_instances_in_one_node_work_side_by_side(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """Several tables may select one backend: three instances in one node all work."""
        first, second = nodes(), nodes()
        await self._keeps(first.start(*(self._make(place) for _ in range(3))))
        if self.announces:
            await self._keeps(second.start(self._make(place)))
            await self._finds(first, second)
            if not await first.until(lambda: len(first.sources_of(second.key)) == 3, self.patience_s):  # noqa: PLR2004 - as many as there are
                said = len(first.sources_of(second.key))
                raise LawBrokenError(f"only {said} of the three instances reported the peer")


class _FailingContext:
    """A context of which a call fails; the ones before it work."""

    def __init__(self, context: object, calls: int) -> None:
        self._context = context
        self._calls = calls
        self.has_failed = False

    def __getattr__(self, name: str) -> object:
        if self._calls == 0 and not self.has_failed:
            self.has_failed = True
            raise PeerNetError("made to fail by the conformance kit")
        self._calls -= 1
        return getattr(self._context, name)
