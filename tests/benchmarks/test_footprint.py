"""Watching the idle: what is read each minute, and who is not idle but alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import attrs
import pytest

from benchmarks.mdns.bench import Traffic
from benchmarks.scoreboard.contender import Site
from benchmarks.scoreboard.footprint import Idler, Watch, watch_idle
from benchmarks.scoreboard.pairs import Notes
from benchmarks.scoreboard.results import Measurement
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what processes take is read from /proc")
GUARD_S = 20.0
MINUTES = Watch(settled_s=0.0, minutes=3, minute_s=0.01)


@pytest.fixture
def anyio_backend() -> str:
    """Real time: these are processes."""
    return "asyncio"


@attrs.define
class Wire:
    """A site, its ground and its host at once: each look finds two packets more, of 100 bytes each."""

    carried: int = 0

    @property
    def ground(self) -> Wire:
        return self

    host = None

    def traffic(self, _: object) -> Traffic:
        self.carried += 1
        return Traffic(self.carried, 100 * self.carried, self.carried, 100 * self.carried)

    def measured(self, process: Watched) -> list[int]:
        return [process.pid]


def watched(folder: Path, *events: str) -> tuple[Measurement, ...]:
    """Watch a process that has said this of its only peer."""
    lines = [json.dumps({"event": event, "peer": "k", "at": 1.0}) for event in (*events, "ready")]
    program = f"print({chr(10).join(lines)!r}, flush=True); input()"
    notes = Notes()
    with Watched([sys.executable, "-c", program], parse_spoken, folder / "log").begin() as process:
        process.wait("ready", timeout_s=GUARD_S)
        site = cast("Site", Wire())
        watch_idle([Idler("zeroconf", 1, site, process, frozenset({"k"}))], notes, MINUTES)
    return notes.taken()


def test_each_minute_is_read(tmp_path: Path) -> None:
    """A value for each, told for a whole minute, of all four quantities."""
    found = {each.quantity: each for each in watched(tmp_path, "linked")}
    assert {name: len(each.values) for name, each in found.items()} == {
        "memory-1": 3,
        "cpu-1": 3,
        "packets-1": 3,
        "bytes-1": 3,
    }
    assert found["packets-1"].values == pytest.approx((2 * 6000.0,) * 3)
    assert found["bytes-1"].values == pytest.approx((2 * 600.0,) * 3)
    assert not any(each.failures for each in found.values())


def test_who_has_lost_its_peer_is_not_idle(tmp_path: Path) -> None:
    """Doing nothing is cheap for whoever is alone: it is a failure, noted once, and no figure."""
    found = watched(tmp_path, "linked", "lost")
    assert len(found) == 4
    for each in found:
        assert each.values == ()
        (failure,) = each.failures
        assert failure.startswith("lost 1 of 1 links")
    assert watched(tmp_path, "linked", "lost", "linked")[0].values
