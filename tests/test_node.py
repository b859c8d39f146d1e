"""Whole nodes in one process, over loopback: what an application sees."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import anyio
import attrs
import pytest

from peernet_core import (
    Announcement,
    Backend,
    BackendFailed,
    BackendStarted,
    Config,
    Context,
    DiscoverySpec,
    Event,
    Identity,
    Node,
    NodeClosedError,
    NodeStarted,
    NodeStopped,
    PeerConnected,
    PeerDisconnected,
    PeerKey,
    PeerNotTrustedError,
    PeerState,
    PeerUnreachable,
    PeerUnreachableError,
    ProtocolRefusedError,
    Snapshot,
    Stream,
    TrustedPeer,
    UnreachableReason,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.decisions.effects import RaiseSequence
from peernet_core.errors import DataDirectoryInUseError
from peernet_core.records import Record, decode_record
from peernet_core.testing import FailingDiscovery

GUARD_S = 60.0
LOOPBACK = parse_ip("127.0.0.1")
CONFIG = Config(listen=(ListenAddress(LOOPBACK, 0),))


@attrs.define(eq=False)
class Told(DiscoverySpec):
    """A backend that knows what the test tells it."""

    context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context

    def tell(self, key: PeerKey, port: int) -> None:
        self.context.peer_discovered(key, LOOPBACK, port, configured=True)


def make_node(identity: Identity, *trusted: Identity, data_dir: Path | None = None) -> Node:
    return Node(
        CONFIG,
        identity=identity,
        trust=[TrustedPeer(each.key, f"peer{number}") for number, each in enumerate(trusted)],
        backends=[Backend("told", "", "told", Told)],
        data_dir=data_dir,
    )


def introduce(*nodes: Node) -> None:
    """Tell every node where every other one is."""
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.backend("told", Told).tell(other.key, other.port)


async def until(events: AsyncIterator[Event], wanted: Callable[[Event], bool]) -> list[Event]:
    """Read events up to the one that is wanted."""
    seen: list[Event] = []
    with anyio.fail_after(GUARD_S):
        async for event in events:
            seen.append(event)
            if wanted(event):
                return seen
    raise AssertionError(f"the events ended: {seen}")


def is_connected(event: Event) -> bool:
    return isinstance(event, PeerConnected)


@contextlib.asynccontextmanager
async def linked_pair() -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes with a link."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as one, make_node(b, a) as other:
        async with one.events() as ones, other.events() as others:
            introduce(one, other)
            await until(ones, is_connected)
            await until(others, is_connected)
        yield one, other


async def test_two_nodes_that_trust_each_other_link() -> None:
    """Both are told, once, with label and address; their views agree."""
    a, b = Identity.generate(), Identity.generate()
    node = make_node(a, b)
    async with node.events() as events:
        async with node, make_node(b, a) as other:
            introduce(node, other)
            seen = await until(events, is_connected)
            assert isinstance(seen[0], Snapshot)
            assert isinstance(seen[1], NodeStarted)
            assert BackendStarted("told", "told") in seen
            [peer] = node.peers()
            assert (peer.key, peer.label, peer.state) == (b.key, "peer0", PeerState.LINKED)
            assert peer.address is not None
            assert peer.address.port == other.port
        rest = await until(events, lambda event: isinstance(event, NodeStopped))
    assert sum(isinstance(event, PeerConnected) for event in rest) == 0


@pytest.mark.parametrize("count", [2, 5])
async def test_everybody_who_meets_at_once_links_exactly_once(count: int) -> None:
    """Nodes that discover each other at the same instant end with one link a pair, which stays."""
    identities = [Identity.generate() for _ in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(make_node(me, *(each for each in identities if each is not me)))
            for me in identities
        ]
        subscribed = [await stack.enter_async_context(node.events()) for node in nodes]
        introduce(*nodes)
        for events in subscribed:
            for _ in range(count - 1):
                await until(events, is_connected)
        await anyio.sleep(60)  # of the loop's jumping time
        for node in nodes:
            assert [peer.state for peer in node.peers()] == [PeerState.LINKED] * (count - 1)
            assert node.statistics()["links"] == count - 1
            assert "links_lost" not in node.statistics()


async def test_a_peer_that_does_not_trust_us_is_told_apart_and_reported_once() -> None:
    """Not as a timeout, and not at every retry."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as node, make_node(b) as other, node.events() as events:
        introduce(node, other)
        seen = await until(events, lambda event: isinstance(event, PeerUnreachable))
        assert isinstance(seen[-1], PeerUnreachable)
        assert seen[-1].reason is UnreachableReason.THEY_DO_NOT_TRUST_US
        dials = node.statistics()["dials"]
        with anyio.move_on_after(50):
            await until(events, lambda event: isinstance(event, PeerUnreachable | PeerConnected))
            pytest.fail("it was reported again, or linked")
        assert node.statistics()["dials"] > dials
        assert other.peers() == ()


