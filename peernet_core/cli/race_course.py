"""Where a race takes place: a node whose events a referee follows, until the time is up."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio
import attrs

from peernet_core.cli.failures import DONE, FAILED
from peernet_core.cli.hosting import host, read_setting
from peernet_core.cli.invocation import Invocation
from peernet_core.cli.line_writer import LineWriter
from peernet_core.cli.log_lines import LogLines
from peernet_core.cli.output import show_json
from peernet_core.cli.race_table import race_object, show_race
from peernet_core.cli.stopping import Stopping
from peernet_core.cli.views import View, labels_of
from peernet_core.decisions.race import Race
from peernet_core.errors import ConfigurationError
from peernet_core.events import NodeStarted, Snapshot
from peernet_core.node import Node

if TYPE_CHECKING:
    from peernet_core.events import Event

__all__ = ["Referee", "run_race"]


def run_race(invocation: Invocation, *, for_s: float, as_json: bool) -> int:
    """Run a race, and show its result.

    Args:
        invocation: Says which configuration and data directory.
        for_s: For how many seconds.
        as_json: Show the result as JSON.

    Returns:
        The exit status: 1 if no backend ever started.

    Raises:
        ConfigurationError: nothing was started.
        StorageError: the data directory cannot be used.
    """
    setting = read_setting(invocation)
    if not setting.backends:
        raise ConfigurationError(
            ["there is no discovery backend to race; add a table such as [discovery.mdns]"]
        )
    race = Race({backend.source: backend.name for backend in setting.backends})
    # One that fails must not end the race of the others.
    backends = [attrs.evolve(backend, required=False) for backend in setting.backends]
    node = Node(setting.config, backends=backends, data_dir=setting.data_dir)
    referees: list[Referee] = []

    def make_view(stopping: Stopping) -> View:
        referees.append(Referee(race, stopping, for_s=for_s))
        return referees[0]

    host(node, make_view, debug=invocation.debug)
    result = race.result(now=referees[0].ended_at)
    if as_json:
        show_json(race_object(result))
    else:
        show_race(result)
    return DONE if any(source.started_s is not None for source in result.sources) else FAILED


class Referee(View):
    """Tells the race what happens, and ends it when its time is up. What happens is shown on stderr.

    Args:
        race: The race.
        stopping: Ends it.
        for_s: How long it takes, in seconds from the node's start.
    """

    def __init__(self, race: Race, stopping: Stopping, *, for_s: float) -> None:
        self._race = race
        self._stopping = stopping
        self._for_s = for_s
        self._log = LineWriter(sys.stderr.fileno(), encoding=sys.stderr.encoding)

    @property
    def ended_at(self) -> float:
        """When it was over, in the loop's time."""
        assert self._stopping.asked_at is not None
        return self._stopping.asked_at

    async def follow(self, node: Node, events: AsyncIterator[Event]) -> None:
        lines = LogLines(labels_of(node))
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            async for event in events:
                if self._stopping.asked_at is not None:
                    break  # what the end of the node brings is no part of the race
                now = anyio.current_time()
                self._race.take(event, now=now)
                if isinstance(event, NodeStarted):
                    began = now
                    self._race.take(Snapshot(node.peers()), now=now)
                    tasks.start_soon(self._end)
                    if not node.peers():
                        self.note("no key is trusted, so nobody can be found: peernet trust add KEY")
                line = lines.line(event)
                if line is not None:
                    self.note(f"{now - began:8.3f} s  {line}")
            tasks.cancel_scope.cancel()

    def note(self, line: str) -> None:
        self._log.offer(line)

    def close(self) -> None:
        self._log.close()

    async def _end(self) -> None:
        await anyio.sleep(self._for_s)
        self._stopping.ask()
