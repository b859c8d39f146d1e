"""What holds a node and its view together, where a process of its own would be too much to test it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import anyio
import pytest

from peernet_core.cli.greeting import Greeter
from peernet_core.cli.hosting import _answer_commands, _run_and_show
from peernet_core.cli.logs import logging_to
from peernet_core.cli.stopping import Stopping
from peernet_core.cli.views import View, labels_of
from peernet_core.configuration.config import Config, ListenAddress
from peernet_core.errors import DataDirectoryInUseError, NodeClosedError
from peernet_core.events import Event, NodeStarted, NodeStopped, Snapshot
from peernet_core.keys import Identity
from peernet_core.node import Node
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.testing.clock import JumpingEventLoop
from peernet_core.trust import TrustList

KEY = Identity.generate().key


class Kept(View):
    """Keeps what it is shown.

    Args:
        stopping: Is asked when the event `at` is shown.
        at: A kind of event.
        stalled: After that it takes no more.
    """

    def __init__(self, stopping: Stopping, at: type = NodeStarted, *, stalled: bool = False) -> None:
        self.events: list[Event] = []
        self._stopping = stopping
        self._at = at
        self._stalled = stalled

    async def follow(self, node: Node, events: AsyncIterator[Event]) -> None:
        del node
        async for event in events:
            self.events.append(event)
            if isinstance(event, self._at):
                self._stopping.ask()
                if self._stalled:
                    await anyio.sleep_forever()

    def note(self, line: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class _NoEvent:
    """Is never published."""


def make_node(data_dir: Path) -> Node:
    return Node(
        Config(listen=(ListenAddress(IPv4Address("127.0.0.1"), 0),)),
        data_dir=data_dir,
    )


@pytest.mark.parametrize("at", [Snapshot, NodeStarted, _NoEvent])
async def test_the_view_sees_everything_to_the_last_event(tmp_path: Path, at: type) -> None:
    """The subscription is older than the node and ends after it, whenever it was told to stop."""
    stopping = Stopping(force=lambda: None)
    if at is _NoEvent:
        stopping.ask()
    view = Kept(stopping, at)
    with anyio.fail_after(60):
        await _run_and_show(make_node(tmp_path / "data"), view, stopping)
    assert isinstance(view.events[0], Snapshot)
    assert isinstance(view.events[-1], NodeStopped)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_somebody_elses_cancellation_goes_on() -> None:
    """Only what was asked for here is caught; a cancellation from outside, also besides, ends the task."""
    for asked in (False, True):
        stopping = Stopping(force=lambda: None)
        reached: list[str] = []

        async def start(stopping: Stopping = stopping, reached: list[str] = reached) -> None:
            with stopping.cancelling_start():
                reached.append("start")
                await anyio.sleep_forever()
            reached.append("after")

        task = asyncio.create_task(start())
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        if asked:
            stopping.ask()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reached == ["start"]


async def test_a_view_that_stalls_is_left_behind(tmp_path: Path) -> None:
    """The node stops, the view gets a moment to show the rest, and then that is that."""
    stopping = Stopping(force=lambda: None)
    with anyio.fail_after(60):
        await _run_and_show(make_node(tmp_path / "data"), Kept(stopping, stalled=True), stopping)


async def test_a_start_that_fails_is_raised_after_it_was_shown(tmp_path: Path) -> None:
    """The view gets to the last event before the reason is told."""
    stopping = Stopping(force=lambda: None)
    view = Kept(stopping)
    with DataDirectory.open(tmp_path / "data"), anyio.fail_after(60), pytest.raises(DataDirectoryInUseError):
        await _run_and_show(make_node(tmp_path / "data"), view, stopping)
    assert isinstance(view.events[-1], NodeStopped)


def test_labels_outlive_the_node() -> None:
    """The last events are shown when the node can no longer be asked for its labels."""
    trust = TrustList()
    trust.add(KEY, "kitchen")

    class Stoppable:
        stopped = False

        @property
        def trust(self) -> TrustList:
            if self.stopped:
                raise NodeClosedError("the node is not running")
            return trust

    node = Stoppable()
    label = labels_of(cast("Node", node))
    assert label(KEY) == "kitchen"
    node.stopped = True
    assert label(KEY) == "kitchen"
    assert not label(Identity.generate().key)


@pytest.mark.parametrize("debug", [False, True])
def test_the_log_is_lines_that_are_safe_to_show(*, debug: bool) -> None:
    """A line each, escaped; an exception is a few words, and with --debug its traceback, line by line."""
    lines: list[str] = []
    log = logging.getLogger("peernet_core.test")
    with logging_to(lines.append, debug=debug):
        log.info("heard")
        log.warning("odd: %s", "\x1b[2J")
        try:
            int("bad\nluck")
        except ValueError:
            log.exception("failed")
    log.warning("nobody listens")
    if debug:
        assert lines[:3] == [
            "peernet_core.test info: heard",
            r"peernet_core.test warning: odd: \x1b[2J",
            "peernet_core.test error: failed",
        ]
        assert lines[3] == "Traceback (most recent call last):"
    else:
        assert lines == [
            r"warning: odd: \x1b[2J",
            r"error: failed (ValueError: invalid literal for int() with base 10: 'bad\nluck')",
        ]
    assert all(line.isprintable() for line in lines)


def test_commands_come_after_the_first_links(tmp_path: Path) -> None:
    """What the network answers at the start is not held up by what nobody asks for yet."""
    path = tmp_path / "control.sock"

    class Started:
        control_path = path

    async def start() -> tuple[bool, bool]:
        node = cast("Node", Started())
        answering = asyncio.create_task(_answer_commands(node, Greeter(node)))
        await asyncio.sleep(0.04)
        soon = path.exists()
        await asyncio.sleep(1)
        later = path.exists()
        answering.cancel()
        await asyncio.wait([answering])
        return soon, later

    with asyncio.Runner(loop_factory=JumpingEventLoop) as runner:
        assert runner.run(start()) == (False, True)
    assert not path.exists()
