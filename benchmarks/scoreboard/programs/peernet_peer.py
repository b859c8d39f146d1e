"""An application with a peernet node in it, which says what becomes of its peers.

Run: ``python -m benchmarks.scoreboard.programs.peernet_peer FOLDER ...``; a node for each folder, which
holds a ``peernet.toml``. Everything is imported before the first `started` is said.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import anyio

import peernet_mdns  # noqa: F401 - so that the start call does not have to
from benchmarks.scoreboard.programs.said import say
from peernet_core import Node, PeerConnected, PeerDisconnected, PeerState, Snapshot


async def _follow(node: Node) -> None:
    async with node.events() as events:
        async for event in events:
            match event:
                case Snapshot(peers=peers):
                    for peer in peers:
                        if peer.state is PeerState.LINKED:
                            say("linked", str(peer.key))
                case PeerConnected(key=key):
                    say("linked", str(key))
                case PeerDisconnected(key=key):
                    say("lost", str(key))


async def _main(folders: list[Path]) -> None:
    async with contextlib.AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        for folder in folders:
            say("started")
            node = await stack.enter_async_context(Node.from_config(folder / "peernet.toml"))
            tasks.start_soon(_follow, node)
        say("ready")


if __name__ == "__main__":
    anyio.run(_main, [Path(each) for each in sys.argv[1:]])
