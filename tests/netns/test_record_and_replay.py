"""A field bug becomes a test: what a host heard by mDNS is played back in virtual time, without a network."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peernet_core.backends.recording import Entry
from peernet_core.backends.reports import RecordReport
from peernet_core.events import PeerDiscovered, PeerLost
from peernet_core.keys import PeerKey
from peernet_core.testing import DiscoveryNode, JumpingEventLoop, Place, ReplayDiscovery
from peernet_core.testing.lab import LabNode, Laboratory
from peernet_core.testing.node_process import Line
from peernet_core.testing.replay import read_recording

pytestmark = pytest.mark.netns


def found(lines: list[Line], key: PeerKey) -> list[tuple[object, object]]:
    return [(line.fields["ip"], line.fields["port"]) for line in lines if line.fields["key"] == str(key)]


async def replay(path: Path, folder: Path, peers: list[LabNode]) -> DiscoveryNode:
    node = DiscoveryNode(Place(folder), 1)
    node.trust(*(peer.key for peer in peers))
    backend = ReplayDiscovery(path)
    await node.life(backend, "mdns").start()
    await backend.finished.wait()
    await asyncio.sleep(3600)
    await node.close()
    return node


def test_what_was_heard_by_mdns_is_heard_again(lab: Laboratory, tmp_path: Path) -> None:
    """One peer says goodbye, one is killed: the replay sees the same discoveries, and the same losses."""
    alpha, beta, gamma = lab.node("alpha"), lab.node("beta"), lab.node("gamma")
    for node in (alpha, beta, gamma):
        node.configure(trust=[other for other in (alpha, beta, gamma) if other is not node])
        node.config.unlink()
    path = tmp_path / "bug.jsonl"
    with alpha.start("--record", str(path)) as a:
        with beta.start() as b, gamma.start() as c:
            for peer in (beta, gamma):
                a.wait("peer_discovered", key=str(peer.key), source="mdns")
                a.wait("peer_connected", key=str(peer.key))
            assert b.terminate() == 0
            a.wait("peer_lost", key=str(beta.key), source="mdns")
            c.kill()
            a.wait("peer_lost", key=str(gamma.key), source="mdns")
        assert a.terminate() == 0
    recording = read_recording(path)
    assert (recording.header.key, list(recording.header.sources)) == (alpha.key, ["mdns"])
    assert any(_heard(entry) for entry in recording.entries)

    with asyncio.Runner(loop_factory=JumpingEventLoop) as runner:
        replayed = runner.run(replay(path, tmp_path, [beta, gamma]))
    for peer in (beta, gamma):
        discovered = [
            e.address for e in replayed.events if isinstance(e, PeerDiscovered) and e.key == peer.key
        ]
        assert [(each.host, each.port) for each in discovered] == found(
            a.seen("peer_discovered", source="mdns"), peer.key
        )
    lost = [event.key for event in replayed.events if isinstance(event, PeerLost)]
    assert [str(key) for key in lost] == [line.fields["key"] for line in a.seen("peer_lost", source="mdns")]


def _heard(entry: Entry) -> bool:
    return isinstance(entry.report, RecordReport) and entry.report.heard is not None
