"""The host's own network: read from the system, watched, and kept when the system does not answer."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path
from unittest.mock import Mock

import attrs
import ifaddr
import pytest

from peernet_core import network
from peernet_core.addresses import Interface, NetworkSnapshot
from peernet_core.contract import NetworkMonitor
from peernet_core.engine import Engine
from peernet_core.network import read_network
from peernet_core.network_watch import KernelMessages, NetworkWatch, open_kernel_messages, time_asleep_s

ETH0 = Interface("eth0", 2, (IPv4Interface("10.0.0.5/24"), IPv6Interface("fe80::5/64")))
WLAN0 = Interface("wlan0", 3, (IPv4Interface("192.168.1.7/24"),))
ONE = NetworkSnapshot((ETH0,))
TWO = NetworkSnapshot((ETH0, WLAN0))


@attrs.define
class FakeSystem:
    """Answers with what it is told to, or fails with it."""

    answer: NetworkSnapshot | Exception

    def __call__(self) -> NetworkSnapshot:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_loopback_is_found_on_this_host() -> None:
    """The real system answers, with prefix lengths and indexes."""
    interfaces = {interface.name: interface for interface in read_network().interfaces}
    loopback = next(interface for interface in interfaces.values() if interface.is_loopback)
    assert IPv4Interface("127.0.0.1/8") in loopback.addresses
    assert loopback.index == socket.if_nametoindex(loopback.name)


def test_what_it_says_agrees_with_the_system_s_own_tool() -> None:
    """Every address that iproute2 lists on an interface that is up is there."""
    ip = shutil.which("ip")
    if ip is None:
        pytest.skip("needs iproute2")
    text = subprocess.run([ip, "-brief", "address"], check=True, capture_output=True, text=True).stdout
    listed = {
        (fields[0].partition("@")[0], address)
        for fields in map(str.split, text.splitlines())
        if fields[1] == "UP" or fields[0] == "lo"
        for address, before in zip(fields[2:], fields[1:], strict=False)
        if "/" in address and before != "peer"  # the far end of a point-to-point link
    }
    found = {(each.name, str(address)) for each in read_network().interfaces for address in each.addresses}
    assert listed <= found


def test_labels_of_one_interface_are_one_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """eth0:1 is a label on an address; an interface that has gone is left out; order means nothing."""
    adapters = [
        adapter("wlan0", 3, ("192.168.1.7", 24)),
        adapter("eth0", 2, ("10.0.0.5", 24), (("fe80::5", 0, 2), 64)),
        adapter("eth0:1", 2, ("10.0.0.6", 24), ("10.0.0.5", 24)),
        adapter("gone", None, ("10.9.9.9", 24)),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)
    monkeypatch.setattr(fcntl, "ioctl", flags_of({"eth0": UP, "wlan0": UP}))
    expected = Interface("eth0", 2, (*ETH0.addresses, IPv4Interface("10.0.0.6/24")))
    assert read_network().interfaces == (expected, WLAN0)


def adapter(
    name: str, index: int | None, *addresses: tuple[str | tuple[str, int, int], int]
) -> ifaddr.Adapter:
    return ifaddr.Adapter(name, name, [ifaddr.IP(ip, prefix, name) for ip, prefix in addresses], index)


UP = 0x1043  # up, running, and two bits that do not matter


def flags_of(flags: dict[str, int]) -> Callable[..., bytes]:
    """The ioctl of a system whose interfaces have these flags."""

    def ioctl(_: object, __: int, request: bytes) -> bytes:
        name = request[:16].rstrip(b"\0").decode()
        if name not in flags:
            raise OSError(errno.ENODEV, "No such device")
        return request[:16] + struct.pack("=H", flags[name]) + request[18:]

    return ioctl


@pytest.mark.parametrize(
    ("flags", "there"),
    [(UP, True), (0x1, False), (0x40, False), (0x1002, False), (0x1003, False)],
    ids=["up", "no carrier", "down, with a carrier", "down", "up, no carrier"],
)
def test_an_interface_is_there_when_it_is_up_and_has_a_carrier(
    flags: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is reached through one that was taken down, or whose cable was pulled."""
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [adapter("wlan0", 3, ("192.168.1.7", 24))])
    monkeypatch.setattr(fcntl, "ioctl", flags_of({"wlan0": flags}))
    assert read_network().interfaces == ((WLAN0,) if there else ())


