"""py-libp2p, in an environment of its own: it needs a python-zeroconf that is too old for peernet."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from benchmarks.scoreboard.contender import Contender, Crowd, Site, UnavailableError
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Watched
from peernet_core.testing.lab import Host

__all__ = ["Libp2p"]

_PROGRAM: Final = Path(__file__).parents[1] / "programs" / "libp2p_peer.py"
_INSTALLING_S: Final = 300.0
_CROWD_S: Final = 120.0


@attrs.frozen
class _Program:
    """The program and the interpreter that has what it imports."""

    python: str

    def command(self, *arguments: str) -> list[str]:
        return [self.python, str(_PROGRAM), *arguments]

    def identities(self, folders: Sequence[Path]) -> list[str]:
        """Write a secret into each, and return the peer ids."""
        chosen = [secrets.token_hex(32) for _ in folders]
        for folder, secret in zip(folders, chosen, strict=True):
            (folder / "secret").touch(mode=0o600)
            (folder / "secret").write_text(secret, encoding="ascii")
        return _run(self.command("--id", *chosen)).split()


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALLING_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise UnavailableError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-400:]}")
    return done.stdout.strip()


class _Site(Site):
    def __init__(self, ground: Ground, host: Host, name: str, program: _Program) -> None:
        super().__init__(ground, host, name)
        self.program = program
        (self.key,) = program.identities([self.folder])

    def trust(self, keys: Sequence[str]) -> None:
        (self.folder / "trusted").write_text("\n".join(keys), encoding="ascii")

    def load(self) -> Watched:
        command = self.program.command(str(self.host.ipv4), str(self.folder))
        return self.ground.load(self.host, command, parse_spoken)

    def start_call(self) -> Watched:
        return self.start()


class _Crowd(Crowd):
    def __init__(self, ground: Ground, host: Host, count: int, site: _Site) -> None:
        self._ground = ground
        self._host = host
        self._program = site.program
        self._folders = [ground.folder / f"{host.name}-crowd" / str(number) for number in range(count)]
        for folder in self._folders:
            folder.mkdir(parents=True)
        self._keys = self._program.identities(self._folders)
        site.trust(self._keys)

    def members(self) -> Sequence[str]:
        return self._keys

    def start(self) -> None:
        command = self._program.command("--crowd", str(self._host.ipv4), *map(str, self._folders))
        self._ground.watch(self._host, command, parse_spoken).wait("ready", timeout_s=_CROWD_S)


class Libp2p(Contender):
    """py-libp2p, from the package index."""

    name = "libp2p"
    title = "py-libp2p"
    start_call = "`new_host` and `host.run`"
    how = (
        "`new_host(enable_mDNS=True)` with an existing Ed25519 key, listening on TCP; its default "
        "security is Noise. `peerDiscovery`'s handler dials the known peer, again every second while it "
        "is not connected. Its health monitoring is on (a ping every 5 s, given up after 5 s), without "
        "which a dead link stays. Linked: its notification `connected`."
    )

    def __init__(self) -> None:
        self._program: _Program | None = None

    def check(self) -> str:
        uv = os.environ.get("UV") or shutil.which("uv")
        if uv is None:
            raise UnavailableError("uv was not found, which makes its environment (pip install uv)")
        _run([uv, "sync", "--quiet", "--script", str(_PROGRAM)])
        self._program = _Program(_run([uv, "python", "find", "--script", str(_PROGRAM)]))
        found = "import libp2p, platform; print(libp2p.__version__, platform.python_version())"
        libp2p, python = _run([self._program.python, "-c", found]).split()
        return f"libp2p {libp2p}, Python {python}"

    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        assert self._program is not None
        return _Site(ground, host, name, self._program)

    def crowd(self, ground: Ground, host: Host, count: int, site: Site) -> Crowd:
        assert isinstance(site, _Site)
        return _Crowd(ground, host, count, site)

    def strangers(self, ground: Ground, host: Host, count: int) -> None:
        assert self._program is not None
        command = self._program.command("--strangers", str(host.ipv4), str(count))
        ground.watch(host, command, parse_spoken).wait("ready", timeout_s=_CROWD_S)
