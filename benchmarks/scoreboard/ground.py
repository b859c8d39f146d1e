"""The ground of one contender: a link of its own, its hosts, and what runs on them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from benchmarks.mdns.bench import Bench
from benchmarks.scoreboard.watched import Parser, Watched
from benchmarks.warmth import warm_memory
from peernet_core.testing.lab import Host

__all__ = ["Ground"]


class Ground(Bench):
    """A bench that also watches programs which are not ours; all of them end with it."""

    def __init__(self) -> None:
        self._watching = ExitStack()
        self._watched = itertools.count()
        super().__init__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        *error: object,
    ) -> None:
        self._watching.close()
        super().__exit__(*error)

    def load(
        self,
        host: Host,
        command: Sequence[str],
        parse: Parser,
        *,
        within: Sequence[str] = (),
        wrapped: bool = False,
    ) -> Watched:
        """Get a program ready there, to begin when it is told; it dies with the thread that calls this.

        Args:
            host: Where.
            command: The program and its arguments.
            parse: Reads a line of its output.
            within: What is run before it, there, and is no part of its start.
            wrapped: Whether the program is the child of what that starts.
        """
        log = self.folder / f"{host.name}.watched.{next(self._watched)}.log"
        process = Watched(command, parse, log, within=host.command(*within), wrapped=wrapped)
        return self._watching.enter_context(process)

    def watch(
        self,
        host: Host,
        command: Sequence[str],
        parse: Parser,
        *,
        within: Sequence[str] = (),
        wrapped: bool = False,
    ) -> Watched:
        """Start a program there, and return at once; otherwise the same."""
        process = self.load(host, command, parse, within=within, wrapped=wrapped)
        warm_memory()
        return process.begin()