@pytest.mark.parametrize(
    ("number", "there"), [(errno.ENODEV, False), (errno.ENXIO, False), (errno.EPERM, True)]
)
def test_an_interface_whose_flags_are_unknown_counts_as_up(
    number: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the reason is that it has gone since it was listed."""

    def refuse(*_: object) -> bytes:
        raise OSError(number, "no")

    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [adapter("wlan0", 3, ("192.168.1.7", 24))])
    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert read_network().interfaces == ((WLAN0,) if there else ())


def test_where_no_flags_can_be_asked_every_interface_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of descriptors nothing is said at all: that will pass."""
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [adapter("wlan0", 3, ("192.168.1.7", 24))])
    errors = iter([errno.EAFNOSUPPORT, errno.EMFILE])

    def refuse(*_: object) -> socket.socket:
        raise OSError(next(errors), "no")

    monkeypatch.setattr(socket, "socket", refuse)
    assert read_network().interfaces == (WLAN0,)
    with pytest.raises(OSError, match="no") as caught:
        read_network()
    assert caught.value.errno == errno.EMFILE


@pytest.mark.parametrize(
    ("flags", "there"),
    [
        *((state, True) for state in (0x80, 0x00, 0x44, 0x04)),
        *((state, False) for state in (0x40, 0xC0, 0x08, 0x48, 0x4C)),
    ],
)
def test_an_ipv6_address_is_there_when_it_can_be_bound(
    flags: int, there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not while it is tentative, unless it is optimistic; never when another host has it."""
    table = tmp_path / "if_inet6"
    table.write_text(
        f"fe800000000000000000000000000005 02 40 20 {flags:02x}     eth0\n"
        "fe800000000000000000000000000005 03 40 20 80    wlan0\n",
        encoding="ascii",
    )
    five = (("fe80::5", 0, 2), 64)
    adapters = [adapter("eth0", 2, ("10.0.0.5", 24), five), adapter("wlan0", 3, five)]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)
    monkeypatch.setattr(fcntl, "ioctl", flags_of({"eth0": UP, "wlan0": UP}))
    monkeypatch.setattr(network, "_IF_INET6", table)
    eth0, wlan0 = read_network().interfaces
    assert eth0.addresses == (ETH0.addresses if there else ETH0.addresses[:1])
    assert wlan0.addresses == ETH0.addresses[1:]


def test_an_interface_without_a_usable_address_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A link that has just come up has nothing but a tentative address."""
    table = tmp_path / "if_inet6"
    table.write_text("fe800000000000000000000000000005 02 40 20 40 eth0\n", encoding="ascii")
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [adapter("eth0", 2, (("fe80::5", 0, 2), 64))])
    monkeypatch.setattr(fcntl, "ioctl", flags_of({"eth0": UP}))
    monkeypatch.setattr(network, "_IF_INET6", table)
    assert read_network() == NetworkSnapshot()
    monkeypatch.setattr(network, "_IF_INET6", tmp_path / "none")
    assert len(read_network().interfaces) == 1


async def test_a_change_is_seen_by_everyone_who_waits() -> None:
    """Each waiter gets the state after the change."""
    system = FakeSystem(ONE)
    monitor = NetworkWatch(system)
    assert monitor.snapshot == ONE
    waiters = [asyncio.create_task(monitor.changed()) for _ in range(3)]
    await asyncio.sleep(0)
    system.answer = TWO
    monitor.poll()
    assert await asyncio.gather(*waiters) == [TWO] * 3
    assert monitor.snapshot == TWO


async def test_no_change_wakes_nobody() -> None:
    """An equal snapshot is no news, and one change is news once."""
    system = FakeSystem(ONE)
    monitor = NetworkWatch(system)
    monitor.poll()
    system.answer = TWO
    monitor.poll()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await monitor.changed()


@attrs.define
class FakeMessages:
    """Messages that a test sends."""

    closed: bool = False
    broken: bool = False
    _there: asyncio.Event = attrs.field(factory=asyncio.Event)

    def send(self) -> None:
        self._there.set()

    def fail(self) -> None:
        self.broken = True
        self._there.set()

    async def wait(self) -> None:
        await self._there.wait()
        if self.broken:
            raise OSError(errno.EIO, "it is gone")

    def clear(self) -> None:
        self._there.clear()

    def close(self) -> None:
        self.closed = True


@attrs.define
class Looking:
    """A system, when it was asked, and the time that it has slept."""

    answer: NetworkSnapshot = ONE
    slept_s: float = 100.0
    looks: list[float] = attrs.field(factory=list)
    messages: FakeMessages = attrs.field(factory=FakeMessages)
    clock: FakeMessages | None = None
    silent: bool = False
    began: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    def read(self) -> NetworkSnapshot:
        self.looks.append(round(self.now, 3))
        return self.answer

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[NetworkWatch]:
        """A watch that runs, and has looked at the beginning."""
        watch = NetworkWatch(
            self.read,
            listen=lambda: None if self.silent else self.messages,
            listen_clock=lambda: self.clock,
            asleep_s=lambda: self.slept_s,
        )
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(0.001)
        assert self.looks == [0.0, 0.0]
        self.looks.clear()
        async with asyncio.timeout(600):
            yield watch
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        assert self.messages.closed is not self.silent
        assert self.clock is None or self.clock.closed


