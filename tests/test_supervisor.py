"""Backends that do anything at all: attributed, contained, stopped once, and never in each other's way."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar

import anyio
import attrs
import pytest

from peernet_core.addresses import IPAddress, NetworkSnapshot
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.supervisor import BackendRunner, RunnerState, Supervisor
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import Announcement, Context, DiscoverySpec, Sighting, ThreadContext, hookimpl
from peernet_core.errors import BackendError, ConfigurationError, NodeClosedError
from peernet_core.events import BackendFailed, BackendStarted, Event
from peernet_core.keys import Identity, PeerKey
from peernet_core.testing import JumpingEventLoop, unfinished_tasks

OWN, PEER = (Identity.generate().key for _ in range(2))
HOOKS = ("start", "announce_self", "resolve", "stop")
TIMEOUTS = {"start": 10.0, "announce_self": 5.0, "resolve": 10.0, "stop": 5.0}


def announcement(port: int) -> Announcement:
    return Announcement(port=port, addresses=(), record=b"", alias=OWN.alias)


class Nowhere:
    """An intake that counts reports."""

    def __init__(self) -> None:
        self.reports = 0

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        del source, record, ttl_s, renew, heard
        self.reports += 1
        return None

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        del ip, port, ttl_s, configured
        self.reports += 1
        return Sighting(self.reports, key, source, ())

    def peer_lost(self, sighting: Sighting) -> None:
        del sighting
        self.reports += 1

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        del source, key, ip, port
        self.reports += 1


@attrs.define
class StillNetwork:
    snapshot: NetworkSnapshot = attrs.field(factory=NetworkSnapshot)

    async def changed(self) -> NetworkSnapshot:
        await asyncio.Event().wait()
        return self.snapshot


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


async def raising(error: BaseException) -> object:
    await asyncio.sleep(0.1)
    raise error


async def hanging() -> None:
    await asyncio.Event().wait()


async def swallowing() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def garbage() -> object:
    return {"not": "None"}


async def async_garbage() -> object:
    return asyncio.sleep(1)


# What a hook does, and how its failure is put; None: it is no failure.
BEHAVIOURS: dict[str, tuple[Callable[[], Coroutine[Any, Any, object]], str | None]] = {
    "raises": (lambda: raising(ValueError("bad luck")), "{hook} raised ValueError: bad luck"),
    "hangs": (hanging, "{hook} did not return within {timeout:g} s"),
    "swallows": (swallowing, "{hook} did not return within {timeout:g} s, swallowed the cancellation"),
    "garbage": (garbage, None),
    "async garbage": (async_garbage, None),
    "cancelled": (lambda: raising(asyncio.CancelledError()), "{hook} raised CancelledError"),
    "exits": (lambda: raising(SystemExit(3)), "{hook} raised SystemExit: 3"),
    "interrupts": (lambda: raising(KeyboardInterrupt()), "{hook} raised KeyboardInterrupt"),
    "closes": (lambda: raising(GeneratorExit()), "{hook} raised GeneratorExit"),
    "groups": (
        lambda: raising(ExceptionGroup("two", [ValueError(), OSError()])),
        "{hook} raised ExceptionGroup",
    ),
    "recurses": (lambda: raising(RecursionError()), "{hook} raised RecursionError"),
}


@attrs.define(eq=False)
class Scripted(DiscoverySpec):
    """Does what its script says, and writes down when each hook was entered and left."""

    script: dict[str, Callable[[], Coroutine[Any, Any, object]]] = attrs.field(factory=dict)
    calls: list[tuple[str, float, object]] = attrs.field(factory=list)
    active: list[str] = attrs.field(factory=list)
    overlaps: list[tuple[str, ...]] = attrs.field(factory=list)
    context: Context | None = None

    async def _do(self, hook: str, argument: object = None) -> Any:
        self.calls.append((hook, now(), argument))
        if hook != "resolve":
            self.overlaps += [tuple(self.active)] if self.active else []
            self.active.append(hook)
        try:
            return await self.script[hook]() if hook in self.script else None
        finally:
            if hook != "resolve":
                self.active.remove(hook)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context
        return await self._do("start")  # type: ignore[no-any-return]  # the garbage is the point

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        return await self._do("announce_self", announcement.port)  # type: ignore[no-any-return]  # as above

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        return await self._do("resolve", key)  # type: ignore[no-any-return]  # as above

    @hookimpl
    async def stop(self) -> None:
        return await self._do("stop")  # type: ignore[no-any-return]  # as above

    def names(self) -> list[str]:
        return [hook for hook, _, _ in self.calls]

    def ports(self) -> list[object]:
        return [argument for hook, _, argument in self.calls if hook == "announce_self"]


@attrs.define
class Desk:
    """A supervisor, and what it has published."""

    events: list[Event] = attrs.field(factory=list)
    intake: Nowhere = attrs.field(factory=Nowhere)
    contexts: list[HostContext] = attrs.field(factory=list)

    def context(self, backend: Backend) -> HostContext:
        made = HostContext(backend.source, key=OWN, intake=self.intake, network=StillNetwork())
        self.contexts.append(made)
        return made

    def supervisor(self) -> Supervisor:
        return Supervisor(make_context=self.context, publish=self.events.append)

    def failures(self) -> list[str]:
        return [event.error for event in self.events if isinstance(event, BackendFailed)]

    def started(self) -> list[str]:
        return [event.source for event in self.events if isinstance(event, BackendStarted)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def backend(instance: object, source: str = "lan", **options: Any) -> Backend:
    """One that lives once; see test_keeper.py for those that come back."""
    options.setdefault("restart", False)
    return Backend(source, f"{source} (peernet-{source} 1.2)", source, lambda: instance, **options)


def scripted(hook: str, behaviour: str) -> Scripted:
    return Scripted({hook: BEHAVIOURS[behaviour][0]})


def reason(hook: str, behaviour: str) -> str | None:
    text = BEHAVIOURS[behaviour][1]
    return text and text.format(hook=hook, timeout=TIMEOUTS[hook])


async def test_a_backend_s_life_in_order(desk: Desk) -> None:
    """Made, started, told, asked, stopped; each hook once, with what it needs."""
    supervisor, lan = desk.supervisor(), Scripted()
    await supervisor.start([backend(lan)])
    assert supervisor.instance("lan") is lan
    assert lan.context is desk.contexts[0]
    await supervisor.announce(announcement(7100))
    await supervisor.resolve(PEER)
    await supervisor.stop()
    assert [(hook, argument) for hook, _, argument in lan.calls] == [
        ("start", None),
        ("announce_self", 7100),
        ("resolve", PEER),
        ("stop", None),
    ]
    assert desk.events == [BackendStarted("lan", "lan")]
    assert not await unfinished_tasks()


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_whatever_one_hook_does_is_attributed_and_contained(
    desk: Desk, behaviour: str, hook: str, required: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The other backend lives as if alone; stop runs exactly once; nothing is left running."""
    supervisor, bad, good = desk.supervisor(), scripted(hook, behaviour), Scripted()
    expected, began = reason(hook, behaviour), now()
    failing_start = hook == "start" and expected is not None
    backends = [backend(bad, "bad", required=required), backend(good, "good")]
    if failing_start and required:
        with pytest.raises(ExceptionGroup) as caught:
            await supervisor.start(backends)
        (error,) = caught.value.exceptions
        assert isinstance(error, BackendError)
        assert (error.source, error.provider) == ("bad", "bad (peernet-bad 1.2)")
        assert error.reason.startswith(expected or "")
        assert not await unfinished_tasks()
        assert bad.names() == good.names() == ["start", "stop"]
    else:
        await supervisor.start(backends)
        announced = asyncio.create_task(supervisor.announce(announcement(7100)))
        await asyncio.sleep(0.5)
        assert good.calls == [("start", began, None), ("announce_self", began, 7100)]
        await announced
        await asyncio.gather(supervisor.resolve(PEER), supervisor.resolve(PEER))
        assert good.names() == ["start", "announce_self", "resolve", "resolve"]
        await supervisor.stop()
        assert bad.names().count("stop") == good.names().count("stop") == 1
        assert bad.names() == (["start", "stop"] if failing_start else good.names())
    assert len(desk.failures()) == (expected is not None)
    for failure in desk.failures():
        assert failure.startswith(f"[discovery.bad], bad (peernet-bad 1.2): {expected}")
    if expected is None:
        assert f"{hook} returned" in caplog.text
    assert desk.started() == (["good"] if failing_start else ["bad", "good"])
    assert bad.overlaps == good.overlaps == []
    assert supervisor.left_running == ()
    assert not await unfinished_tasks()


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_every_hook_may_misbehave_at_once(desk: Desk, behaviour: str) -> None:
    """Stopping takes its time limits and no more, whatever happens."""
    bad = Scripted(dict.fromkeys(HOOKS, BEHAVIOURS[behaviour][0]))
    supervisor = desk.supervisor()
    await supervisor.start([backend(bad, required=False)])
    await supervisor.announce(announcement(7100))
    await supervisor.resolve(PEER)
    began = now()
    await supervisor.stop()
    assert now() - began <= TIMEOUTS["stop"] + 3.0
    assert bad.names().count("stop") == 1
    assert not await unfinished_tasks()


