"""The host's own network: read from the system, watched, and kept when the system does not answer."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

import attrs
import ifaddr
import pytest

from peernet_core.addresses import Interface, NetworkSnapshot
from peernet_core.contract import NetworkMonitor
from peernet_core.network import read_network
from peernet_core.network_watch import NetworkWatch

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
    """Every address that iproute2 lists is there."""
    ip = shutil.which("ip")
    if ip is None:
        pytest.skip("needs iproute2")
    text = subprocess.run([ip, "-brief", "address"], check=True, capture_output=True, text=True).stdout
    listed = {
        (fields[0].partition("@")[0], address)
        for fields in map(str.split, text.splitlines())
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
    expected = Interface("eth0", 2, (*ETH0.addresses, IPv4Interface("10.0.0.6/24")))
    assert read_network().interfaces == (expected, WLAN0)


def adapter(
    name: str, index: int | None, *addresses: tuple[str | tuple[str, int, int], int]
) -> ifaddr.Adapter:
    return ifaddr.Adapter(name, name, [ifaddr.IP(ip, prefix, name) for ip, prefix in addresses], index)


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


async def test_it_looks_again_by_itself() -> None:
    """A change is noticed within the polling interval."""
    system = FakeSystem(ONE)
    monitor = NetworkWatch(system, listen=lambda: None)
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(monitor.run())
    loop.call_later(12.0, setattr, system, "answer", TWO)
    began = loop.time()
    assert await monitor.changed() == TWO
    assert loop.time() - began == pytest.approx(15.0)
    running.cancel()
    await asyncio.wait({running})


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
