"""A backend that failed comes back: a new instance, after waits that grow, told what was announced last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, cast

import anyio
import attrs
import pytest

from peernet_core.addresses import NetworkSnapshot
from peernet_core.backends.contexts import HostContext, Intake
from peernet_core.backends.keeper import LONGEST_WAIT_S, PROVEN_S
from peernet_core.backends.supervisor import Supervisor
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import Announcement, Context, DiscoverySpec, ThreadContext, hookimpl
from peernet_core.errors import BackendError
from peernet_core.events import BackendFailed, BackendStarted, Event
from peernet_core.keys import Identity

OWN: Final = Identity.generate().key


def announcement(port: int) -> Announcement:
    return Announcement(port=port, addresses=(), record=b"", alias=OWN.alias)


def now() -> float:
    return asyncio.get_running_loop().time()


@attrs.define
class StillNetwork:
    snapshot: NetworkSnapshot = attrs.field(factory=NetworkSnapshot)

    async def changed(self) -> NetworkSnapshot:
        await asyncio.Event().wait()
        return self.snapshot


@attrs.define(eq=False)
class Medium:
    """What every instance is made for: says what goes wrong, and remembers what was done.

    Attributes:
        fails: Which hook raises.
        crashes_after_s: When a task of each instance crashes; None: never.
        in_thread: Whether it is a thread that crashes.
    """

    fails: str = ""
    crashes_after_s: float | None = None
    in_thread: bool = False
    starts: list[float] = attrs.field(factory=list)
    contexts: list[Context] = attrs.field(factory=list)
    told: list[tuple[int, int]] = attrs.field(factory=list)
    stops: int = 0
    again: anyio.Event = attrs.field(factory=anyio.Event)

    def make(self) -> Flaky:
        return Flaky(self)


@attrs.define(eq=False)
class Flaky(DiscoverySpec):
    medium: Medium
    number: int = attrs.field(init=False, default=0)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.medium.starts.append(now())
        self.medium.contexts.append(context)
        self.number = len(self.medium.starts)
        if self.number > 1:
            self.medium.again.set()
        self._maybe_fail("start")
        if self.medium.in_thread:
            context.spawn_thread(self._crash_in_thread)
        elif self.medium.crashes_after_s is not None:
            context.spawn(self._crash(self.medium.crashes_after_s))

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        self.medium.told.append((self.number, announcement.port))
        self._maybe_fail("announce_self")

    @hookimpl
    async def stop(self) -> None:
        self.medium.stops += 1

    def _maybe_fail(self, hook: str) -> None:
        if self.medium.fails == hook:
            raise OSError("the medium is gone")

    async def _crash(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        raise OSError("the medium is gone")

    def _crash_in_thread(self, context: ThreadContext) -> None:
        _ = context
        raise OSError("the medium is gone")


@attrs.define(eq=False)
class Desk:
    """A supervisor, and what it published."""

    supervisor: Supervisor
    events: list[Event]

    def failures(self) -> list[str]:
        return [event.error for event in self.events if isinstance(event, BackendFailed)]

    def started(self) -> int:
        return sum(isinstance(event, BackendStarted) for event in self.events)


class Nowhere:
    """Takes reports and keeps none."""

    def record_received(self, source: str, record: bytes, **how: object) -> None:
        del source, record, how


def backend(medium: Medium, **options: bool) -> Backend:
    return Backend("lan", "flaky (peernet-flaky 1.2)", "flaky", medium.make, **options)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    def make_context(backend: Backend) -> HostContext:
        return HostContext(backend.source, key=OWN, intake=cast("Intake", Nowhere()), network=StillNetwork())

    events: list[Event] = []
    desk = Desk(Supervisor(make_context=make_context, publish=events.append), events)
    yield desk
    await desk.supervisor.stop()


async def test_one_whose_task_crashed_comes_back_and_is_told_the_latest(desk: Desk) -> None:
    """A new instance with a new context; the failure names source, distribution and version."""
    medium = Medium(crashes_after_s=5.0)
    await desk.supervisor.announce(announcement(1))
    await desk.supervisor.start([backend(medium)])
    await desk.supervisor.announce(announcement(2))
    first = desk.supervisor.instance("lan")
    await anyio.sleep(7.5)
    assert desk.failures()[0].startswith("[discovery.lan], flaky (peernet-flaky 1.2): task")
    assert desk.started() == 2
    assert desk.supervisor.instance("lan") is not first
    assert medium.contexts[0] is not medium.contexts[1]
    assert (2, 2) in medium.told
    assert (2, 1) not in medium.told
    assert medium.stops == 1


async def test_one_whose_thread_crashed_comes_back(desk: Desk) -> None:
    """The same for a blocking library."""
    medium = Medium(in_thread=True)
    await desk.supervisor.start([backend(medium)])
    await medium.again.wait()
    assert desk.failures()[0].startswith("[discovery.lan], flaky (peernet-flaky 1.2): thread")


async def test_one_that_could_not_take_an_announcement_comes_back(desk: Desk) -> None:
    """And is told it then."""
    medium = Medium(fails="announce_self")
    await desk.supervisor.start([backend(medium)])
    await desk.supervisor.announce(announcement(1))
    medium.fails = ""
    await anyio.sleep(1.5)
    assert medium.told == [(1, 1), (2, 1)]
    assert desk.started() == 2


async def test_one_that_is_not_required_and_did_not_start_is_tried_again(desk: Desk) -> None:
    """The node runs on meanwhile."""
    medium = Medium(fails="start")
    await desk.supervisor.announce(announcement(1))
    await desk.supervisor.start([backend(medium, required=False)])
    await anyio.sleep(0.1)
    with pytest.raises(BackendError, match="it failed, and is started again in"):
        desk.supervisor.instance("lan")
    medium.fails = ""
    await anyio.sleep(1.5)
    assert desk.started() == 1
    assert medium.told == [(2, 1)]
    assert len(desk.failures()) == 1


async def test_its_status_says_what_is_going_on(desk: Desk) -> None:
    """Running, waiting for another try with the reason, running again with the number of tries."""
    medium = Medium()
    await desk.supervisor.start([backend(medium)])
    (status,) = desk.supervisor.statuses()
    assert (status.source, status.backend, status.state, status.error) == ("lan", "flaky", "running", "")
    medium.fails = "announce_self"
    await desk.supervisor.announce(announcement(1))
    await anyio.sleep(0.1)
    (status,) = desk.supervisor.statuses()
    assert (status.state, status.restarts) == ("waiting", 0)
    assert status.error == "announce_self raised OSError: the medium is gone"
    medium.fails = ""
    await anyio.sleep(2)
    (status,) = desk.supervisor.statuses()
    assert (status.state, status.restarts) == ("running", 1)
    await desk.supervisor.stop()
    (status,) = desk.supervisor.statuses()
    assert status.state == "stopped"


async def test_one_that_is_required_and_did_not_start_is_not_tried_again(desk: Desk) -> None:
    """The start of the node fails."""
    medium = Medium(fails="start")
    with pytest.raises(ExceptionGroup):
        await desk.supervisor.start([backend(medium)])
    await anyio.sleep(300)
    assert len(medium.starts) == 1


async def test_without_restart_it_stays_as_it_is(desk: Desk) -> None:
    """A crashed task is told; what else the instance has running runs on."""
    medium = Medium(crashes_after_s=1.0)
    await desk.supervisor.start([backend(medium, restart=False)])
    first = desk.supervisor.instance("lan")
    await anyio.sleep(600)
    assert (len(medium.starts), len(desk.failures())) == (1, 1)
    assert desk.supervisor.instance("lan") is first


async def test_one_that_crashes_again_and_again_does_not_spin(desk: Desk) -> None:
    """The waits grow to a minute, so that an hour holds some hundreds of tries at most."""
    medium = Medium(crashes_after_s=0.0)
    await desk.supervisor.start([backend(medium)])
    await anyio.sleep(3600)
    gaps = [after - before for before, after in zip(medium.starts, medium.starts[1:], strict=False)]
    assert 60 <= len(medium.starts) <= 360
    assert min(gaps) >= 0.25
    assert LONGEST_WAIT_S / 2 < max(gaps) <= LONGEST_WAIT_S
    assert len(desk.failures()) == len(medium.starts)
    assert medium.stops >= len(medium.starts) - 1


async def test_one_that_ran_for_long_comes_back_soon(desk: Desk) -> None:
    """What it did wrong before is forgiven."""
    medium = Medium(crashes_after_s=PROVEN_S + 1)
    await desk.supervisor.start([backend(medium)])
    await anyio.sleep(10 * PROVEN_S)
    gaps = [after - before for before, after in zip(medium.starts, medium.starts[1:], strict=False)]
    assert len(gaps) >= 8
    assert max(gaps) <= PROVEN_S + 1 + 1.0


async def test_reports_of_the_one_that_failed_are_late(desk: Desk) -> None:
    """Its context is closed; its tasks have ended."""
    medium = Medium(crashes_after_s=1.0)
    await desk.supervisor.start([backend(medium)])
    medium.crashes_after_s = None
    await anyio.sleep(5)
    context = medium.contexts[0]
    assert isinstance(context, HostContext)
    context.record_received(b"", ttl_s=1.0)
    assert context.late == 1


@pytest.mark.parametrize("after_s", [0.05, 0.3, 30.0])
async def test_a_stop_ends_the_waiting_at_once(desk: Desk, after_s: float) -> None:
    """Whether it waits, is about to start, or runs."""
    medium = Medium(crashes_after_s=0.0)
    await desk.supervisor.start([backend(medium)])
    await anyio.sleep(after_s)
    began = now()
    await desk.supervisor.stop()
    assert now() - began < 2
    tries = len(medium.starts)
    await anyio.sleep(600)
    assert len(medium.starts) == tries


async def test_another_backend_notices_nothing(desk: Desk) -> None:
    """One that crashes for ever beside one that works."""
    bad, good = Medium(crashes_after_s=0.1), Medium()
    backends = [backend(bad), Backend("good", "", "good", good.make)]
    await desk.supervisor.start(backends)
    await anyio.sleep(600)
    await desk.supervisor.announce(announcement(7))
    assert (len(good.starts), good.stops, good.told) == (1, 0, [(1, 7)])
    assert {event.source for event in desk.events if isinstance(event, BackendFailed)} == {"lan"}
