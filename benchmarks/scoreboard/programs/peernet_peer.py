"""An application with a peernet node in it, which says what becomes of its peers.

Run: ``python -m benchmarks.scoreboard.programs.peernet_peer [--trust KEY] FOLDER ...``; a node for each
folder, which holds a ``peernet.toml``. Everything is imported before the first `started` is said.

With a key they all trust that one, whatever their files say, and do not follow these. Each node that follows
its file takes one of the 128 inotify instances that Linux allows a user: a crowd would leave none for those
that are measured, which would have to look for edits every second.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

import anyio

import peernet_mdns  # noqa: F401 - so that the start call does not have to
from benchmarks.scoreboard.programs.said import say
from peernet_core import Node, PeerConnected, PeerDisconnected, PeerKey, PeerState, Snapshot, TrustedPeer
from peernet_core.configuration.entrypoints import load_configuration


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


def _node(folder: Path, trusted: PeerKey | None) -> Node:
    path = folder / "peernet.toml"
    if trusted is None:
        return Node.from_config(path)
    config, backends = load_configuration(path)
    return Node(config, backends=backends, trust=[TrustedPeer(trusted)])


async def _main(folders: list[Path], trusted: PeerKey | None) -> None:
    async with contextlib.AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        for folder in folders:
            say("started")
            node = await stack.enter_async_context(_node(folder, trusted))
            tasks.start_soon(_follow, node)
        say("ready")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--trust", type=PeerKey.parse, metavar="KEY")
    parser.add_argument("folder", type=Path, nargs="+")
    arguments = parser.parse_args()
    anyio.run(_main, arguments.folder, arguments.trust)