async def test_somebody_else_at_the_address_is_a_wrong_key() -> None:
    """The address is reported, the peer stays unlinked."""
    a, b, c = (Identity.generate() for _ in range(3))
    async with make_node(a, b) as node, make_node(c, a) as impostor, node.events() as events:
        node.backend("told", Told).tell(b.key, impostor.port)
        seen = await until(events, lambda event: isinstance(event, PeerUnreachable))
        assert isinstance(seen[-1], PeerUnreachable)
        assert seen[-1].reason is UnreachableReason.WRONG_KEY


async def test_streams_go_both_ways_over_one_link() -> None:
    """Whoever dialed the link, both ends can open a stream; each knows its peer and protocol."""
    async with linked_pair() as (one, other):
        for node in (one, other):

            @node.protocol("shout/1")
            async def shout(stream: Stream) -> None:
                await stream.send((await stream.receive()).upper() + str(stream.peer).encode())

        for here, there in ((one, other), (other, one)):
            async with await here.open(there.key, "shout/1", timeout_s=GUARD_S) as stream:
                assert (stream.peer, stream.protocol) == (there.key, "shout/1")
                await stream.send(b"hello")
                answer = b""
                with contextlib.suppress(anyio.EndOfStream):
                    while True:
                        answer += await stream.receive()
                assert answer == b"HELLO" + str(here.key).encode()
        await anyio.sleep(2)
        assert one.statistics()["streams_open"] == other.statistics()["streams_open"] == 0


async def test_a_protocol_that_the_peer_does_not_take_is_refused() -> None:
    """With an error that says so, and the link stays."""
    async with linked_pair() as (one, other):
        with pytest.raises(ProtocolRefusedError, match="no such protocol"):
            await one.open(other.key, "unheard/1", timeout_s=GUARD_S)
        assert one.peers()[0].state is PeerState.LINKED


async def test_a_handler_that_raises_ends_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    """The peer sees the end; link and other streams go on."""
    async with linked_pair() as (one, other):

        @other.protocol("bad/1")
        async def bad(stream: Stream) -> None:
            raise RuntimeError(f"handler bug with {stream.peer}")

        stream = await one.open(other.key, "bad/1", timeout_s=GUARD_S)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
        await stream.aclose()
        assert one.peers()[0].state is PeerState.LINKED
    assert "handler bug" in caplog.text


async def test_a_peer_may_have_64_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is refused, and taken when another has ended."""
    monkeypatch.setattr("peernet_core.links.stream_table.MAX_STREAMS_PER_PEER", 3)
    async with linked_pair() as (one, other):

        @other.protocol("hold/1")
        async def hold(stream: Stream) -> None:
            with contextlib.suppress(anyio.EndOfStream):
                await stream.receive()

        streams = [await one.open(other.key, "hold/1", timeout_s=GUARD_S) for _ in range(3)]
        with pytest.raises(ProtocolRefusedError, match="streams with us already"):
            await one.open(other.key, "hold/1", timeout_s=GUARD_S)
        await streams.pop().aclose()
        await anyio.sleep(2)
        streams.append(await one.open(other.key, "hold/1", timeout_s=GUARD_S))
        for stream in streams:
            await stream.aclose()


async def test_opening_waits_for_the_link() -> None:
    """A stream to a peer that comes up later is opened then; one that never does is a typed error."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as one, make_node(b, a) as other:

        @other.protocol("late/1")
        async def late(stream: Stream) -> None:
            await stream.send(b"x")

        with pytest.raises(PeerUnreachableError, match="within 3 s"):
            await one.open(b.key, "late/1", timeout_s=3)

        async def later() -> None:
            await anyio.sleep(5)
            introduce(one, other)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(later)
            async with await one.open(b.key, "late/1", timeout_s=GUARD_S) as stream:
                assert await stream.receive() == b"x"


async def test_removed_trust_cuts_link_and_streams_and_does_not_come_back() -> None:
    """At once, on both sides; and trusting again links again without a restart."""
    async with linked_pair() as (one, other), one.events() as events:

        @other.protocol("hold/1")
        async def hold(stream: Stream) -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()

        stream = await one.open(other.key, "hold/1", timeout_s=GUARD_S)
        one.trust.remove(other.key)
        with anyio.fail_after(GUARD_S), pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await stream.receive()
        seen = await until(events, lambda event: isinstance(event, PeerDisconnected))
        assert seen[-1] == PeerDisconnected(other.key, "untrusted")
        with anyio.move_on_after(50):
            await until(events, is_connected)
            pytest.fail("linked with a peer that is not trusted")
        with pytest.raises(PeerNotTrustedError):
            await one.open(other.key, "hold/1")
        one.trust.add(other.key, "again")
        seen = await until(events, is_connected)
        assert isinstance(seen[-1], PeerConnected)
        assert seen[-1].label == "again"