async def test_all_required_backends_that_fail_are_in_one_group(desk: Desk) -> None:
    """Every reason at once, also of one that fails late; those that started are stopped."""
    good, optional = Scripted(), scripted("start", "raises")
    supervisor = desk.supervisor()
    began = now()
    with pytest.raises(ExceptionGroup) as caught:
        await supervisor.start(
            [
                backend(scripted("start", "raises"), "quick"),
                backend(good, "good"),
                backend(scripted("start", "hangs"), "slow"),
                backend(optional, "optional", required=False),
            ]
        )
    assert [str(error) for error in caught.value.exceptions] == [
        "[discovery.quick], quick (peernet-quick 1.2): start raised ValueError: bad luck",
        "[discovery.slow], slow (peernet-slow 1.2): start did not return within 10 s",
    ]
    assert now() - began == pytest.approx(10.0)
    assert isinstance(caught.value.exceptions[0].__cause__, ValueError)
    assert good.names() == ["start", "stop"]
    assert len(desk.failures()) == 3
    with pytest.raises(BackendError, match="failed to start"):
        supervisor.instance("quick")
    with pytest.raises(BackendError, match="not running"):
        supervisor.instance("good")


async def test_one_that_is_not_required_delays_nobody(desk: Desk) -> None:
    """The start returns at once, the other backend is told at once, and its failure comes as an event."""
    good, bad = Scripted(), scripted("start", "hangs")
    supervisor, began = desk.supervisor(), now()
    await supervisor.announce(announcement(7100))
    await supervisor.start([backend(bad, "bad", required=False), backend(good, "good")])
    await asyncio.sleep(0.01)
    assert good.calls == [("start", began, None), ("announce_self", began, 7100)]
    assert supervisor.instance("bad") is bad
    await asyncio.sleep(20)
    assert bad.calls == [("start", began, None), ("stop", began + 10, None)]
    assert len(desk.failures()) == 1
    await supervisor.stop()
    assert bad.names() == ["start", "stop"]


