"""What a backend may call: its own mistakes are named, the network's are not, and all it runs is ended."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.threads import Mailbox
from peernet_core.contract import NetworkMonitor, Sighting, ThreadContext
from peernet_core.errors import MalformedAddressError
from peernet_core.keys import Identity, PeerKey

OWN, PEER = (Identity.generate().key for _ in range(2))
IP = IPv4Address("10.0.0.5")
TIMEOUT_S = 5.0

Call = tuple[Any, ...]


@attrs.define
class FakeIntake:
    """Writes down what it is told; every record that starts with 'r' is one of PEER's."""

    calls: list[Call] = attrs.field(factory=list)

    def record_received(
        self,
        source: str,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool,
        heard: tuple[IPAddress, str] | None,
    ) -> Sighting | None:
        self.calls.append(("record", source, record, ttl_s, renew, heard))
        return self._sighting(source, IP, 7100) if record.startswith(b"r") else None

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        self.calls.append(("address", source, key, ip, port, ttl_s, configured))
        return self._sighting(source, ip, port)

    def peer_lost(self, sighting: Sighting) -> None:
        self.calls.append(("lost", sighting.id))

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        self.calls.append(("source lost", source, key, ip, port))

    def _sighting(self, source: str, ip: IPAddress, port: int) -> Sighting:
        return Sighting(len(self.calls), PEER, source, (Address(ip, port, source),))


@attrs.define
class FakeNetwork:
    snapshot: NetworkSnapshot = attrs.field(factory=NetworkSnapshot)

    async def changed(self) -> NetworkSnapshot:
        await asyncio.Event().wait()
        return self.snapshot


def make(intake: FakeIntake | None = None) -> tuple[HostContext, FakeIntake, list[tuple[str, BaseException]]]:
    intake = FakeIntake() if intake is None else intake
    context = HostContext("lan", key=OWN, intake=intake, network=FakeNetwork())
    crashes = list[tuple[str, BaseException]]()
    context.on_crash = lambda what, error: crashes.append((what, error))
    return context, intake, crashes


async def test_a_backend_sees_who_it_is_and_where() -> None:
    """Key, source, network, loop time, and aliases of the peers that it looks for."""
    context, _, _ = make()
    network: NetworkMonitor = context.network
    assert (context.key, context.source, network.snapshot) == (OWN, "lan", NetworkSnapshot())
    assert context.alias(PEER) == PEER.alias
    before = context.clock()
    await asyncio.sleep(60)
    assert context.clock() == pytest.approx(before + 60)


async def test_a_record_goes_to_the_node_as_it_came() -> None:
    """The sighting comes back; None for what is no record."""
    context, intake, _ = make()
    sighting = context.record_received(b"r1", ttl_s=120)
    assert sighting is not None
    assert sighting.source == "lan"
    assert context.record_received(b"", ttl_s=1.5, renew=False, heard=(IP, "eth0")) is None
    assert intake.calls == [
        ("record", "lan", b"r1", 120.0, True, None),
        ("record", "lan", b"", 1.5, False, (IP, "eth0")),
    ]
    context.peer_lost(sighting)
    assert intake.calls[-1] == ("lost", sighting.id)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_other_kinds_of_bytes_are_bytes(kind: Callable[[bytes], bytes]) -> None:
    """A library that hands out a view of its buffer may change it later; the node keeps a copy."""
    context, intake, _ = make()
    context.record_received(kind(b"record"), ttl_s=1)
    assert intake.calls[0][2] == b"record"
    assert type(intake.calls[0][2]) is bytes


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        (("10.0.0.9", "eth0"), ("10.0.0.9", "eth0")),
        (("::ffff:10.0.0.9", "eth0"), ("10.0.0.9", "eth0")),
        (("fe80::9", "eth0"), ("fe80::9%eth0", "eth0")),
        (("fe80::9%2", "eth0"), ("fe80::9%eth0", "eth0")),
        (("64:ff9b::a00:9", "eth0"), None),
        (("fe80::9", "et%h0"), None),
    ],
)
async def test_the_sender_s_address_comes_in_its_one_form(
    heard: tuple[str, str], told: tuple[str, str] | None
) -> None:
    """Unmapped, with the interface as zone; one that is nobody's is no address, and no reason to raise."""
    context, intake, _ = make()
    context.record_received(b"r", ttl_s=1, heard=(ip_address(heard[0]), heard[1]))
    assert intake.calls[0][-1] == (told and (ip_address(told[0]), told[1]))


