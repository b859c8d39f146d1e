"""Syncthing, with local discovery alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.scoreboard.accounting import children
from benchmarks.scoreboard.contender import Contender, Crowd, Site, UnavailableError
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.unpacked import find_program
from benchmarks.scoreboard.watched import Happening, Watched
from peernet_core.testing.lab import INTERFACE, Host

__all__ = ["Syncthing", "parse_syncthing"]

_CONFIGURATION: Final = """<configuration version="36">
{devices}
    <gui enabled="false"><address>127.0.0.1:8384</address></gui>
    <options>
        <listenAddress>tcp://:{port}</listenAddress>
        <globalAnnounceEnabled>false</globalAnnounceEnabled>
        <localAnnounceEnabled>true</localAnnounceEnabled>
        <relaysEnabled>false</relaysEnabled>
        <natEnabled>false</natEnabled>
        <urAccepted>-1</urAccepted>
        <crashReportingEnabled>false</crashReportingEnabled>
        <autoUpgradeIntervalH>0</autoUpgradeIntervalH>
        <startBrowser>false</startBrowser>
    </options>
</configuration>
"""
_TOGETHER: Final = ("unshare", "--pid", "--fork", "--kill-child=KILL")
_ANNOUNCER: Final = "benchmarks.scoreboard.programs.syncthing_announcer"
_FIRST_PORT: Final = 22000
_AT_ONCE: Final = 20
_KEYS_S: Final = 60.0
_FIRST_RUN_S: Final = 60.0
_DEVICE: Final = "[A-Z2-7]{7}(?:-[A-Z2-7]{7}){7}"
_LINES: Final = (
    ("ready", re.compile(r"INFO: TCP listener \(.*\) starting")),
    ("linked", re.compile(rf"INFO: Established secure connection to ({_DEVICE}) at ")),
    ("lost", re.compile(rf"INFO: Connection to ({_DEVICE}) at .* closed: ")),
)


def parse_syncthing(line: str) -> Happening | None:
    """Read one line of its log."""
    for what, pattern in _LINES:
        if found := pattern.search(line):
            return Happening(what, found[1] if pattern.groups else "")
    return None


def _environment(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "STNODEFAULTFOLDER": "1", "STNOUPGRADE": "1"}


def _generate(program: Path, folder: Path) -> str:
    """Make a key there, and return the device id."""
    done = subprocess.run(
        [str(program), f"-generate={folder}"],
        env={**os.environ, **_environment(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=_KEYS_S,
    )
    found = re.search(rf"Device ID: ({_DEVICE})", done.stdout + done.stderr)
    if done.returncode or found is None:
        raise UnavailableError(f"syncthing -generate failed: {(done.stdout + done.stderr)[-400:]}")
    return found[1]


def _configure(folder: Path, own: str, others: Sequence[str], port: int) -> None:
    devices = "\n".join(
        f'    <device id="{each}" name="{each[:7]}"><address>dynamic</address></device>'
        for each in (own, *others)
    )
    (folder / "config.xml").write_text(_CONFIGURATION.format(devices=devices, port=port), encoding="utf-8")


def _load(ground: Ground, host: Host, program: Path, folder: Path) -> Watched:
    variables = [f"{name}={value}" for name, value in _environment(folder).items()]
    command = [str(program), "serve", "--no-browser", "--no-restart", f"--home={folder}"]
    # It starts itself again as its own child, and must not outlive us: whoever kills `unshare` kills both.
    within = [*_TOGETHER, "env", *variables]
    return ground.load(host, command, parse_syncthing, within=within, wrapped=True)


class _Site(Site):
    def __init__(self, ground: Ground, host: Host, name: str, program: Path) -> None:
        super().__init__(ground, host, name)
        # A copy, so that the memory of this one's program is not shared out among a crowd that runs it, too.
        self._program = self.folder / "syncthing"
        shutil.copy2(program, self._program)
        self._ports: Iterator[int] = iter(range(_FIRST_PORT, 2**16))
        self._trusted: Sequence[str] = ()
        self.key = _generate(program, self.folder)

    def trust(self, keys: Sequence[str]) -> None:
        self._trusted = keys
        _first_run(self.ground, self.host, [(self._program, self.folder, self.key, keys)])

    def load(self) -> Watched:
        _configure(self.folder, self.key, self._trusted, next(self._ports))
        return _load(self.ground, self.host, self._program, self.folder)

    def measured(self, process: Watched) -> list[int]:
        return children(process.pid)


def _first_run(ground: Ground, host: Host, places: Sequence[tuple[Path, Path, str, Sequence[str]]]) -> None:
    """Let each make its database, where nobody hears of it."""
    host.unplug()
    for program, folder, own, others in places:
        _configure(folder, own, others, _FIRST_PORT)
        with _load(ground, host, program, folder).begin() as process:
            process.wait("ready", timeout_s=_FIRST_RUN_S)
    host.plug_in()


class _Crowd(Crowd):
    def __init__(self, ground: Ground, host: Host, count: int, site: Site, program: Path) -> None:
        self._ground = ground
        self._host = host
        self._program = program
        self._folders = [ground.folder / f"{host.name}-crowd" / str(number) for number in range(count)]
        for folder in self._folders:
            folder.mkdir(parents=True)
        with ThreadPoolExecutor(2) as pool:
            self._keys = list(pool.map(lambda folder: _generate(program, folder), self._folders))
        for number, (folder, key) in enumerate(zip(self._folders, self._keys, strict=True)):
            _configure(folder, key, [site.key], _FIRST_PORT + 1 + number)
        site.trust(self._keys)

    def members(self) -> Sequence[str]:
        return self._keys

    def start(self) -> None:
        for first in range(0, len(self._folders), _AT_ONCE):
            loaded = [
                _load(self._ground, self._host, self._program, folder)
                for folder in self._folders[first : first + _AT_ONCE]
            ]
            for process in [each.begin() for each in loaded]:
                process.wait("ready", timeout_s=_FIRST_RUN_S)


class Syncthing(Contender):
    """Debian's Syncthing."""

    name = "syncthing"
    title = "Syncthing"
    how = (
        "`syncthing serve --no-restart` as its systemd unit does, with an existing key and database, the "
        "peer's device id, and no folder; no global discovery, relays or NAT traversal, so discovery is "
        "its local announcements. Everything else is its default. Linked: its line `Established secure "
        "connection`."
    )

    def __init__(self) -> None:
        self._program: Path | None = None

    def check(self) -> str:
        self._program = find_program("syncthing", "usr/bin/syncthing")
        done = subprocess.run(
            [str(self._program), "--version"], capture_output=True, text=True, check=False, timeout=_KEYS_S
        )
        found = re.search(r"syncthing v(\S+) .*\((go\S+)", done.stdout)
        if found is None:
            raise UnavailableError(f"{self._program} --version says {done.stdout + done.stderr!r}")
        return f"Syncthing {found[1]}, {found[2]}"

    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        assert self._program is not None
        return _Site(ground, host, name, self._program)

    def crowd(self, ground: Ground, host: Host, count: int, site: Site) -> Crowd:
        assert self._program is not None
        return _Crowd(ground, host, count, site, self._program)

    def strangers(self, ground: Ground, host: Host, count: int) -> None:
        program = [sys.executable, "-m", _ANNOUNCER, INTERFACE, str(count)]
        ground.watch(host, program, parse_spoken).wait("ready", timeout_s=_FIRST_RUN_S)