async def test_with_nothing_required_every_instance_is_there_at_once(desk: Desk) -> None:
    """The application can hand its backend what it knows before that has started."""
    bad, supervisor = scripted("start", "hangs"), desk.supervisor()
    await supervisor.start([backend(bad, required=False)])
    assert supervisor.instance("lan") is bad
    await supervisor.stop()
    assert bad.names() == ["start", "stop"]


async def test_no_backends_at_all(desk: Desk) -> None:
    """A node without discovery starts, announces, asks and stops."""
    supervisor = desk.supervisor()
    await supervisor.start([])
    await supervisor.announce(announcement(7100))
    await supervisor.resolve(PEER)
    await supervisor.stop()
    await supervisor.stop()
    assert desk.events == []


async def test_a_backend_that_does_not_advertise_is_told_nothing(desk: Desk) -> None:
    """Neither what was announced before the start nor after."""
    quiet, loud = Scripted(), Scripted()
    supervisor = desk.supervisor()
    await supervisor.announce(announcement(1))
    await supervisor.start([backend(quiet, "quiet", advertise=False), backend(loud, "loud")])
    await supervisor.announce(announcement(2))
    assert (quiet.ports(), loud.ports()) == ([], [1, 2])
    await supervisor.stop()


async def test_time_limits_are_per_source(desk: Desk) -> None:
    """A backend that needs longer to start or stop may be given it."""
    slow = Scripted({"start": lambda: asyncio.sleep(60), "stop": lambda: asyncio.sleep(60)})
    supervisor, began = desk.supervisor(), now()
    await supervisor.start([backend(slow, start_timeout_s=100, stop_timeout_s=100)])
    assert now() - began == pytest.approx(60)
    await supervisor.stop()
    assert now() - began == pytest.approx(120)
    assert desk.failures() == []
    impatient = desk.supervisor()
    with pytest.raises(ExceptionGroup) as caught:
        await impatient.start([backend(Scripted({"start": hanging}), start_timeout_s=0.5)])
    assert "within 0.5 s" in str(caught.value.exceptions[0])


