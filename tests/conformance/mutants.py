"""For each law of the conformance kit a backend that breaks it, and no other.

Not collected by name: `test_mutants.py` runs it in a process of its own and reads what became of each law.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from types import ModuleType
from typing import Any, ClassVar

import attrs

from peernet_core import Address, Announcement, Context, DiscoverySpec, PeerKey, ThreadContext, hookimpl
from peernet_core.cli.new_backend import render
from peernet_core.errors import MalformedRecordError
from peernet_core.records import decode_record
from peernet_core.testing import DiscoveryConformance, Place, RadioDiscovery

FOUND_AT = IPv4Address("192.0.2.77")


class OverRadio(DiscoveryConformance):
    """What all mutants share."""

    resolves = True
    lease_s = 60.0
    wrong_options: ClassVar[dict[str, list[object]]] = {"every_s": [0, -1.0]}

    def options(self, place: Place) -> dict[str, object]:
        return {"channel": place.medium.name}

    def pollute(self, place: Place, data: bytes) -> None:
        place.medium.say(data)

    def vanish(self, place: Place) -> None:
        place.medium.vanish()

    def come_back(self, place: Place) -> None:
        place.medium.come_back()


@attrs.define(eq=False)
class Undecorated(RadioDiscovery):
    async def resolve(self, key: PeerKey) -> None:
        await RadioDiscovery.resolve(self, key)


class TestUndecorated(OverRadio):
    backend = Undecorated
    breaks = "test_the_class_keeps_the_contract"


@attrs.define(eq=False)
class AcceptsAnything(RadioDiscovery):
    every_s: float = 5.0


class TestAcceptsAnything(OverRadio):
    backend = AcceptsAnything
    breaks = "test_wrong_options_are_refused"


@attrs.define(eq=False)
class WaitsForPeers(RadioDiscovery):
    @hookimpl
    async def start(self, context: Context) -> None:
        await RadioDiscovery.start(self, context)
        await asyncio.sleep(3)


class TestWaitsForPeers(OverRadio):
    backend = WaitsForPeers
    breaks = "test_start_returns_where_nobody_is"


@attrs.define(eq=False)
class HearsOnlyNewcomers(RadioDiscovery):
    _started_us: float = attrs.field(init=False, default=0.0)

    @hookimpl
    async def start(self, context: Context) -> None:
        self._started_us = time.time() * 1e6
        await RadioDiscovery.start(self, context)

    def _hear(self, data: bytes) -> None:
        with contextlib.suppress(MalformedRecordError):
            if decode_record(data).record.sequence < self._started_us:
                return
        RadioDiscovery._hear(self, data)

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        self._started_us = 0.0
        await RadioDiscovery.resolve(self, key)


class TestHearsOnlyNewcomers(OverRadio):
    backend = HearsOnlyNewcomers
    breaks = "test_two_nodes_find_each_other"


@attrs.define(eq=False)
class TellsNobody(DiscoverySpec):
    key: PeerKey
    address: Address

    @hookimpl
    async def start(self, context: Context) -> None:
        context.log.info("%s is at %s", self.key.short, self.address)


class TestTellsNobody(OverRadio):
    backend = TellsNobody
    breaks = "test_the_peers_that_it_is_told_of_are_reported"
    announces = False
    detects_loss = False
    resolves = False
    carries_bytes = False
    medium_vanishes = False
    wrong_options: ClassVar[dict[str, list[object]]] = {"address": ["nowhere"]}

    def options(self, place: Place) -> dict[str, object]:
        return {"key": str(place.peer), "address": str(place.address)}


@attrs.define(eq=False)
class IgnoresNewPorts(RadioDiscovery):
    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        if self._announcement is None or announcement.addresses != self._announcement.addresses:
            await RadioDiscovery.announce_self(self, announcement)


class TestIgnoresNewPorts(OverRadio):
    backend = IgnoresNewPorts
    breaks = "test_a_peer_that_announces_another_port_is_found_there"


@attrs.define(eq=False)
class SaysNoGoodbye(RadioDiscovery):
    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        if announcement.addresses:
            await RadioDiscovery.announce_self(self, announcement)


class TestSaysNoGoodbye(OverRadio):
    backend = SaysNoGoodbye
    breaks = "test_a_peer_that_stops_is_lost"


@attrs.define(eq=False)
class BelievesForEver(RadioDiscovery):
    ttl_s: ClassVar[float] = 86400.0


class TestBelievesForEver(OverRadio):
    backend = BelievesForEver
    breaks = "test_a_peer_that_dies_is_lost_when_its_lease_ends"


@attrs.define(eq=False)
class SpeaksTooSeldom(RadioDiscovery):
    ttl_s: ClassVar[float] = 4.0


class TestSpeaksTooSeldom(OverRadio):
    backend = SpeaksTooSeldom
    breaks = "test_leases_are_refreshed_before_they_end"


@attrs.define(eq=False)
class GoesOnListening(RadioDiscovery):
    @hookimpl
    async def stop(self) -> None:
        await asyncio.sleep(0)


class TestGoesOnListening(OverRadio):
    backend = GoesOnListening
    breaks = "test_nothing_is_reported_after_stop"


@attrs.define(eq=False)
class StopsOnce(RadioDiscovery):
    _stopped: bool = attrs.field(init=False, default=False)

    @hookimpl
    async def stop(self) -> None:
        assert not self._stopped
        self._stopped = True
        await RadioDiscovery.stop(self)


class TestStopsOnce(OverRadio):
    backend = StopsOnce
    breaks = "test_stop_may_come_twice"


@attrs.define(eq=False)
class StopsOnlyWhatWasStarted(RadioDiscovery):
    _entered: bool = attrs.field(init=False, default=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self._entered = True
        await RadioDiscovery.start(self, context)

    @hookimpl
    async def stop(self) -> None:
        assert self._entered
        await RadioDiscovery.stop(self)


class TestStopsOnlyWhatWasStarted(OverRadio):
    backend = StopsOnlyWhatWasStarted
    breaks = "test_stop_may_come_without_a_start"


@attrs.define(eq=False)
class StopsOnlyWhatStartedWell(RadioDiscovery):
    _half: bool = attrs.field(init=False, default=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self._half = True
        await RadioDiscovery.start(self, context)
        self._half = False

    @hookimpl
    async def stop(self) -> None:
        try:
            await RadioDiscovery.stop(self)
        finally:
            assert not self._half


class TestStopsOnlyWhatStartedWell(OverRadio):
    backend = StopsOnlyWhatStartedWell
    breaks = "test_stop_may_come_after_a_start_that_failed"


@attrs.define(eq=False)
class EndsTheOthersToo(RadioDiscovery):
    _of_loop: ClassVar[dict[object, list[EndsTheOthersToo]]] = {}

    @hookimpl
    async def start(self, context: Context) -> None:
        await RadioDiscovery.start(self, context)
        self._of_loop.setdefault(context.key, []).append(self)
        self._of_loop.setdefault(asyncio.get_running_loop(), []).append(self)

    @hookimpl
    async def stop(self) -> None:
        await RadioDiscovery.stop(self)
        if self._announcement is not None and not self._announcement.addresses:
            for other in self._of_loop.pop(asyncio.get_running_loop(), []):
                if other._member is not None:
                    other._member.leave()


class TestEndsTheOthersToo(OverRadio):
    backend = EndsTheOthersToo
    breaks = "test_two_nodes_in_one_loop_end_apart"


@attrs.define(eq=False)
class OneForEachNode(RadioDiscovery):
    _keys: ClassVar[set[PeerKey]] = set()

    @hookimpl
    async def start(self, context: Context) -> None:
        if context.key in self._keys:
            raise OSError("address already in use")
        await RadioDiscovery.start(self, context)
        self._keys.add(context.key)

    @hookimpl
    async def stop(self) -> None:
        if self._context is not None:
            self._keys.discard(self._context.key)
        await RadioDiscovery.stop(self)


class TestOneForEachNode(OverRadio):
    backend = OneForEachNode
    breaks = "test_three_instances_in_one_node_work_side_by_side"


@attrs.define(eq=False)
class FindsItself(RadioDiscovery):
    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        await RadioDiscovery.announce_self(self, announcement)
        if self._context is not None:
            self._context.peer_discovered(self._context.key, FOUND_AT, announcement.port, ttl_s=1.0)


class TestFindsItself(OverRadio):
    backend = FindsItself
    breaks = "test_a_node_never_finds_itself"


@attrs.define(eq=False)
class TrustsTheMedium(RadioDiscovery):
    def _hear(self, data: bytes) -> None:
        assert len(data) > 1
        RadioDiscovery._hear(self, data)


class TestTrustsTheMedium(OverRadio):
    backend = TrustsTheMedium
    breaks = "test_garbage_on_the_medium_harms_nobody"


@attrs.define(eq=False)
class GivesUpQuietly(RadioDiscovery):
    async def _say_again(self) -> None:
        with contextlib.suppress(OSError):
            await RadioDiscovery._say_again(self)


class TestGivesUpQuietly(OverRadio):
    backend = GivesUpQuietly
    breaks = "test_a_medium_that_vanishes_may_come_back"


def _folder_module() -> ModuleType:
    module = ModuleType("peernet_folder_to_break")
    sys.modules[module.__name__] = module  # its options' types are looked up there
    exec(render("folder", year=2030)["src/peernet_folder/__init__.py"], module.__dict__)
    return module


_folder: Any = _folder_module()


@attrs.define(eq=False)
class ReadsOrGivesUp(_folder.FolderDiscovery):  # type: ignore[misc]  # known at run time only
    def _watch(self, context: ThreadContext) -> None:
        while True:
            for path in self.path.glob("*[!w]"):  # not the .new ones, which come and go
                try:
                    record = path.read_bytes()
                except OSError:
                    return
                context.record_received(record, ttl_s=60, renew=False)
            if context.stopping.wait(self.poll_s):
                return


class TestReadsOrGivesUp(OverRadio):
    backend = ReadsOrGivesUp
    breaks = "test_a_medium_may_vanish_in_the_middle_of_a_read"
    wrong_options: ClassVar[dict[str, list[object]]] = {"poll_s": [0]}

    def options(self, place: Place) -> dict[str, object]:
        return {"path": str(place.folder)}

    def pollute(self, place: Place, data: bytes) -> None:
        (place.folder / "litter").write_bytes(data)

    def vanish(self, place: Place) -> None:
        place.folder.rename(place.folder.with_name("away"))

    def come_back(self, place: Place) -> None:
        place.folder.with_name("away").rename(place.folder)


@attrs.define(eq=False)
class Sleeps(RadioDiscovery):
    def _say(self) -> None:
        time.sleep(1e-6)
        RadioDiscovery._say(self)


class TestSleeps(OverRadio):
    backend = Sleeps
    breaks = "test_the_loop_is_never_blocked"


@attrs.define(eq=False)
class ReportsFromAThread(RadioDiscovery):
    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        await RadioDiscovery.announce_self(self, announcement)
        await asyncio.to_thread(self._tell, announcement.record)

    def _tell(self, record: bytes) -> None:
        if self._context is not None:
            with contextlib.suppress(RuntimeError):
                self._context.record_received(record, ttl_s=self.ttl_s)


class TestReportsFromAThread(OverRadio):
    backend = ReportsFromAThread
    breaks = "test_threads_report_through_their_own_context"


@attrs.define(eq=False)
class Lived(RadioDiscovery):
    """What breaks one law only after a while, so that others do not see it."""

    _started_at: float = attrs.field(init=False, default=0.0)

    @hookimpl
    async def start(self, context: Context) -> None:
        self._started_at = context.clock()
        await RadioDiscovery.start(self, context)

    def _has_lived(self) -> bool:
        return self._context is not None and self._context.clock() > self._started_at + 3


@attrs.define(eq=False)
class LeavesATask(Lived):
    _tasks: ClassVar[set[asyncio.Task[None]]] = set()

    @hookimpl
    async def stop(self) -> None:
        await RadioDiscovery.stop(self)
        if self._has_lived():
            self._tasks.add(asyncio.create_task(_sleep(), name="left behind"))


async def _sleep() -> None:
    await asyncio.sleep(1e6)


class TestLeavesATask(OverRadio):
    backend = LeavesATask
    breaks = "test_no_task_is_left"


@attrs.define(eq=False)
class LeavesAThread(Lived):
    @hookimpl
    async def stop(self) -> None:
        await RadioDiscovery.stop(self)
        if self._has_lived():
            wait = threading.Event().wait
            threading.Thread(target=wait, args=(3,), name="left behind", daemon=True).start()


class TestLeavesAThread(OverRadio):
    backend = LeavesAThread
    breaks = "test_no_thread_is_left"


_sockets: list[socket.socket] = []


@attrs.define(eq=False)
class LeavesASocket(Lived):
    @hookimpl
    async def stop(self) -> None:
        await RadioDiscovery.stop(self)
        if self._has_lived():
            _sockets.append(socket.socket())


class TestLeavesASocket(OverRadio):
    backend = LeavesASocket
    breaks = "test_no_socket_or_file_is_left"


def _opened() -> socket.socket:
    _sockets.append(socket.socket())
    return _sockets[-1]


@attrs.define(eq=False)
class WaitsBeforeItKeepsItsSocket(RadioDiscovery):
    _socket: socket.socket | None = attrs.field(init=False, default=None)

    @hookimpl
    async def start(self, context: Context) -> None:
        opened = _opened()
        await RadioDiscovery.start(self, context)
        self._socket = opened

    @hookimpl
    async def stop(self) -> None:
        try:
            await RadioDiscovery.stop(self)
        finally:
            if self._socket is not None:
                self._socket.close()


class TestWaitsBeforeItKeepsItsSocket(OverRadio):
    backend = WaitsBeforeItKeepsItsSocket
    breaks = "test_a_start_that_is_cancelled_leaves_nothing"


@attrs.define(eq=False)
class LosesItsSocketBetweenAnnouncements(RadioDiscovery):
    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        opened = _opened()
        await RadioDiscovery.announce_self(self, announcement)
        opened.close()


class TestLosesItsSocketBetweenAnnouncements(OverRadio):
    backend = LosesItsSocketBetweenAnnouncements
    breaks = "test_an_announcement_that_is_cancelled_leaves_nothing"


@attrs.define(eq=False)
class SaysGoodbyeBeforeItCloses(RadioDiscovery):
    _socket: socket.socket | None = attrs.field(init=False, default=None)

    @hookimpl
    async def start(self, context: Context) -> None:
        await RadioDiscovery.start(self, context)
        self._socket = _opened()

    @hookimpl
    async def stop(self) -> None:
        await RadioDiscovery.stop(self)
        await asyncio.sleep(0.1)
        if self._socket is not None:
            self._socket.close()


class TestSaysGoodbyeBeforeItCloses(OverRadio):
    backend = SaysGoodbyeBeforeItCloses
    breaks = "test_a_stop_that_is_cancelled_leaves_nothing"


@attrs.define(eq=False)
class AsksNobody(RadioDiscovery):
    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        await asyncio.sleep(0)
        del key


class TestAsksNobody(OverRadio):
    backend = AsksNobody
    breaks = "test_a_lookup_finds_the_peer"


@attrs.define(eq=False)
class WaitsForAnAnswer(RadioDiscovery):
    _answered: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)

    def _hear(self, data: bytes) -> None:
        RadioDiscovery._hear(self, data)
        if data.startswith(b"who is ") is False:
            self._answered.set()

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        self._answered.clear()
        await RadioDiscovery.resolve(self, key)
        await asyncio.wait_for(self._answered.wait(), 3)


class TestWaitsForAnAnswer(OverRadio):
    backend = WaitsForAnAnswer
    breaks = "test_a_lookup_of_nobody_comes_to_an_end"


def mutants() -> Iterator[type[OverRadio]]:
    """Every mutant's test class."""
    for found in list(globals().values()):
        if isinstance(found, type) and issubclass(found, OverRadio) and found is not OverRadio:
            yield found
