"""What processes take: memory and processor time, from `/proc`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["ProcessorTime", "children", "parse_pss_kib", "parse_run_ns", "pss_kib", "run_ns", "tree"]


def children(pid: int) -> list[int]:
    """Return the processes that this one has started, and theirs."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        direct = [int(each) for task in tasks for each in (task / "children").read_text("ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in direct for each in (child, *children(child))]


def tree(pids: Iterable[int]) -> list[int]:
    """Return these and all that they have started."""
    return [each for pid in pids for each in (pid, *children(pid))]


def parse_pss_kib(rollup: str) -> int:
    """Read the proportional set size out of ``/proc/PID/smaps_rollup``.

    Raises:
        ProcessLookupError: it is empty, as that of a process that has ended.
    """
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ProcessLookupError("a process has ended whose memory was to be measured")


def parse_run_ns(schedstat: str) -> int:
    """Read the time on a processor, in nanoseconds, out of ``/proc/PID/task/TID/schedstat``."""
    return int(schedstat.split(maxsplit=1)[0])


def pss_kib(pids: Iterable[int]) -> int:
    """Return the proportional set size of all of these."""
    return sum(parse_pss_kib(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")) for pid in pids)


def run_ns(pid: int) -> int:
    """Return the processor time of a process and all that it has started, in nanoseconds.

    What has ended has taken its time with it; 0: that is all of them.
    """
    taken = 0
    for each in tree([pid]):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            taken += sum(of_thread for _, of_thread in _threads_ns(each))
    return taken


def _threads_ns(pid: int) -> Iterator[tuple[str, int]]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield str(task), parse_run_ns((task / "schedstat").read_text("ascii"))


class ProcessorTime:
    """The processor time of some processes from now on, to the nanosecond.

    Threads that end meanwhile take theirs with them; nobody here has such.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._before = self._read()

    def taken_ms(self) -> float:
        """What they have taken since."""
        return sum(now - self._before.get(each, 0) for each, now in self._read().items()) / 1e6

    def _read(self) -> dict[str, int]:
        return {task: taken for pid in self._pids for task, taken in _threads_ns(pid)}
