"""Starts, measured: a newcomer on a host of its own finds a peer that runs already, and links with it.

Everything is measured in turn, round by round. Before each start the newcomer forgets where it met the peer,
and the pause is longer than the second within which a responder answers no question twice.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.startup.budget import Budget, read_budget
from benchmarks.warmth import warm_memory
from peernet_core.testing.lab import PORT, LabNode, Laboratory

__all__ = ["Comparison", "measure", "neighbours", "probed"]

_GUARD_S: Final = 60.0
_PAUSE_S: Final = 1.2
_HERE: Final = Path(__file__).parent
_CONFIGURATION: Final = "[discovery.mdns]\n"
_PEER: Final = f'[node]\nlisten = ["0.0.0.0:{PORT}", "[::]:{PORT}"]\n{_CONFIGURATION}'
_IMPORTS: Final = (
    "import importlib, sys\n"
    "for name in sys.stdin.read().split():\n"
    "    try: importlib.import_module(name)\n"
    "    except ImportError: pass\n"
    "print('done', flush=True)\n"
)


@attrs.frozen
class Comparison:
    """What was measured, in milliseconds, a value for each round.

    Attributes:
        links: For each program, from the start of its process until its line `peer_connected` was read.
        floor: From the start of the process until its TLS handshake was done.
        imports: For each program, a bare Python that imports every module that the program's start does.
        budgets: Of each program.
    """

    links: Mapping[str, Sequence[float]]
    floor: Sequence[float]
    imports: Mapping[str, Sequence[float]]
    budgets: Mapping[str, Budget]

    def over_floor(self, program: str) -> float:
        """The median of what a program takes longer than the floor, in milliseconds, round by round."""
        return statistics.median(
            link - floor for link, floor in zip(self.links[program], self.floor, strict=True)
        )


def measure(programs: Mapping[str, Path], rounds: int) -> Comparison:
    """Start every program, the floor and the bare imports in turn.

    Args:
        programs: Installed ``peernet`` commands; the Python beside each is its own.
        rounds: How often.

    Raises:
        LaboratoryError: there are no namespaces here; `lab.why_not` says why.
        AssertionError: a program ended without a link.
    """
    links: dict[str, list[float]] = {name: [] for name in programs}
    imports: dict[str, list[float]] = {name: [] for name in programs}
    reports: dict[str, list[tuple[float, Mapping[str, Any]]]] = {name: [] for name in programs}
    floor: list[float] = []
    with neighbours() as (running, newcomer):
        for each in programs.values():  # fills the caches of the disk and of Python
            _link(newcomer, [str(each)])
        for _ in range(rounds):
            for name, program in programs.items():
                links[name].append(_link(newcomer, [str(program)])[1])
                started, report = probed(newcomer, program)
                reports[name].append((started, report))
                modules = [module for module, _, _ in report["loads"]]
                imports[name].append(_timed(newcomer, [_python_of(program), "-c", _IMPORTS], modules))
            floor.append(_floor(newcomer, running))
    return Comparison(links, floor, imports, {name: read_budget(each) for name, each in reports.items()})


@contextmanager
def neighbours() -> Iterator[tuple[LabNode, LabNode]]:
    """Two nodes that trust each other and have mdns alone: the first runs, the second is not started."""
    with Laboratory() as lab:
        running, newcomer = lab.node("running"), lab.node("newcomer")
        running.configure(trust=[newcomer])
        newcomer.configure(trust=[running])
        running.config.write_text(_PEER, encoding="utf-8")
        newcomer.config.write_text(_CONFIGURATION, encoding="utf-8")
        with running.start() as process:
            process.wait("backend_started")
            yield running, newcomer


def _python_of(program: Path) -> str:
    return str(program.parent / "python")


def _link(newcomer: LabNode, program: list[str]) -> tuple[float, float]:
    """Start it, and stop it at its first link; returns when it was started, and the milliseconds."""
    for kept in newcomer.data_dir.glob("known*"):
        kept.unlink()
    arguments = ["--config", str(newcomer.config), "--data-dir", str(newcomer.data_dir), "run", "--json"]
    with _process(newcomer, [*program, *arguments]) as (process, started):
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "peer_connected":
                took_ms = (time.monotonic() - started) * 1000
                break
        else:
            raise AssertionError(f"{program[0]} ended without a link")
        process.terminate()
    time.sleep(_PAUSE_S)
    return started, took_ms


def probed(newcomer: LabNode, program: Path) -> tuple[float, Mapping[str, Any]]:
    """Start a program under the probe; returns when it was started, and what the probe wrote."""
    path = newcomer.data_dir.parent / "report.json"
    path.unlink(missing_ok=True)
    started, _ = _link(newcomer, [_python_of(program), "-P", str(_HERE / "probe.py"), str(path)])
    report: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return started, report


def _floor(newcomer: LabNode, running: LabNode) -> float:
    identity = newcomer.data_dir / "identity.pem"
    arguments = [str(identity), str(running.key), str(running.host.ipv4), str(PORT)]
    return _timed(newcomer, [sys.executable, "-P", str(_HERE / "floor.py"), *arguments])


def _timed(newcomer: LabNode, command: list[str], lines: Sequence[str] = ()) -> float:
    """How long a command takes to print its first line, in milliseconds."""
    with _process(newcomer, command) as (process, started):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join(lines))
        process.stdin.close()
        line = process.stdout.readline()
        took_ms = (time.monotonic() - started) * 1000
    if line != "done\n":
        raise AssertionError(f"{command} did not do what it is for")
    return took_ms


@contextmanager
def _process(newcomer: LabNode, command: list[str]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    # The namespace is entered before the clock starts: `ip` and `setpriv` are no part of any start.
    environment = {**os.environ, **newcomer.environment}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users' Pythons keep what they compiled

    def start() -> tuple[subprocess.Popen[str], float]:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        return process, started

    warm_memory()
    process, started = newcomer.host.inside(start)
    with process:
        try:
            yield process, started
            process.wait(_GUARD_S)
        finally:
            process.kill()