async def test_an_address_goes_to_the_node_with_its_source() -> None:
    """With a lease or without; as a hint or as the operator's word."""
    context, intake, _ = make()
    assert context.peer_discovered(PEER, IP, 7100).addresses == (Address(IP, 7100, "lan"),)
    context.peer_discovered(PEER, IPv6Address("fe80::5%eth0"), 7100, ttl_s=30, configured=True)
    context.peer_discovered(PEER, IPv6Address("::ffff:10.0.0.5"), 7100)
    assert intake.calls == [
        ("address", "lan", PEER, IP, 7100, None, False),
        ("address", "lan", PEER, IPv6Address("fe80::5%eth0"), 7100, 30.0, True),
        ("address", "lan", PEER, IP, 7100, None, False),
    ]


async def test_only_the_operator_may_name_an_address_that_stands_for_another() -> None:
    """On a network with nothing but NAT64 such an address is the way to the peer."""
    context, intake, _ = make()
    with pytest.raises(MalformedAddressError, match="peer_discovered"):
        context.peer_discovered(PEER, IPv6Address("64:ff9b::a00:5"), 7100)
    context.peer_discovered(PEER, IPv6Address("64:ff9b::a00:5"), 7100, configured=True)
    assert len(intake.calls) == 1


MISTAKES: dict[str, tuple[Callable[[HostContext], object], type[Exception], str]] = {
    "text as record": (lambda c: c.record_received("r", ttl_s=1), TypeError, "record_received: record"),  # type: ignore[arg-type]  # the mistake
    "no record": (lambda c: c.record_received(None, ttl_s=1), TypeError, "record_received: record"),  # type: ignore[arg-type]  # the mistake
    "lease of text": (lambda c: c.record_received(b"", ttl_s="1"), TypeError, "record_received: ttl_s"),  # type: ignore[arg-type]  # the mistake
    "lease of truth": (lambda c: c.record_received(b"", ttl_s=True), TypeError, "record_received: ttl_s"),
    "lease of nothing": (lambda c: c.record_received(b"", ttl_s=0), ValueError, "record_received: ttl_s"),
    "lease before now": (lambda c: c.record_received(b"", ttl_s=-1), ValueError, "record_received: ttl_s"),
    "endless lease": (lambda c: c.record_received(b"", ttl_s=math.inf), ValueError, "finite"),
    "lease of nan": (lambda c: c.record_received(b"", ttl_s=math.nan), ValueError, "finite"),
    "renew": (lambda c: c.record_received(b"", ttl_s=1, renew=None), TypeError, "renew"),  # type: ignore[arg-type]  # the mistake
    "heard an ip": (lambda c: c.record_received(b"", ttl_s=1, heard=IP), TypeError, "heard"),  # type: ignore[arg-type]  # the mistake
    "heard text": (lambda c: c.record_received(b"", ttl_s=1, heard=("10.0.0.5", "eth0")), TypeError, "heard"),  # type: ignore[arg-type]  # the mistake
    "heard an index": (lambda c: c.record_received(b"", ttl_s=1, heard=(IP, 2)), TypeError, "heard"),  # type: ignore[arg-type]  # the mistake
    "key as text": (lambda c: c.peer_discovered(str(PEER), IP, 1), TypeError, "peer_discovered: key"),  # type: ignore[arg-type]  # the mistake
    "ip as text": (lambda c: c.peer_discovered(PEER, "10.0.0.5", 1), TypeError, "peer_discovered: ip"),  # type: ignore[arg-type]  # the mistake
    "port as text": (lambda c: c.peer_discovered(PEER, IP, "1"), TypeError, "peer_discovered: port"),  # type: ignore[arg-type]  # the mistake
    "port of truth": (lambda c: c.peer_discovered(PEER, IP, True), TypeError, "peer_discovered: port"),
    "port 0": (lambda c: c.peer_discovered(PEER, IP, 0), MalformedAddressError, "peer_discovered: .*port"),
    "port 65536": (lambda c: c.peer_discovered(PEER, IP, 65536), MalformedAddressError, "port"),
    "any address": (lambda c: c.peer_discovered(PEER, IPv4Address(0), 1), MalformedAddressError, "0.0.0.0"),
    "multicast": (
        lambda c: c.peer_discovered(PEER, IPv6Address("ff02::fb"), 1),
        MalformedAddressError,
        "ff02",
    ),
    "no zone": (lambda c: c.peer_discovered(PEER, IPv6Address("fe80::1"), 1), MalformedAddressError, "zone"),
    "hint's lease": (lambda c: c.peer_discovered(PEER, IP, 1, ttl_s=0), ValueError, "peer_discovered: ttl_s"),
    "configured": (lambda c: c.peer_discovered(PEER, IP, 1, configured=1), TypeError, "configured"),  # type: ignore[arg-type]  # the mistake
    "lost nothing": (lambda c: c.peer_lost(None), TypeError, "peer_lost"),  # type: ignore[arg-type]  # the mistake
    "lost a key": (lambda c: c.peer_lost(PEER), TypeError, "peer_lost"),  # type: ignore[arg-type]  # the mistake
    "lost another's": (lambda c: c.peer_lost(Sighting(1, PEER, "other", ())), ValueError, "other"),
    "alias of text": (lambda c: c.alias("x"), TypeError, "alias"),  # type: ignore[arg-type]  # the mistake
    "spawn a function": (lambda c: c.spawn(asyncio.sleep), TypeError, "spawn: .*call it"),  # type: ignore[arg-type]  # the mistake
    "spawn nothing": (lambda c: c.spawn(None), TypeError, "spawn"),  # type: ignore[arg-type]  # the mistake
    "thread of nothing": (lambda c: c.spawn_thread(None), TypeError, "spawn_thread"),  # type: ignore[arg-type]  # the mistake
    "thread of async": (lambda c: c.spawn_thread(asyncio.sleep), TypeError, "spawn_thread: .*use spawn"),  # type: ignore[arg-type]  # the mistake
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_backend_s_own_mistake_is_named_at_its_call(mistake: str) -> None:
    """Type or value, with the name of the call, before anything reaches the node."""
    context, intake, _ = make()
    call, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        call(context)
    assert intake.calls == []


@given(
    record=st.binary(max_size=300),
    ttl_s=st.floats(min_value=1e-9, max_value=1e9),
    ip=st.ip_addresses(),
    interface=st.text(max_size=20),
)
async def test_nothing_that_the_network_sends_raises(
    record: bytes, ttl_s: float, ip: IPAddress, interface: str
) -> None:
    """Any bytes, from any sender."""
    context, intake, _ = make()
    context.record_received(record, ttl_s=ttl_s, heard=(ip, interface))
    assert intake.calls[0][2] == record


@given(ip=st.ip_addresses(), port=st.integers(-1, 70000))
async def test_any_address_is_taken_or_refused_by_the_one_error(ip: IPAddress, port: int) -> None:
    """A backend that parses addresses off its medium needs to catch nothing else."""
    context, intake, _ = make()
    try:
        sighting = context.peer_discovered(PEER, ip, port)
    except MalformedAddressError:
        assert intake.calls == []
    else:
        assert sighting.addresses[0].port == port


async def test_a_call_from_another_thread_says_what_to_use() -> None:
    """It would corrupt the node's state silently."""
    context, intake, _ = make()
    errors = list[BaseException]()

    def report() -> None:
        try:
            context.record_received(b"r", ttl_s=1)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=report, name="stray")
    thread.start()
    thread.join()
    assert intake.calls == []
    assert "'stray'" in str(errors[0])
    assert "ThreadContext" in str(errors[0])


