"""Streams to peers that can be dialed, that cannot, and that are dialed back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address

import anyio
import pytest

from peernet_core import (
    Address,
    Backend,
    Config,
    Identity,
    Node,
    PeerConnected,
    PeerKey,
    PeerState,
    PeerUnreachableError,
    ProtocolRefusedError,
    Stream,
    TrustedPeer,
)
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.decisions.frames import Dialback
from peernet_core.links import openings
from peernet_core.links.openings import Openings
from peernet_core.links.tcp import TcpStream
from peernet_core.links.transport import reach
from peernet_manual import ManualDiscovery

LOOPBACK = parse_ip("127.0.0.1")
CONFIG = Config(listen=(ListenAddress(LOOPBACK, 0),))
BLACK_HOLE = Address(ip_address("127.0.0.9"), 9, "test")
FIRST_S, SECOND_S = 0.25, 0.125
"""How long an address has before the next one is tried, and that one before the one after it."""


def make_node(identity: Identity, other: Identity) -> Node:
    manual = Backend("manual", "", "manual", ManualDiscovery)
    return Node(CONFIG, identity=identity, trust=[TrustedPeer(other.key, "")], backends=[manual])


async def echo(stream: Stream) -> None:
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            await stream.send(await stream.receive())


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[Node, Node]]:
    """A link that the second dialed; it echoes."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as one, make_node(b, a) as other:
        other.protocol("echo/1")(echo)
        other.backend("manual", ManualDiscovery).announce_peer(one.key, f"127.0.0.1:{one.port}")
        for node in (one, other):
            await linked(node)
        yield one, other


async def linked(node: Node) -> None:
    with anyio.fail_after(60):
        async with node.events() as events:
            if node.peers()[0].state is PeerState.LINKED:
                return
            await anext(event async for event in events if isinstance(event, PeerConnected))


def openings_of(node: Node) -> Openings:
    assert node._running is not None
    return node._running.switchboard._openings


def accept_no_more(node: Node) -> None:
    """As behind a firewall: its link stays, and whoever dials it is refused."""
    assert node._running is not None
    node._running.acceptor.stop()


async def says_hello(node: Node, key: PeerKey) -> float:
    """Open a stream and have it echo; returns the virtual seconds that the opening took."""
    began = anyio.current_time()
    async with await node.open(key, "echo/1", timeout_s=30) as stream:
        took = anyio.current_time() - began
        assert (stream.peer, stream.protocol) == (key, "echo/1")
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
    return took


async def test_a_peer_that_cannot_be_dialed_dials() -> None:
    """Over its link it is asked to; the stream is as any other, both ways."""
    async with pair() as (one, other):
        accept_no_more(other)
        await says_hello(one, other.key)
        await says_hello(one, other.key)
        assert one.statistics()["dialbacks_asked"] == 2
        assert other.statistics()["dialbacks"] == 2
        await anyio.sleep(2)
        assert one.statistics()["streams_open"] == other.statistics()["streams_open"] == 0


async def test_a_peer_that_can_be_dialed_is() -> None:
    """Although it dialed us: the link says nothing about the other direction."""
    async with pair() as (one, other):
        await says_hello(one, other.key)
        assert "dialbacks_asked" not in one.statistics()


async def test_a_peer_that_swallows_what_is_dialed_costs_a_moment_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A firewall that drops: dialed back after a quarter of a second, and at once from then on."""
    async with pair() as (one, other):

        async def firewall(address: Address) -> TcpStream:
            if address.port == other.port:
                await anyio.sleep_forever()
            return await reach(address)

        monkeypatch.setattr(openings, "reach", firewall)
        took = [await says_hello(one, other.key) for _ in range(2)]
        assert took == [pytest.approx(FIRST_S, abs=0.05), pytest.approx(0, abs=0.05)]


async def test_a_black_hole_before_the_good_address_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address is tried beside it, as RFC 8305 has it."""
    async with pair() as (one, other):
        way = openings_of(other)._way
        other_way = way(one.key)

        async def network(address: Address) -> TcpStream:
            if address == BLACK_HOLE:
                await anyio.sleep_forever()
            return await reach(address)

        monkeypatch.setattr(openings, "reach", network)
        holes = [BLACK_HOLE, BLACK_HOLE, *other_way.addresses]
        monkeypatch.setattr(
            openings_of(other), "_way", lambda _: openings.Way(other_way.link, other_way.link_address, holes)
        )
        one.protocol("echo/1")(echo)
        assert await says_hello(other, one.key) == pytest.approx(FIRST_S + SECOND_S, abs=0.05)