async def test_waiting_announcements_coalesce_and_the_newest_wins(desk: Desk) -> None:
    """While a slow hook runs only the last of many is kept, and nobody waits for more than that."""
    slow = Scripted({"announce_self": lambda: asyncio.sleep(1)})
    supervisor = desk.supervisor()
    await supervisor.start([backend(slow)])
    await asyncio.gather(*(supervisor.announce(announcement(port)) for port in range(1, 6)))
    assert slow.ports() in ([1, 5], [5])
    began = now()
    tasks = [asyncio.create_task(supervisor.announce(announcement(6)))]
    for port in (7, 8, 9):
        await asyncio.sleep(0.1)
        tasks.append(asyncio.create_task(supervisor.announce(announcement(port))))
    await asyncio.gather(*tasks)
    assert slow.ports()[-2:] == [6, 9]
    assert now() - began == pytest.approx(2.0)
    assert slow.overlaps == []
    await supervisor.stop()


async def test_an_announcement_waits_for_the_start(desk: Desk) -> None:
    """Never before `start` has returned, and the newest of those that came meanwhile."""
    slow = Scripted({"start": lambda: asyncio.sleep(3)})
    supervisor, began = desk.supervisor(), now()
    starting = asyncio.create_task(supervisor.start([backend(slow)]))
    await asyncio.sleep(1)
    await asyncio.gather(supervisor.announce(announcement(1)), supervisor.announce(announcement(2)))
    assert slow.calls == [("start", began, None), ("announce_self", began + 3, 2)]
    await starting
    await supervisor.stop()


async def test_whoever_waits_for_an_announcement_is_let_go_at_the_end(desk: Desk) -> None:
    """Stopping cancels the hook; the wait ends, and so does one for a backend that has failed."""
    slow = Scripted({"announce_self": hanging})
    supervisor = desk.supervisor()
    await supervisor.start([backend(slow), backend(scripted("start", "raises"), "bad", required=False)])
    waiting = asyncio.create_task(supervisor.announce(announcement(1)))
    await asyncio.sleep(1)
    assert not waiting.done()
    await supervisor.stop()
    await waiting
    assert slow.names() == ["start", "announce_self", "stop"]
    assert slow.overlaps == []
    await supervisor.announce(announcement(2))
    assert slow.ports() == [1]


async def test_giving_up_on_an_announcement_does_not_undo_it(desk: Desk) -> None:
    """Only the waiting is cancelled."""
    slow = Scripted({"announce_self": lambda: asyncio.sleep(3)})
    supervisor = desk.supervisor()
    await supervisor.start([backend(slow)])
    with anyio.move_on_after(1):
        await supervisor.announce(announcement(1))
    await asyncio.sleep(5)
    assert slow.active == []
    assert desk.failures() == []
    await supervisor.stop()


async def test_lookups_overlap_each_other_and_everything_else(desk: Desk) -> None:
    """A slow lookup holds up neither the next one nor an announcement."""
    slow = Scripted({"resolve": lambda: asyncio.sleep(4)})
    supervisor = desk.supervisor()
    await supervisor.start([backend(slow)])
    began = now()
    await asyncio.gather(*(supervisor.resolve(PEER) for _ in range(5)), supervisor.announce(announcement(1)))
    assert now() - began == pytest.approx(4)
    await supervisor.stop()


async def test_giving_up_on_a_lookup_cancels_it(desk: Desk) -> None:
    """What nobody waits for any more is not looked up, and that is no failure."""
    cancelled = list[float]()

    async def look() -> None:
        try:
            await asyncio.sleep(8)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    supervisor = desk.supervisor()
    await supervisor.start([backend(Scripted({"resolve": look}))])
    began = now()
    with anyio.move_on_after(2):
        await supervisor.resolve(PEER)
    await asyncio.sleep(1)
    assert cancelled == [began + 2]
    assert desk.failures() == []
    await supervisor.stop()


async def test_stopping_cancels_lookups(desk: Desk) -> None:
    """It does not wait for their ten seconds."""
    supervisor = desk.supervisor()
    await supervisor.start([backend(Scripted({"resolve": hanging}))])
    looking = asyncio.create_task(supervisor.resolve(PEER))
    await asyncio.sleep(1)
    began = now()
    await supervisor.stop()
    await looking
    assert now() == began
    assert desk.failures() == []


