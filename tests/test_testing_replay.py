"""A recording that is played back leads to what it came from: the same events at the same times."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peernet_core.addresses import Address, IPAddress
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.recording import Header, encode_header, encode_missing, encode_reported
from peernet_core.backends.reports import RecordReport, Reported
from peernet_core.backends.witness import WitnessedIntake
from peernet_core.configuration.entrypoints import BackendIndex
from peernet_core.contract import Sighting, ThreadContext
from peernet_core.decisions.sightings import Sightings
from peernet_core.errors import ConfigurationError
from peernet_core.events import Event, PeerDiscovered, PeerLost
from peernet_core.keys import Identity, PeerKey
from peernet_core.records import Record, encode_record
from peernet_core.testing import FixedNetwork, JumpingEventLoop
from peernet_core.testing.replay import ReplayDiscovery
from peernet_core.trust import TrustedPeer, TrustList

OWN, OTHER, ALICE, BOB, STRANGER = (Identity.generate() for _ in range(5))
IPS = (IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3"), IPv6Address("fe80::2%eth0"))
PORTS = (7100, 7200)


def record_of(identity: Identity, sequence: int, *, stopped: bool = False, port: int = 7100) -> bytes:
    addresses = () if stopped else (Address(IPS[sequence % 2], port),)
    return encode_record(Record(identity.key, sequence, port, addresses, stopped=stopped), identity)


RECORDS = [
    record_of(identity, sequence, port=PORTS[sequence % 2])
    for identity in (ALICE, BOB, STRANGER, OWN)
    for sequence in (1, 2, 3)
]
RECORDS += [record_of(ALICE, 4, stopped=True), RECORDS[0][:-1] + b"?", b"garbage", b"x" * 1000]


class Node:
    """Who is said to be where, as a node knows it, with the time of each change; and what it was told."""

    def __init__(self, me: PeerKey = OWN.key) -> None:
        self.me = me
        self.sightings = Sightings(
            me=me, trust=TrustList(TrustedPeer(each.key, "") for each in (ALICE, BOB)), counts=Counter()
        )
        self.events: list[tuple[float, Event]] = []
        self.told: list[str] = []
        self.last_state: list[object] = []
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def context(self, source: str) -> HostContext:
        return HostContext(
            source, key=self.me, intake=WitnessedIntake(self, self._tell), network=FixedNetwork()
        )

    def state(self) -> list[object]:
        """Every address that is believed, on whose word, and for how long."""
        return [
            (str(each.address), each.kind, each.sequence, each.heard, self._left(each.expires_at))
            for who in (ALICE, BOB)
            for each in self.sightings.ledger.candidates(who.key)
        ] + [
            (each.key, str(each.address))
            for each in self.sightings.strangers.listing()
            if each.key != OWN.key  # never a peer, and not played to another key
        ]

    def _left(self, expires_at: float | None) -> float | None:
        return None if expires_at is None else round(expires_at - self._loop.time(), 3)

    def _tell(self, reported: Reported) -> None:
        self.told.append(encode_reported(reported, at_s=self._loop.time() - self._began))

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        report = self.sightings.record_received(
            source, record, ttl_s=ttl_s, renew=renew, heard=heard, now=self._loop.time()
        )
        self._publish(report.events)
        return report.sighting

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        report = self.sightings.peer_discovered(
            source, key, Address(ip, port), ttl_s=ttl_s, configured=configured, now=self._loop.time()
        )
        self._publish(report.events)
        assert report.sighting is not None
        return report.sighting

    def peer_lost(self, sighting: Sighting) -> None:
        self._publish(self.sightings.peer_lost(sighting, now=self._loop.time()))

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        self._publish(self.sightings.source_lost(source, key, ip, port, now=self._loop.time()))

    def _publish(self, events: Sequence[Event]) -> None:
        now = self._loop.time()
        self.events += [(round(now - self._began, 3), event) for event in events]
        self.close()
        due = self.sightings.next_deadline()
        if due is not None:
            self._timer = self._loop.call_at(
                due, lambda: self._publish(self.sightings.expire(now=self._loop.time()))
            )

    async def end(self) -> None:
        """Let all leases end."""
        self.last_state = self.state()
        await asyncio.sleep(100)
        self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@attrs.frozen
class Step:
    """A report, and how many seconds come before it."""

    wait_s: int
    kind: str
    number: int
    ttl_s: float | None
    place: int
    flag: bool

    async def take(self, context: HostContext, seen: list[Sighting]) -> None:
        await asyncio.sleep(self.wait_s)
        ip, port = IPS[self.place], PORTS[self.number % 2]
        key = (ALICE, BOB, STRANGER, OWN)[self.number % 4].key
        found: Sighting | None = None
        match self.kind:
            case "record":
                heard = (ip, "eth0") if self.place else None
                found = context.record_received(
                    RECORDS[self.number % len(RECORDS)],
                    ttl_s=self.ttl_s or 9.5,
                    renew=self.flag,
                    heard=heard,
                )
            case "hint":
                found = context.peer_discovered(key, ip, port, ttl_s=self.ttl_s, configured=self.flag)
            case "lost" if seen:
                context.peer_lost(seen[self.number % len(seen)])
            case "lost in thread":
                await in_thread(context, key, ip if self.place else None, port if self.flag else None)
        if found is not None:
            seen.append(found)


async def in_thread(context: HostContext, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
    done = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def report(thread: ThreadContext) -> None:
        thread.peer_lost(key, ip, port)
        loop.call_soon_threadsafe(done.set_result, None)

    context.spawn_thread(report)
    await done


# Leases end at half seconds and reports come at whole ones: which of two at one moment is first is nobody's
# promise.
steps = st.lists(
    st.builds(
        Step,
        wait_s=st.integers(0, 12),
        kind=st.sampled_from(["record"] * 4 + ["hint"] * 2 + ["lost", "lost in thread"]),
        number=st.integers(0, len(RECORDS) - 1),
        ttl_s=st.sampled_from([0.5, 9.5, 60.5, None]),
        place=st.integers(0, len(IPS) - 1),
        flag=st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


async def live(node: Node, script: list[Step]) -> None:
    """A backend as the network made it behave."""
    context, seen = node.context("lan"), list[Sighting]()
    for step in script:
        await step.take(context, seen)
    await context.aclose(thread_timeout_s=20)


def write(
    path: Path, lines: Sequence[str], sources: Sequence[str] = ("lan",), key: PeerKey = OWN.key
) -> Path:
    header = encode_header(Header(key, 1763862900.0, dict.fromkeys(sources, "mdns")))
    path.write_text("".join(f"{line}\n" for line in (header, *lines)))
    return path


async def play(node: Node, replay: ReplayDiscovery, source: str = "lan") -> None:
    context = node.context(source)
    await replay.start(context)
    await replay.finished.wait()
    await context.aclose(thread_timeout_s=20)


def run(script: list[Step], path: Path, *, me: PeerKey, speed: float = 1.0) -> tuple[Node, Node]:
    """A life, and its replay; both nodes with their state at the end."""

    async def both() -> tuple[Node, Node]:
        recorded = Node()
        await live(recorded, script)
        await recorded.end()
        write(path, recorded.told)
        replayed = Node(me)
        await play(replayed, ReplayDiscovery(path, speed=speed))
        await replayed.end()
        return recorded, replayed

    with asyncio.Runner(loop_factory=JumpingEventLoop) as runner:
        return runner.run(both())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings") / "bug.jsonl"


@given(script=steps, same_key=st.booleans())
@example(script=[Step(0, "record", 0, 9.5, 0, True), Step(3, "lost", 0, None, 0, True)], same_key=True)
@example(
    script=[Step(0, "record", 0, 9.5, 2, True), Step(3, "lost in thread", 0, None, 0, False)], same_key=False
)
@example(
    script=[Step(0, "record", 0, 9.5, 0, True), Step(3, "lost in thread", 0, None, 0, True)], same_key=True
)
@example(script=[Step(0, "record", 9, 9.5, 0, True), Step(3, "hint", 3, None, 0, False)], same_key=False)
def test_a_replay_leads_to_the_same_events_and_state(script: list[Step], same_key: bool, path: Path) -> None:
    """Records of peers and strangers, forged, outdated, our own; hints; losses; leases: in virtual time."""
    recorded, replayed = run(script, path, me=OWN.key if same_key else OTHER.key)
    assert replayed.events == recorded.events
    assert replayed.last_state == recorded.last_state


@given(script=steps)
def test_another_speed_changes_nothing_but_the_times(script: list[Step], path: Path) -> None:
    """Leases are shortened alike, so that things still happen in the same order."""
    recorded, replayed = run(script, path, me=OWN.key, speed=8.0)
    assert [event for _, event in replayed.events] == [event for _, event in recorded.events]
    assert [at_s for at_s, _ in replayed.events] == pytest.approx(
        [at_s / 8 for at_s, _ in recorded.events], abs=0.002
    )


DISCOVERED = encode_reported(Reported("lan", RecordReport(RECORDS[0], 9.5, True, None), None), at_s=1.5)


async def test_a_peer_is_found_when_it_was_found(tmp_path: Path) -> None:
    """What a person would write by hand: found after 1.5 s, lost when its lease ends."""
    node = Node()
    path = write(tmp_path / "bug.jsonl", [DISCOVERED])
    await play(node, ReplayDiscovery(path))
    await asyncio.sleep(20)
    assert node.events == [
        (1.5, PeerDiscovered(ALICE.key, Address(IPS[1], 7200, "lan"))),
        (11.0, PeerLost(ALICE.key, "lan")),
    ]


@pytest.mark.parametrize(
    ("own", "sources", "wanted"),
    [("lan", ["lan", "radio"], ""), ("bug", ["lan"], ""), ("radio", ["lan", "radio"], "lan")],
)
async def test_whose_reports_are_played(tmp_path: Path, own: str, sources: list[str], wanted: str) -> None:
    """Those of the table's own name, of the only source, or of the one that is named."""
    node = Node()
    path = write(tmp_path / "bug.jsonl", [DISCOVERED], sources)
    await play(node, ReplayDiscovery(path, recorded_source=wanted), own)
    node.close()
    assert node.events == [(1.5, PeerDiscovered(ALICE.key, Address(IPS[1], 7200, own)))]


