"""The trust list of a running node: what ends a link, what begins one, what must not disturb it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from peernet_core.testing.lab import GuardExpiredError, LabNode, Laboratory, NodeProcess, eventually

pytestmark = pytest.mark.netns

# An application on each side of a stream that says when its end of it is over.
_APPLICATION = """
import json, sys
import anyio
from peernet_core import Node, PeerConnected, PeerDisconnected, PeerKey

def say(event, **fields):
    print(json.dumps({"event": event, **fields}))

async def hold(stream):
    say("stream_opened")
    try:
        while True:
            await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        say("stream_ended")

async def show(node):
    async with node.events() as events:
        async for event in events:
            match event:
                case PeerConnected(key=key):
                    say("peer_connected", key=str(key))
                case PeerDisconnected(key=key):
                    say("peer_disconnected", key=str(key))

async def main():
    node = Node.from_config(sys.argv[1], data_dir=sys.argv[2])
    node.protocol("hold/1")(hold)
    async with node, anyio.create_task_group() as tasks:
        tasks.start_soon(show, node)
        for text in sys.argv[3:]:
            await hold(await node.open(PeerKey.parse(text), "hold/1", timeout_s=60))
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.fixture
def pair(lab: Laboratory) -> tuple[LabNode, LabNode]:
    """Two nodes, each with the other as a configured peer."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    alpha.configure(trust=[beta], peers={beta: str(beta.host.ipv4)})
    beta.configure(trust=[alpha], peers={alpha: str(alpha.host.ipv4)})
    return alpha, beta


def test_a_removal_ends_the_link_and_an_addition_makes_it_anew(
    pair: tuple[LabNode, LabNode], measured: Callable[[str], None]
) -> None:
    """`trust remove` while linked ends the link for good, whoever dials; `trust add` needs no restart."""
    alpha, beta = pair
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))

        at_a, at_b, began = a.mark(), b.mark(), time.monotonic()
        alpha.peernet("trust", "remove", "beta")
        gone = a.wait("peer_disconnected", key=str(beta.key), since=at_a)
        b.wait("peer_disconnected", key=str(alpha.key), since=at_b)
        measured(f"removed trust ended the link after {gone.received_at - began:.2f} s (aim: 2)")

        alpha.host.count_attempts()
        b.wait("peer_unreachable", key=str(alpha.key), reason="they_do_not_trust_us", since=at_b)
        eventually(lambda: alpha.host.attempts >= 2, "beta tries again")
        assert not a.seen("peer_connected", since=at_a)
        assert not b.seen("peer_connected", since=at_b)

        began = time.monotonic()
        alpha.peernet("trust", "add", str(beta.key), "--label", "attic")
        back = a.wait("peer_connected", key=str(beta.key), label="attic", since=at_a)
        b.wait("peer_connected", key=str(alpha.key), since=at_b)
        measured(f"added trust made the link after {back.received_at - began:.2f} s")


def test_a_removal_closes_streams_on_both_sides(pair: tuple[LabNode, LabNode]) -> None:
    """Neither application goes on talking to somebody whose key was removed."""
    alpha, beta = pair
    with (
        alpha.start_application(_APPLICATION) as a,
        beta.start_application(_APPLICATION, str(alpha.key)) as b,
    ):
        for process in (a, b):
            process.wait("stream_opened")
        alpha.peernet("trust", "remove", str(beta.key))
        for process in (a, b):
            process.wait("stream_ended")
            process.wait("peer_disconnected")


def _is_undisturbed(process: NodeProcess, since: int) -> None:
    """Watch for longer than a removal takes to apply."""
    with pytest.raises(GuardExpiredError, match="went on"):
        process.wait("peer_disconnected", since=since, guard_s=1.6)


def test_an_editor_that_truncates_and_rewrites_slowly_closes_nothing(
    pair: tuple[LabNode, LabNode], lab: Laboratory
) -> None:
    """Neither the empty file nor any half of a line removes anybody; the finished one without a key does."""
    alpha, beta = pair
    other = lab.node("other")
    first, second = f"{other.key} other", f"{beta.key} beta"
    alpha.configure(trust=[other, beta], peers={beta: str(beta.host.ipv4)})
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        at_a, at_b = a.mark(), b.mark()
        with alpha.trusted_peers.open("w", encoding="utf-8") as editor:
            for piece in ("", first[:30], f"{first[30:]}\n{second[:20]}", f"{second[20:]}\n"):
                editor.write(piece)
                editor.flush()
                _is_undisturbed(a, at_a)
        assert not b.seen("peer_disconnected", since=at_b)
        alpha.trusted_peers.write_text(f"{first}\n", encoding="utf-8")
        a.wait("peer_disconnected", key=str(beta.key), since=at_a)