async def test_a_lookup_that_keeps_failing_is_reported_once(desk: Desk) -> None:
    """Once per reason; again after one that worked."""
    answers: Iterator[Callable[[], Coroutine[Any, Any, object]]] = iter(
        [
            lambda: raising(OSError("no network")),
            lambda: raising(OSError("no network")),
            lambda: raising(ValueError("bad answer")),
            lambda: asyncio.sleep(0),
            lambda: raising(ValueError("bad answer")),
        ]
    )

    async def look() -> None:
        await next(answers)()

    supervisor = desk.supervisor()
    await supervisor.start([backend(Scripted({"resolve": look}))])
    for _ in range(5):
        await supervisor.resolve(PEER)
    assert [failure.partition("raised ")[2] for failure in desk.failures()] == [
        "OSError: no network",
        "ValueError: bad answer",
        "ValueError: bad answer",
    ]
    await supervisor.stop()


async def test_lookups_that_fail_each_in_its_own_way_are_reported_now_and_then(desk: Desk) -> None:
    """Five at once, and one a minute: a message that names the key is new every time."""
    numbers = iter(range(1000))

    async def look() -> None:
        raise KeyError(next(numbers))

    supervisor = desk.supervisor()
    await supervisor.start([backend(Scripted({"resolve": look}))])
    for _ in range(100):
        await supervisor.resolve(PEER)
    assert len(desk.failures()) == 5
    await asyncio.sleep(60)
    await supervisor.resolve(PEER)
    await supervisor.resolve(PEER)
    assert len(desk.failures()) == 6
    await supervisor.stop()


async def test_only_a_running_backend_with_the_hook_looks_peers_up(desk: Desk) -> None:
    """Whoever asks for nothing else can save itself the asking."""

    @attrs.define(eq=False)
    class Deaf(DiscoverySpec):
        @hookimpl
        async def start(self, context: Context) -> None:
            _ = context

    late = Scripted({"start": lambda: asyncio.sleep(3)})
    supervisor = desk.supervisor()
    await supervisor.start([backend(Deaf(), "deaf"), backend(late, "late", required=False)])
    assert not supervisor.resolves()
    await asyncio.sleep(4)
    assert (supervisor.resolves("deaf"), supervisor.resolves("late"), supervisor.resolves()) == (
        False,
        True,
        True,
    )
    await supervisor.stop()
    assert not supervisor.resolves()


async def test_hooks_of_one_instance_never_overlap(desk: Desk) -> None:
    """Stop during a slow start or announcement cancels that first."""
    for hook in ("start", "announce_self"):
        slow = Scripted({hook: lambda: asyncio.sleep(4), "stop": lambda: asyncio.sleep(1)})
        supervisor, began = desk.supervisor(), now()
        await supervisor.announce(announcement(1))
        await supervisor.start([backend(slow, required=False)])
        await asyncio.sleep(2)
        await supervisor.stop()
        assert slow.overlaps == []
        assert slow.calls[-1] == ("stop", began + 2, None)
    assert desk.failures() == []


async def test_a_start_that_swallows_is_over_before_stop_runs(desk: Desk) -> None:
    """Even then no two hooks overlap."""
    bad = Scripted({"start": swallowing})
    supervisor, began = desk.supervisor(), now()
    with pytest.raises(ExceptionGroup):
        await supervisor.start([backend(bad)])
    assert bad.calls == [("start", began, None), ("stop", began + 11, None)]
    assert bad.overlaps == []


async def test_goodbyes_may_use_the_spawned_tasks(desk: Desk) -> None:
    """They are cancelled only after `stop`, and reports still count then."""
    outbox: asyncio.Queue[str] = asyncio.Queue()
    sent = list[str]()

    async def send() -> None:
        while True:
            sent.append(await outbox.get())
            outbox.task_done()

    async def start() -> None:
        assert lan.context is not None
        lan.context.spawn(send(), name="sender")

    async def stop() -> None:
        assert lan.context is not None
        outbox.put_nowait("goodbye")
        await outbox.join()
        lan.context.record_received(b"", ttl_s=1)

    lan = Scripted({"start": start, "stop": stop})
    supervisor = desk.supervisor()
    await supervisor.start([backend(lan)])
    await supervisor.stop()
    assert sent == ["goodbye"]
    assert desk.intake.reports == 1
    assert lan.context is not None
    lan.context.record_received(b"", ttl_s=1)
    assert desk.intake.reports == 1


