"""Avahi, the mDNS responder of most Linux desktops; it probes, and renames itself on a conflict."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from peernet_core.testing.lab import INTERFACE

if TYPE_CHECKING:
    from peernet_core.testing.lab import Host, NodeProcess

    from .conftest import ForeignPeer, Programs

pytestmark = pytest.mark.netns

_TYPE: Final = "_peernet._tcp"
_RESOLVED: Final = f"=;{INTERFACE};".encode()
_CONFLICT: Final = re.compile("conflict|collision", re.IGNORECASE)


@attrs.frozen
class Resolved:
    """A line of `avahi-browse --resolve --parsable`."""

    family: str
    name: str
    host: str
    port: int
    txt: tuple[bytes, ...]


class Avahi:
    """Its daemon on a host of its own, and its tools."""

    def __init__(self, programs: Programs, host: Host) -> None:
        self.host = host
        self._programs = programs
        self._bus = programs.bus(host)
        self._daemon = programs.daemon(
            host,
            programs.path("usr/sbin/avahi-daemon"),
            *("--no-chroot", "--no-drop-root", "--no-rlimits"),
            f"--file={programs.path('etc/avahi/avahi-daemon.conf')}",
            variables=self._bus,
        )
        self._until_it_says(self._daemon, "Server startup complete")

    def browse(self) -> list[Resolved] | None:
        """What it knows of our type now, resolved."""
        found = self._tool("avahi-browse", "--resolve", "--parsable", "--terminate", _TYPE)
        if found is None:
            return None
        # Its own it has on the loopback interface as well.
        lines = [line.split(b";", 9) for line in found.split(b"\n") if line.startswith(_RESOLVED)]
        return [
            Resolved(line[2].decode(), line[3].decode(), line[6].decode(), int(line[8]), _strings(line[9]))
            for line in lines
        ]

    def addresses(self, name: str) -> list[str]:
        """What it resolves a host's name to: one of each family, if both are known."""
        found = [self._tool("avahi-resolve", "--name", family, name) for family in ("-4", "-6")]
        return [line.decode().split()[1] for line in found if line]

    def publish(self, peer: ForeignPeer, port: int) -> NodeProcess:
        """Publish that peer for as long as the process runs, under its own name."""
        strings = [os.fsdecode(string) for string in peer.txt]
        tool = self._programs.path("usr/bin/avahi-publish")
        process = self._programs.start(
            self.host, tool, "--service", peer.alias, _TYPE, str(port), *strings, variables=self._bus
        )
        self._until_it_says(process, f"Established under name '{peer.alias}'")
        return process

    def check_calm(self) -> None:
        """Check that it has seen no conflict."""
        assert not _CONFLICT.search(self._daemon.report()), self._daemon.report()

    def _tool(self, name: str, *arguments: str) -> bytes | None:
        path = self._programs.path(f"usr/bin/{name}")
        return self._programs.query(self.host, path, *arguments, variables=self._bus)

    def _until_it_says(self, process: NodeProcess, words: str) -> None:
        self._programs.until(lambda: words in process.report(), words)


def _strings(shown: bytes) -> tuple[bytes, ...]:
    """Read the TXT as the tool shows it: quoted, the last string first, bytes as decimal numbers."""
    quoted = re.findall(rb'"((?:\\.|[^"\\])*)"', shown)
    return tuple(re.sub(rb"\\(\d{3}|.)", _byte, string) for string in reversed(quoted))


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1])]) if escape[1].isdigit() else escape[1]


@pytest.fixture
def avahi(programs: Programs) -> Avahi:
    return Avahi(programs, programs.lab.host("desktop"))


def test_it_sees_us_and_that_we_stop(programs: Programs, avahi: Avahi) -> None:
    """Over IPv4 and IPv6: name, port, TXT and addresses are ours to the byte; a goodbye ends that."""
    us = programs.publish("us")
    us.wait("backend_started", source="lan")

    def both_families() -> list[Resolved] | None:
        found = avahi.browse() or []
        return found if {line.family for line in found} == {"IPv4", "IPv6"} else None

    for line in programs.until(both_families, "Avahi sees us over both families"):
        assert (line.name, line.host, line.port) == (us.alias, f"{us.alias}.local", us.port)
        us.check_txt(line.txt)
    us.check_addresses(avahi.addresses(f"{us.alias}.local"), every=False)
    us.stop()
    programs.until(lambda: avahi.browse() == [], "Avahi sees nobody", guard_s=5)
    avahi.check_calm()


def test_we_see_it_and_that_it_stops(programs: Programs, avahi: Avahi) -> None:
    """A trusted key that it publishes is discovered where it is heard; no name changes."""
    # Arguments of a program hold no zero.
    trusted, stranger = programs.foreign_peer(but=b"\0"), programs.foreign_peer(but=b"\0")
    us = programs.publish("us", trust=[trusted])
    us.wait("backend_started", source="lan")
    programs.accept(avahi.host)
    publishing = [avahi.publish(peer, programs.foreign_port) for peer in (trusted, stranger)]
    since = us.check_discovery(trusted, stranger, str(avahi.host.ipv4))
    seen = {line.name for line in avahi.browse() or []}
    assert seen == {us.alias, trusted.alias, stranger.alias}, programs.report()
    for process in publishing:
        process.terminate()
    us.check_loss(trusted, since=since)
    avahi.check_calm()
