"""The conformance kit: what a backend must do to be a good neighbour, each a law with a test of its own.

An author writes one class, in a module that pytest collects::

    class TestFolder(DiscoveryConformance):
        backend = FolderDiscovery

        def options(self, place: Place) -> dict[str, object]:
            return {"path": str(place.folder)}

        def pollute(self, place: Place, data: bytes) -> None:
            (place.folder / "litter").write_bytes(data)

        def vanish(self, place: Place) -> None:
            place.folder.rename(place.folder.with_name("away"))

        def come_back(self, place: Place) -> None:
            place.folder.with_name("away").rename(place.folder)

The tests run on a loop whose time jumps (`JumpingEventLoop`), unless the backend needs real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs
import pytest

from peernet_core.configuration.config import RESERVED_KEYS
from peernet_core.configuration.entrypoints import check_class
from peernet_core.configuration.options import structure_options
from peernet_core.configuration.wording import quote
from peernet_core.errors import ConfigurationError, PeerNetError
from peernet_core.events import PeerLost
from peernet_core.keys import Identity
from peernet_core.testing.blocking import blocking_calls
from peernet_core.testing.cancelling import CancelledAt
from peernet_core.testing.clock import JumpingEventLoop
from peernet_core.testing.discovery_node import DiscoveryNode, HookFailedError, Life
from peernet_core.testing.laws import LawBrokenError, law
from peernet_core.testing.leaks import open_descriptors, running_threads, unfinished_tasks
from peernet_core.testing.place import FixedNetwork, Place

__all__ = ["DiscoveryConformance"]

_OTHER_PORT: Final = 7200
_MOST_STEPS: Final = 200
_POOLS: Final = ("asyncio_", "AnyIO worker")
_GARBAGE: Final = (b"", b"\x00", b"\xff" * 16, b"{}", b"peernet" * 40, bytes(range(256)) * 260)


class DiscoveryConformance:
    """The laws. Subclass it as ``Test…``, name the backend, and give its options.

    What a backend can do is declared, so that nothing is passed over by its name:

    Attributes:
        backend: The class that the entry point names.
        announces: It tells others about us; else it only reports whom it knows.
        detects_loss: Whoever stops, or is silent for the length of a lease, is lost.
        resolves: It looks peers up by their key.
        carries_bytes: Others can put anything at all on its medium: `pollute` does.
        medium_vanishes: Its medium can go away and come back: `vanish` and `come_back` do it.
        real_time: It, or what it talks to, does not follow the loop's time. Then nothing is tested that
            takes a lease's length.
        wrong_options: Values that the backend must refuse, by option; wrong types are tried anyway.
        patience_s: How long discovery may take, in seconds of the loop's time.
        goodbye_s: How long it may take until a peer that stopped is lost.
        lease_s: How long it may take until a peer that died without a word is lost.
    """

    backend: ClassVar[type]
    announces: ClassVar[bool] = True
    detects_loss: ClassVar[bool] = True
    resolves: ClassVar[bool] = False
    carries_bytes: ClassVar[bool] = True
    medium_vanishes: ClassVar[bool] = True
    real_time: ClassVar[bool] = False
    wrong_options: ClassVar[dict[str, list[object]]] = {}
    patience_s: ClassVar[float] = 30.0
    goodbye_s: ClassVar[float] = 5.0
    lease_s: ClassVar[float] = 180.0

    # What the author gives.

    def options(self, place: Place) -> dict[str, object]:
        """The backend's table as TOML has it, so that all instances that get it find each other."""
        raise NotImplementedError("options(place) gives the backend's options")

    def pollute(self, place: Place, data: bytes) -> None:
        """Put these bytes where the backend looks for what peers say."""
        raise NotImplementedError("pollute(place, data) puts bytes on the medium; or carries_bytes = False")

    def vanish(self, place: Place) -> None:
        """Take the medium away from under whoever uses it."""
        raise NotImplementedError("vanish(place) takes the medium away; or medium_vanishes = False")

    def come_back(self, place: Place) -> None:
        """Bring it back."""
        raise NotImplementedError("come_back(place) brings the medium back; or medium_vanishes = False")

    def silence(self, life: Life) -> None:
        """Make an instance as silent as if its process had died; its tasks and threads have been ended."""

    def network(self) -> FixedNetwork:
        """What the nodes are told of the host's network."""
        return FixedNetwork()

    # What pytest needs.

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """The loop: one whose time jumps, unless the backend needs real time."""
        return "asyncio", {} if self.real_time else {"loop_factory": JumpingEventLoop}

    @pytest.fixture
    async def place(self, tmp_path: Path) -> Place:
        """An empty place."""
        folder = tmp_path / "place"
        folder.mkdir()
        return Place(folder, network=self.network())

    @pytest.fixture
    async def nodes(self, place: Place) -> AsyncIterator[Callable[[], DiscoveryNode]]:
        """Makes nodes that trust each other, and ends them after the test."""
        made: list[DiscoveryNode] = []

        def make() -> DiscoveryNode:
            node = DiscoveryNode(place, len(made) + 1)
            for other in made:
                node.trust(other)
                other.trust(node)
            made.append(node)
            return node

        yield make
        for node in made:
            await node.close()

    # The laws.

    @law("see what it says; docs/writing-a-backend.md has the contract")
    async def test_the_class_keeps_the_contract(self) -> None:
        """The class is one that core accepts: attrs, hooks decorated, coroutines, known by name."""
        problems = check_class(self.backend)
        if problems:
            raise LawBrokenError("\n        ".join(problems))

    @law(
        "give each option its exact type, and a validator whose ValueError says what is possible; core names "
        "the table and the option"
    )
    async def test_wrong_options_are_refused(self, place: Place) -> None:
        """Options that are misspelt, missing, or wrong are refused, and the message names the option."""
        right = self.options(place)
        self._make(place, right)
        fields = [field for field in attrs.fields(self.backend) if field.init]
        required = [field.alias for field in fields if field.default is attrs.NOTHING]
        for name in required:
            self._refuses(place, {key: value for key, value in right.items() if key != name}, name, "missing")
        for field in fields:
            name = field.alias or field.name
            value = right.get(name, 1)
            misspelt = {key: each for key, each in right.items() if key != name} | {name + name[-1]: value}
            self._refuses(place, misspelt, name, "misspelt")
            for wrong in self.wrong_options.get(name, []):
                self._refuses(place, right | {name: wrong}, name, f"{wrong!r}")
        for name in set(self.wrong_options) - {field.alias for field in fields}:
            raise LawBrokenError(f"wrong_options names {quote(name)}, which is no option")

    @law("return from start as soon as you listen; look for peers in a task: context.spawn")
    async def test_start_returns_where_nobody_is(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`start` returns when the backend listens; it never waits for peers."""
        loop = asyncio.get_running_loop()
        life, began = nodes().life(self._make(place)), loop.time()
        await self._keeps(life.start())
        took_s = loop.time() - began
        if took_s > 1 and not self.real_time:
            raise LawBrokenError(f"start took {took_s:.1f} s of the loop's time with nobody there")

    @law("report what others announce with context.record_received, and announce in announce_self")
    async def test_two_nodes_find_each_other(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """Two nodes find each other, whichever of them came first."""
        self._needs(announces=True)
        first, second = nodes(), nodes()
        await self._keeps(first.start(self._make(place)))
        await self._keeps(second.start(self._make(place)))
        await self._finds(first, second)
        await self._finds(second, first)

    @law("report in start what the options name, with context.peer_discovered(…, configured=True)")
    async def test_the_peers_that_it_is_told_of_are_reported(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A backend that only reports whom it knows reports them. The options name `place.peer`."""
        self._needs(announces=False)
        node = nodes()
        await self._keeps(node.start(self._make(place)))
        if not await node.until(lambda: place.address.port in node.ports_of(place.peer), self.patience_s):
            raise LawBrokenError(f"nothing was reported of {place.peer.short}… at {place.address}")

    @law("let each announce_self replace what was announced before, also where only the port is new")
    async def test_a_peer_that_announces_another_port_is_found_there(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A second announcement replaces the first."""
        self._needs(announces=True)
        first, second = await self._pair(place, nodes)
        await self._keeps(second.announce(_OTHER_PORT))
        await self._finds(first, second, _OTHER_PORT)

    @law(
        "announce the last record, which core hands over before stop, like any other; or call "
        "context.peer_lost when a goodbye is heard"
    )
    async def test_a_peer_that_stops_is_lost(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """A peer that stops is lost soon, and not only when its lease ends."""
        self._needs(announces=True, detects_loss=True)
        first, second = await self._pair(place, nodes)
        await second.stop()
        if not await first.until(lambda: not first.sees(second), self.goodbye_s):
            raise LawBrokenError(f"{self.goodbye_s:g} s after it stopped it was still said to be there")

    @law(
        "report with a finite ttl_s; on media that keep what was said also with renew=False, and declare "
        "refresh_s"
    )
    async def test_a_peer_that_dies_is_lost_when_its_lease_ends(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A peer that died without a word is lost within the length of a lease."""
        self._needs(announces=True, detects_loss=True, jumping=True)
        first, second = await self._pair(place, nodes)
        await second.die()
        for life in second.lives:
            await life.end()
            self.silence(life)
        if not await first.until(lambda: not first.sees(second), self.lease_s):
            raise LawBrokenError(f"{self.lease_s:g} s after it died it was still said to be there")

    @law("say again what was announced at least three times in the ttl_s of your reports")
    async def test_leases_are_refreshed_before_they_end(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A peer that lives and stays is never lost."""
        self._needs(announces=True, detects_loss=True, jumping=True)
        first, second = await self._pair(place, nodes)
        await asyncio.sleep(3 * self.lease_s)
        lost = first.count(PeerLost, second.key)
        if lost or not first.sees(second):
            raise LawBrokenError(f"it was lost {max(lost, 1)} times in {3 * self.lease_s:g} s, and was there")

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
        for calls in range(_MOST_STEPS):
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

    @law("report others only; a record of our own that comes back may go to record_received, which drops it")
    async def test_a_node_never_finds_itself(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """What a node announces is never reported to it as a peer."""
        node = nodes()
        await self._keeps(node.start(self._make(place)))
        await asyncio.sleep(self._a_while_s)
        if node.own:
            raise LawBrokenError(f"peer_discovered was called {node.own} times with the node's own key")

    @law("hand over whatever comes as it is: record_received takes any bytes and never raises for them")
    async def test_garbage_on_the_medium_harms_nobody(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """Anything at all may be on the medium; nothing raises, and peers are still found."""
        self._needs(carries_bytes=True)
        unhandled: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, about: unhandled.append(repr(about.get("exception", about))))
        first, second = nodes(), nodes()
        await self._keeps(first.start(self._make(place)))
        record = second.announcement().record
        for data in (*_GARBAGE, record[:-1], record[:40], record + b"\0", bytes(reversed(record))):
            self.pollute(place, data)
            await asyncio.sleep(self._a_while_s / 10)
        if unhandled or first.crashes:
            raise LawBrokenError("; ".join([*unhandled, *first.crashes][:3]))
        if self.announces:
            await self._keeps(second.start(self._make(place)))
            await self._finds(first, second, why="which came after some garbage")

    @law("let the task or thread raise when its medium is gone: core starts a new instance")
    async def test_a_medium_that_vanishes_may_come_back(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """The medium may go away while it is read; when it is back peers are found."""
        self._needs(announces=True, medium_vanishes=True)
        first, second = nodes(), nodes()
        async with first.supervised(lambda: self._make(place)):
            await asyncio.sleep(self._a_while_s / 10)
            self.vanish(place)
            await asyncio.sleep(self._a_while_s)
            self.come_back(place)
            await asyncio.sleep(self._a_while_s)
            await self._keeps(second.start(self._make(place)))
            await self._finds(first, second, why="which came after the medium had come back", within_s=120)

    @law("await blocking calls with anyio.to_thread.run_sync, or make them in a thread: context.spawn_thread")
    async def test_the_loop_is_never_blocked(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """No hook and no task makes a call that blocks: files, names, sleep, processes."""
        first, second = nodes(), nodes()
        plugins = [self._make(place), self._make(place)]
        with blocking_calls() as calls:
            await self._keeps(first.start(plugins[0]))
            await self._keeps(second.start(plugins[1]))
            await asyncio.sleep(self._a_while_s)
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

    @law("report what the lookup finds through the context, before resolve returns or soon after")
    async def test_a_lookup_finds_the_peer(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """`resolve` finds a peer that is there, at once."""
        self._needs(announces=True, resolves=True)
        first, second = nodes(), nodes()
        await self._keeps(second.start(self._make(place)))
        await asyncio.sleep(1.0)
        await self._keeps(first.start(self._make(place)))
        await self._keeps(first.lives[0].call("resolve", second.key))
        await self._finds(first, second, why="which was looked up", within_s=2.0)

    @law("return when nothing is found: that is an answer, and no error")
    async def test_a_lookup_of_nobody_comes_to_an_end(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`resolve` of somebody who is not there returns."""
        self._needs(resolves=True)
        node = nodes()
        await self._keeps(node.start(self._make(place)))
        await self._keeps(node.lives[0].call("resolve", Identity.generate().key))

    # What the laws share.

    @property
    def _a_while_s(self) -> float:
        """Long enough for anything to happen that may happen."""
        return 0.5 if self.real_time else 60.0

    def _needs(self, *, jumping: bool = False, **capabilities: bool) -> None:
        for name, value in capabilities.items():
            if getattr(self, name) is not value:
                pytest.skip(f"the backend declares {name} = {not value}")
        if jumping and self.real_time:
            pytest.skip("the backend declares real_time = True")

    def _make(self, place: Place, options: dict[str, object] | None = None) -> Any:  # noqa: ANN401 - any class
        """An instance, made as core makes it from the table of a file."""
        table = self.options(place) if options is None else options
        return structure_options(
            self.backend, table, where="[discovery.kit]", base=place.folder, reserved=RESERVED_KEYS
        )

    def _refuses(self, place: Place, options: dict[str, object], name: str, how: str) -> None:
        try:
            self._make(place, options)
        except ConfigurationError as error:
            if name not in str(error):
                raise LawBrokenError(f"{quote(name)} {how}: the message does not name it: {error}") from error
        else:
            raise LawBrokenError(f"{quote(name)} {how}: accepted")

    async def _keeps(self, hook: Any, when: str = "") -> None:  # noqa: ANN401 - any awaitable
        try:
            await hook
        except HookFailedError as error:
            raise LawBrokenError(f"{when}{error}") from error.__cause__

    async def _pair(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> tuple[DiscoveryNode, DiscoveryNode]:
        """Two nodes that have found each other."""
        first, second = nodes(), nodes()
        for node in (first, second):
            await self._keeps(node.start(self._make(place)))
        await self._finds(first, second)
        return first, second

    async def _finds(
        self,
        node: DiscoveryNode,
        other: DiscoveryNode,
        port: int | None = None,
        *,
        why: str = "",
        within_s: float | None = None,
    ) -> None:
        within_s = self.patience_s if within_s is None else within_s
        if not await node.until(lambda: node.sees(other, port), within_s):
            at = "" if port is None else f" at port {port}"
            known = ", ".join(map(str, sorted(node.ports_of(other.key)))) or "no port"
            raise LawBrokenError(
                f"within {within_s:g} s node {node.address.ip} did not find {other.address.ip}{at}"
                f"{why and ', ' + why}; it knows of {known}; {node.reports} reports came"
                f"{''.join('; ' + crash for crash in node.crashes[:2])}"
            )

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