async def test_after_the_end_reports_are_dropped_counted_and_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A backend's forgotten callback has no effect, and does not fill the log."""
    context, intake, _ = make()
    context.log.info("still here")
    assert await context.aclose(thread_timeout_s=TIMEOUT_S) == ()
    assert context.record_received(b"r", ttl_s=1) is None
    late = context.peer_discovered(PEER, IP, 7100)
    assert late.addresses == (Address(IP, 7100, "lan"),)
    context.peer_lost(late)
    context.spawn(asyncio.sleep(1))
    context.spawn_thread(print)
    assert intake.calls == []
    assert context.late == 5
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("[discovery.lan] record_received")


async def test_a_sighting_that_came_too_late_is_none_of_the_node_s() -> None:
    """Its handle, given to a context that is still open, ends nothing."""
    closed, _, _ = make()
    await closed.aclose(thread_timeout_s=TIMEOUT_S)
    late = closed.peer_discovered(PEER, IP, 7100)
    context, intake, _ = make()
    context.peer_lost(late)
    assert intake.calls == []


async def test_the_log_carries_the_source(caplog: pytest.LogCaptureFixture) -> None:
    """Lines of two instances of one backend can be told apart, by eye and by a handler."""
    context, _, _ = make()
    with caplog.at_level(logging.INFO):
        context.log.info("%d browsers", 2, extra={"more": 1})
    record = caplog.records[0]
    assert record.getMessage() == "[discovery.lan] 2 browsers"
    assert (record.__dict__["source"], record.__dict__["more"]) == ("lan", 1)


