"""What a test may leave behind: look before, look after, and compare."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["open_descriptors", "open_sockets", "running_threads", "unfinished_tasks"]

_DESCRIPTORS = Path("/dev/fd")
_RUNNER = "TestRunner."  # anyio's pytest plugin runs fixtures and tests in tasks of its own


def open_sockets() -> frozenset[tuple[int, int]]:
    """The open sockets of this process: (descriptor, inode), so that a reused number is another socket."""
    return _open(stat.S_ISSOCK)


def open_descriptors() -> frozenset[tuple[int, int]]:
    """The open sockets, files, pipes and whatever else of this process, as `open_sockets` gives them."""
    return _open(lambda _: True)


def _open(wanted: Callable[[int], bool]) -> frozenset[tuple[int, int]]:
    found = set()
    for entry in _DESCRIPTORS.iterdir():
        try:
            status = os.fstat(int(entry.name))
        except OSError:  # the listing's own descriptor
            continue
        if wanted(status.st_mode):
            found.add((int(entry.name), status.st_ino))
    return frozenset(found)


def running_threads(
    *, but: frozenset[threading.Thread] = frozenset(), within_s: float = 0.0
) -> frozenset[threading.Thread]:
    """The threads that live, but those that are known; ones about to end get `within_s` of real time."""
    give_up = time.monotonic() + within_s
    threads = frozenset(threading.enumerate()) - but
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, give_up - time.monotonic()))
    return frozenset(thread for thread in threads if thread.is_alive())


async def unfinished_tasks(
    *, but: frozenset[asyncio.Task[object]] = frozenset()
) -> frozenset[asyncio.Task[object]]:
    """The tasks of this loop that go on by themselves, after those about to end have had a few turns."""
    for _ in range(10):
        await asyncio.sleep(0)
    tasks: set[asyncio.Task[object]] = asyncio.all_tasks()
    return frozenset(
        task
        for task in tasks - but
        if task is not asyncio.current_task()
        and not getattr(task.get_coro(), "__qualname__", "").startswith(_RUNNER)
    )