@pytest.mark.parametrize("hook", ["start", "announce_self"])
async def test_a_task_that_crashes_is_the_backend_s_failure(desk: Desk, hook: str) -> None:
    """Reported with source, provider and exception; the backend runs on, and can still be stopped."""

    async def crash() -> None:
        await asyncio.sleep(3)
        raise ValueError("lost the socket")

    async def act() -> None:
        assert lan.context is not None
        lan.context.spawn(crash(), name="receiver")

    lan, failures = Scripted({hook: act}), list[BackendError]()
    runner = BackendRunner(
        backend(lan), make_context=desk.context, on_started=lambda _: None, on_failed=failures.append
    )
    await runner.start()
    await runner.announce(announcement(1))
    await asyncio.sleep(5)
    assert [str(failure) for failure in failures] == [
        '[discovery.lan], lan (peernet-lan 1.2): task "receiver" raised ValueError: lost the socket'
    ]
    assert isinstance(failures[0].__cause__, ValueError)
    assert runner.state is RunnerState.RUNNING
    await runner.stop()
    assert lan.names() == ["start", "announce_self", "stop"]
    assert runner.instance is None


async def test_threads_are_joined_and_a_crashed_one_is_reported(desk: Desk) -> None:
    """A blocking library's thread ends with its backend."""

    def listen(thread: ThreadContext) -> None:
        thread.record_received(b"", ttl_s=1)
        thread.stopping.wait()

    def crash(_: ThreadContext) -> None:
        raise OSError("no device")

    async def start() -> None:
        assert lan.context is not None
        lan.context.spawn_thread(listen, name="listener")
        lan.context.spawn_thread(crash, name="crasher")

    lan, supervisor = Scripted({"start": start}), desk.supervisor()
    await supervisor.start([backend(lan)])
    await asyncio.sleep(1)
    assert desk.failures() == [
        '[discovery.lan], lan (peernet-lan 1.2): thread "crasher" raised OSError: no device'
    ]
    await supervisor.stop()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("lan")] == []
    assert desk.intake.reports == 1


