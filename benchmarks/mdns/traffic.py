"""Cases: what a node costs the network and the processor.

Packets are those of the interface, both families, whatever they carry. The newcomer is announced, among 1,000
emulated peers, and counted for 15 s from its start. The idle minute begins 45 s after the start, among 100
emulated peers, for all engines at the same time, each on a link of its own. Avahi runs if it is installed: it
publishes one service, and browses for nobody, because it does that for its clients only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import attrs

from benchmarks.mdns.bench import Bench, Traffic
from benchmarks.mdns.figures import Fact
from benchmarks.mdns.latency import start
from peernet_core.testing.lab import Host

__all__ = ["idle_minute", "newcomer_packets"]

_NEWCOMER_S: Final = 15.0
_SETTLED_S: Final = 45.0
_MINUTE_S: Final = 60.0
_AVAHI: Final = "avahi-daemon"
_SERVICE: Final = """<?xml version="1.0" standalone="no"?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>peer</name><service><type>_peernet._tcp</type><port>7100</port></service></service-group>
"""


def newcomer_packets(engines: Sequence[str], *, peers: int = 1000) -> list[Fact]:
    """Start among many, and count."""
    facts = []
    for engine in engines:
        with Bench() as bench:
            host = bench.host("newcomer")
            bench.emulate(bench.host("crowd"), peers)
            child = bench.subject(host, engine, silent=True)
            child.wait("ready")
            before = bench.traffic(host)
            start(child)
            time.sleep(_NEWCOMER_S)
            facts.append(
                Fact(
                    f"newcomer among {peers:,}, first {_NEWCOMER_S:g} s, {engine}",
                    _shown(bench.traffic(host).since(before)),
                )
            )
    return facts


@attrs.frozen
class _Idler:
    engine: str
    bench: Bench
    host: Host
    pid: int


def idle_minute(engines: Sequence[str], *, peers: int = 100) -> list[Fact]:
    """Do nothing for a minute, and count."""
    with ExitStack() as stack:
        idlers = []
        for engine in engines:
            bench = stack.enter_context(Bench())
            bench.emulate(bench.host("crowd"), peers)
            host = bench.host("idler")
            child = bench.subject(host, engine, silent=True)
            start(child)
            idlers.append(_Idler(engine, bench, host, child.process.pid))
        if shutil.which(_AVAHI):
            bench = stack.enter_context(Bench())
            bench.emulate(bench.host("crowd"), peers)
            host = bench.host("idler")
            pid = stack.enter_context(_Avahi(bench, host)).pid
            idlers.append(_Idler("avahi", bench, host, pid))
        time.sleep(_SETTLED_S)
        before = [(idler.bench.traffic(idler.host), _cpu_s(idler.pid)) for idler in idlers]
        time.sleep(_MINUTE_S)
        facts = []
        for idler, (traffic, cpu_s) in zip(idlers, before, strict=True):
            carried = idler.bench.traffic(idler.host).since(traffic)
            took_ms = (_cpu_s(idler.pid) - cpu_s) * 1000
            facts.append(
                Fact(
                    f"idle minute among {peers}, {idler.engine}",
                    f"{_shown(carried)}, {took_ms:.0f} ms of CPU",
                )
            )
    if not shutil.which(_AVAHI):
        facts.append(Fact(f"idle minute among {peers}, avahi", "avahi-daemon is not installed"))
    return facts


class _Avahi:
    """An avahi-daemon that publishes one service and has `/etc/avahi` and `/run` for itself."""

    def __init__(self, bench: Bench, host: Host) -> None:
        folder = bench.folder / "avahi"
        (folder / "services").mkdir(parents=True)
        (folder / "services" / "peer.service").write_text(_SERVICE, encoding="utf-8")
        (folder / "avahi-daemon.conf").write_text("[server]\nenable-dbus=no\n", encoding="utf-8")
        script = (
            "mount -t tmpfs tmpfs /run && mkdir -p /etc/avahi && "
            f'mount --bind {folder} /etc/avahi && exec "$@"'
        )
        daemon = (_AVAHI, "--no-drop-root", "--no-chroot", "--no-rlimits")
        self._process = subprocess.Popen(
            host.command("unshare", "--mount", "sh", "-c", script, "sh", *daemon),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _cpu_s(pid: int) -> float:
    # After the name, which may hold spaces: utime and stime are the fields 14 and 15 of proc_pid_stat(5).
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _shown(traffic: Traffic) -> str:
    return (
        f"sent {traffic.sent:,} packets ({traffic.sent_bytes / 1000:,.1f} kB), "
        f"received {traffic.received:,} ({traffic.received_bytes / 1000:,.1f} kB)"
    )