async def test_waiting_for_a_stream_ends_when_trust_does() -> None:
    """Not only at the timeout."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as node, anyio.create_task_group() as tasks:

        async def distrust() -> None:
            node.trust.remove(b.key)

        tasks.start_soon(distrust)
        with anyio.fail_after(GUARD_S), pytest.raises(PeerNotTrustedError):
            await node.open(b.key, "x/1", timeout_s=1e6)


async def test_a_clean_stop_is_seen_as_such() -> None:
    """The other side hears a reason, not a broken connection."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as node, node.events() as events:
        async with make_node(b, a) as other, other.events() as others:
            introduce(node, other)
            await until(events, is_connected)
            await until(others, is_connected)
        seen = await until(events, lambda event: isinstance(event, PeerDisconnected))
        assert seen[-1] == PeerDisconnected(b.key, "stopped")


async def test_a_cancelled_node_still_says_goodbye() -> None:
    """However its block is left: the peer hears it, and so do its own readers."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as node, node.events() as events:
        other = make_node(b, a)
        async with other.events() as others:
            with anyio.CancelScope() as scope:
                async with other:
                    introduce(node, other)
                    await until(events, is_connected)
                    await until(others, is_connected)
                    scope.cancel()
                    await anyio.sleep_forever()
            await until(others, lambda event: isinstance(event, NodeStopped))
        seen = await until(events, lambda event: isinstance(event, PeerDisconnected))
        assert seen[-1] == PeerDisconnected(b.key, "stopped")


async def test_a_peer_that_restarts_is_linked_again() -> None:
    """At its new port, as soon as that is reported."""
    a, b = Identity.generate(), Identity.generate()
    async with make_node(a, b) as node, node.events() as events:
        for _ in range(3):
            async with make_node(b, a) as other:
                node.backend("told", Told).tell(other.key, other.port)
                await until(events, is_connected)
            await until(events, lambda event: isinstance(event, PeerDisconnected))


@pytest.mark.parametrize("name", ["peernet/1", "peernet/other", "", "x" * 256, "smörgås/1"])
async def test_a_protocol_name_that_cannot_be_used_is_refused_where_it_is_registered(name: str) -> None:
    """Before the start and after it."""
    with pytest.raises(ValueError, match="protocol"):
        make_node(Identity.generate()).protocol(name)(_nothing)
    async with make_node(Identity.generate()) as node:
        with pytest.raises(ValueError, match="protocol"):
            node.protocol(name)(_nothing)
        node.protocol("fine/1")(_nothing)
        with pytest.raises(ValueError, match="has a handler"):
            node.protocol("fine/1")(_nothing)


async def _nothing(stream: Stream) -> None:
    _ = stream


async def test_a_node_that_does_not_run_says_so() -> None:
    """Before the start, after the stop, and at a second start."""
    node = make_node(Identity.generate())
    with pytest.raises(NodeClosedError, match="not started"):
        _ = node.port
    async with node:
        assert node.port > 0
    with pytest.raises(NodeClosedError, match="not running"):
        await node.open(Identity.generate().key, "x/1")
    with pytest.raises(NodeClosedError, match="entered once"):
        await node.__aenter__()


async def test_stopping_ends_what_still_waits() -> None:
    """An `open` under way gets an error instead of its timeout."""
    b = Identity.generate()
    async with anyio.create_task_group() as tasks:
        ended = anyio.Event()

        async def wait(node: Node) -> None:
            with pytest.raises(NodeClosedError):
                await node.open(b.key, "x/1", timeout_s=1e6)
            ended.set()

        async with make_node(Identity.generate(), b) as node:
            tasks.start_soon(wait, node)
            await anyio.sleep(1)
        with anyio.fail_after(GUARD_S):
            await ended.wait()


async def test_a_data_directory_keeps_key_port_and_trust(tmp_path: Path) -> None:
    """A second run is the same peer at the same port; two at once are refused."""
    friend = Identity.generate()
    async with Node(CONFIG, data_dir=tmp_path / "data") as node:
        before = node.key, node.port
        node.trust.add(friend.key, "friend")
        with pytest.raises(DataDirectoryInUseError):
            await Node(CONFIG, data_dir=tmp_path / "data").__aenter__()
    async with Node(CONFIG, data_dir=tmp_path / "data") as node:
        assert (node.key, node.port) == before
        assert [peer.label for peer in node.trust] == ["friend"]


async def test_an_edited_trust_file_is_followed(tmp_path: Path) -> None:
    """A line more links, a line less unlinks, without a restart."""
    b = Identity.generate()
    node = Node(CONFIG, backends=[Backend("told", "", "told", Told)], data_dir=tmp_path)
    async with node, make_node(b) as other, node.events() as events:
        other.trust.add(node.key)
        node.backend("told", Told).tell(b.key, other.port)
        path = tmp_path / "trusted_peers"
        path.write_text(f"# mine\n{b.key} bob\n")
        await until(events, is_connected)
        path.write_text("# mine\n")
        await until(events, lambda event: isinstance(event, PeerDisconnected))


async def test_a_required_backend_that_fails_ends_the_start_with_every_reason() -> None:
    """Nothing is left running: the guards of the test suite see to that."""
    node = Node(
        CONFIG,
        backends=[
            Backend("one", "acme 1.0", "failing", FailingDiscovery),
            Backend("two", "", "failing", FailingDiscovery),
            Backend("told", "", "told", Told),
        ],
    )
    with pytest.raises(ExceptionGroup) as caught:
        await node.__aenter__()
    assert sorted(str(error) for error in caught.value.exceptions) == [
        "[discovery.one], acme 1.0: start raised OSError: the medium is gone",
        "[discovery.two]: start raised OSError: the medium is gone",
    ]


async def test_a_backend_that_is_not_required_may_fail() -> None:
    """The node says so, and links through the other one."""
    a, b = Identity.generate(), Identity.generate()
    backends = [
        Backend("bad", "", "failing", FailingDiscovery, required=False),
        Backend("told", "", "told", Told),
    ]
    node = Node(CONFIG, identity=a, trust=[TrustedPeer(b.key, "b")], backends=backends)
    async with node.events() as events:
        async with node, make_node(b, a) as other:
            introduce(node, other)
            seen = await until(events, is_connected)
        seen += await until(events, lambda event: isinstance(event, NodeStopped))
    assert [event.source for event in seen if isinstance(event, BackendFailed)] == ["bad"]


async def test_several_instances_of_one_backend_report_side_by_side() -> None:
    """Each under its own source; the peer is lost to one and still known by the other."""
    a, b = Identity.generate(), Identity.generate()
    backends = [Backend(source, "", "told", Told) for source in ("left", "right")]
    node = Node(CONFIG, identity=a, trust=[TrustedPeer(b.key, "b")], backends=backends)
    async with node, make_node(b, a) as other, node.events() as events:
        for source in ("left", "right"):
            node.backend(source, Told).tell(b.key, other.port)
        await until(events, is_connected)
        [peer] = node.peers()
        assert {address.source for address in peer.addresses} >= {"left", "right"}


@attrs.define(eq=False)
class Stored(DiscoverySpec):
    """A medium that never forgets: it keeps what was announced."""

    refresh_s: ClassVar[float] = 20.0
    records: list[Record]

    @hookimpl
    async def start(self, context: Context) -> None:
        """Nothing to listen to."""

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        self.records.append(decode_record(announcement.record).record)


@attrs.define(eq=False)
class Slow(Stored):
    """It wants new records more often than it can take them."""

    refresh_s: ClassVar[float] = 0.1
    takes_s: ClassVar[float] = 0.15

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        await super().announce_self(announcement)
        await anyio.sleep(self.takes_s)


async def test_nothing_is_announced_after_the_last_record() -> None:
    """It would seem to run again: what is due while the last record is on its way is left out."""
    records: list[Record] = []
    async with Node(CONFIG, backends=[Backend("slow", "", "slow", lambda: Slow(records))]):
        await anyio.sleep(10)
    assert [record.stopped for record in records[-2:]] == [False, True]


@attrs.define(eq=False)
class Echoing(Stored):
    """A medium that sends us back what we say."""

    _context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self._context = context

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        await super().announce_self(announcement)
        self._context.record_received(announcement.record, ttl_s=60.0)


async def test_no_record_of_our_own_is_a_newer_one_of_somebody_else() -> None:
    """Not the last one either: a node that hears it while it stops does not outdo it."""
    records: list[Record] = []
    node = Node(CONFIG, backends=[Backend("echo", "", "echo", lambda: Echoing(records))])
    async with node:
        engine = node._running
        assert engine is not None
    assert [record.stopped for record in records] == [False, True]
    assert not [effect for effect in engine.registry.take_effects() if isinstance(effect, RaiseSequence)]


async def test_a_medium_that_stores_is_told_anew_and_at_last_that_we_stopped() -> None:
    """As often as it asks for, each time with a higher number; the last record voids the others."""
    records: list[Record] = []
    async with Node(CONFIG, backends=[Backend("stored", "", "stored", lambda: Stored(records))]):
        await anyio.sleep(65)
        assert len(records) == 4
        assert not any(record.stopped for record in records)
    assert [record.stopped for record in records[4:]] == [True]
    assert [record.sequence for record in records] == sorted({record.sequence for record in records})