async def test_what_nothing_can_end_is_named(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A thread that ignores `stopping`, and a hook that waits for a stubborn task of its own."""
    release, async_release = threading.Event(), asyncio.Event()
    inner = list[asyncio.Task[None]]()

    def deaf(_: ThreadContext) -> None:
        release.wait()

    async def stubborn() -> None:
        while not async_release.is_set():
            try:
                await async_release.wait()
            except asyncio.CancelledError:
                continue

    async def start() -> None:
        assert lan.context is not None
        lan.context.spawn_thread(deaf, name="deaf")
        inner.append(asyncio.create_task(stubborn()))
        await inner[0]

    lan, supervisor = Scripted({"start": start}), desk.supervisor()
    with pytest.raises(ExceptionGroup) as caught:
        await supervisor.start([backend(lan)])
    assert "was abandoned" in str(caught.value.exceptions[0])
    assert supervisor.left_running == ("lan: start", "lan: deaf")
    assert "nothing ends it: lan: start, lan: deaf" in caplog.text
    assert lan.names() == ["start", "stop"]
    release.set()
    async_release.set()
    await asyncio.wait(inner)


@pytest.mark.parametrize("how", ["asyncio", "anyio"])
async def test_a_cancelled_start_is_undone(desk: Desk, how: str) -> None:
    """Whoever cancels gets its cancellation, after every backend that was entered has been stopped."""
    quick, slow = Scripted({"stop": lambda: asyncio.sleep(2)}), Scripted({"start": lambda: asyncio.sleep(8)})
    supervisor, began = desk.supervisor(), now()
    backends = [backend(quick, "quick"), backend(slow, "slow")]
    if how == "anyio":
        with anyio.move_on_after(3) as scope:
            await supervisor.start(backends)
        assert scope.cancelled_caught
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await supervisor.start(backends)
    assert now() - began == pytest.approx(5)
    assert quick.names() == slow.names() == ["start", "stop"]
    assert desk.failures() == []
    assert not await unfinished_tasks()


async def test_a_cancelled_stop_still_stops(desk: Desk) -> None:
    """Being told to hurry does not leave a backend half stopped."""
    slow = Scripted({"stop": lambda: asyncio.sleep(2)})
    supervisor = desk.supervisor()
    await supervisor.start([backend(slow)])
    began = now()
    with anyio.move_on_after(0.5):
        await supervisor.stop()
    assert now() - began == pytest.approx(2)
    assert slow.active == []
    assert not await unfinished_tasks()


async def test_stop_comes_while_starting(desk: Desk) -> None:
    """The start ends with an error that says so; a later start, too; nothing is left."""
    slow, supervisor = Scripted({"start": lambda: asyncio.sleep(8)}), desk.supervisor()
    starting = asyncio.create_task(supervisor.start([backend(slow)]))
    await asyncio.sleep(1)
    await asyncio.gather(supervisor.stop(), supervisor.stop())
    with pytest.raises(NodeClosedError):
        await starting
    assert slow.names() == ["start", "stop"]
    never = desk.supervisor()
    await never.stop()
    with pytest.raises(NodeClosedError):
        await never.start([backend(Scripted())])


async def test_a_runner_stopped_before_its_start_never_makes_an_instance(desk: Desk) -> None:
    """There is nothing to undo then, and nobody waits."""
    runner = BackendRunner(backend(Scripted()), make_context=desk.context, on_started=print, on_failed=print)
    await runner.stop()
    with pytest.raises(NodeClosedError):
        await runner.start()
    await runner.announce(announcement(1))
    await runner.resolve(PEER)
    assert (desk.contexts, desk.events) == ([], [])
    assert runner.state is RunnerState.STOPPED


@attrs.define(eq=False)
class Unmakeable(Scripted):
    made: ClassVar[int] = 0

    def __attrs_post_init__(self) -> None:
        raise OSError("no such device")


@attrs.define(eq=True)
class Equal(Scripted):
    pass


@attrs.define(eq=False)
class Lazy:
    """No start."""

    @hookimpl
    async def stop(self) -> None: ...


@attrs.define(eq=False)
class Blocking:
    @hookimpl
    def start(self, context: Context) -> None: ...


@attrs.define(eq=False)
class Misspelt(Scripted):
    @hookimpl
    async def anounce_self(self, announcement: Announcement) -> None: ...


@attrs.define(eq=False)
class Demanding:
    @hookimpl
    async def start(self, context: Context, more: int) -> None: ...


@attrs.define(eq=False)
class Grumpy(Scripted):
    @property
    def mood(self) -> str:
        raise KeyboardInterrupt


@attrs.define(eq=False)
class Forward(Scripted):
    """Made for a later core."""

    @hookimpl(optionalhook=True)
    async def network_changed(self) -> None: ...


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Unmakeable, "it cannot be made: OSError: no such device"),
        (lambda: sys.exit(5), "it cannot be made: SystemExit: 5"),
        (lambda: Scripted, "it is the class Scripted and no instance of it"),
        (Equal, "Equal needs @attrs.define(eq=False)"),
        (Lazy, "it has no start, the one hook that must be there"),
        (Blocking, "start is no coroutine function; write async def start"),
        (Misspelt, "it does not fit the contract: PluginValidationError: unknown hook 'anounce_self'"),
        (Demanding, "it does not fit the contract: PluginValidationError: Plugin 'lan'"),
        (lambda: None, "nothing was made"),
    ],
)
async def test_what_is_no_backend_fails_alone(desk: Desk, make: Callable[[], object], told: str) -> None:
    """Before any of its hooks is called, with the reason; the other backend starts."""
    good, supervisor = Scripted(), desk.supervisor()
    bad = attrs.evolve(backend(None, required=False), make=make)
    await supervisor.start([bad, backend(good, "good")])
    await asyncio.sleep(1)
    assert desk.started() == ["good"]
    (failure,) = desk.failures()
    assert failure.startswith(f"[discovery.lan], lan (peernet-lan 1.2): {told}")
    await supervisor.announce(announcement(1))
    assert good.ports() == [1]
    await supervisor.stop()


@pytest.mark.parametrize("cls", [Grumpy, Forward])
async def test_what_is_odd_but_a_backend_runs_or_fails_alone(desk: Desk, cls: type[Scripted]) -> None:
    """1.6 of pluggy reads every attribute, 1.7 none; an optional hook of a later core is passed over."""
    odd, good, supervisor = cls(), Scripted(), desk.supervisor()
    await supervisor.start([backend(odd, required=False), backend(good, "good")])
    await supervisor.announce(announcement(1))
    assert good.ports() == [1]
    assert odd.ports() == [1] or len(desk.failures()) == 1
    await supervisor.stop()


async def test_a_configuration_mistake_found_at_making_says_itself(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A secret's file that is gone by now is the user's to mend: no traceback."""

    def make() -> object:
        raise ConfigurationError(["peernet.toml [discovery.lan] token: no file secret.txt"])

    supervisor = desk.supervisor()
    with pytest.raises(ExceptionGroup) as caught:
        await supervisor.start([attrs.evolve(backend(None), make=make)])
    assert "no file secret.txt" in str(caught.value.exceptions[0])
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info for record in errors] == [None]


