"""TCP streams: a connected socket, and the loop that says when it is ready.

anyio's own ``SocketStream`` brings all of its asyncio backend, 8 ms of a start, and keeps a transport, a
protocol and their buffers for each connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import anyio

from peernet_core.values import define

__all__ = ["CHUNK_BYTES", "SMALL_CHUNK_BYTES", "TcpStream"]

_T = TypeVar("_T")

# What passes OpenSSL's buffers at once stays allocated there while the connection lives, and a third more.
# Small reads cost a sixth of the throughput, small writes two thirds. So everything is read in small
# pieces, and links, of which there are many and whose frames are small, also write in small pieces.
CHUNK_BYTES: Final = 16384  # a TLS record's payload
SMALL_CHUNK_BYTES: Final = 4096


class TcpStream:
    """A connected TCP socket. One task at a time may receive, and one send.

    Cancelling `receive` loses nothing. Cancelling `send` leaves unknown how much was sent.

    Args:
        raw_socket: Connected, and not blocking; closed by `close`.
    """

    def __init__(self, raw_socket: socket.socket) -> None:
        self.raw_socket: Final = raw_socket
        self._closed = False
        self._rest = b""
        self._reading = _Direction("reading from")
        self._writing = _Direction("writing to")

    async def readable(self) -> None:
        """Wait until there is something to receive; that there will be no more counts."""
        await self._wait(self._reading)

    async def receive(self, max_bytes: int = SMALL_CHUNK_BYTES) -> bytes:
        """Return what came next: at least one byte, at most `max_bytes`.

        Raises:
            anyio.EndOfStream: the other end sends no more.
            anyio.BrokenResourceError: the connection ended in any other way; the cause is an OSError.
            anyio.ClosedResourceError: we closed it.
            anyio.BusyResourceError: another task is receiving.
        """
        with self._reading.alone():
            if not self._rest:
                await self._once_ready(self._reading, self._fill)
            if not self._rest:
                raise anyio.EndOfStream
            data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
            return data

    async def send(self, item: bytes) -> None:
        """Send all of the bytes; returns when the system has taken them.

        Raises:
            anyio.BrokenResourceError: the connection ended; the cause is an OSError.
            anyio.ClosedResourceError: we closed it.
            anyio.BusyResourceError: another task is sending.
        """
        left = memoryview(item)
        with self._writing.alone():
            while left:
                left = left[await self._once_ready(self._writing, partial(self.raw_socket.send, left)) :]

    def close(self) -> None:
        """Close it now; who waits for it is told. May be repeated."""
        if self._closed:
            return
        self._closed = True
        for direction in (self._reading, self._writing):
            self._wake(direction)
        self.raw_socket.close()

    async def _once_ready(self, direction: _Direction, operation: Callable[[], _T]) -> _T:
        """Call `operation` as soon as it does not block; who need not wait for it leaves others a turn."""
        waited = False
        while not self._closed:
            try:
                done = operation()
            except (BlockingIOError, InterruptedError):
                await self._wait(direction)
                waited = True
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                if not waited:
                    await asyncio.sleep(0)
                return done
        raise anyio.ClosedResourceError

    def _fill(self) -> None:
        self._rest = self.raw_socket.recv(CHUNK_BYTES)  # kept here, whatever becomes of who asked for it

    async def _wait(self, direction: _Direction) -> None:
        loop = asyncio.get_running_loop()
        direction.ready = loop.create_future()
        watch = loop.add_reader if direction is self._reading else loop.add_writer
        watch(self.raw_socket, self._wake, direction)
        try:
            await direction.ready
        finally:
            self._wake(direction)

    def _wake(self, direction: _Direction) -> None:
        ready, direction.ready = direction.ready, None
        if ready is None:
            return
        loop = ready.get_loop()
        forget = loop.remove_reader if direction is self._reading else loop.remove_writer
        forget(self.raw_socket)
        if not ready.done():
            ready.set_result(None)


@define(eq=False)
class _Direction:
    """One of the two directions: whether a task is at work there, and what it waits for."""

    doing: str
    busy: bool = False
    ready: asyncio.Future[None] | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one task at a time do what is inside."""
        if self.busy:
            raise anyio.BusyResourceError(self.doing)
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
