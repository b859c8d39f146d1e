"""The floor: a bare Python process that does no more than the least, with a peer of `zeroconf + TLS`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from benchmarks.scoreboard.contender import Site
from benchmarks.scoreboard.contenders.tls import TlsSite, ZeroconfTls
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Happening, Watched
from peernet_core.testing.lab import Host

__all__ = ["Bare"]

_PROGRAM: Final = Path(__file__).parents[1] / "programs" / "bare.py"


class _Site(TlsSite):
    """The one that comes."""

    def __init__(self, ground: Ground, host: Host, name: str, peer: TlsSite) -> None:
        super().__init__(ground, host, name, "")
        self._peer = peer

    def load(self) -> Watched:
        port = (self._peer.folder / "port").read_text(encoding="ascii")
        command = [sys.executable, str(_PROGRAM), str(self.folder), str(self._peer.host.ipv4), port]
        return self.ground.load(self.host, command, self._parse)

    def _parse(self, line: str) -> Happening | None:
        found = parse_spoken(line)
        return None if found is None else attrs.evolve(found, peer=self._peer.key)


class Bare(ZeroconfTls):
    """Nobody's way to find a peer, and so nobody's competitor."""

    name = "bare"
    title = "bare Python (the floor)"
    start_call = ""
    how = (
        "A process that imports `socket` and `ssl` only, asks one mDNS question, waits for the answer, "
        "and makes one mutual TLS handshake with a peer of zeroconf + TLS whose port it was told."
    )
    cases: Sequence[str] | None = ("newcomer", "floor")

    def __init__(self) -> None:
        self._there: tuple[Ground, TlsSite] | None = None

    def check(self) -> str:
        return f"Python {sys.version.split()[0]}"

    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        # The first one on a link is the one that is there.
        if self._there is None or self._there[0] is not ground:
            self._there = ground, TlsSite(ground, host, name, "zeroconf")
            return self._there[1]
        return _Site(ground, host, name, self._there[1])
