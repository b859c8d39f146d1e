"""A thousand trusted peers appear at once, vanish, and come back.

Run: ``python -m benchmarks.crowd [--peers 1000]``

One process holds the node that is measured, which trusts them all; a second one plays all the peers, each a
node with an identity and a port of its own on 127.0.0.1. In one go the first is told where they are. Timed is
until all are linked. Then the second process is killed, so that all links end at once without a goodbye,
until all are known to be gone; and another takes its place, on other ports, of which the first is told again.

The stall is the longest time for which the loop of the node kept a coroutine waiting that wants to run every
2 ms. What a link costs in memory is measured by `benchmarks.memory`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import resource
import sys
import time
from collections.abc import AsyncIterator

import attrs

from benchmarks.memory import BACKENDS, CONFIG, Told
from peernet_core import Event, Identity, Node, PeerConnected, PeerDisconnected, PeerKey, TrustedPeer

_GUARD_S = 300.0


def main() -> None:
    """Measure and print, or play the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--play", metavar="KEY")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()  # as `peernet run` does
    if arguments.play:
        asyncio.run(_play(arguments.play))
    else:
        asyncio.run(measure(arguments.peers))


@attrs.frozen
class Occasion:
    """What happened to the crowd.

    Attributes:
        name: What.
        linked: How many were linked afterwards.
        took_s: How long it took.
        worst_stall_s: The longest time for which the loop kept another coroutine waiting.
    """

    name: str
    linked: int
    took_s: float
    worst_stall_s: float


async def measure(count: int) -> list[Occasion]:
    """Let so many appear, vanish, come back and vanish; prints each as it is over."""
    me, others = Identity.generate(), [Identity.generate() for _ in range(count)]
    trust = [TrustedPeer(each.key, "") for each in others]
    async with Node(CONFIG, identity=me, trust=trust, backends=BACKENDS) as node, node.events() as events:
        crowd = _Crowd(node, events, others)
        for occasion in ("appear", "come back"):
            async with _player(me.key, others) as (process, ports):
                await crowd.appear(occasion, ports)
                process.kill()
                await crowd.vanish()
    return crowd.occasions


class _Crowd:
    """The node's view of all the others."""

    def __init__(self, node: Node, events: AsyncIterator[Event], others: list[Identity]) -> None:
        self._node = node
        self._events = events
        self._others = others
        self._linked: set[PeerKey] = set()
        self._worst_s = 0.0
        self.occasions: list[Occasion] = []

    async def appear(self, occasion: str, ports: list[int]) -> None:
        told = self._node.backend("told", Told)
        async with self._timed(occasion):
            for identity, port in zip(self._others, ports, strict=True):
                told.tell(identity.key, port)
            await self._follow(len(self._others))

    async def vanish(self) -> None:
        async with self._timed("vanish"):
            await self._follow(0)

    @contextlib.asynccontextmanager
    async def _timed(self, what: str) -> AsyncIterator[None]:
        self._worst_s = 0.0
        ticking = asyncio.create_task(self._tick())
        began = time.monotonic()
        async with asyncio.timeout(_GUARD_S):
            yield
        took_s = time.monotonic() - began
        ticking.cancel()
        self.occasions.append(Occasion(what, len(self._linked), took_s, self._worst_s))
        print(f"{what:10} {took_s:6.2f} s, worst stall {self._worst_s * 1000:6.1f} ms", flush=True)

    async def _follow(self, until: int) -> None:
        while len(self._linked) != until:
            match await anext(self._events):
                case PeerConnected(key=key):
                    self._linked.add(key)
                case PeerDisconnected(key=key):
                    self._linked.discard(key)

    async def _tick(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.002)
            self._worst_s = max(self._worst_s, time.monotonic() - began - 0.002)


@contextlib.asynccontextmanager
async def _player(
    key: PeerKey, others: list[Identity]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[int]]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.crowd", "--play", str(key)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"".join(each.to_pem() + b"\0" for each in others) + b"\0")
        yield process, [int(await process.stdout.readline()) for _ in others]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _play(key: str) -> None:
    """Be all the others until the input ends."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    pems = (await reader.readuntil(b"\0\0")).split(b"\0")[:-2]
    trust = [TrustedPeer(PeerKey.parse(key), "")]
    async with contextlib.AsyncExitStack() as stack:
        for pem in pems:
            node = Node(CONFIG, identity=Identity.from_pem(pem), trust=trust, backends=BACKENDS)
            await stack.enter_async_context(node)
            print(node.port, flush=True)
        await reader.read()


if __name__ == "__main__":
    main()
