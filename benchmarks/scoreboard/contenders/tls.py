"""A discovery library or daemon, and mutual TLS by Python's own `ssl` around it."""

from __future__ import annotations

import abc
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from benchmarks.scoreboard.certificates import make_identity, write_trust
from benchmarks.scoreboard.contender import Contender, Crowd, Site
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Watched
from peernet_core.testing.lab import Host

__all__ = ["TlsContender", "TlsSite", "ZeroconfTls"]

_PEER: Final = "benchmarks.scoreboard.programs.tls_peer"
_CROWD: Final = "benchmarks.scoreboard.programs.tls_crowd"
_REGISTER: Final = "certificates"
_CROWD_S: Final = 60.0
DIAL: Final = (
    "Both sides listen and dial what they find, with Python's `ssl`: TLS 1.3, Ed25519 certificates that both "
    "know, a byte from the server when it has seen the client's. A link that ended or a dial that failed is "
    "followed by another look-up and dial every second; TCP's keepalive gives up after 15 s."
)


class TlsSite(Site):
    """One certificate, and the program that uses it."""

    def __init__(self, ground: Ground, host: Host, name: str, finder: str) -> None:
        super().__init__(ground, host, name)
        self._finder = finder
        self.key = make_identity(self.folder, ground.folder / _REGISTER)

    def trust(self, keys: Sequence[str]) -> None:
        write_trust(self.folder, self.ground.folder / _REGISTER, keys)

    def load(self) -> Watched:
        program = [sys.executable, "-m", _PEER, self._finder, str(self.folder), str(self.host.ipv4)]
        return self.ground.load(self.host, program, parse_spoken, within=self.environment())

    def start_call(self) -> Watched:
        return self.start()

    def environment(self) -> list[str]:
        """What comes before the program."""
        return []


class _Crowd(Crowd):
    def __init__(self, ground: Ground, host: Host, count: int, site: TlsSite) -> None:
        self._ground = ground
        self._host = host
        self._folders = []
        self._keys = []
        for number in range(count):
            folder = ground.folder / f"{host.name}-crowd" / str(number)
            folder.mkdir(parents=True)
            self._keys.append(make_identity(folder, ground.folder / _REGISTER))
            write_trust(folder, ground.folder / _REGISTER, [site.key])
            self._folders.append(str(folder))
        site.trust(self._keys)

    def members(self) -> Sequence[str]:
        return self._keys

    def start(self) -> None:
        program = [sys.executable, "-m", _CROWD, str(self._host.ipv4), *self._folders]
        self._ground.watch(self._host, program, parse_spoken).wait("ready", timeout_s=_CROWD_S)


class TlsContender(Contender, abc.ABC):
    """What both have in common: the crowd and the strangers, which are there for every mDNS contender."""

    turns = 3

    def crowd(self, ground: Ground, host: Host, count: int, site: Site) -> Crowd:
        assert isinstance(site, TlsSite)
        return _Crowd(ground, host, count, site)

    def strangers(self, ground: Ground, host: Host, count: int) -> None:
        ground.emulate(host, count)


class ZeroconfTls(TlsContender):
    """Stock python-zeroconf, and the dial."""

    name = "zeroconf"
    title = "zeroconf + TLS"
    start_call = "`AsyncZeroconf()`, a browser and a registration"
    how = (
        "`AsyncServiceBrowser`, `AsyncServiceInfo.async_request`, `async_register_service`, as documented. "
        f"{DIAL}"
    )

    def check(self) -> str:
        return f"python-zeroconf {version('zeroconf')}, Python {sys.version.split()[0]}"

    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        return TlsSite(ground, host, name, "zeroconf")
