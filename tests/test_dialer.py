"""The dialer: the first authenticated connection wins, whatever the others do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from ipaddress import ip_address

import anyio
import attrs
import pytest

from peernet_core.addresses import Address
from peernet_core.decisions.frames import Hello, Ping, encode_frame
from peernet_core.decisions.ledger import Candidate, Kind
from peernet_core.events import UnreachableReason
from peernet_core.keys import Identity, PeerKey
from peernet_core.links import dialer
from peernet_core.links.dialer import Dialer
from peernet_core.links.framed import FramedConnection
from peernet_core.links.transport import Connection, DialError

PEER = Identity.generate().key
HELLO = Hello(b"record", b"b" * 16, 0)
NEVER = 1e9


@attrs.define(eq=False)
class Line:
    """What a dial to one address comes to: a stand-in for the transport's connection.

    Attributes:
        connects_s: Until TCP and TLS are done.
        fails: Instead of a connection.
        says: What arrives then, after `says_s`; None: it ends.
    """

    connects_s: float = 0.0
    fails: UnreachableReason | None = None
    says: bytes | None = encode_frame(HELLO)
    says_s: float = 0.0
    peer: PeerKey = PEER
    dialed_at: float | None = None
    open: bool = False
    sent: bytes = b""

    async def connect(self) -> Line:
        self.dialed_at = asyncio.get_running_loop().time()
        await anyio.sleep(self.connects_s)
        if self.fails is not None:
            raise DialError(self.fails, "scripted")
        self.open = True
        return self

    async def receive(self, max_bytes: int = 0) -> bytes:
        _ = max_bytes
        await anyio.sleep(self.says_s)
        if self.says is None:
            raise anyio.EndOfStream
        return self.says

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def aclose(self) -> None:
        self.open = False

    def abort(self) -> None:
        self.open = False


@attrs.define(eq=False)
class Track:
    """A dialer whose addresses are lines, and what came of it."""

    lines: dict[Address, Line] = attrs.Factory(dict)
    failed: list[tuple[Address, UnreachableReason]] = attrs.Factory(list)
    won: list[FramedConnection] = attrs.Factory(list)
    lost: list[PeerKey] = attrs.Factory(list)
    ended: anyio.Event = attrs.Factory(anyio.Event)
    counts: Counter[str] = attrs.Factory(Counter)
    dialer: Dialer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dialer = Dialer(
            connect=self._connect,
            hello=lambda _: HELLO,
            on_failed=lambda _, address, reason: self.failed.append((address, reason)),
            on_won=self._won,
            on_lost=self._lost,
            counts=self.counts,
            clock=asyncio.get_running_loop().time,
        )

    async def _connect(self, address: Address, key: PeerKey) -> Connection:
        assert key == self.lines[address].peer
        return await self.lines[address].connect()  # type: ignore[return-value]  # a stand-in

    def _won(self, framed: FramedConnection, _: Hello) -> None:
        self.won.append(framed)
        self.ended.set()

    def _lost(self, key: PeerKey) -> None:
        self.lost.append(key)
        self.ended.set()

    def add(self, line: Line, kind: Kind = Kind.HINT) -> Candidate:
        address = Address(ip_address(f"10.0.0.{len(self.lines) + 1}"), 7100, "lan")
        self.lines[address] = line
        return Candidate(address, kind, None, None, None, 0.0)

    async def race(self, *lines: Line) -> None:
        self.dialer.race(PEER, [self.add(line) for line in lines])
        with anyio.fail_after(600):
            await self.ended.wait()


@pytest.fixture
async def track() -> AsyncIterator[Track]:
    track = Track()
    yield track
    await track.dialer.aclose()
    for framed in track.won:
        await framed.aclose()
    assert not any(line.open for line in track.lines.values()), "a connection was left open"


def starts(*lines: Line) -> list[float]:
    """When each was dialed, in seconds after the first."""
    times = [line.dialed_at for line in lines if line.dialed_at is not None]
    return [round(at - times[0], 3) for at in times]


async def test_the_first_to_say_hello_wins_and_the_others_close(track: Track) -> None:
    """Not the first to connect: a black hole behind a working handshake does not win."""
    mute, good = Line(says_s=NEVER), Line(connects_s=0.1)
    await track.race(mute, good)
    assert [framed.address for framed in track.won] == [list(track.lines)[1]]
    assert not mute.open
    assert track.failed == []


async def test_starts_are_staggered_and_the_gaps_shrink(track: Track) -> None:
    """250 ms, halving down to 10 ms."""
    lines = [Line(connects_s=NEVER) for _ in range(8)]
    lines.append(Line())
    await track.race(*lines)
    assert starts(*lines) == [0.0, 0.25, 0.375, 0.438, 0.469, 0.484, 0.494, 0.504, 0.514]


async def test_a_failure_starts_the_next_at_once(track: Track) -> None:
    """Nobody waits for a gap that has lost its reason."""
    lines = [Line(fails=UnreachableReason.REFUSED), Line(fails=UnreachableReason.REFUSED), Line()]
    await track.race(*lines)
    assert starts(*lines) == [0.0, 0.0, 0.0]


async def test_a_race_without_a_winner_ends_with_every_reason(track: Track) -> None:
    """Each candidate is reported, then the race is lost."""
    lines = [
        Line(fails=UnreachableReason.WRONG_KEY),
        Line(says=None),
        Line(says=encode_frame(Ping(1))),
        Line(says=b"\xff\xff garbage"),
        Line(says_s=NEVER),
    ]
    await track.race(*lines)
    assert track.lost == [PEER]
    assert dict(track.failed) == dict(
        zip(
            track.lines,
            [
                UnreachableReason.WRONG_KEY,
                UnreachableReason.THEY_DO_NOT_TRUST_US,
                UnreachableReason.PROTOCOL,
                UnreachableReason.PROTOCOL,
                UnreachableReason.TIMEOUT,
            ],
            strict=True,
        )
    )


async def test_a_candidate_may_join_a_race_that_is_on(track: Track) -> None:
    """It wins although all that were there at the start hang."""
    track.dialer.race(PEER, [track.add(Line(connects_s=NEVER))])
    await anyio.sleep(1)
    track.dialer.extend(PEER, track.add(Line()))
    with anyio.fail_after(60):
        await track.ended.wait()
    assert [framed.address for framed in track.won] == [list(track.lines)[1]]


async def test_a_cancelled_race_reports_nothing(track: Track) -> None:
    """And leaves nothing open."""
    line = Line(says_s=NEVER)
    track.dialer.race(PEER, [track.add(line)])
    await anyio.sleep(1)
    assert line.sent == encode_frame(HELLO)
    track.dialer.cancel(PEER)
    await anyio.sleep(1)
    assert not line.open
    assert (track.won, track.lost, track.failed) == ([], [], [])


async def test_dials_under_way_are_limited(track: Track) -> None:
    """In all, whoever they are for."""
    track.dialer._places = asyncio.Semaphore(2)
    lines = [Line(connects_s=5, fails=UnreachableReason.TIMEOUT) for _ in range(4)]
    await track.race(*lines)
    assert starts(*lines) == [0.0, 0.25, 5.0, 5.25]


async def test_what_is_signed_overtakes_what_is_not(track: Track) -> None:
    """However many addresses were made up before it, it is dialed at once."""
    made_up = [Line(connects_s=NEVER) for _ in range(200)]
    track.dialer.race(PEER, [track.add(line) for line in made_up[:16]])
    for line in made_up[16:]:
        track.dialer.extend(PEER, track.add(line))
    await anyio.sleep(60)
    good = Line()
    track.dialer.extend(PEER, track.add(good, Kind.SIGNED))
    with anyio.fail_after(0.01):
        await track.ended.wait()
    assert len(track.won) == 1
    assert sum(line.dialed_at is not None for line in made_up) == 16


async def test_a_race_takes_only_so_many_unsigned_addresses(track: Track) -> None:
    """Those that come after them have their turn in the next race."""
    lines = [Line(fails=UnreachableReason.TIMEOUT) for _ in range(200)]
    track.dialer.race(PEER, [track.add(line) for line in lines[:16]])
    for line in lines[16:]:
        track.dialer.extend(PEER, track.add(line))
    with anyio.fail_after(600):
        await track.ended.wait()
    assert track.lost == [PEER]
    assert sum(line.dialed_at is not None for line in lines) == 32
    assert track.counts["dials"] == 32


async def test_unsigned_addresses_never_hold_all_places(track: Track) -> None:
    """Four races of black holes leave room for the dial of a fifth peer."""
    holes = [Line(connects_s=NEVER) for _ in range(64)]
    for number in range(4):
        key = Identity.generate().key
        for line in holes[16 * number : 16 * number + 16]:
            line.peer = key
        track.dialer.race(key, [track.add(line) for line in holes[16 * number : 16 * number + 16]])
    await anyio.sleep(60)
    assert sum(line.dialed_at is not None for line in holes) == 48
    track.dialer.race(PEER, [track.add(Line(), Kind.SIGNED)])
    with anyio.fail_after(0.01):
        await track.ended.wait()
    assert len(track.won) == 1


async def test_one_source_cannot_make_a_port_scanner_of_us(
    track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of however many peers it names addresses: a burst, then so many a second; another source goes ahead."""
    monkeypatch.setattr(dialer, "UNSIGNED_BURST", 20.0)
    monkeypatch.setattr(dialer, "UNSIGNED_PER_S", 2.0)
    track.__attrs_post_init__()
    lines = []
    for _ in range(10):
        key = Identity.generate().key
        made_up = [Line(fails=UnreachableReason.REFUSED, peer=key) for _ in range(8)]
        track.dialer.race(key, [track.add(line) for line in made_up])
        lines += made_up
    began = anyio.current_time()
    await anyio.sleep(10)
    in_time = sorted(line.dialed_at - began for line in lines if line.dialed_at is not None)
    assert 39 <= len(in_time) <= 40
    assert in_time[19] < 0.1
    assert track.counts["dials_limited"] >= 10
    other = Line()
    candidate = track.add(other)
    moved = attrs.evolve(candidate, address=candidate.address.with_source("other"))
    track.lines[moved.address] = other
    track.dialer.race(PEER, [moved])
    with anyio.fail_after(0.01):
        await track.ended.wait()
    assert track.won