async def test_without_messages_it_looks_every_five_seconds() -> None:
    """A change is noticed all the same."""
    system = Looking(silent=True)
    async with system.watched() as watch:
        asyncio.get_running_loop().call_later(12.0, setattr, system, "answer", TWO)
        assert await watch.changed() == TWO
        assert system.looks == [5.0, 10.0, 15.0]


async def test_with_messages_it_looks_by_itself_every_minute() -> None:
    """In case that a message was lost on its way."""
    system = Looking()
    async with system.watched():
        await asyncio.sleep(150)
        assert system.looks == [60.0, 120.0]


async def test_what_changed_before_it_listened_is_seen() -> None:
    """Between the first look and the first message."""
    system = FakeSystem(ONE)
    monitor = NetworkWatch(system, listen=lambda: setattr(system, "answer", TWO))
    running = asyncio.create_task(monitor.run())
    async with asyncio.timeout(600):
        assert await monitor.changed() == TWO
    running.cancel()
    await asyncio.wait({running})


async def test_a_message_is_a_reason_to_look() -> None:
    """After 50 ms, once for all that came in the meantime; a later one is news again."""
    system = Looking()
    async with system.watched() as watch:
        for at in (1.0, 1.02, 1.049, 3.0):
            asyncio.get_running_loop().call_later(at - system.now, system.messages.send)
        asyncio.get_running_loop().call_later(1.01, setattr, system, "answer", TWO)
        assert await watch.changed() == TWO
        await asyncio.sleep(5)
        assert system.looks == [1.05, 3.05]


async def test_messages_that_keep_coming_neither_flood_nor_starve() -> None:
    """Ever more rarely, half a second apart at most; and what the last message was about is seen."""
    system = Looking()
    loop = asyncio.get_running_loop()
    async with system.watched() as watch:
        changes = 0

        async def count() -> None:
            nonlocal changes
            while True:
                await watch.changed()
                changes += 1

        counting = asyncio.create_task(count())
        for place in range(300):
            loop.call_later(place * 0.01, system.messages.send)
            loop.call_later(place * 0.01, setattr, system, "answer", (ONE, TWO)[place % 2])
        loop.call_later(3.0, setattr, system, "answer", TWO)
        loop.call_later(3.0, system.messages.send)
        await asyncio.sleep(10)
        counting.cancel()
        await asyncio.wait({counting})
        gaps = [after - before for before, after in zip(system.looks, system.looks[1:], strict=False)]
        assert system.looks[0] <= 0.06
        assert max(gaps) <= 0.52
        assert len(system.looks) <= 11
        assert changes <= len(system.looks)
        assert watch.snapshot == TWO
        # Afterwards it is as quick as before.
        system.looks.clear()
        began = round(system.now, 3)
        system.messages.send()
        await asyncio.sleep(1)
        assert system.looks == [pytest.approx(began + 0.05)]


