"""The network monitor on a real host of its own: what the kernel changes is known at once."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peernet_core.network import read_network
from peernet_core.network_watch import KernelMessages
from peernet_core.testing.lab import INTERFACE, Host, Laboratory, NodeProcess, eventually

pytestmark = pytest.mark.netns

# Prints each state, and which of its IPv6 addresses cannot be bound at that moment.
WATCH = """
import asyncio, json, socket
from peernet_core import network_watch
from peernet_core.network_watch import NetworkWatch

# Whatever is seen was told by the kernel.
network_watch.POLL_S = network_watch.SAFETY_POLL_S = float("inf")

def unusable(ips):
    for ip in ips:
        if ip.version == 6:
            try:
                host, _, zone = str(ip).partition("%")
                with socket.socket(socket.AF_INET6) as one:
                    one.bind((host, 0, 0, socket.if_nametoindex(zone) if zone else 0))
            except OSError:
                yield str(ip)

async def main():
    watch = NetworkWatch()
    running = asyncio.create_task(watch.run())
    while True:
        shown = watch.snapshot
        state = {each.name: [str(ip.ip) for ip in each.addresses] for each in shown.interfaces}
        print(json.dumps({"event": "network", "unusable": [*unusable(shown.ips())], **state}))
        while watch.snapshot == shown:
            await watch.changed()

