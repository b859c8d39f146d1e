"""What `peernet run` shows: JSON lines for a program, log lines in a pipe, a live table on a terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from peernet_core.cli.json_lines import JsonLines
from peernet_core.cli.line_writer import LineWriter
from peernet_core.cli.log_lines import LogLines
from peernet_core.errors import NodeClosedError
from peernet_core.events import NodeStarted

if TYPE_CHECKING:
    from peernet_core.cli.live_table import LiveTable
    from peernet_core.events import Event
    from peernet_core.keys import PeerKey
    from peernet_core.node import Node

__all__ = ["JsonView", "LogView", "TableView", "View", "labels_of"]

_REFRESH_S: Final = 1.0
_SHORTEST_REFRESH_S: Final = 0.1


class View(ABC):
    """Shows a node's events; never stalls the node, however slow the reader is."""

    @abstractmethod
    async def follow(self, node: Node, events: AsyncIterator[Event]) -> None:
        """Show events until there are no more."""

    @abstractmethod
    def note(self, line: str) -> None:
        """Show a line of the log, from any thread; it may get lost when the reader stalls."""

    @abstractmethod
    def close(self) -> None:
        """Show what is left, for at most a second for each stalled reader."""


class JsonView(View):
    """One JSON object a line on stdout, the log on stderr.

    Args:
        on_broken: Called from a thread when stdout is closed at its other end.
    """

    def __init__(self, on_broken: Callable[[], object]) -> None:
        self._out = LineWriter(sys.stdout.fileno(), on_broken=on_broken)
        self._log = LineWriter(sys.stderr.fileno(), encoding=sys.stderr.encoding)

    async def follow(self, node: Node, events: AsyncIterator[Event]) -> None:  # noqa: ARG002 - lines say it all
        lines = JsonLines()
        async for event in events:
            for line in lines.lines(event, t=time.time()):
                await self._out.write(line)

    def note(self, line: str) -> None:
        self._log.offer(line)

    def close(self) -> None:
        self._out.close()
        self._log.close()


class LogView(View):
    """A line with the time for each event on stdout, the log on stderr.

    Args:
        on_broken: Called from a thread when stdout is closed at its other end.
    """

    def __init__(self, on_broken: Callable[[], object]) -> None:
        self._out = LineWriter(sys.stdout.fileno(), encoding=sys.stdout.encoding, on_broken=on_broken)
        self._log = LineWriter(sys.stderr.fileno(), encoding=sys.stderr.encoding)

    async def follow(self, node: Node, events: AsyncIterator[Event]) -> None:
        lines = LogLines(labels_of(node))
        async for event in events:
            line = lines.line(event)
            if line is not None:
                await self._out.write(f"{_clock_time()} {line}")

    def note(self, line: str) -> None:
        self._log.offer(f"{_clock_time()} {line}")

    def close(self) -> None:
        self._out.close()
        self._log.close()


class TableView(View):
    """A table of the trusted peers that is drawn anew, with what happens passing above it.

    Args:
        table: Where it is drawn.
    """

    def __init__(self, table: LiveTable) -> None:
        self._table = table
        self._changed = asyncio.Event()

    async def follow(self, node: Node, events: AsyncIterator[Event]) -> None:
        lines = LogLines(labels_of(node))
        refreshing: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            async for event in events:
                if isinstance(event, NodeStarted):
                    title = f"{node.name or 'peernet'}  {event.key}  port {event.port}"
                    refreshing = tasks.create_task(self._refresh(node, title))
                line = lines.line(event)
                if line is not None:
                    self.note(line)
                self._changed.set()
            if refreshing is not None:
                refreshing.cancel()

    def note(self, line: str) -> None:
        self._table.add_line(f"{time.strftime('%H:%M:%S')} {line}")

    def close(self) -> None:
        self._table.close()

    async def _refresh(self, node: Node, title: str) -> None:
        while True:
            self._changed = asyncio.Event()
            self._table.show(title, node.peers())
            await asyncio.sleep(_SHORTEST_REFRESH_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_S - _SHORTEST_REFRESH_S):
                    await self._changed.wait()


def labels_of(node: Node) -> Callable[[PeerKey], str]:
    """What the person calls a key; what was known last when the node is stopped already."""
    known: dict[PeerKey, str] = {}

    def label(key: PeerKey) -> str:
        with suppress(NodeClosedError):
            known[key] = node.trust.label(key)
        return known.get(key, "")

    return label


def _clock_time() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