async def test_several_instances_of_one_backend_in_several_nodes(desk: Desk) -> None:
    """Each is told only what is meant for it."""
    first, second, third = Scripted(), Scripted(), Scripted()
    one, two = desk.supervisor(), desk.supervisor()
    await one.start([backend(first, "a"), backend(second, "b")])
    await two.start([backend(third, "a")])
    await asyncio.gather(one.announce(announcement(1)), two.announce(announcement(2)))
    assert [each.ports() for each in (first, second, third)] == [[1], [1], [2]]
    await one.stop()
    assert third.names() == ["start", "announce_self"]
    await two.announce(announcement(3))
    await two.stop()
    assert third.ports() == [2, 3]


async def test_what_an_instance_lacks_is_not_called(desk: Desk) -> None:
    """Only `start` must be there."""

    @attrs.define(eq=False)
    class Small:
        started: bool = False

        @hookimpl
        async def start(self, context: Context) -> None:
            del context
            self.started = True

    small, supervisor = Small(), desk.supervisor()
    await supervisor.start([backend(small)])
    await supervisor.announce(announcement(1))
    await supervisor.resolve(PEER)
    await supervisor.stop()
    assert small.started
    assert desk.failures() == []


async def test_misuse_by_the_node_is_an_error(desk: Desk) -> None:
    """Two sources of one name, a second start, a source that does not exist."""
    supervisor = desk.supervisor()
    with pytest.raises(ValueError, match="two backends of one source"):
        await supervisor.start([backend(Scripted()), backend(Scripted())])
    await supervisor.start([backend(Scripted())])
    with pytest.raises(ValueError, match="once"):
        await supervisor.start([])
    with pytest.raises(BackendError, match="there are: lan"):
        supervisor.instance("wan")
    await supervisor.stop()


async def test_a_mistake_of_ours_is_not_blamed_on_the_backend(desk: Desk) -> None:
    """A context that cannot be made raises as what it is."""

    def make_context(_: Backend) -> HostContext:
        raise ZeroDivisionError

    supervisor = Supervisor(make_context=make_context, publish=desk.events.append)
    with pytest.raises(ZeroDivisionError):
        await supervisor.start([backend(Scripted())])
    assert desk.events == []


def test_no_exception_is_forgotten() -> None:
    """The loop complains of one when its task is collected; whatever backends do, it has nothing to say."""
    complaints = list[str]()

    async def run(behaviour: str) -> None:
        supervisor = Desk().supervisor()
        bad = Scripted(dict.fromkeys(HOOKS[1:], BEHAVIOURS[behaviour][0]))
        worse = scripted("start", behaviour)
        await supervisor.start([backend(bad, "bad"), backend(worse, "worse", required=False)])
        await supervisor.announce(announcement(1))
        await supervisor.resolve(PEER)
        await asyncio.sleep(20)
        await supervisor.stop()

    with asyncio.Runner(loop_factory=JumpingEventLoop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        for behaviour in BEHAVIOURS:
            runner.run(run(behaviour))
        gc.collect()
    assert complaints == []


def test_a_loop_that_shuts_down_takes_backends_with_it() -> None:
    """Without a stop, as when the process is interrupted: `stop` runs once, and the loop can close."""
    lan = Scripted({"start": hanging})
    desks = list[Desk]()

    async def spawn() -> None:
        assert running.context is not None
        running.context.spawn(hanging())

    running = Scripted({"start": spawn})

    async def run() -> None:
        desks.append(Desk())
        supervisor = desks[0].supervisor()
        await supervisor.start([backend(lan, required=False), backend(running, "running")])
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert lan.names() == running.names() == ["start", "stop"]
    assert not [failure for failure in desks[0].failures() if "task" in failure]


async def test_a_runner_whose_start_is_cancelled_stops(desk: Desk) -> None:
    """Before the cancellation goes on."""
    slow, began = Scripted({"start": lambda: asyncio.sleep(8), "stop": lambda: asyncio.sleep(2)}), now()
    runner = BackendRunner(backend(slow), make_context=desk.context, on_started=print, on_failed=print)
    with anyio.move_on_after(1):
        await runner.start()
    assert now() - began == pytest.approx(3)
    assert slow.names() == ["start", "stop"]
    assert runner.state is RunnerState.STOPPED