async def test_a_protocol_that_is_not_taken_is_refused_when_dialed_back() -> None:
    """The same error as for a peer that can be dialed."""
    async with pair() as (one, other):
        accept_no_more(other)
        with pytest.raises(ProtocolRefusedError, match="no such protocol"):
            await one.open(other.key, "unheard/1")


async def test_a_peer_that_does_not_dial_back_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version ignores what it is asked; the error says why the dial failed."""
    monkeypatch.setattr(Openings, "dial_back", lambda *_: None)
    async with pair() as (one, other):
        accept_no_more(other)
        began = anyio.current_time()
        with pytest.raises(PeerUnreachableError, match="refused"):
            await one.open(other.key, "echo/1")
        assert anyio.current_time() - began == pytest.approx(5, abs=0.2)
        assert one.peers()[0].state is PeerState.LINKED


async def test_a_stream_that_nobody_waits_for_is_closed() -> None:
    """A token that was never given out, or whose opener has given up."""
    ended = anyio.Event()
    async with pair() as (one, other):

        @other.protocol("late/1")
        async def late(stream: Stream) -> None:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
            ended.set()

        openings_of(other).dial_back(one.key, Dialback(b"x" * 16, "late/1"))
        with anyio.fail_after(60):
            await ended.wait()
        assert one.statistics()["streams_open"] == 0


async def test_giving_up_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a token, nor a stream that comes after all."""
    dial_any = Openings._dial_any

    async def slowly(self: Openings, key: PeerKey) -> object:
        await anyio.sleep(1)
        return await dial_any(self, key)

    monkeypatch.setattr(Openings, "_dial_any", slowly)
    async with pair() as (one, other):
        accept_no_more(other)
        with pytest.raises(PeerUnreachableError, match="no stream within"):
            await one.open(other.key, "echo/1", timeout_s=0.5)
        await anyio.sleep(5)
        assert not openings_of(one)._expected
        assert not openings_of(other)._asked_by
        assert one.statistics()["streams_open"] == other.statistics()["streams_open"] == 0


async def test_a_peer_that_asks_without_end_is_dialed_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it may have streams; the others are counted and dropped."""
    monkeypatch.setattr(openings, "MAX_STREAMS_PER_PEER", 3)
    async with pair() as (one, other):
        for number in range(10):
            openings_of(other).dial_back(one.key, Dialback(bytes([number]) * 16, "echo/1"))
        assert len(openings_of(other)._dialing) == 3
        assert other.statistics()["dialbacks_refused"] == 7
        await anyio.sleep(5)
        assert not openings_of(other)._asked_by


async def test_removed_trust_ends_a_stream_that_was_dialed_back() -> None:
    """At both ends, as any other."""
    async with pair() as (one, other):
        accept_no_more(other)
        stream = await one.open(other.key, "echo/1")
        one.trust.remove(other.key)
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await stream.receive()
        await anyio.sleep(2)
        assert other.statistics()["streams_open"] == 0


async def test_stopping_ends_a_stream_that_was_dialed_back() -> None:
    """Whoever dialed it: neither end waits for it."""
    async with contextlib.AsyncExitStack() as stack:
        one, other = await stack.enter_async_context(pair())
        accept_no_more(other)
        await one.open(other.key, "echo/1")
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("peernet-")]
