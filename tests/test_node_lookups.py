"""A node that asks its backends for the peers that it misses: when, how often, and how many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Final

import anyio
import attrs
import pytest

from peernet_core import (
    Backend,
    BackendFailed,
    Config,
    Context,
    DiscoverySpec,
    Identity,
    Node,
    PeerConnected,
    PeerDisconnected,
    PeerKey,
    PeerState,
    PeerUnreachableError,
    Stream,
    TrustedPeer,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.links.certificates import TlsContexts

GUARD_S: Final = 120.0
LOOPBACK = parse_ip("127.0.0.1")
CONFIG = Config(listen=(ListenAddress(LOOPBACK, 0),))
MANY: Final = 10_000


@attrs.define(eq=False)
class Seeker(DiscoverySpec):
    """Writes down for whom it is asked, and reports those that it can find: by then, or `later_s` later."""

    known: dict[PeerKey, int] = attrs.Factory(dict)
    starting_s: float = 0.0
    later_s: float = 0.0
    hangs: bool = False
    asked: list[tuple[float, PeerKey]] = attrs.Factory(list)
    active: int = 0
    most_active: int = 0
    context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context
        await asyncio.sleep(self.starting_s)

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        self.asked.append((anyio.current_time(), key))
        self.active += 1
        self.most_active = max(self.active, self.most_active)
        try:
            if self.hangs:
                await anyio.sleep_forever()
            if self.later_s:
                self.context.spawn(self._report(key), "report")
            elif key in self.known:
                self.tell(key)
        finally:
            self.active -= 1

    async def _report(self, key: PeerKey) -> None:
        await asyncio.sleep(self.later_s)
        self.tell(key)

    def tell(self, key: PeerKey) -> None:
        if key in self.known:
            self.context.peer_discovered(key, LOOPBACK, self.known[key], configured=True)

    def times(self, key: PeerKey, *, since: float) -> list[float]:
        return [round(at - since, 1) for at, each in self.asked if each == key and at >= since]


@attrs.define(eq=False)
class Deaf(DiscoverySpec):
    """Cannot look anybody up; reports what it is told."""

    known: dict[PeerKey, int] = attrs.Factory(dict)

    @hookimpl
    async def start(self, context: Context) -> None:
        for key, port in self.known.items():
            context.peer_discovered(key, LOOPBACK, port, configured=True)


def source(name: str, plugin: object, *, required: bool = True) -> Backend:
    return Backend(name, "acme 1.0", name, lambda: plugin, required=required)


def make_node(me: Identity, trusted: Iterable[PeerKey], *backends: Backend) -> Node:
    return Node(CONFIG, identity=me, trust=[TrustedPeer(key, "") for key in trusted], backends=backends)


@contextlib.asynccontextmanager
async def friend_of(me: Identity) -> AsyncIterator[tuple[Node, PeerKey]]:
    identity = Identity.generate()
    async with make_node(identity, [me.key]) as node:
        yield node, identity.key


async def until(node: Node, kind: type[PeerConnected | PeerDisconnected]) -> None:
    """Wait until the one link that there can be is up, or is gone."""
    wanted = kind is PeerConnected
    with anyio.fail_after(GUARD_S):
        async with node.events() as events:
            if any(peer.state is PeerState.LINKED for peer in node.peers()) == wanted:
                return
            async for event in events:
                if isinstance(event, kind):
                    return


def cut(node: Node) -> None:
    """End every link of a node as a crash would: without a goodbye."""
    assert node._running is not None
    for framed in list(node._running.switchboard._links.values()):
        framed.abort()


@pytest.fixture
def no_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will connect, and to make thousands of trust anchors takes longer than the test."""
    monkeypatch.setattr(
        "peernet_core.engine.TlsContexts", lambda me, _, protocols: TlsContexts(me, [], protocols)
    )


@pytest.mark.parametrize("later_s", [0.0, 0.5])
async def test_who_is_missed_is_asked_for_until_the_link_is_up(later_s: float) -> None:
    """From the start, ever more rarely; a backend may report before its hook returns, or afterwards."""
    me, absent = Identity.generate(), Identity.generate().key
    async with friend_of(me) as (friend, key):
        seeker = Seeker({key: friend.port}, later_s=later_s)
        began = anyio.current_time()
        async with make_node(me, [key, absent], source("seeker", seeker)) as node:
            await until(node, PeerConnected)
            assert anyio.current_time() - began <= later_s + 0.1
            await anyio.sleep(460)
            assert seeker.times(absent, since=began) == [0, 30, 90, 210, 450]
            assert seeker.times(key, since=began) == [0]
            assert node.statistics()["lookups"] == 6


async def test_who_is_found_otherwise_is_not_asked_for() -> None:
    """Nor does a node ask at all where no backend could answer."""
    me = Identity.generate()
    async with friend_of(me) as (friend, key):
        seeker, deaf = Seeker(), Deaf({key: friend.port})
        async with make_node(me, [key], source("deaf", deaf), source("seeker", seeker)) as node:
            await until(node, PeerConnected)
            await anyio.sleep(100)
            assert seeker.asked == []
    async with make_node(me, [key], source("deaf", Deaf())) as node:
        await anyio.sleep(100)
        assert "lookups" not in node.statistics()


