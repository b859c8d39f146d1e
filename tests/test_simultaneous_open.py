"""Two nodes that discover each other at the same instant: one link, the same on both sides, for good.

Real sockets and TLS on loopback. Every step of every connection is delayed at random, in time that jumps.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import anyio
import attrs
import pytest

from peernet_core import (
    Address,
    Backend,
    Config,
    Context,
    DiscoverySpec,
    Event,
    Identity,
    Node,
    PeerConnected,
    PeerKey,
    TrustedPeer,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.links import transport
from peernet_core.links.framed import FramedConnection
from peernet_core.links.sockets import connect
from peernet_core.links.tcp import TcpStream

CANDIDATES = ("127.0.0.1", "::1")
CONFIG = Config(listen=tuple(ListenAddress(parse_ip(ip), 0) for ip in CANDIDATES))
SETTLED_S = 20.0
LONGEST_S = 0.8
"""Of one read: longer than a probe waits for its answer, and short enough for the acceptor's five seconds."""
IDENTITIES = [Identity.generate() for _ in range(2)]


@attrs.define(eq=False)
class Told(DiscoverySpec):
    """Reports what the test tells it."""

    context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context

    def tell(self, key: PeerKey, port: int, candidates: list[str]) -> None:
        for ip in candidates:
            self.context.peer_discovered(key, parse_ip(ip), port, configured=True)


@attrs.define
class Delays:
    """How long what happens on connections takes: each time another part of the longest, often nothing."""

    random: random.Random
    longest_s: float

    async def wait(self) -> None:
        await anyio.sleep(self.random.choice((0.0, self.random.uniform(0, self.longest_s))))

    def inject(self, monkeypatch: pytest.MonkeyPatch) -> None:
        receive = TcpStream.receive

        async def slow_connect(address: Address) -> TcpStream:
            await self.wait()
            return await connect(address)

        async def slow_receive(stream: TcpStream, max_bytes: int = 4096) -> bytes:
            data = await receive(stream, max_bytes)
            await self.wait()
            return data

        monkeypatch.setattr(transport, "connect", slow_connect)
        monkeypatch.setattr(TcpStream, "receive", slow_receive)


def link_of(node: Node) -> FramedConnection:
    """The one connection that a node holds."""
    assert node._running is not None
    (framed,) = node._running.switchboard._links.values()
    return framed


def ends(framed: FramedConnection) -> tuple[object, object]:
    raw = framed._connection.stream.tcp.raw_socket
    return raw.getsockname(), raw.getpeername()


async def connected(events: AsyncIterator[Event]) -> None:
    with anyio.fail_after(60):
        await anext(event async for event in events if isinstance(event, PeerConnected))


async def meet(chance: random.Random) -> None:
    """One round."""
    nodes = [
        Node(
            CONFIG,
            identity=me,
            trust=[TrustedPeer(other.key, "")],
            backends=[Backend("told", "", "told", Told)],
        )
        for me, other in (IDENTITIES, IDENTITIES[::-1])
    ]
    async with contextlib.AsyncExitStack() as stack:
        events = [await stack.enter_async_context(node.events()) for node in nodes]
        await asyncio.gather(*(stack.enter_async_context(node) for node in nodes))
        for node, other in (nodes, nodes[::-1]):
            candidates = chance.sample(CANDIDATES, 2)
            node.backend("told", Told).tell(other.key, other.port, candidates)
        await asyncio.gather(*map(connected, events))
        await anyio.sleep(SETTLED_S)
        links = [link_of(node) for node in nodes]
        assert ends(links[0]) == ends(links[1])[::-1], "each has another link"
        for node in nodes:
            counts = node.statistics()
            assert (counts["links"], counts.get("links_lost", 0)) == (1, 0), "a link was closed"


@pytest.mark.parametrize("longest_s", [0.0, 0.01, 0.4, LONGEST_S])
async def test_two_that_meet_at_one_instant_have_one_link(
    longest_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of ten rounds, whatever took how long."""
    chance = random.Random(int(longest_s * 1000))
    Delays(chance, longest_s).inject(monkeypatch)
    for _ in range(10):
        await meet(chance)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_a_thousand_that_meet_at_one_instant_have_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each of a thousand rounds; the seed of one that fails is shown."""
    for seed in range(1000):
        chance = random.Random(seed)
        with monkeypatch.context() as patches:
            Delays(chance, chance.choice((0.0, 0.01, 0.1, 0.4, LONGEST_S))).inject(patches)
            try:
                await meet(chance)
            except AssertionError as error:
                pytest.fail(f"seed {seed}: {error}")
