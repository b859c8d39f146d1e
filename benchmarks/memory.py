"""Memory of one end of an idle link, and of a stream that carried 256 kB each way.

Run: ``python -m benchmarks.memory [--links 200]``

One process holds the end that is measured: a node that trusts all the others. A second process holds all the
other ends. Measured is the private memory (Private_Clean + Private_Dirty of smaps_rollup, after collecting
garbage and returning what is free to the system) of the first process: with 50 links, so that whatever is
needed once is there, and with so many more. What the trust in a key costs is in both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import attrs

from peernet_core import (
    Backend,
    Config,
    Context,
    DiscoverySpec,
    Event,
    Identity,
    Node,
    PeerConnected,
    PeerDisconnected,
    PeerKey,
    PeerState,
    Snapshot,
    Stream,
    TrustedPeer,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress

LOOPBACK = parse_ip("127.0.0.1")
CONFIG = Config(listen=(ListenAddress(LOOPBACK, 0),))
PROTOCOL = "echo/1"
AMOUNT = 256 * 1024
WARM = 50
ROLES = ("accepts", "dials")


@attrs.define(eq=False)
class Told(DiscoverySpec):
    """Reports what it is told."""

    context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context

    def tell(self, key: PeerKey, port: int) -> None:
        self.context.peer_discovered(key, LOOPBACK, port, configured=True)


BACKENDS = (Backend("told", "", "told", Told),)


def main() -> None:
    """Measure and print, or play the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--links", type=int, default=200)
    parser.add_argument("--play", nargs=2, metavar=("KEY", "PORT"))
    parser.add_argument("--role", choices=ROLES)
    arguments = parser.parse_args()
    if arguments.play:
        asyncio.run(_play(arguments.links, *arguments.play))
        return
    if not arguments.role:
        print(f"{arguments.links} links, private memory of one process, kB an end", flush=True)
    if arguments.role:
        asyncio.run(_measure(arguments.links, arguments.role))
        return
    for role in ROLES:  # a process each: what one leaves behind must not serve the other
        command = [sys.executable, "-m", "benchmarks.memory", "--links", str(arguments.links)]
        subprocess.run([*command, "--role", role], check=True)


async def _measure(links: int, role: str) -> None:
    me, others = Identity.generate(), [Identity.generate() for _ in range(WARM + links)]
    trust = [TrustedPeer(each.key, "") for each in others]
    async with Node(CONFIG, identity=me, trust=trust, backends=BACKENDS) as node:
        player = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.memory", "--links", str(links)),
            *("--play", str(me.key), str(node.port if role == "accepts" else 0)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert player.stdin is not None
        assert player.stdout is not None
        player.stdin.write(b"".join(each.to_pem() + b"\0" for each in others) + b"\0")

        async def link(
            words: asyncio.StreamWriter, ports: asyncio.StreamReader, first: int, last: int
        ) -> int:
            """Link with these; returns the memory then."""
            words.write(b"go\n")
            async with node.events() as events:
                for identity in others[first:last]:
                    port = int(await ports.readline())
                    if role == "dials":
                        node.backend("told", Told).tell(identity.key, port)
                await _linked(events, last)
            return await _private_kb()

        warm = await link(player.stdin, player.stdout, 0, WARM)
        linked = await link(player.stdin, player.stdout, WARM, WARM + links)
        print(f"{role + ':':9} idle link end            {(linked - warm) / links:6.1f}")
        await _streams(node, others[:WARM])
        warm = await _private_kb()
        streams = await _streams(node, others[WARM:])
        print(f"{'':9} idle stream end          {(await _private_kb() - warm) / links:6.1f}")
        for stream in streams:
            await _exchange(stream)
        print(f"{'':9} after 256 kB each way    {(await _private_kb() - warm) / links:6.1f}")
        player.stdin.close()
        await player.wait()


async def _linked(events: AsyncIterator[Event], count: int) -> None:
    """Wait until so many peers are linked."""
    linked: set[PeerKey] = set()
    async for event in events:
        match event:
            case Snapshot(peers=peers):
                linked = {peer.key for peer in peers if peer.state is PeerState.LINKED}
            case PeerConnected(key=key):
                linked.add(key)
            case PeerDisconnected(key=key):
                linked.discard(key)
        if len(linked) >= count:
            return


async def _streams(node: Node, others: list[Identity]) -> list[Stream]:
    """Open one to each, with a byte each way."""
    streams = [await node.open(each.key, PROTOCOL, timeout_s=60) for each in others]
    for stream in streams:
        await stream.send(b"x")
        await stream.receive()
    return streams


async def _exchange(stream: Stream) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, bytes(AMOUNT))
        received = 0
        while received < AMOUNT:
            received += len(await stream.receive())


async def _play(links: int, key: str, port: str) -> None:
    """Be all the others: the first few at the first word, the rest at the second, until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    pems = (await reader.readuntil(b"\0\0")).split(b"\0")[: WARM + links]
    peer = PeerKey.parse(key)
    async with contextlib.AsyncExitStack() as stack:
        for batch in (pems[:WARM], pems[WARM:]):
            await reader.readline()
            for pem in batch:
                identity = Identity.from_pem(pem)
                node = Node(CONFIG, identity=identity, trust=[TrustedPeer(peer, "")], backends=BACKENDS)
                node.protocol(PROTOCOL)(_echo)
                await stack.enter_async_context(node)
                if int(port):
                    node.backend("told", Told).tell(peer, int(port))
                print(node.port, flush=True)
        await reader.read()


async def _echo(stream: Stream) -> None:
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            await stream.send(await stream.receive())


async def _private_kb() -> int:
    await asyncio.sleep(2)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _private_kb_now()


def _private_kb_now() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
