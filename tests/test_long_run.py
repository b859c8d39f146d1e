"""Peers that come and go for hours: neither tasks nor descriptors nor objects grow.

Real nodes, sockets and TLS on loopback, all in this process, in time that jumps. From time to time all are
there and idle, and what there is then is compared with what there was at an earlier such time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import resource
import sys
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import attrs
import pytest

from peernet_core import (
    Backend,
    Config,
    Context,
    DiscoverySpec,
    Identity,
    Node,
    PeerKey,
    PeerState,
    Stream,
    TrustedPeer,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.testing import clock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8, and /proc")

HOME = parse_ip("127.0.0.1") + os.getpid() % 2**15 * 2**8
"""And so are the addresses after it: another run of these tests has others."""
PORTS = (17100, 17200)
PROTOCOL = "greeting/1"
MINUTE_S = 60.0
SETTLING_S = 30.0
PER_RESTART = 0.75
"""So many objects of a kind may be left of a peer that went and came: a leak leaves one at least."""


@attrs.define(eq=False)
class Told(DiscoverySpec):
    """Reports what the test tells it."""

    context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context


@attrs.frozen
class Census:
    """What there is when everybody is there and nobody does anything."""

    restarts: int
    tasks: int
    descriptors: int
    objects: Counter[str]

    @classmethod
    def take(cls, restarts: int) -> Census:
        gc.collect()
        kinds = Counter(
            f"{type(each).__module__}.{type(each).__qualname__}"
            for each in gc.get_objects()
            if not (isinstance(each, weakref.ref) and isinstance(each(), type))  # kept by abc's caches
        )
        return cls(restarts, len(asyncio.all_tasks()), len(list(Path("/dev/fd").iterdir())), kinds)

    def __str__(self) -> str:
        """With the memory of this process, which is no condition: what is free belongs to it as well."""
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
        private = next(line.split()[1] for line in lines if line.startswith("Private_Dirty"))
        return (
            f"after {self.restarts} restarts: {self.tasks} tasks, {self.descriptors} descriptors, "
            f"{self.objects.total()} objects, {private} kB"
        )


class World:
    """A node, and so many peers of it that come and go."""

    def __init__(self, peers: int, seed: int) -> None:
        self.me = Identity.generate()
        self.chance = random.Random(seed)
        self.others = [Identity.generate() for _ in range(peers)]
        self.node = Node(
            Config(listen=(ListenAddress(HOME, 0),)),
            identity=self.me,
            trust=[TrustedPeer(each.key, "") for each in self.others],
            backends=[Backend("told", "", "told", Told)],
        )
        self.node.protocol(PROTOCOL)(self.answer)
        self.may_leave = asyncio.Event()
        self.restarts = 0

    async def answer(self, stream: Stream) -> None:
        await stream.send(await stream.receive())

    async def live(self, other: Identity) -> None:
        """Be one of them, for ever."""
        while True:
            async with self.there(other) as node:
                await self.use(node)
                await anyio.sleep(self.chance.uniform(0.5, 5) * MINUTE_S)
                await self.may_leave.wait()
            await anyio.sleep(self.chance.uniform(0, 1) * MINUTE_S)
            self.restarts += 1

    @contextlib.asynccontextmanager
    async def there(self, other: Identity) -> AsyncIterator[Node]:
        """One of them, for the time that it is there: at an address of its own, and one of two ports."""
        ip, port = HOME + 1 + self.others.index(other), self.chance.choice(PORTS)
        config = Config(listen=(ListenAddress(ip, port),))
        async with Node(config, identity=other, trust=[TrustedPeer(self.me.key, "")], backends=[]) as node:
            told = self.node.backend("told", Told).context
            lease_s = self.chance.choice((1, 10)) * MINUTE_S
            sighting = told.peer_discovered(other.key, ip, port, ttl_s=lease_s, configured=True)
            self.meet_strangers(told)
            yield node
        if self.chance.random() < 0.5:  # else it runs out
            told.peer_lost(sighting)

    async def use(self, node: Node) -> None:
        # Said again of the same place, a bare address is no news: the node dials when its backoff is over.
        stream = await node.open(self.me.key, PROTOCOL, timeout_s=3 * MINUTE_S)
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        await stream.aclose()

    def meet_strangers(self, told: Context) -> None:
        for _ in range(5):
            told.peer_discovered(PeerKey(self.chance.randbytes(32)), HOME, PORTS[0], ttl_s=MINUTE_S)

    def all_linked(self) -> bool:
        return all(peer.state is PeerState.LINKED for peer in self.node.peers())

    async def everybody_there(self) -> Census:
        """Let nobody leave until all are linked and idle."""
        self.may_leave.clear()
        with anyio.fail_after(30 * MINUTE_S):
            while True:
                async with self.node.events() as events:
                    while not self.all_linked():
                        await anext(events)
                await anyio.sleep(SETTLING_S)
                if self.all_linked():  # none was just leaving
                    break
        census = Census.take(self.restarts)
        self.may_leave.set()
        return census


async def churn(peers: int, minutes: int, every: int) -> list[Census]:
    world = World(peers, seed=1)
    world.may_leave.set()
    found = []
    async with world.node, anyio.create_task_group() as tasks:
        for other in world.others:
            tasks.start_soon(world.live, other)
        for _ in range(0, minutes, every):
            await anyio.sleep(every * MINUTE_S)
            found.append(await world.everybody_there())
            print(found[-1])  # noqa: T201 - pytest shows it when the test has failed
        tasks.cancel_scope.cancel()
    return found


def check(first: Census, last: Census) -> None:
    restarts = last.restarts - first.restarts
    assert restarts > 50
    assert last.tasks == first.tasks
    assert last.descriptors == first.descriptors
    grown = {
        kind: more for kind, more in (last.objects - first.objects).items() if more > PER_RESTART * restarts
    }
    assert not grown, f"after {restarts} restarts there are more of {grown}"


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """Four and a few more for each peer."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time jump sooner: nothing of this comes from another thread or process."""
    monkeypatch.setattr(clock, "QUIET_S", 0.0)


async def test_what_comes_and_goes_leaves_nothing_behind() -> None:
    """Six peers for an hour and a half."""
    found = await churn(6, 90, 30)
    check(found[0], found[-1])


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_two_hours_of_two_hundred_that_come_and_go_leave_nothing_behind() -> None:
    """What the growth is measured from is the state after 40 minutes."""
    found = await churn(200, 120, 20)
    check(found[1], found[-1])