async def test_when_messages_end_it_looks_every_five_seconds_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and the watch goes on."""
    system = Looking()
    async with system.watched():
        await asyncio.sleep(20)
        system.messages.fail()
        await asyncio.sleep(12)
        assert system.looks == [25.001, 30.001]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_waking_up_is_a_change_at_once_where_the_clock_tells() -> None:
    """Nobody asks meanwhile; a clock that somebody set is no change."""
    clock = FakeMessages()
    system = Looking(clock=clock)
    async with system.watched() as watch:
        await asyncio.sleep(2.5)
        system.slept_s += 3600
        await asyncio.sleep(10)
        assert watch.snapshot == ONE
        clock.send()
        assert await watch.changed() == attrs.evolve(ONE, resumes=1)
        assert system.now == pytest.approx(12.501, abs=0.01)
        clock.send()
        await asyncio.sleep(1)
        assert watch.snapshot.resumes == 1


async def test_waking_up_is_seen_after_a_minute_even_if_the_clock_keeps_silent() -> None:
    """With the look that is taken in any case."""
    system = Looking(clock=FakeMessages())
    async with system.watched() as watch:
        system.slept_s += 3600
        assert await watch.changed() == attrs.evolve(ONE, resumes=1)
        assert system.looks == [60.0]


async def test_waking_up_is_a_change() -> None:
    """Within a second where no clock tells; the interfaces are the same, and everybody is told."""
    system = Looking()
    async with system.watched() as watch:
        await asyncio.sleep(2.5)
        system.slept_s += 3600
        assert await watch.changed() == attrs.evolve(ONE, resumes=1)
        assert system.now == pytest.approx(3.0, abs=0.01)
        system.slept_s += 1.5
        assert (await watch.changed()).resumes == 2
        assert watch.snapshot.interfaces == ONE.interfaces
        system.answer = TWO
        system.messages.send()
        assert await watch.changed() == attrs.evolve(TWO, resumes=2)


async def test_waking_up_is_a_change_although_the_system_cannot_say() -> None:
    """What was known stands, and the host has woken."""
    asleep = [0.0]
    system = FakeSystem(ONE)
    monitor = NetworkWatch(system, listen=lambda: None, asleep_s=lambda: asleep[0])
    running = asyncio.create_task(monitor.run())
    await asyncio.sleep(0.5)
    system.answer, asleep[0] = OSError(24, "Too many open files"), 60.0
    async with asyncio.timeout(600):
        assert await monitor.changed() == attrs.evolve(ONE, resumes=1)
    running.cancel()
    await asyncio.wait({running})


async def test_clocks_that_wander_are_no_sleep() -> None:
    """Neither slowly, nor by a single reading that came out too small."""
    system = Looking()
    async with system.watched() as watch:
        for change in (0.9, 0.9, 0.9, -30.0, 30.0, -0.5, 1.0):
            system.slept_s += change
            await asyncio.sleep(1)
        assert watch.snapshot == ONE


def test_this_host_s_clocks_say_how_long_it_slept() -> None:
    """Never negative but for the time between two readings, and alike when asked again."""
    first, second = time_asleep_s(), time_asleep_s()
    assert first > -1.0
    assert abs(second - first) < 1.0


def test_where_no_messages_can_be_had_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems forbid the socket, or binding it; nothing is left open."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "bind", refuse)
        assert open_kernel_messages() is None
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        assert open_kernel_messages() is None


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
async def test_a_kernel_that_says_nothing_lets_us_wait() -> None:
    """Clearing what is not there does nothing; a socket that broke ends the wait with an error."""
    messages = KernelMessages()
    try:
        messages.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await messages.wait()
    finally:
        messages.close()
    messages.clear()
    with pytest.raises(OSError, match=r"descriptor|Invalid"):
        await messages.wait()


async def test_who_compares_misses_nothing() -> None:
    """A consumer that is busy while two changes come acts on the last of them without waiting."""
    system = FakeSystem(ONE)
    monitor = NetworkWatch(system)
    acted_on, seen = monitor.snapshot, []

    async def follow() -> None:
        nonlocal acted_on
        while True:
            while monitor.snapshot == acted_on:
                await monitor.changed()
            acted_on = monitor.snapshot
            seen.append(acted_on)
            await asyncio.sleep(10)  # busy

    following = asyncio.create_task(follow())
    for answer in (TWO, ONE, NetworkSnapshot()):
        await asyncio.sleep(1)
        system.answer = answer
        monitor.poll()
    await asyncio.sleep(60)
    assert seen == [TWO, NetworkSnapshot()]
    following.cancel()
    await asyncio.wait({following})


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), AssertionError(), UnicodeError("x")])
async def test_when_reading_fails_the_last_snapshot_stands(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """No change is reported; it is said once, and again after it has worked in between."""
    system = FakeSystem(ONE)
    monitor = NetworkWatch(system)
    waiter = asyncio.create_task(monitor.changed())
    for answer in (error, error, ONE, error):
        system.answer = answer
        monitor.poll()
        await asyncio.sleep(0)
        assert monitor.snapshot == ONE
    assert not waiter.done()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    system.answer = TWO
    monitor.poll()
    assert await waiter == TWO


def test_a_host_whose_network_cannot_be_read_at_first_has_none() -> None:
    """The node starts all the same, and learns later."""
    system = FakeSystem(OSError("no"))
    monitor = NetworkWatch(system)
    assert monitor.snapshot == NetworkSnapshot()
    system.answer = ONE
    monitor.poll()
    assert IPv4Address("10.0.0.5") in monitor.snapshot.ips()


def test_it_is_what_backends_are_promised() -> None:
    """The real monitor fits the contract's protocol, by default reading the real system."""
    monitor: NetworkMonitor = NetworkWatch()
    assert monitor.snapshot == read_network()


async def test_the_engine_acts_on_a_change_that_came_before_it_waited() -> None:
    """While backends start, or while it is busy: it compares with what it last acted on."""
    system = FakeSystem(ONE)
    engine = Mock(network=NetworkWatch(system), registry=Mock(network=ONE))
    acted_on: list[NetworkSnapshot] = []

    def act(snapshot: NetworkSnapshot, **_: float) -> None:
        engine.registry.network = snapshot
        acted_on.append(snapshot)
        if snapshot == TWO:  # and while it acts, it goes on
            system.answer = NetworkSnapshot()
            engine.network.poll()

    engine.registry.network_changed = act
    system.answer = TWO
    engine.network.poll()
    following = asyncio.create_task(Engine._follow_network(engine))
    await asyncio.sleep(1)
    assert acted_on == [TWO, NetworkSnapshot()]
    assert engine.announce.call_count == 2
    following.cancel()
    await asyncio.wait({following})
