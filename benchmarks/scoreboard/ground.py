"""The ground of one contender: a link of its own, its hosts, and what runs on them."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import Self

from benchmarks.mdns.bench import Bench
from benchmarks.scoreboard.watched import Parser, Watched
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

    def watch(self, host: Host, command: list[str], parse: Parser, *, wrapped: bool = False) -> Watched:
        """Start a program there, and return at once; it dies with the thread that calls this."""
        log = self.folder / f"{host.name}.watched.{next(self._watched)}.log"
        return self._watching.enter_context(Watched(host.command(*command), parse, log, wrapped=wrapped))