async def test_spawned_tasks_run_by_name_and_are_cancelled_at_the_end() -> None:
    """Core owns them; a backend needs to keep nothing."""
    context, _, crashes = make()
    ended = list[str]()

    async def browse(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    context.spawn(browse("a"), name="browser")
    context.spawn(browse("b"))
    await asyncio.sleep(1)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert {"lan: browser", f"lan: {browse.__qualname__}"} <= names
    assert await context.aclose(thread_timeout_s=TIMEOUT_S) == ()
    assert sorted(ended) == ["a", "b"]
    assert crashes == []


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
async def test_a_task_that_crashes_is_reported_and_no_other_touched(error: BaseException) -> None:
    """With its name and the exception; a task that simply ends is no crash."""
    context, _, crashes = make()
    ticks = list[int]()

    async def crash() -> None:
        await asyncio.sleep(1)
        raise error

    async def tick() -> None:
        for number in range(5):
            await asyncio.sleep(1)
            ticks.append(number)

    context.spawn(crash(), name="sender")
    context.spawn(tick())
    await asyncio.sleep(10)
    assert crashes == [('task "sender"', error)]
    assert len(ticks) == 5
    await context.aclose(thread_timeout_s=TIMEOUT_S)


async def test_a_task_that_raises_when_it_is_told_to_end_is_no_crash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is over anyway; the log says what it did."""
    context, _, crashes = make()

    async def untidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("lost my keys")

    context.spawn(untidy(), name="untidy")
    await asyncio.sleep(1)
    await context.aclose(thread_timeout_s=TIMEOUT_S)
    assert crashes == []
    assert 'task "untidy" raised when it was told to end: ValueError: lost my keys' in caplog.text


async def test_a_task_that_swallows_cancellation_is_ended_all_the_same() -> None:
    """Closing takes its second of grace and no more."""
    context, _, _ = make()

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    for _ in range(3):
        context.spawn(stubborn())
    await asyncio.sleep(1)
    before = context.clock()
    assert await context.aclose(thread_timeout_s=TIMEOUT_S) == ()
    assert context.clock() - before < 1.5


async def test_a_task_that_nothing_ends_is_named() -> None:
    """It waits for a task that it started behind core's back."""
    context, _, _ = make()
    release = asyncio.Event()
    inner = list[asyncio.Task[None]]()

    async def swallow() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def delegate() -> None:
        inner.append(asyncio.create_task(swallow()))
        await inner[0]

    context.spawn(delegate(), name="delegate")
    await asyncio.sleep(1)
    assert await context.aclose(thread_timeout_s=TIMEOUT_S) == ("lan: delegate",)
    release.set()
    await asyncio.wait(inner)


async def test_a_thread_reports_through_the_loop_and_ends_when_told() -> None:
    """The same reports, in order, from a thread that core joins; its last words count."""
    context, intake, crashes = make()
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def listen(thread: ThreadContext) -> None:
        thread.record_received(b"r", ttl_s=60, renew=False, heard=(IP, "eth0"))
        thread.peer_discovered(PEER, IP, 7100, ttl_s=5, configured=True)
        loop.call_soon_threadsafe(started.set)
        thread.stopping.wait()
        thread.peer_lost(PEER, IP, 7100)
        thread.peer_lost(PEER, IPv6Address("::ffff:10.0.0.5"))
        thread.peer_lost(PEER, IPv6Address("64:ff9b::a00:5"))
        thread.peer_lost(thread.key)

    context.spawn_thread(listen, name="listener")
    await started.wait()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("lan")] == [
        "lan: listener"
    ]
    assert await context.aclose(thread_timeout_s=TIMEOUT_S) == ()
    assert intake.calls == [
        ("record", "lan", b"r", 60.0, False, (IP, "eth0")),
        ("address", "lan", PEER, IP, 7100, 5.0, True),
        ("source lost", "lan", PEER, IP, 7100),
        ("source lost", "lan", PEER, IP, None),
        ("source lost", "lan", PEER, IPv6Address("64:ff9b::a00:5"), None),
        ("source lost", "lan", OWN, None, None),
    ]
    assert crashes == []


