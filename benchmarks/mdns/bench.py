"""The bench: hosts on a link of their own, the processes on them, and what is said to these."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Final, Self

import attrs

from benchmarks.mdns.population import NETWORK
from peernet_core.testing.lab import INTERFACE, Host, Laboratory

__all__ = ["DEFAULT_RECEIVE_BUFFER", "Bench", "Child", "Traffic", "WaitedInVainError", "number"]

DEFAULT_RECEIVE_BUFFER: Final = 212_992
"""Linux's own net.core.rmem_max."""
GUARD_S: Final = 60.0
_ROOT: Final = Path(__file__).parents[2]
_MAX_MEMORY: Final = 6 * 1024**3
"""Of addresses, for one process: a flood shall not take the machine."""

Line = Mapping[str, object]


class WaitedInVainError(Exception):
    """A process did not say what was waited for."""


def number(line: Line, field: str) -> float:
    """A field that is a number."""
    value = line[field]
    assert isinstance(value, int | float), line
    return float(value)


class Child:
    """A process on a host: JSON objects go in, JSON objects come out; as a context manager it is killed."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        self._lines: list[Line] = []
        self._changed = threading.Condition()
        self._ended = False
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=_ROOT
            )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def mark(self) -> int:
        """How many lines it has printed."""
        with self._changed:
            return len(self._lines)

    def say(self, do: str, **fields: object) -> None:
        """Tell it to do something."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WaitedInVainError(f"it has ended: {self.report()}") from None

    def ask(self, do: str, answer: str, *, timeout_s: float = GUARD_S, **fields: object) -> Line:
        """Tell it to do something, and wait until it says that it did."""
        since = self.mark()
        self.say(do, **fields)
        return self.wait(answer, since=since, timeout_s=timeout_s)

    def wait(self, event: str, *, since: int = 0, timeout_s: float = GUARD_S, **fields: object) -> Line:
        """Return the first such line, waiting for it if need be.

        Raises:
            WaitedInVainError: it did not come in time, or the process ended.
        """
        found = self.look(event, since=since, timeout_s=timeout_s, **fields)
        if found is None:
            raise WaitedInVainError(f"no {event} {fields} within {timeout_s:g} s: {self.report()}")
        return found

    def look(self, event: str, *, since: int = 0, timeout_s: float, **fields: object) -> Line | None:
        """The same, but None when it does not come."""
        deadline = time.monotonic() + timeout_s
        wanted = {"event": event, **fields}.items()
        with self._changed:
            while True:
                for line in self._lines[since:]:
                    if all(line.get(name) == value for name, value in wanted):
                        return line
                since = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self.process.kill()
        self.process.wait(GUARD_S)
        self._reader.join(GUARD_S)
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()

    def report(self) -> str:
        """The last that it printed and logged."""
        with self._changed:
            lines = [json.dumps(dict(line)) for line in self._lines[-5:]]
        return "\n".join([*lines, self._log.read_text(encoding="utf-8", errors="replace")[-3000:]])

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            for raw in stdout:
                line = json.loads(raw)
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@attrs.frozen
class Traffic:
    """What an interface has carried.

    Attributes:
        received: Packets; the same for `sent`.
    """

    received: int
    received_bytes: int
    sent: int
    sent_bytes: int

    def since(self, earlier: Traffic) -> Traffic:
        """What it has carried from then to this."""
        pairs = zip(attrs.astuple(self), attrs.astuple(earlier), strict=True)
        return Traffic(*(now - then for now, then in pairs))


class Bench:
    """One link and the hosts on it; closing it ends every process and removes every namespace.

    Attributes:
        folder: Gone after closing.
    """

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._lab = self._closing.enter_context(Laboratory())
        self._logs = itertools.count()
        self.folder = self._lab.folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def host(self, name: str) -> Host:
        """A host whose network takes in the emulated ones, with a route to everywhere."""
        host = self._lab.host(name)
        host.ip("address", "del", f"{host.ipv4}/24", "dev", INTERFACE)
        host.ip("address", "add", f"{host.ipv4}/16", "broadcast", "10.77.255.255", "dev", INTERFACE)
        host.ip("route", "add", "default", "via", "10.77.0.254", "dev", INTERFACE)
        return host

    def emulate(self, host: Host, count: int) -> Child:
        """Let a host be so many hosts, and return when they answer."""
        host.ip("route", "add", "local", NETWORK, "dev", "lo")
        child = self.start(host, "benchmarks.mdns.responders", str(count), INTERFACE)
        child.wait("ready")
        return child

    def subject(
        self, host: Host, engine: str, *, silent: bool = False, default_limits: bool = False
    ) -> Child:
        """Start a process that is to be measured, and return at once."""
        options = ["--silent"] if silent else []
        if default_limits:
            options.append(f"--receive-buffer-limit={DEFAULT_RECEIVE_BUFFER}")
        return self.start(host, "benchmarks.mdns.subject", engine, *options)

    def start(self, host: Host, module: str, *arguments: str) -> Child:
        """Start a module as a program there; it dies with the thread that calls this."""
        program = ["prlimit", f"--as={_MAX_MEMORY}", sys.executable, "-m", module, *arguments]
        log = self._lab.folder / f"{host.name}.{next(self._logs)}.log"
        return self._closing.enter_context(Child(host.command(*program), log))

    def traffic(self, host: Host) -> Traffic:
        """What the host's interface has carried."""
        text = host.inside(lambda: Path("/proc/thread-self/net/dev").read_text(encoding="ascii"))
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{INTERFACE}:"))
        figures = [int(each) for each in line.partition(":")[2].split()]
        return Traffic(figures[1], figures[0], figures[9], figures[8])
