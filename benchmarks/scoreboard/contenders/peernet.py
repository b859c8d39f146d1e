"""peernet: `peernet run --json` without a configuration, which is multicast DNS alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from benchmarks.scoreboard.contender import Contender, Crowd, Site
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Happening, Watched
from peernet_core.keys import Identity
from peernet_core.testing.lab import Host, LabNode

__all__ = ["Peernet", "parse_peernet"]

_PROGRAM: Final = "benchmarks.scoreboard.programs.peernet_peer"
_EVENTS: Final = {"node_started": "ready", "peer_connected": "linked", "peer_disconnected": "lost"}
_CROWD_S: Final = 120.0


def parse_peernet(line: str) -> Happening | None:
    """Read one line of `peernet run --json`."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or (what := _EVENTS.get(str(fields.get("event")))) is None:
        return None
    return Happening(what, "" if what == "ready" else str(fields.get("key", "")))


class _Site(Site):
    def __init__(self, ground: Ground, host: Host, name: str) -> None:
        super().__init__(ground, host, name)
        self._node = LabNode(host, self.folder)
        self._node.configure()
        self._node.config.unlink()
        self.key = str(self._node.key)

    def trust(self, keys: Sequence[str]) -> None:
        self._node.trusted_peers.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")

    def forget(self) -> None:
        (self._node.data_dir / "known_addresses").unlink(missing_ok=True)

    def load(self) -> Watched:
        variables = [f"{name}={value}" for name, value in self._node.environment.items()]
        program = [
            str(self._node.program),
            *("--data-dir", str(self._node.data_dir)),
            *("run", "--json"),
        ]
        return self.ground.load(self.host, program, parse_peernet, within=["env", *variables])

    def start_call(self) -> Watched:
        (self.folder / "peernet.toml").write_text(_configuration(), encoding="utf-8")
        return self.ground.watch(self.host, [sys.executable, "-m", _PROGRAM, str(self.folder)], parse_spoken)


def _configuration() -> str:
    return '[node]\ndata_dir = "data"\n[discovery.mdns]\n'


class _Crowd(Crowd):
    def __init__(self, ground: Ground, host: Host, count: int, site: _Site) -> None:
        self._ground = ground
        self._host = host
        self._folders = []
        self._keys = []
        self._trusted = site.key
        for number in range(count):
            folder = ground.folder / f"{host.name}-crowd" / str(number)
            data = folder / "data"
            data.mkdir(parents=True, mode=0o700)
            identity = Identity.generate()
            (data / "identity.pem").touch(mode=0o600)
            (data / "identity.pem").write_bytes(identity.to_pem())
            (folder / "peernet.toml").write_text(_configuration(), encoding="utf-8")
            self._folders.append(str(folder))
            self._keys.append(str(identity.key))
        site.trust(self._keys)

    def members(self) -> Sequence[str]:
        return self._keys

    def start(self) -> None:
        command = [sys.executable, "-m", _PROGRAM, "--trust", self._trusted, *self._folders]
        process = self._ground.watch(self._host, command, parse_spoken)
        process.wait("ready", timeout_s=_CROWD_S)


class Peernet(Contender):
    """Ours."""

    name = "peernet"
    title = "peernet"
    turns = 3
    start_call = "`Node.from_config` and `async with node`"
    how = (
        "`peernet run --json` with an existing identity and one trusted key, without a configuration: "
        "discovery is mDNS alone. Linked: its line `peer_connected`."
    )

    def check(self) -> str:
        return f"peernet-core {version('peernet-core')}, peernet-mdns {version('peernet-mdns')}"

    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        return _Site(ground, host, name)

    def crowd(self, ground: Ground, host: Host, count: int, site: Site) -> Crowd:
        assert isinstance(site, _Site)
        return _Crowd(ground, host, count, site)

    def strangers(self, ground: Ground, host: Host, count: int) -> None:
        ground.emulate(host, count)