async def test_a_mistake_in_a_thread_raises_in_that_thread() -> None:
    """At its call, where the author sees it; then it is a crash like any other."""
    context, intake, crashes = make()

    def listen(thread: ThreadContext) -> None:
        thread.peer_discovered(PEER, IP, 0)

    def lose(thread: ThreadContext) -> None:
        thread.peer_lost("peer")  # type: ignore[arg-type]  # the mistake

    context.spawn_thread(listen, name="listener")
    context.spawn_thread(lose)
    await asyncio.sleep(1)
    assert {what: type(error) for what, error in crashes} == {
        f'thread "{lose.__qualname__}"': TypeError,
        'thread "listener"': MalformedAddressError,
    }
    assert intake.calls == []
    await context.aclose(thread_timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1)], ids=repr)
async def test_a_thread_that_crashes_is_reported(error: BaseException) -> None:
    """Also by SystemExit, which would otherwise end it silently."""
    context, _, crashes = make()

    def crash(_: ThreadContext) -> None:
        raise error

    context.spawn_thread(crash, name="listener")
    await asyncio.sleep(1)
    assert crashes == [('thread "listener"', error)]
    await context.aclose(thread_timeout_s=TIMEOUT_S)


async def test_a_thread_that_ignores_stopping_is_named_and_left(caplog: pytest.LogCaptureFixture) -> None:
    """Closing waits for its time-out, no longer; what it reports later is dropped."""
    context, intake, _ = make()
    release, reported = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def deaf(thread: ThreadContext) -> None:
        release.wait()
        thread.record_received(b"r", ttl_s=1)
        loop.call_soon_threadsafe(reported.set)

    context.spawn_thread(deaf, name="deaf")
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "lan: deaf")
    before = context.clock()
    assert await context.aclose(thread_timeout_s=TIMEOUT_S) == ("lan: deaf",)
    assert context.clock() - before == pytest.approx(TIMEOUT_S)
    release.set()
    await reported.wait()
    await asyncio.sleep(1)
    assert intake.calls == []
    assert context.late == 1
    assert "no effect" in caplog.text


async def test_a_thread_that_floods_loses_its_oldest_reports(caplog: pytest.LogCaptureFixture) -> None:
    """The queue is bounded, the newest survive in order, and the loss is counted and logged."""
    context, intake, _ = make()
    flooded = threading.Event()

    def flood(thread: ThreadContext) -> None:
        for number in range(5000):
            thread.record_received(str(number).encode(), ttl_s=1)
        flooded.set()

    context.spawn_thread(flood)
    flooded.wait()  # the loop is kept from reading meanwhile
    assert await context.aclose(thread_timeout_s=TIMEOUT_S) == ()
    numbers = [int(call[2]) for call in intake.calls]
    assert numbers == list(range(5000 - 1024, 5000))
    assert context.dropped == 5000 - 1024
    assert "3976 reports of threads were dropped" in caplog.text


async def test_a_flood_does_not_keep_the_loop_from_other_work() -> None:
    """Between batches other callbacks get their turn."""
    delivered = list[object]()
    mailbox = Mailbox(delivered.append)
    for _ in range(1000):
        mailbox.put(b"")  # type: ignore[arg-type]  # a mailbox does not look inside
    seen = list[int]()
    while len(delivered) < 1000:
        await asyncio.sleep(0)
        seen.append(len(delivered))
    assert len(seen) >= 1000 // 64
    assert mailbox.dropped == 0


async def test_a_mailbox_outlives_a_failure_of_its_reader() -> None:
    """One report that breaks the reader does not stop those behind it."""
    delivered = list[object]()

    def deliver(report: object) -> None:
        delivered.append(report)
        if report == 0:
            raise ValueError("broken")

    mailbox = Mailbox(deliver)
    loop = asyncio.get_running_loop()
    caught = list[object]()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: caught.append(context.get("exception")))
    for report in range(3):
        mailbox.put(report)  # type: ignore[arg-type]  # a mailbox does not look inside
    await asyncio.sleep(1)
    loop.set_exception_handler(handler)
    assert delivered == [0, 1, 2]
    assert [type(error) for error in caught] == [ValueError]


def test_a_thread_that_outlives_its_loop_does_no_harm() -> None:
    """Its reports go nowhere, and it ends without an exception."""
    release, ended = threading.Event(), threading.Event()

    def late(thread: ThreadContext) -> None:
        release.wait()
        thread.record_received(b"r", ttl_s=1)
        ended.set()

    async def run() -> None:
        context, _, _ = make()
        context.spawn_thread(late, name="late")

    asyncio.run(run())
    release.set()
    assert ended.wait(10)
