"""Memory of one end of an idle link, and of a stream that carried 256 kB each way.

Run: ``python -m benchmarks.memory [--links 200]``

One process holds the end that is measured: a node that trusts all the others. A second process holds all the
other ends. What is measured is the private memory (Private_Clean + Private_Dirty of smaps_rollup, garbage
collected and returned to the system before each reading) of the first process, with and without the links.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import attrs

from peernet_core import (
    Backend,
    Config,
    Context,
    DiscoverySpec,
    Identity,
    Node,
    PeerConnected,
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


@attrs.define(eq=False)
class Known(DiscoverySpec):
    """Reports the peers that it was made with."""

    peers: Sequence[tuple[PeerKey, int]] = ()

    @hookimpl
    async def start(self, context: Context) -> None:
        for key, port in self.peers:
            context.peer_discovered(key, LOOPBACK, port, configured=True)


def main() -> None:
    """Measure and print, or play the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--links", type=int, default=200)
    parser.add_argument("--play", nargs=3, metavar=("KEY", "PORT", "ROLE"))
    arguments = parser.parse_args()
    if arguments.play:
        asyncio.run(_play(arguments.links, *arguments.play))
        return
    print(f"{arguments.links} links, private memory of one process, kB an end")
    for role in ("accepts", "dials"):
        asyncio.run(_measure(arguments.links, role))


async def _measure(links: int, role: str) -> None:
    me, others = Identity.generate(), [Identity.generate() for _ in range(links)]
    node = Node(CONFIG, identity=me, trust=[TrustedPeer(each.key, "") for each in others])
    async with node:
        await _settle()
        port = node.port
    # The same node again, so that what starting one costs once is in both readings.
    player = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.memory", "--links", str(links)),
        *("--play", str(me.key), str(port if role == "accepts" else 0), role),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert player.stdin is not None
    assert player.stdout is not None
    player.stdin.write(b"".join(each.to_pem() + b"\0" for each in others) + b"\0")
    await player.stdin.drain()
    known = [(identity.key, int(await player.stdout.readline())) for identity in others]
    backends = [Backend("known", "", "known", lambda: Known(known if role == "dials" else ()))]
    config = Config(listen=(ListenAddress(LOOPBACK, port),))
    trust = [TrustedPeer(each.key, "") for each in others]
    async with Node(config, identity=me, trust=trust) as idle:
        await _settle()
        assert idle.port == port
        without = _private_kb()
    async with Node(config, identity=me, trust=trust, backends=backends) as node:
        async with node.events() as events:
            missing = links
            async for event in events:
                if isinstance(event, Snapshot):
                    missing = sum(peer.state is not PeerState.LINKED for peer in event.peers)
                missing -= isinstance(event, PeerConnected)
                if not missing:
                    break
        await _settle()
        linked = _private_kb()
        print(f"{role + ':':9} idle link end            {(linked - without) / links:6.1f}")
        streams = [await node.open(each.key, PROTOCOL, timeout_s=60) for each in others]
        await _settle()
        opened = _private_kb()
        print(f"{'':9} idle stream end          {(opened - linked) / links:6.1f}")
        for stream in streams:
            await _exchange(stream)
        await _settle()
        print(f"{'':9} after 256 kB each way    {(_private_kb() - linked) / links:6.1f}")
        for stream in streams:
            await stream.aclose()
    player.stdin.close()
    await player.wait()


async def _exchange(stream: Stream) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, bytes(AMOUNT))
        received = 0
        while received < AMOUNT:
            received += len(await stream.receive())


async def _play(links: int, key: str, port: str, role: str) -> None:
    """Be all the others, until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    pems = (await reader.readuntil(b"\0\0")).split(b"\0")[:links]
    peer = PeerKey.parse(key)
    known = [(peer, int(port))] if role == "accepts" else []
    backends = [Backend("known", "", "known", lambda: Known(known))]
    async with contextlib.AsyncExitStack() as stack:
        for pem in pems:
            node = Node(
                CONFIG, identity=Identity.from_pem(pem), trust=[TrustedPeer(peer, "")], backends=backends
            )
            node.protocol(PROTOCOL)(_echo)
            await stack.enter_async_context(node)
            print(node.port, flush=True)
        await reader.read()


async def _echo(stream: Stream) -> None:
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            await stream.send(await stream.receive())


async def _settle() -> None:
    await asyncio.sleep(2)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _private_kb() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
