"""A process on a host, and when it said what."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

import attrs

from benchmarks.mdns.bench import WaitedInVainError
from benchmarks.scoreboard.accounting import children, run_ns

__all__ = ["Happening", "Parser", "Watched"]

_ROOT: Final = Path(__file__).parents[2]
_JOIN_S: Final = 20.0
_LOADING_S: Final = 20.0
_GATE: Final = ("sh", "-c", 'echo && read -r _ && exec "$@"', "sh")
"""Says that it is there, waits for a line, and becomes the program."""


@attrs.frozen
class Happening:
    """Something that a process said.

    Attributes:
        what: ``ready``, ``started`` (the start call), ``linked`` or ``lost``.
        peer: Whom it is about; empty where it is about itself.
        at: Its own time of it, in seconds of `time.monotonic`; None: when it was read.
        busy_ms: The processor time that it had taken when it was read, with all that it had started.
    """

    what: str
    peer: str = ""
    at: float | None = None
    busy_ms: float = 0.0


Parser = Callable[[str], Happening | None]


class Watched:
    """A process whose lines are read as they come; as a context manager it ends with SIGKILL.

    It waits, where it is to run and with all that it is to be given, until it is told to `begin`: entering a
    namespace takes time that is no part of any program's start.

    Args:
        command: The program and its arguments.
        parse: Reads a line of its output.
        log: Where its errors go.
        within: What is run before the program and ends by running it: it enters namespaces, sets variables.
        wrapped: Whether the program is the child of what that starts.

    Attributes:
        began: Just before the program was executed, in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        command: Sequence[str],
        parse: Parser,
        log: Path,
        *,
        within: Sequence[str] = (),
        wrapped: bool = False,
    ) -> None:
        self._wrapped = wrapped
        self._parse = parse
        self._log = log
        self._changed = threading.Condition()
        self._happenings: list[Happening] = []
        self._last_lines: list[str] = []
        self._loaded = False
        self._ended = False
        self._idle_ns = 0
        self.began = time.monotonic()
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [*within, *_GATE, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=_ROOT,
            )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def begin(self) -> Self:
        """Let the program be executed now.

        Raises:
            WaitedInVainError: it is not ready for that.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._loaded or self._ended, _LOADING_S)
            loaded = self._loaded
        if not loaded:
            raise WaitedInVainError(f"it could not be started: {self.report()}")
        assert self.process.stdin is not None
        self._idle_ns = run_ns(self.pid)
        self.began = time.monotonic()
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def mark(self) -> int:
        """How much it has said, for `since`."""
        with self._changed:
            return len(self._happenings)

    def linked(self, since: int = 0) -> set[str]:
        """Who is linked by what it said."""
        found: set[str] = set()
        with self._changed:
            for each in self._happenings[since:]:
                if each.what == "linked":
                    found.add(each.peer)
                elif each.what == "lost":
                    found.discard(each.peer)
        return found

    def last_linked(self, peer: str, *, since: int = 0) -> float | None:
        """When the link with that peer was made that it has now; None: it has none."""
        at = None
        with self._changed:
            for each in self._happenings[since:]:
                if each.peer == peer and each.what in {"linked", "lost"}:
                    at = each.at if each.what == "linked" else None
        return at

    def wait(self, what: str, peer: str = "", *, since: int = 0, timeout_s: float) -> float:
        """Return when it first said that, waiting for it if need be.

        Raises:
            WaitedInVainError: it did not in time, or has ended.
        """
        found = self.look(what, peer, since=since, timeout_s=timeout_s)
        if found is None:
            about = f" {peer[:12]}" if peer else ""
            raise WaitedInVainError(f"no '{what}{about}' within {timeout_s:g} s: {self.report()}")
        return found

    def look(self, what: str, peer: str = "", *, since: int = 0, timeout_s: float) -> float | None:
        """The same, but None when it does not come."""
        found = self._look(what, peer, since, timeout_s)
        return found.at if found is not None else None

    def busy_ms(self, what: str, peer: str = "") -> float:
        """The processor time that it had taken when it first said that, with all that it had started.

        From when it began; 0: it has not said that.
        """
        found = self._look(what, peer, 0, 0.0)
        return found.busy_ms if found is not None else 0.0

    def _look(self, what: str, peer: str, since: int, timeout_s: float) -> Happening | None:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for each in self._happenings[since:]:
                    if each.what == what and peer in {"", each.peer}:
                        return each
                since = len(self._happenings)
                left_s = deadline - time.monotonic()
                if self._ended or left_s <= 0:
                    return None
                self._changed.wait(left_s)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        if self._wrapped:
            # What wraps it ends with it, and reaps it, which nobody else may do.
            for pid in children(self.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
        self.process.kill()
        self.process.wait(_JOIN_S)
        self._reader.join(_JOIN_S)
        if self.process.stdin is not None:
            self.process.stdin.close()

    def report(self) -> str:
        """The last that it printed and logged."""
        with self._changed:
            lines = self._last_lines[-5:]
            ending = f"(ended with status {self.process.poll()})" if self._ended else ""
        logged = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return "\n".join([*lines, *logged, ending]).strip()

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            first = stdout.readline()
            with self._changed:
                self._loaded = bool(first)
                self._changed.notify_all()
            for raw in stdout:
                read_at = time.monotonic()
                line = raw.decode("utf-8", "replace").rstrip("\n")
                happening = self._parse(line)
                if happening is not None:
                    at = read_at if happening.at is None else happening.at
                    busy_ms = (run_ns(self.pid) - self._idle_ns) / 1e6
                    happening = attrs.evolve(happening, at=at, busy_ms=busy_ms)
                with self._changed:
                    self._last_lines = [*self._last_lines[-9:], line]
                    if happening is not None:
                        self._happenings.append(happening)
                        self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
