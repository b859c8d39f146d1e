"""One process that is measured: `peernet-mdns`, or stock zeroconf, doing as it is told.

Run by `bench.Bench`: ``python -m benchmarks.mdns.subject ENGINE [--receive-buffer-limit BYTES] [--silent]``.
It reads JSON objects, one a line, such as ``{"do": "stop"}``, and prints what happened, with the loop's time:
that is the same for all processes of a machine.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import functools
import gc
import json
import logging
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from benchmarks.mdns.recording import Reported
from peernet_core.keys import PeerKey

__all__ = ["LOUD_PORT", "Engine", "main"]

LOUD_PORT: Final = 7777
"""A peer that is seen at this port is always reported."""
_TICK_S: Final = 0.002


class Engine(Protocol):
    """What is measured."""

    key: PeerKey

    @property
    def known(self) -> int:
        """How many peers it knows."""
        ...

    async def start(self) -> None:
        """Listen and browse."""
        ...

    async def announce(self, port: int) -> None:
        """Make us known at that port."""
        ...

    async def want(self, key: PeerKey) -> None:
        """Look for one peer."""
        ...

    async def stop(self) -> None:
        """Say goodbye and let go of everything."""
        ...


def _maker(name: str) -> Callable[[Callable[[Reported], None]], Engine]:
    # Imported here: each process shall carry the memory of its own engine alone.
    if name == "ours":
        from benchmarks.mdns.ours import Ours  # noqa: PLC0415

        return Ours
    from benchmarks.mdns.stock import Stock  # noqa: PLC0415

    return functools.partial(Stock, cooperating=name == "stock-cooperating")


class Subject:
    """Obeys, and reports.

    Args:
        engine: Its name.
        silent: Whether single peers go unreported, but those at `LOUD_PORT`, so that printing costs nothing.
    """

    def __init__(self, engine: str, *, silent: bool) -> None:
        self._name = engine
        self._make = _maker(engine)
        self._silent = silent
        self._engine: Engine | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._targets: list[int] = []
        self._seen: set[bytes] = set()
        self._worst_stall_s = 0.0

    async def run(self) -> None:
        """Obey until the input ends."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _say("ready", engine=self._name)
        while line := await reader.readline():
            words = json.loads(line)
            await self._obey(words)
        if self._engine is not None:
            await self._engine.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _obey(self, words: dict[str, object]) -> None:
        loop = asyncio.get_running_loop()
        match words:
            case {"do": "start", "port": int(port), "targets": list(targets)}:
                self._targets = sorted(int(each) for each in targets)
                self._seen.clear()
                self._engine = engine = self._make(self._report)
                began = loop.time()
                await engine.start()
                started = loop.time()
                if port:
                    await engine.announce(port)
                _say(
                    "started",
                    began=began,
                    started=started,
                    announced=loop.time(),
                    key=str(engine.key),
                    alias=engine.key.alias,
                )
            case {"do": "announce", "port": int(port)} if self._engine is not None:
                began = loop.time()
                await self._engine.announce(port)
                _say("announced", began=began, ended=loop.time())
            case {"do": "want", "key": str(key)} if self._engine is not None:
                self._spawn(self._want(self._engine, PeerKey.parse(key)))
            case {"do": "stop"} if self._engine is not None:
                began = loop.time()
                await self._engine.stop()
                _say("stopped", began=began, ended=loop.time())
                self._engine = None
            case {"do": "tick"}:
                self._spawn(self._tick())
            case {"do": "report"}:
                self._say_report()
            case _:
                _say("misunderstood", words=words)

    async def _want(self, engine: Engine, key: PeerKey) -> None:
        await engine.want(key)

    def _spawn(self, coroutine: object) -> None:
        assert asyncio.iscoroutine(coroutine)
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tick(self) -> None:
        """Notice how long others hold the loop up."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._worst_stall_s = max(self._worst_stall_s, loop.time() - due)

    def _report(self, change: Reported) -> None:
        if not self._silent or change.port == LOUD_PORT:
            _say(change.what, at=change.at, key=str(change.key), port=change.port)
        if change.what != "seen":
            return
        if self._targets:
            self._seen.add(change.key.raw)
            while self._targets and len(self._seen) >= self._targets[0]:
                _say("known", count=self._targets.pop(0), at=change.at)

    def _say_report(self) -> None:
        stall_s, self._worst_stall_s = self._worst_stall_s, 0.0
        usage = resource.getrusage(resource.RUSAGE_SELF)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _say(
            "report",
            known=self._engine.known if self._engine is not None else 0,
            worst_stall_ms=stall_s * 1000,
            cpu_s=usage.ru_utime + usage.ru_stime,
            anonymous_kib=_anonymous_kib(),
            at=asyncio.get_running_loop().time(),
        )


def _say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def _anonymous_kib() -> int:
    """What is this process's alone: of files, how much is shared changes as other processes come and go."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


def _limit_receive_buffer(most: int) -> None:
    """Do to what asks for a receive buffer what a kernel with that net.core.rmem_max would do.

    The sysctl itself belongs to the machine and not to a namespace.
    """
    original = socket.socket.setsockopt

    def limited(self: socket.socket, level: int, option: int, value: object, *more: int) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_RCVBUF) and isinstance(value, int):
            value = min(value, most)
        original(self, level, option, value, *more)  # type: ignore[call-overload]

    socket.socket.setsockopt = limited  # type: ignore[method-assign, assignment]


def main() -> None:
    """Obey until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=("ours", "stock", "stock-cooperating"))
    parser.add_argument("--receive-buffer-limit", type=int)
    parser.add_argument("--silent", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if arguments.receive_buffer_limit:
        _limit_receive_buffer(arguments.receive_buffer_limit)
    asyncio.run(Subject(arguments.engine, silent=arguments.silent).run())


if __name__ == "__main__":
    main()
