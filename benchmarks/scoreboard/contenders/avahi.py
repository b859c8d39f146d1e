"""Avahi's daemon and its tools, and mutual TLS around them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import attrs

from benchmarks.scoreboard.contender import Site, UnavailableError
from benchmarks.scoreboard.contenders.tls import DIAL, TlsContender, TlsSite
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.unpacked import find_file, find_program, library_path
from benchmarks.scoreboard.watched import Happening, Watched
from peernet_core.testing.lab import Host, eventually

__all__ = ["AvahiTls"]

_BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""
_STARTING_S: Final = 20.0
_USER: Final = {"passwd": "avahi:x:0:0::/:/bin/false\n", "group": "avahi:x:0:\n"}
_READY: Final = "Server startup complete"


@attrs.frozen
class _Programs:
    bus: Path
    daemon: Path
    configuration: Path
    publish: Path
    browse: Path


def _parse_daemon(line: str) -> Happening | None:
    return Happening("ready") if _READY in line else None


class _Site(TlsSite):
    """A host on which Avahi's daemon runs all the time, as on a desktop."""

    def __init__(self, ground: Ground, host: Host, name: str, programs: _Programs) -> None:
        super().__init__(ground, host, name, "avahi")
        self._programs = programs
        socket, configuration = self.folder / "bus", self.folder / "bus.xml"
        configuration.write_text(_BUS.format(socket=socket), encoding="utf-8")
        self._libraries = f"LD_LIBRARY_PATH={library_path()}"
        self._bus = f"DBUS_SYSTEM_BUS_ADDRESS=unix:path={socket}"
        bus = (str(programs.bus), "--nofork", f"--config-file={configuration}")
        ground.watch(host, ["env", self._libraries, *bus], lambda _: None)
        eventually(socket.exists, "the D-Bus daemon listens", guard_s=_STARTING_S)
        self._daemon = ground.watch(host, self._daemon_command(), _parse_daemon)

    def load(self) -> Watched:
        self._daemon.wait("ready", timeout_s=_STARTING_S)
        return super().load()

    def _daemon_command(self) -> list[str]:
        # It has `/run` for itself, and its user is root: one that changed its user would outlive us.
        for name, line in _USER.items():
            (self.folder / name).write_text(line + Path("/etc", name).read_text("utf-8"), "utf-8")
        script = (
            f"mount -t tmpfs tmpfs /run && mount --bind {self.folder}/passwd /etc/passwd && "
            f'mount --bind {self.folder}/group /etc/group && exec "$@" 2>&1'
        )
        program = [
            *("env", self._libraries, self._bus, str(self._programs.daemon)),
            *("--no-chroot", "--no-drop-root", "--no-rlimits", f"--file={self._programs.configuration}"),
        ]
        return ["unshare", "--mount", "sh", "-c", script, "sh", *program]

    def environment(self) -> list[str]:
        tools = f"AVAHI_PUBLISH={self._programs.publish}", f"AVAHI_BROWSE={self._programs.browse}"
        return ["env", self._libraries, self._bus, *tools]

    def measured(self, process: Watched) -> list[int]:
        return [process.pid, self._daemon.pid]


class AvahiTls(TlsContender):
    """Avahi, and the dial."""

    name = "avahi"
    title = "Avahi + TLS"
    how = (
        "`avahi-publish --service` and `avahi-browse -rp` as children of a Python process that reads "
        f"their lines; the daemon runs already, as on a desktop, and knows what it heard before. {DIAL}"
    )

    def __init__(self) -> None:
        self._programs: _Programs | None = None

    def check(self) -> str:
        self._programs = _Programs(
            bus=find_program("dbus-daemon", "usr/bin/dbus-daemon"),
            daemon=find_program("avahi-daemon", "usr/sbin/avahi-daemon"),
            configuration=find_file("etc/avahi/avahi-daemon.conf", "avahi-daemon"),
            publish=find_program("avahi-utils", "usr/bin/avahi-publish"),
            browse=find_program("avahi-utils", "usr/bin/avahi-browse"),
        )
        done = subprocess.run(
            ["env", f"LD_LIBRARY_PATH={library_path()}", str(self._programs.daemon), "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_STARTING_S,
        )
        found = re.search(r"avahi-daemon (\S+)", done.stdout)
        if found is None:
            raise UnavailableError(f"avahi-daemon --version says {done.stdout + done.stderr!r}")
        return f"Avahi {found[1]}, Python {sys.version.split()[0]}"

    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        assert self._programs is not None
        return _Site(ground, host, name, self._programs)
