"""The backend of docs/backends/qr-codes.md, which draws codes and reads them, and the page's figures."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import ClassVar

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st
from pages import ROOT, load

from peernet_core.testing import DiscoveryConformance, DiscoveryNode, Place

qr = load("peernet_qr")
PAGE = ROOT / "docs/backends/qr-codes.md"


class TestQR(DiscoveryConformance):
    backend = qr.QRDiscovery
    lease_s = 181.0
    wrong_options: ClassVar[dict[str, list[object]]] = {"pictures": [7], "poll_s": [0], "believe_s": [0]}

    def options(self, place: Place) -> dict[str, object]:
        return {"pictures": str(place.folder), "poll_s": 2.0}

    def pollute(self, place: Place, data: bytes) -> None:
        """A picture that is none, and a code that says something else."""
        (place.folder / "broken.png").write_bytes(data)
        segno.make(data[:500] or b"?", mode="byte").save(str(place.folder / "other.png"), scale=4)

    def vanish(self, place: Place) -> None:
        place.folder.rename(place.folder.with_name("away"))

    def come_back(self, place: Place) -> None:
        place.folder.with_name("away").rename(place.folder)


async def test_a_code_that_a_camera_goes_on_seeing_keeps_nobody_alive(tmp_path: Path) -> None:
    """Each frame is a new picture, of the same code."""
    place = Place(tmp_path)
    first, second = DiscoveryNode(place, 1), DiscoveryNode(place, 2)
    second.trust(first)
    frame = tmp_path / "camera.png"
    qr._draw(qr.record_to_text(first.announcement().record), frame)
    try:
        await second.start(qr.QRDiscovery(pictures=tmp_path, believe_s=100.0))
        assert await second.until(lambda: second.sees(first), 20)
        for second_s in range(24):
            await asyncio.sleep(5)
            os.utime(frame, (second_s, second_s))
        assert not second.sees(first)
    finally:
        await second.close()


@given(st.binary(max_size=230))
def test_a_record_is_the_same_after_it_was_text(record: bytes) -> None:
    """Of any length."""
    assert qr.text_to_record(qr.record_to_text(record)) == record


@given(st.text())
def test_any_text_means_some_record_or_none(text: str) -> None:
    """Nothing raises."""
    assert isinstance(qr.text_to_record(text), bytes)


@pytest.mark.parametrize("broken", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", os.urandom(1000)])
def test_a_picture_that_is_none_holds_no_code(broken: bytes, tmp_path: Path) -> None:
    """Nor does one that is not there, is a folder, or is only half written."""
    picture = tmp_path / "a.png"
    picture.write_bytes(broken)
    assert qr._codes(picture) == []
    assert qr._codes(tmp_path) == qr._codes(tmp_path / "none.png") == []
    qr._draw("HELLO", picture)
    assert qr._codes(picture) == ["HELLO"]
    picture.write_bytes(picture.read_bytes()[:-60])
    assert qr._codes(picture) == []


def test_the_figures_of_the_table() -> None:
    """The version that each way of writing needs, and the size of the largest."""
    rows = re.findall(
        r"^\| (\d+) bytes.*?\| version (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert [int(row[0]) for row in rows] == [161, 230]
    for row in rows:
        size, *stated = map(int, row)
        record = bytes(size)
        base45 = "A" * (size // 2 * 3 + size % 2 * 2)
        base64 = "a" * -(-size // 3 * 4)
        made = [
            segno.make(content, error="m", boost_error=False, micro=False, mode=mode)
            for content, mode in (
                (record, "byte"),
                (qr.record_to_text(record), "alphanumeric"),
                (base45, "alphanumeric"),
                (base64, "byte"),
            )
        ]
        assert [code.version for code in made] == stated
    assert segno.make(qr.record_to_text(bytes(230)), error="m", micro=False).symbol_size(border=0) == (65, 65)
    assert "65 modules" in PAGE.read_text()