async def test_reports_of_others_are_not_played(tmp_path: Path) -> None:
    """One source at a time: each has leases of its own."""
    node = Node()
    path = write(tmp_path / "bug.jsonl", [DISCOVERED], ["lan", "radio"])
    await play(node, ReplayDiscovery(path), "radio")
    assert node.events == []


@pytest.mark.parametrize(("sources", "wanted"), [(["lan", "radio"], "bug"), (["lan"], "hall"), ([], "bug")])
async def test_a_source_that_was_not_recorded(tmp_path: Path, sources: list[str], wanted: str) -> None:
    """Which there are is said, and how to name one."""
    context = Node().context("bug")
    path = write(tmp_path / "bug.jsonl", [], sources)
    with pytest.raises(ConfigurationError) as caught:
        await ReplayDiscovery(path, recorded_source="" if wanted == "bug" else wanted).start(context)
    await context.aclose(thread_timeout_s=1)
    recorded = " and ".join(f'"{each}"' for each in sources) or "none"
    remedy = "; say which with recorded_source" if sources else ""
    assert str(caught.value) == f'{path}: no source "{wanted}" was recorded; recorded: {recorded}{remedy}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, ": it cannot be read: no such file or directory"),
        ("", ", line 1: the file is empty"),
        ("{}\n", ", line 1: this is no recording of peernet"),
        ('{"peernet_recording": 2}\n', ", line 1: a recording of version 2; this peernet reads version 1"),
        ("x" * 70_000, ", line 1: it has more than 65536 bytes"),
    ],
)
async def test_a_file_that_is_no_recording_fails_the_start(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """One sentence with file and line; nothing is played."""
    path = tmp_path / "bug.jsonl"
    if content is not None:
        path.write_text(content)
    context = Node().context("lan")
    with pytest.raises(ConfigurationError) as caught:
        await ReplayDiscovery(path).start(context)
    assert str(caught.value).startswith(f"{path}{said}")
    await context.aclose(thread_timeout_s=1)


async def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    """Nor is anything else that cannot be read."""
    context = Node().context("lan")
    with pytest.raises(ConfigurationError, match=r": it cannot be read: is a directory$"):
        await ReplayDiscovery(tmp_path).start(context)
    await context.aclose(thread_timeout_s=1)


async def test_what_is_not_in_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reports that a slow disk swallowed, and the line that a killed node cut off; the rest is played."""
    path = write(tmp_path / "bug.jsonl", [encode_missing(12, at_s=1.0), DISCOVERED])
    path.write_text(path.read_text() + DISCOVERED[:30])
    node = Node()
    with caplog.at_level(logging.WARNING):
        await play(node, ReplayDiscovery(path))
    node.close()
    assert len(node.events) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"[discovery.lan] {path}, line 4: it is cut off, and passed over",
        f"[discovery.lan] {path}: 12 reports are missing in it",
    ]


def test_it_is_installed_as_anybodys_backend() -> None:
    """By its entry point; its options are checked like all others."""
    inspection = BackendIndex.scan().inspect("replay")
    assert inspection.problems == ()
    assert inspection.hooks == ("start",)
    assert [option.name for option in inspection.options] == ["path", "recorded_source", "speed"]