asyncio.run(main())
"""
SOON_S = 20.0


class Watched:
    """A host on which the monitor runs."""

    def __init__(self, host: Host, process: NodeProcess) -> None:
        self.host = host
        self.process = process

    def addresses(self, interface: str = INTERFACE) -> list[str] | None:
        """What the monitor says of an interface now; None: it is not there."""
        lines = self.process.seen("network")
        return lines[-1].fields.get(interface) if lines else None  # type: ignore[return-value]  # as printed

    def has(self, address: str, interface: str = INTERFACE) -> None:
        """Wait until the interface has this address."""
        eventually(lambda: address in (self.addresses(interface) or ()), f"{address} there", guard_s=SOON_S)

    def has_not(self, address: str) -> None:
        """Wait until it no longer has it."""
        eventually(lambda: address not in (self.addresses() or ()), f"{address} not there", guard_s=SOON_S)

    def lacks(self, interface: str = INTERFACE) -> None:
        """Wait until the interface is not there."""
        eventually(lambda: self.addresses(interface) is None, f"{interface} not there", guard_s=SOON_S)


@pytest.fixture
def watched(lab: Laboratory) -> Iterator[Watched]:
    host = lab.host("alpha")
    command = host.command(sys.executable, "-u", "-c", WATCH)
    with NodeProcess(host.name, command, lab.folder / "stderr") as process:
        process.wait("network")
        # The first state may be printed before the monitor listens; this is known once it does.
        host.ip("address", "add", "10.79.0.1/24", "dev", INTERFACE)
        one = Watched(host, process)
        one.has("10.79.0.1")
        yield one
        print(process.report())  # noqa: T201 - pytest shows it when the test has failed


def _detect_duplicates(host: Host, value: int) -> None:
    """Turn duplicate address detection on or off."""
    path = Path(f"/proc/sys/net/ipv6/conf/{INTERFACE}/accept_dad")
    host.inside(lambda: path.write_text(f"{value}\n", encoding="ascii"))


@pytest.mark.parametrize("address", ["10.78.0.1", "fd78::1"])
def test_an_address_comes_and_goes(watched: Watched, address: str) -> None:
    """IPv4 and IPv6 alike."""
    length = 64 if ":" in address else 24
    watched.host.ip("address", "add", f"{address}/{length}", "dev", INTERFACE)
    watched.has(address)
    watched.host.ip("address", "del", f"{address}/{length}", "dev", INTERFACE)
    watched.has_not(address)


def test_an_interface_is_taken_down_and_up(watched: Watched) -> None:
    """It keeps its IPv4 address all the time, and is there only while it is up."""
    watched.host.ip("link", "set", INTERFACE, "down")
    watched.lacks()
    assert str(watched.host.ipv4) in watched.host.ip("address", "show", "dev", INTERFACE)
    watched.host.ip("link", "set", INTERFACE, "up")
    watched.has(str(watched.host.ipv4))


def test_a_cable_is_pulled_and_put_back(watched: Watched) -> None:
    """The interface stays up and keeps its addresses; only the carrier goes."""
    watched.host.unplug()
    watched.lacks()
    assert str(watched.host.ipv4) in watched.host.ip("address", "show", "up", "dev", INTERFACE)
    watched.host.plug_in()
    watched.has(str(watched.host.ipv4))


def test_an_interface_that_is_added_later_is_seen(watched: Watched) -> None:
    """And that it is removed again."""
    watched.host.ip("link", "add", "late", "type", "veth", "peer", "name", "other")
    watched.host.ip("link", "set", "other", "up")
    watched.host.ip("address", "add", "10.80.0.1/24", "dev", "late")
    watched.host.ip("link", "set", "late", "up")
    watched.has("10.80.0.1", "late")
    watched.host.ip("link", "del", "late")
    watched.lacks("late")


def test_an_interface_that_flaps_is_no_flood(watched: Watched) -> None:
    """Hundreds of times down and up are a few changes, and the last state is the one that stays."""
    since, began = watched.process.mark(), time.monotonic()
    for _ in range(400):
        watched.host.ip("link", "set", INTERFACE, "down")
        watched.host.ip("link", "set", INTERFACE, "up")
    took_s = time.monotonic() - began
    watched.host.ip("address", "add", "10.78.0.1/24", "dev", INTERFACE)
    watched.has("10.78.0.1")
    # Four while it takes ever longer, then one each half second.
    assert watched.process.mark() - since <= 6 + took_s / 0.5


def test_an_ipv6_address_appears_when_it_can_be_bound(watched: Watched) -> None:
    """The kernel lists it a second or two before, while it looks whether another host has it."""
    _detect_duplicates(watched.host, 1)
    watched.host.ip("address", "add", "fd78::1/64", "dev", INTERFACE)
    assert "tentative" in watched.host.ip("address", "show", "dev", INTERFACE)
    # Something else changes meanwhile, so that the monitor looks.
    watched.host.ip("address", "add", "10.78.0.1/24", "dev", INTERFACE)
    watched.has("10.78.0.1")
    watched.has("fd78::1")
    assert [
        line.fields["unusable"] for line in watched.process.seen("network") if line.fields["unusable"]
    ] == []


def test_an_ipv6_address_that_another_host_has_does_not_appear(lab: Laboratory, watched: Watched) -> None:
    """The kernel keeps it, and does not let anyone bind it. A thread in the namespace sees the same."""
    beta = lab.host("beta")
    _detect_duplicates(watched.host, 1)
    watched.host.ip("address", "add", f"{beta.ipv6}/64", "dev", INTERFACE)
    eventually(
        lambda: "dadfailed" in watched.host.ip("address", "show", "dev", INTERFACE), "the address was refused"
    )
    watched.host.ip("address", "add", "10.78.0.1/24", "dev", INTERFACE)
    watched.has("10.78.0.1")
    for line in watched.process.seen("network"):
        assert str(beta.ipv6) not in line.fields.get(INTERFACE, ())  # type: ignore[operator]  # as printed
    ips = watched.host.inside(read_network).ips()
    assert watched.host.ipv6 in ips
    assert beta.ipv6 not in ips
    assert beta.ipv6 in beta.inside(read_network).ips()


def test_a_thread_reads_the_namespace_that_it_is_in(lab: Laboratory) -> None:
    """Interfaces of the same name on two hosts are told apart, carrier included."""
    alpha, beta = lab.host("alpha"), lab.host("beta")
    alpha.unplug()
    eventually(lambda: "NO-CARRIER" in alpha.ip("link", "show", INTERFACE), "no carrier")
    assert [each.name for each in alpha.inside(read_network).interfaces] == ["lo"]
    assert [each.name for each in beta.inside(read_network).interfaces] == ["lo", INTERFACE]


def test_more_messages_than_the_socket_holds_are_survived(watched: Watched, tmp_path: Path) -> None:
    """While the process stands still the kernel drops messages; the last state is known all the same."""
    batch = tmp_path / "batch"
    batch.write_text(
        "".join(
            f"address {verb} 10.81.0.1/24 dev {INTERFACE}\n" for _ in range(1000) for verb in ("add", "del")
        )
        + f"address add 10.78.0.1/24 dev {INTERFACE}\n",
        encoding="ascii",
    )
    os.kill(watched.process.pid, signal.SIGSTOP)
    try:
        watched.host.ip("-batch", str(batch))
        assert watched.host.inside(_dropped_messages) > 0
    finally:
        os.kill(watched.process.pid, signal.SIGCONT)
    watched.has("10.78.0.1")
    watched.host.ip("address", "del", "10.78.0.1/24", "dev", INTERFACE)
    watched.has_not("10.78.0.1")


def _dropped_messages() -> int:
    table = Path("/proc/thread-self/net/netlink").read_text(encoding="ascii").splitlines()
    column = table[0].split().index("Drops")
    return sum(int(line.split()[column]) for line in table[1:])


def test_an_overflow_is_a_message_and_clearing_makes_room_for_the_next(lab: Laboratory) -> None:
    """ENOBUFS ends the wait like any message; after clearing, the next change is heard."""
    host = lab.host("alpha")

    async def overflow() -> None:
        waiting, cleared, asked = opened = [KernelMessages() for _ in range(3)]
        try:
            for each in opened:
                each._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for verb in ("add", "del") * 20:
                host.ip("address", verb, "10.81.0.1/24", "dev", INTERFACE)
            with pytest.raises(OSError, match="buffer") as caught:
                asked._socket.recv(1)
            assert caught.value.errno == errno.ENOBUFS
            cleared.clear()
            with pytest.raises(BlockingIOError):
                cleared._socket.recv(1)
            async with asyncio.timeout(SOON_S):
                await waiting.wait()
                waiting.clear()
                with pytest.raises(BlockingIOError):
                    waiting._socket.recv(1)
                host.ip("address", "add", "10.81.0.1/24", "dev", INTERFACE)
                await waiting.wait()
        finally:
            for each in opened:
                each.close()

    host.inside(lambda: asyncio.run(overflow()))
