"""The benchmark of who is idle: on how many links, and what the peers leave to who is measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.scoreboard.contender import Contender, Crowd, Site, UnavailableError
from benchmarks.scoreboard.contenders.peernet import Peernet
from benchmarks.scoreboard.footprint import Watch, idle
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.quantities import LINKS
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Watched
from peernet_core.testing.lab import Host

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("namespaces_work")]


class Friends(Crowd):
    """Peers of whom nothing runs: their site says that it is linked with them all the same."""

    def __init__(self, count: int, site: Site) -> None:
        self._keys = [str(number) for number in range(count)]
        site.trust(self._keys)

    def members(self) -> Sequence[str]:
        return self._keys

    def start(self) -> None:
        pass


class Talker(Site):
    """Says at once that it is linked with whomever it trusts."""

    def trust(self, keys: Sequence[str]) -> None:
        lines = [json.dumps({"event": "linked", "peer": key, "at": 1.0}) for key in keys]
        self._program = f"print({chr(10).join(lines)!r}, flush=True); input()"

    def load(self) -> Watched:
        return self.ground.load(self.host, [sys.executable, "-c", self._program], parse_spoken)


class Talkers(Contender):
    """They manage one peer and ten, and no hundred."""

    name = "zeroconf"
    title = how = "talkers"

    def check(self) -> str:
        return "1"

    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        return Talker(ground, host, name)

    def crowd(self, ground: Ground, host: Host, count: int, site: Site) -> Crowd:  # noqa: ARG002 - of nobody
        if count > 10:
            raise UnavailableError("too many")
        return Friends(count, site)


def test_one_peer_is_watched_on_several_links_and_many_on_one() -> None:
    """Two readings of each; whoever cannot have so many peers is noted once for each quantity."""
    found = idle([Talkers()], (1, 10, 100), None, Watch(settled_s=0.0, minutes=2, minute_s=0.01))
    values = {each.quantity: len(each.values) for each in found}
    assert [values[f"{what}-1"] for what in ("memory", "cpu", "packets", "bytes")] == [2 * LINKS] * 4
    assert [values[f"{what}-10"] for what in ("memory", "cpu", "packets", "bytes")] == [2] * 4
    assert LINKS > 1
    failed = {each.quantity: each.failures for each in found if each.failures}
    assert failed == dict.fromkeys(("memory-100", "cpu-100", "packets-100", "bytes-100"), ("too many",))


def _inotify_instances(argument: str) -> int | None:
    """How many the process has that was given this argument; None: there is no such process."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another process has ended
            if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                return sum(_leads_to(each) == "anon_inode:inotify" for each in (process / "fd").iterdir())
    return None


def _leads_to(descriptor: Path) -> str:
    with suppress(OSError):  # it was closed meanwhile
        return str(descriptor.readlink())
    return ""


def test_a_crowd_of_nodes_takes_no_inotify_instances() -> None:
    """Linux allows a user 128: without one, whoever is measured would look for edits every second."""
    with Ground() as ground:
        site = Peernet().site(ground, ground.host("here"))
        crowd = Peernet().crowd(ground, ground.host("there"), 3, site)
        crowd.start()
        process = site.start()
        for key in crowd.members():
            process.wait("linked", key, timeout_s=20.0)
        assert _inotify_instances(str(ground.folder / "there-crowd" / "0")) == 0
        assert _inotify_instances(str(site.folder / "data")) == 1
