"""A node without links: it announces itself, and knows who is said to be where. For tests of backends."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from ipaddress import IPv4Address
from typing import Any, Final

from peernet_core.addresses import Address, IPAddress
from peernet_core.announcer import Announcer
from peernet_core.backends.containment import ContainedTask, describe
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.supervisor import Supervisor
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import Announcement, DiscoverySpec, Sighting
from peernet_core.decisions.sightings import Report, Sightings
from peernet_core.events import Event, PeerDiscovered, PeerLost
from peernet_core.keys import Identity, PeerKey
from peernet_core.storage.sequence_file import MemorySequence
from peernet_core.testing.clock import JumpingEventLoop
from peernet_core.testing.place import Place
from peernet_core.trust import TrustedPeer, TrustList

__all__ = ["DiscoveryNode", "HookFailedError", "Life"]

TIMEOUTS_S: Final = {"start": 10.0, "announce_self": 5.0, "resolve": 10.0, "stop": 5.0}
PORT: Final = 7100


class HookFailedError(Exception):
    """A hook raised, which is the cause, or took too long."""


class _Context(HostContext):
    """Remembers what a backend does that it may not do."""

    def __init__(self, node: DiscoveryNode, source: str) -> None:
        super().__init__(source, key=node.key, intake=node, network=node.place.network)
        loop = asyncio.get_running_loop()
        if isinstance(loop, JumpingEventLoop):
            self.make_stopping = loop.make_event
        self.on_crash = lambda what, error: node.crashes.append(f"{what} raised {describe(error)}")
        self._node = node

    def _check_thread(self, call: str) -> None:
        try:
            super()._check_thread(call)
        except RuntimeError as error:
            self._node.wrong_threads.append(str(error))
            raise


class DiscoveryNode:
    """One node of a test: an identity, a trust list, leases, and the backends that the test gives it.

    It is told by backends as a real node is (it implements `contexts.Intake`), but dials nobody.

    Args:
        place: Where it is.
        number: 1 to 200; makes its address.

    Attributes:
        events: All events so far.
        crashes: What tasks and threads of backends ended with.
        wrong_threads: Calls of a `Context` outside the loop's thread.
        own: How often a backend reported us to ourselves as a bare key.
        reports: How many reports came.
    """

    def __init__(self, place: Place, number: int) -> None:
        self.place = place
        self.identity = Identity.generate()
        self.key = self.identity.key
        self.address = Address(IPv4Address("192.0.2.0") + number, PORT)
        self.events: list[Event] = []
        self.crashes: list[str] = []
        self.wrong_threads: list[str] = []
        self.own = 0
        self.reports = 0
        self.lives: list[Life] = []
        self._trust = TrustList([TrustedPeer(place.peer, "")])
        self._sightings = Sightings(me=self.key, trust=self._trust, counts=Counter())
        self._numbers = MemorySequence()
        self._announcers: dict[int, Announcer] = {}
        self._port = PORT
        self._timer: asyncio.TimerHandle | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._now = asyncio.get_running_loop().time

    # What a test does with it.

    def trust(self, *others: DiscoveryNode | PeerKey) -> None:
        """Trust them."""
        for other in others:
            self._trust.add(other if isinstance(other, PeerKey) else other.key)

    def life(self, plugin: object, source: str = "kit") -> Life:
        """Give it an instance of a backend, not started yet."""
        life = Life(self, plugin, source)
        self.lives.append(life)
        return life

    @contextlib.asynccontextmanager
    async def supervised(self, make: Callable[[], object]) -> AsyncIterator[None]:
        """A backend that is announced to, and started again when it fails, as a real node does it."""
        supervisor = Supervisor(make_context=self._make_context, publish=self.events.append)
        try:
            await supervisor.start([Backend("kit", "", "kit", make, required=False)])
            await supervisor.announce(self.announcement())
            yield
        finally:
            await supervisor.stop()

    async def start(self, *plugins: object) -> None:
        """Start these instances, and announce us through them; signed anew as often as they want.

        Raises:
            HookFailedError: a hook did not do it.
        """
        for number, plugin in enumerate(plugins):
            await self.life(plugin, f"kit{number}").start()
        await self.announce()
        refreshes = (getattr(plugin, "refresh_s", None) for plugin in plugins)
        refresh_s = min((each for each in refreshes if each is not None), default=None)
        if refresh_s is not None:
            self._refreshing = asyncio.create_task(self._refresh(refresh_s))

    def announcement(self, port: int | None = None, *, stopping: bool = False) -> Announcement:
        """Sign what we say of ourselves anew."""
        if port is not None:
            self._port = port
        address = Address(self.address.ip, self._port)
        announcer = Announcer(self.identity, self._numbers, name="", advertise=[address], listen=())
        return announcer.announcement(self._port, self.place.network.snapshot, stopping=stopping)

    async def announce(self, port: int | None = None, *, stopping: bool = False) -> None:
        """Announce us through every backend that is started.

        Raises:
            HookFailedError: a hook did not do it.
        """
        announcement = self.announcement(port, stopping=stopping)
        for life in self.lives:
            if life.is_running:
                await life.announce(announcement)

    async def stop(self) -> None:
        """Say in a last record that we stop, then stop; what goes wrong on the way is passed over."""
        await self._end_refreshing()
        with contextlib.suppress(HookFailedError):
            await self.announce(stopping=True)
        await self.close()

    async def die(self) -> None:
        """Announce nothing more; the lives are for the test to silence."""
        await self._end_refreshing()

    async def close(self) -> None:
        """End all of it without a word; whatever goes wrong."""
        await self._end_refreshing()
        for life in self.lives:
            await life.close()
        if self._timer is not None:
            self._timer.cancel()

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait for it, at most so long; whether it came true. Asked after each report and end of a lease."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return condition()
        return True

    def ports_of(self, key: PeerKey) -> set[int]:
        """At which ports a peer is said to listen now."""
        return {candidate.address.port for candidate in self._sightings.ledger.candidates(key)}

    def sources_of(self, key: PeerKey) -> set[str]:
        """Which instances say where a peer is now."""
        return {candidate.address.source for candidate in self._sightings.ledger.candidates(key)}

    def sees(self, other: DiscoveryNode, port: int | None = None) -> bool:
        """Whether somebody says where it is (at that port)."""
        ports = self.ports_of(other.key)
        return bool(ports) if port is None else port in ports

    def count(self, kind: type[PeerDiscovered | PeerLost], key: PeerKey) -> int:
        """How many such events there were of a peer."""
        return sum(isinstance(event, kind) and event.key == key for event in self.events)

    # What backends do with it.

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        """See `contexts.Intake`."""
        return self._take(
            self._sightings.record_received(
                source, record, ttl_s=ttl_s, renew=renew, heard=heard, now=self._now()
            )
        )

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        """See `contexts.Intake`."""
        self.own += key == self.key
        sighting = self._take(
            self._sightings.peer_discovered(
                source, key, Address(ip, port, source), ttl_s=ttl_s, configured=configured, now=self._now()
            )
        )
        assert sighting is not None
        return sighting

    def peer_lost(self, sighting: Sighting) -> None:
        """See `contexts.Intake`."""
        self._publish(self._sightings.peer_lost(sighting, now=self._now()))

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        """See `contexts.Intake`."""
        self._publish(self._sightings.source_lost(source, key, ip, port, now=self._now()))

    def _take(self, report: Report) -> Sighting | None:
        self.reports += 1
        self._publish(report.events)
        return report.sighting

    def _publish(self, events: Iterable[Event] = ()) -> None:
        self.events += events
        self._news.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._sightings.next_deadline()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._publish(self._sightings.expire(now=self._now()))

    async def _refresh(self, refresh_s: float) -> None:
        while True:
            await asyncio.sleep(refresh_s)
            try:
                await self.announce()
            except HookFailedError as error:
                self.crashes.append(str(error))

    async def _end_refreshing(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
            self._refreshing = None

    def _make_context(self, backend: Backend) -> HostContext:
        return _Context(self, backend.source)


class Life:
    """One instance of a backend in a node, its hooks called by hand; each in a task of its own.

    Attributes:
        is_running: Whether its `start` has returned, and its `stop` was not called.
    """

    def __init__(self, node: DiscoveryNode, plugin: object, source: str) -> None:
        self.node = node
        self.plugin = plugin
        self.context: HostContext = _Context(node, source)
        self.is_running = False
        self._is_over = False

    async def start(self) -> None:
        """Call `start`.

        Raises:
            HookFailedError: it did not return.
        """
        await self.call("start", self.context)
        self.is_running = True

    async def announce(self, announcement: Announcement) -> None:
        """Call `announce_self`.

        Raises:
            HookFailedError: it did not return.
        """
        await self.call("announce_self", announcement)

    async def stop(self) -> None:
        """Call `stop`, and end what it spawned.

        Raises:
            HookFailedError: it did not return.
        """
        self.is_running = False
        try:
            await self.call("stop")
        finally:
            await self.end()

    async def end(self) -> None:
        """End what it spawned, as core does after `stop`; later reports are dropped."""
        self.is_running = False
        self._is_over = True
        await self.context.aclose(thread_timeout_s=TIMEOUTS_S["stop"])

    async def close(self) -> None:
        """Stop if that was not done, whatever goes wrong."""
        if not self._is_over:
            with contextlib.suppress(HookFailedError):
                await self.stop()

    async def call(self, hook: str, *arguments: object) -> None:
        """Call a hook, if the backend has it.

        Raises:
            HookFailedError: it did not return.
        """
        coroutine = self.coroutine(hook, *arguments)
        if coroutine is None:
            return
        ended = asyncio.Event()
        task = ContainedTask(coroutine, name=f"kit: {hook}", on_end=lambda _: ended.set())
        try:
            async with asyncio.timeout(TIMEOUTS_S[hook]):
                await ended.wait()
        except TimeoutError:
            raise HookFailedError(f"{hook} took more than {TIMEOUTS_S[hook]:g} s") from None
        finally:
            await task.end()
        assert task.outcome is not None
        error = task.outcome.error
        if error is not None:
            raise HookFailedError(f"{hook} raised {describe(error)}") from error

    def coroutine(self, hook: str, *arguments: object) -> Coroutine[Any, Any, object] | None:
        """What calling the hook gives; None if the backend has none of that name."""
        found = inspect.getattr_static(type(self.plugin), hook, None)
        if found is None or found is inspect.getattr_static(DiscoverySpec, hook):
            return None
        coroutine: Coroutine[Any, Any, object] = getattr(self.plugin, hook)(*arguments)
        return coroutine
