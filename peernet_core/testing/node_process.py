"""A running node as a test sees it: the JSON lines it prints, its memory, its end."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final, Self

import attrs

__all__ = ["GUARD_S", "GuardExpiredError", "Line", "NodeProcess"]

GUARD_S: Final = 20.0
"""How long a test waits before it gives up: ten times the longest aim, never a measurement."""


class GuardExpiredError(AssertionError):
    """What a test waited for did not happen; the message carries what did."""


@attrs.frozen
class Line:
    """One JSON line that a node printed.

    Attributes:
        number: Its place in the node's output, from 0.
        event: The event's name.
        fields: The whole object.
        received_at: `time.monotonic` when it was read.
    """

    number: int
    event: str
    fields: Mapping[str, object]
    received_at: float


class NodeProcess:
    """A running `peernet run --json`; as a context manager it ends with SIGKILL."""

    def __init__(self, name: str, command: list[str], stderr: Path) -> None:
        self.name = name
        self._stderr = stderr
        self._lines: list[Line] = []
        self._unreadable: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        with stderr.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is the laboratory's own
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        self.started_at = time.monotonic()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name=f"lab {name}")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The node's own process id."""
        return self._process.pid

    @property
    def lines(self) -> tuple[Line, ...]:
        """Everything printed so far."""
        with self._changed:
            return tuple(self._lines)

    def mark(self) -> int:
        """The number of lines so far, for `since`."""
        return len(self.lines)

    def seen(self, event: str, *, since: int = 0, **fields: object) -> list[Line]:
        """Return the lines so far of that event whose fields have these values."""
        return [line for line in self.lines[since:] if _matches(line, event, fields)]

    def wait(self, event: str, *, since: int = 0, guard_s: float = GUARD_S, **fields: object) -> Line:
        """Return the first line from number `since` on that has these values, waiting for it if need be.

        Raises:
            GuardExpiredError: the node ended, or `guard_s` seconds went by; shows its output.
        """
        deadline = time.monotonic() + guard_s
        place = since
        with self._changed:
            while True:
                for line in self._lines[place:]:
                    if _matches(line, event, fields):
                        return line
                place = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
        why = "ended" if self._ended else f"went on for {guard_s:g} s"
        raise GuardExpiredError(f"{self.name} {why} without {event} {fields or ''}\n{self.report()}")

    def terminate(self, *, guard_s: float = GUARD_S) -> int:
        """Send SIGTERM, wait for the end, and return the exit status."""
        self._process.terminate()
        return self.join(guard_s=guard_s)

    def kill(self) -> None:
        """Send SIGKILL if it runs, and wait for the end."""
        self._process.kill()
        self.join()

    def join(self, *, guard_s: float = GUARD_S) -> int:
        """Wait until it ended and all its output is read; return the exit status."""
        try:
            status = self._process.wait(guard_s)
        except subprocess.TimeoutExpired:
            raise GuardExpiredError(f"{self.name} did not end in {guard_s:g} s\n{self.report()}") from None
        self._reader.join(guard_s)
        return status

    @property
    def resident_kib(self) -> int:
        """Resident memory, in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise ProcessLookupError(f"{self.name} has ended")

    @property
    def descriptors(self) -> int:
        """How many file descriptors it holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def report(self) -> str:
        """Everything that it printed, for the reader of a failed test."""
        lines = [json.dumps(dict(line.fields)) for line in self.lines]
        lines += [f"(no JSON) {text}" for text in self._unreadable]
        errors = self._stderr.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
        return "\n".join([f"--- {self.name} printed:", *lines, f"--- {self.name} logged:", *errors])

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            for raw in stdout:
                received_at = time.monotonic()
                try:
                    fields = json.loads(raw)
                    event = fields["event"]
                except (ValueError, TypeError, KeyError):
                    self._unreadable.append(ascii(raw))
                    continue
                with self._changed:
                    self._lines.append(Line(len(self._lines), event, fields, received_at))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _matches(line: Line, event: str, fields: Mapping[str, object]) -> bool:
    missing = object()
    return line.event == event and all(line.fields.get(name, missing) == v for name, v in fields.items())
