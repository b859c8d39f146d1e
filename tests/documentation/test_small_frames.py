"""The backend of docs/backends/small-frames.md, over pseudo terminals, and what it is made of."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import tty
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import cycle
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import load

from peernet_core.testing import DiscoveryConformance, DiscoveryNode, Place

pieces, kiss, modem = load("pieces"), load("kiss"), load("peernet_modem")

RECORDS = st.binary(min_size=118, max_size=230)
SIZES = st.integers(pieces.SMALLEST_FRAME, 255)
PORTS = 6


class Air:
    """What several modems have in common: a frame that one sends all others hear, unless it is lost.

    Each modem is a pseudo terminal, under a name of its own in the folder.
    """

    def __init__(self, folder: Path, *, keeps: Callable[[], bool] = lambda: True) -> None:
        self.devices = [folder / f"ttyUSB{number}" for number in range(PORTS)]
        self.sent = 0
        self._keeps = keeps
        self._pairs: list[tuple[int, int]] = []
        self.come_back()

    def come_back(self) -> None:
        """Plug all modems in."""
        loop = asyncio.get_running_loop()
        for device in self.devices:
            ours, theirs = pty.openpty()
            tty.setraw(theirs)
            os.set_blocking(ours, False)
            device.symlink_to(os.ttyname(theirs))
            # Their end stays open here as well, so that ours is quiet while nobody has opened the device.
            self._pairs.append((ours, theirs))
            loop.add_reader(ours, self._carry, ours, kiss.Frames())

    def vanish(self) -> None:
        """Pull all modems out."""
        for device, pair in zip(self.devices, self._pairs, strict=True):
            asyncio.get_running_loop().remove_reader(pair[0])
            device.unlink()
            for descriptor in pair:
                os.close(descriptor)
        self._pairs.clear()

    def say(self, data: bytes, *, but: int = -1) -> None:
        """Put bytes on all lines, as from modems; what does not fit is lost."""
        for ours, _ in self._pairs:
            if ours != but:
                try:
                    os.write(ours, data)
                except BlockingIOError:
                    continue

    def _carry(self, ours: int, frames: kiss.Frames) -> None:  # type: ignore[name-defined]  # a page's
        for frame in frames.feed(os.read(ours, 65536)):
            assert len(frame) <= 51
            self.sent += 1
            if self._keeps():
                self.say(kiss.encode_frame(frame), but=ours)


class TestModem(DiscoveryConformance):
    backend = modem.ModemDiscovery
    lease_s = 26.0
    wrong_options: ClassVar[dict[str, list[object]]] = {
        "device": [7],
        "baud": [12345, -1, "fast"],
        "every_s": [0],
        "frame_bytes": [15, 256, 51.5],
    }
    air: Air
    free: Iterable[Path]

    @pytest.fixture(autouse=True)
    async def modems(self, tmp_path: Path) -> AsyncIterator[None]:
        type(self).air = Air(tmp_path)
        type(self).free = cycle(self.air.devices)
        yield
        self.air.vanish()

    def options(self, place: Place) -> dict[str, object]:
        del place
        return {"device": str(next(iter(self.free))), "every_s": 5.0}

    def pollute(self, place: Place, data: bytes) -> None:
        del place
        self.air.say(data[:1000])
        self.air.say(kiss.encode_frame(data[:1000]))

    def vanish(self, place: Place) -> None:
        del place
        self.air.vanish()

    def come_back(self, place: Place) -> None:
        del place
        self.air.come_back()


async def test_every_fourth_frame_may_be_lost(tmp_path: Path) -> None:
    """Peers are found all the same, and stay found: pieces of several rounds make a record together."""
    chance = random.Random(7)
    lost = 0

    def keeps() -> bool:
        nonlocal lost
        is_lost = chance.random() < 0.25
        lost += is_lost
        return not is_lost

    air = Air(tmp_path, keeps=keeps)
    place = Place(tmp_path)
    nodes = [DiscoveryNode(place, number) for number in (1, 2)]
    try:
        for node, other, device in zip(nodes, reversed(nodes), air.devices, strict=False):
            node.trust(other)
            await node.start(modem.ModemDiscovery(device=device))
        for node, other in zip(nodes, reversed(nodes), strict=True):
            assert await node.until(lambda node=node, other=other: node.sees(other), 3600)  # type: ignore[misc]  # mypy sees no default arguments of a lambda
        await asyncio.sleep(6 * 3600)
        assert all(node.sees(other) for node, other in zip(nodes, reversed(nodes), strict=True))
        assert 0.2 * air.sent < lost < 0.3 * air.sent
    finally:
        for node in nodes:
            await node.close()
        air.vanish()


async def test_one_that_only_listens_notices_that_its_modem_is_gone(tmp_path: Path) -> None:
    """It has nothing to write, where that would fail."""
    air = Air(tmp_path)
    node = DiscoveryNode(Place(tmp_path), 1)
    life = node.life(modem.ModemDiscovery(device=air.devices[0]))
    await life.start()
    air.vanish()
    await asyncio.sleep(1)
    await node.close()
    assert node.crashes == [f'task "beacon" raised OSError: {air.devices[0]} is gone']


@given(RECORDS, SIZES, st.randoms(use_true_random=False))
def test_the_pieces_of_a_record_make_it_in_any_order(record: bytes, size: int, chance: random.Random) -> None:
    """Each fits its frame; one that comes twice is no more than one."""
    frames = pieces.split(record, size)
    assert all(len(frame) <= size for frame in frames)
    arriving = [*frames, chance.choice(frames)]
    chance.shuffle(arriving)
    gathering = pieces.Gathering()
    assert record in [gathering.add(frame) for frame in arriving]


def test_how_many_frames_a_record_takes() -> None:
    """The figures of the page."""
    assert len(pieces.split(bytes(161), 51)) == 4
    assert len(pieces.split(bytes(230), 51)) == 6
    assert len(pieces.split(bytes(230), pieces.SMALLEST_FRAME)) == pieces._MOST_PIECES


@given(st.binary(min_size=118, max_size=230), st.data())
def test_a_wrong_piece_spoils_one_round_only(record: bytes, data: st.DataObject) -> None:
    """Nothing comes of the round that it is in; the next one is whole."""
    frames = pieces.split(record, 51)
    wrong = data.draw(st.integers(0, len(frames) - 1))
    forged = frames[wrong][:-1] + bytes([frames[wrong][-1] ^ 1])
    gathering = pieces.Gathering()
    spoilt = [gathering.add(frame) for frame in [*frames[:wrong], forged, *frames[wrong + 1 :]]]
    assert set(spoilt) == {None}
    assert [gathering.add(frame) for frame in frames][-1] == record


@pytest.mark.parametrize(("number", "count"), [(0, 0), (1, 1), (5, 3), (0, 24), (200, 255)])
def test_a_number_that_cannot_be_is_passed_over(number: int, count: int) -> None:
    """Nothing is kept of it."""
    gathering = pieces.Gathering()
    for each in range(count or 1):
        assert gathering.add(b"name" + bytes([max(number, each), count]) + b"piece") is None
    assert not gathering._unfinished


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_frames_that_are_none_are_passed_over(frames: list[bytes]) -> None:
    """Nothing raises."""
    gathering = pieces.Gathering()
    for frame in frames:
        gathering.add(frame)


def test_what_is_kept_of_strangers_is_bounded() -> None:
    """At most 32 unfinished records; the newest ones."""
    gathering = pieces.Gathering()
    for number in range(1000):
        gathering.add(pieces.split(number.to_bytes(100, "big"), 51)[0])
    assert len(gathering._unfinished) == 32
    assert gathering.add(pieces.split((999).to_bytes(100, "big"), 51)[2]) is None
    assert gathering.add(pieces.split((999).to_bytes(100, "big"), 51)[1]) == (999).to_bytes(100, "big")
    assert all(len(each) <= 22 for each in gathering._unfinished.values())


@given(
    st.lists(
        st.binary(min_size=1, max_size=255)
        | st.lists(st.sampled_from(b"\xc0\xdb\xdc\xdd\x00"), min_size=1).map(bytes)
    ),
    st.integers(1, 40),
)
def test_frames_survive_the_line_however_it_is_cut(payloads: list[bytes], cut: int) -> None:
    """Bytes that mean something on the line included."""
    line = b"".join(map(kiss.encode_frame, payloads))
    frames = kiss.Frames()
    heard = [frame for at in range(0, len(line), cut) for frame in frames.feed(line[at : at + cut])]
    assert heard == payloads


@given(st.lists(st.binary(max_size=3000)))
def test_noise_on_the_line_harms_nothing(noise: list[bytes]) -> None:
    """What is kept is bounded, and the frame after it is heard."""
    frames = kiss.Frames()
    for data in noise:
        list(frames.feed(data))
        assert len(frames._rest) <= 1025
    list(frames.feed(b"\xc0"))
    assert list(frames.feed(kiss.encode_frame(b"after it"))) == [b"after it"]