async def test_a_lost_link_is_asked_about_at_once_and_a_goodbye_later() -> None:
    """A peer that crashed may be elsewhere; one that said goodbye is not there."""
    me = Identity.generate()
    seeker = Seeker()
    async with contextlib.AsyncExitStack() as stack:
        async with friend_of(me) as (friend, key):
            seeker.known[key] = friend.port
            node = await stack.enter_async_context(make_node(me, [key], source("seeker", seeker)))
            await until(node, PeerConnected)
            await anyio.sleep(20)
            since = anyio.current_time()
            cut(friend)
            await until(node, PeerDisconnected)
            await anyio.sleep(1)
            assert seeker.times(key, since=since) == [0]
            await until(node, PeerConnected)
            await anyio.sleep(20)
            since = anyio.current_time()
        await until(node, PeerDisconnected)
        await anyio.sleep(29)
        assert seeker.times(key, since=since) == []
        await anyio.sleep(40)
        assert seeker.times(key, since=since) == [30, 60]


async def test_opening_a_stream_asks_for_a_peer_that_nobody_has_seen() -> None:
    """At once, although asking was in vain a moment ago; a second wish within five seconds asks no more."""
    me = Identity.generate()
    seeker = Seeker()
    async with friend_of(me) as (friend, key):

        @friend.protocol("echo/1")
        async def echo(stream: Stream) -> None:
            await stream.send(await stream.receive())

        async with make_node(me, [key], source("seeker", seeker)) as node:
            await anyio.sleep(100)
            since = anyio.current_time()
            for _ in range(3):
                with pytest.raises(PeerUnreachableError) as failed:
                    await node.open(key, "echo/1", timeout_s=1)
            assert seeker.times(key, since=since) == [0]
            assert str(failed.value).startswith(
                f"{key} could not be reached: no stream within 1 s: "
                "nobody names an address of it (running: seeker); asked for in "
            )
            seeker.known[key] = friend.port
            await anyio.sleep(2)
            async with await node.open(key, "echo/1") as stream:
                await stream.send(b"hello")
                assert await stream.receive() == b"hello"


async def test_a_key_that_becomes_trusted_is_asked_for_at_once() -> None:
    """And no more when it is not."""
    me, key = Identity.generate(), Identity.generate().key
    seeker = Seeker()
    async with make_node(me, [], source("seeker", seeker)) as node:
        await anyio.sleep(10)
        since = anyio.current_time()
        node.trust.add(key)
        await anyio.sleep(10)
        node.trust.remove(key)
        await anyio.sleep(100)
        assert seeker.times(key, since=since) == [0]


async def test_a_backend_that_starts_late_is_asked_then() -> None:
    """The one that was there before is asked once more, which does no harm."""
    me, key = Identity.generate(), Identity.generate().key
    early, late = Seeker(), Seeker(starting_s=4)
    began = anyio.current_time()
    backends = source("early", early), source("late", late, required=False)
    async with make_node(me, [key], *backends):
        await anyio.sleep(10)
        assert early.times(key, since=began) == [0, 4]
        assert late.times(key, since=began) == [4]


async def test_a_lookup_that_hangs_harms_nobody() -> None:
    """It is cut off; the other backend finds the peer meanwhile, and stopping does not wait for it."""
    me, absent = Identity.generate(), Identity.generate().key
    async with friend_of(me) as (friend, key):
        good, bad = Seeker({key: friend.port}), Seeker(hangs=True)
        node = make_node(me, [key, absent], source("good", good), source("bad", bad))
        async with node.events() as events:
            began = anyio.current_time()
            async with node:
                await until(node, PeerConnected)
                assert anyio.current_time() - began < 1
                await anyio.sleep(31)
                assert good.times(absent, since=began) == bad.times(absent, since=began) == [0, 30]
                stopping = anyio.current_time()
            assert anyio.current_time() - stopping < 3
            failed = [event async for event in events if isinstance(event, BackendFailed)]
    assert bad.active == 0
    assert [event.error.partition(": ")[2] for event in failed] == ["resolve did not return within 10 s"]


@pytest.mark.usefixtures("no_anchors")
async def test_many_absent_peers_are_asked_for_a_few_at_a_time() -> None:
    """Everybody's turn comes; whoever is trusted meanwhile, or is missed now, is not behind them all."""
    me = Identity.generate()
    keys = [Identity.generate().key for _ in range(MANY // 5)]
    seeker = Seeker()
    async with make_node(me, keys, source("seeker", seeker)) as node:
        await anyio.sleep(1)
        assert len(seeker.asked) <= 64
        since, key = anyio.current_time(), Identity.generate().key
        node.trust.add(key)
        await anyio.sleep(0.1)
        assert seeker.times(key, since=since) == [0]
        await anyio.sleep(45)
        assert set(Counter(each for _, each in seeker.asked)) == {*keys, key}
        assert seeker.most_active <= 16


@pytest.mark.usefixtures("no_anchors")
async def test_many_absent_peers_and_a_backend_that_hangs_make_few_tasks() -> None:
    """Sixteen at a time wait for it, and whoever is missed now has the next place."""
    me = Identity.generate()
    keys = [Identity.generate().key for _ in range(MANY)]
    seeker = Seeker(hangs=True)
    async with make_node(me, keys, source("seeker", seeker)) as node:
        await anyio.sleep(65)
        assert seeker.most_active == 16
        assert len(asyncio.all_tasks()) < 120
        since, key = anyio.current_time(), Identity.generate().key
        node.trust.add(key)
        await anyio.sleep(12)
        assert len(seeker.times(key, since=since)) == 1
    assert seeker.active == 0
