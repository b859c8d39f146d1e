"""Questions from a port of our own, over loopback and in real time."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

import attrs
import pytest
from zeroconf import DNSIncoming, DNSOutgoing

from peernet_core.testing import open_sockets
from peernet_mdns.browser import Query
from peernet_mdns.inbox import SocketAddress
from peernet_mdns.legacy import LegacySockets
from peernet_mdns.links import Link
from peernet_mdns.messages import query_message

GUARD_S: Final = 20.0
GROUP: Final = "224.0.0.251"
LO: Final = Link("lo", socket.if_nametoindex("lo"), (IPv4Interface("127.0.0.1/8"),))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Answers:
    """What came back."""

    def __init__(self) -> None:
        self.packets = asyncio.Queue[tuple[bytes, SocketAddress]]()

    def __call__(self, data: bytes, address: SocketAddress) -> None:
        self.packets.put_nowait((data, address))

    async def next(self) -> tuple[bytes, SocketAddress]:
        async with asyncio.timeout(GUARD_S):
            return await self.packets.get()


@pytest.fixture
async def answers() -> Answers:
    return Answers()


@pytest.fixture
async def sockets(answers: Answers) -> AsyncIterator[LegacySockets]:
    sockets = LegacySockets(answers)
    sockets.set_links([LO])
    yield sockets
    sockets.close()


@pytest.fixture
async def responder() -> AsyncIterator[socket.socket]:
    """Hears what is asked on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        sock.bind((GROUP, 5353))
        sock.setblocking(False)
        yield sock


async def hear(sock: socket.socket, service: str) -> tuple[DNSIncoming, tuple[str, int]]:
    async with asyncio.timeout(GUARD_S):
        while True:
            data, address = await asyncio.get_running_loop().sock_recvfrom(sock, 9000)
            message = DNSIncoming(data)
            if any(each.name == f"{service}.local." for each in message.questions):
                return message, address


def own_type() -> str:
    return f"_pn-{secrets.token_hex(4)}x._tcp"


def ask(service: str) -> DNSOutgoing:
    return query_message(Query(everybody=True, unicast=True), service, legacy=True)


async def test_a_question_leaves_from_a_port_of_its_own_and_answers_come_there(
    sockets: LegacySockets, answers: Answers, responder: socket.socket
) -> None:
    """The next question on that link comes from the same port."""
    service = own_type()
    sockets.send(["lo"], ask(service))
    message, address = await hear(responder, service)
    assert message.is_query()
    assert (address[0], address[1] != 5353) == ("127.0.0.1", True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        for number in range(3):
            other.sendto(bytes([number]), address)
        heard = [await answers.next() for _ in range(3)]
        assert heard == [(bytes([number]), other.getsockname()) for number in range(3)]
    sockets.send(["lo"], ask(service))
    assert (await hear(responder, service))[1] == address


async def test_links_that_are_not_there_are_left_out(
    sockets: LegacySockets, responder: socket.socket
) -> None:
    """Unknown ones, and those whose address the system lacks: the others are asked, nothing is left."""
    before = open_sockets()
    gone = Link("gone", 9999, (IPv4Interface("203.0.113.5/24"),))
    gone6 = Link("gone6", 9998, (IPv6Interface("2001:db8::5/64"),))
    sockets.set_links([gone, gone6, LO])
    service = own_type()
    sockets.send(["gone", "gone6", "never heard of", "lo"], ask(service))
    await hear(responder, service)
    assert len(open_sockets() - before) == 1


async def test_a_socket_ends_with_its_link(sockets: LegacySockets, responder: socket.socket) -> None:
    """When the link is gone or has changed; one that stayed keeps its socket."""
    before = open_sockets()
    service = own_type()
    sockets.send(["lo"], ask(service))
    _, address = await hear(responder, service)
    sockets.set_links([attrs.evolve(LO)])
    sockets.send(["lo"], ask(service))
    assert (await hear(responder, service))[1] == address
    sockets.set_links([attrs.evolve(LO, index=LO.index + 1)])
    assert open_sockets() == before
    sockets.send(["lo"], ask(service))
    await hear(responder, service)
    sockets.set_links([])
    assert open_sockets() == before


async def test_closing_any_number_of_times_leaves_nothing(sockets: LegacySockets) -> None:
    """Also before anything was asked; afterwards the next question opens it again."""
    before = open_sockets()
    sockets.close()
    for _ in range(2):
        sockets.send(["lo"], ask(own_type()))
        assert len(open_sockets() - before) == 1
        sockets.close()
        sockets.close()
        assert open_sockets() == before
