"""The backend of docs/backends/carried-files.md: it keeps every law that a stick can keep."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest
from pages import load

from peernet_core.testing import DiscoveryConformance, DiscoveryNode, Place

stick = load("peernet_stick")


class TestStick(DiscoveryConformance):
    backend = stick.StickDiscovery
    detects_loss = False  # it is carried away
    wrong_options: ClassVar[dict[str, list[object]]] = {"path": [7], "poll_s": [0], "believe_s": [0]}

    def options(self, place: Place) -> dict[str, object]:
        return {"path": str(place.folder)}

    def pollute(self, place: Place, data: bytes) -> None:
        (place.folder / "film.peernet").write_bytes(data)

    def vanish(self, place: Place) -> None:
        place.folder.rename(place.folder.with_name("away"))

    def come_back(self, place: Place) -> None:
        place.folder.with_name("away").rename(place.folder)


async def test_a_stick_is_carried_from_one_machine_to_the_other(tmp_path: Path) -> None:
    """It is never in both at once; the first machine is off when the second one reads it."""
    here, there, pocket = tmp_path / "here", tmp_path / "there", tmp_path / "pocket"
    pocket.mkdir()
    place = Place(tmp_path)
    first, second = DiscoveryNode(place, 1), DiscoveryNode(place, 2)
    second.trust(first)
    try:
        await first.start(stick.StickDiscovery(path=here, poll_s=20_000.0))
        await second.start(stick.StickDiscovery(path=there, poll_s=20_000.0))
        pocket.rename(here)
        await asyncio.sleep(21_000)
        await first.stop()
        here.rename(there)
        assert await second.until(lambda: second.sees(first), 21_000)
        there.rename(pocket)
        await asyncio.sleep(29 * 86_400)
        assert second.sees(first)
        await asyncio.sleep(2 * 86_400)
        assert not second.sees(first)
    finally:
        await first.close()
        await second.close()


async def test_a_stick_that_is_forgotten_in_its_slot_keeps_nobody_alive(tmp_path: Path) -> None:
    """It is read over and over, and says nothing new."""
    place = Place(tmp_path)
    first, second = DiscoveryNode(place, 1), DiscoveryNode(place, 2)
    second.trust(first)
    (tmp_path / f"{first.key.alias}.peernet").write_bytes(first.announcement().record)
    try:
        await second.start(stick.StickDiscovery(path=tmp_path, poll_s=10.0, believe_s=100.0))
        assert await second.until(lambda: second.sees(first), 20)
        await asyncio.sleep(120)
        assert not second.sees(first)
    finally:
        await second.close()


async def test_a_stick_that_cannot_be_written_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails, and the peer is found."""
    place = Place(tmp_path)
    first, second = DiscoveryNode(place, 1), DiscoveryNode(place, 2)
    second.trust(first)
    (tmp_path / f"{first.key.alias}.peernet").write_bytes(first.announcement().record)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(stick.os, "fsync", refuse)
    try:
        await second.start(stick.StickDiscovery(path=tmp_path))
        assert await second.until(lambda: second.sees(first), 10)
        assert second.crashes == []
        assert not (tmp_path / f"{second.key.alias}.peernet").exists()
    finally:
        await second.close()
