"""Framed connections: what the dialer, the acceptor and the node exchange frames over."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

import anyio

from peernet_core.addresses import Address
from peernet_core.decisions.frames import Frame, FrameDecoder, Hello, Unknown, encode_frame
from peernet_core.errors import MalformedFrameError, PeerNetError
from peernet_core.keys import PeerKey
from peernet_core.links.sockets import SocketAddress
from peernet_core.links.transport import Connection

__all__ = ["ConnectionEndedError", "FramedConnection"]

_LOG: Final = logging.getLogger(__name__)
_MAX_QUEUED: Final = 256
_FLUSH_S: Final = 1.0
_NUMBERS: Final = itertools.count(1)
_F = TypeVar("_F", bound=Frame)


_ENDED: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class ConnectionEndedError(PeerNetError):
    """The connection ended; the cause is anyio's. Stays between the links and their users."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("closed" if isinstance(cause, anyio.EndOfStream) else "lost")


class FramedConnection:
    """Frames over an authenticated connection.

    `send` only queues. One writer at a time empties the queue, and is never cancelled in the middle of a
    write: that would leave half a frame on the wire. An idle end holds no writer.

    Args:
        connection: Authenticated; owned from now on.

    Attributes:
        id: Unique in this process.
        address: Where the other end is: the dialed address, or where it comes from.
        reader: The task that reads frames; ended before the connection is closed.
    """

    def __init__(self, connection: Connection, address: Address) -> None:
        self.id = next(_NUMBERS)
        self.address = address
        self.reader: asyncio.Task[None] | None = None
        self._connection = connection
        self._decoder = FrameDecoder()
        self._received: deque[Frame | Unknown] = deque()
        self._queue: deque[bytes] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def peer(self) -> PeerKey:
        """Whose connection it is; authenticated."""
        return self._connection.peer

    @property
    def local(self) -> SocketAddress:
        """Our end, as the system tells it.

        Raises:
            OSError: it is closed.
        """
        return self._connection.local

    def send(self, frame: Frame) -> None:
        """Queue a frame; a peer that reads nothing loses the connection."""
        if self._closing is not None:
            return
        if len(self._queue) >= _MAX_QUEUED:
            _LOG.debug("%s: %d frames unread; giving it up", self.peer.short, len(self._queue))
            self.abort()
            return
        self._queue.append(encode_frame(frame))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name=f"peernet-write-{self.id}")

    async def hello(self, ours: Hello) -> Hello:
        """Exchange HELLOs.

        Raises:
            ConnectionEndedError: the connection ended first.
            MalformedFrameError: something else came.
        """
        self.send(ours)
        return await self.expect(Hello)

    async def expect(self, kind: type[_F]) -> _F:
        """The next frame, which must be of this kind.

        Raises:
            ConnectionEndedError: the connection ended first.
            MalformedFrameError: something else came.
        """
        frame = await self.receive()
        if not isinstance(frame, kind):
            raise MalformedFrameError(f"{type(frame).__name__} instead of {kind.__name__}")
        return frame

    async def receive(self) -> Frame | Unknown:
        """The next frame.

        Raises:
            ConnectionEndedError: the connection ended.
            MalformedFrameError: what came is no frame.
        """
        while not self._received:
            try:
                data = await self._connection.receive()
            except _ENDED as error:
                raise ConnectionEndedError(error) from error
            self._received.extend(self._decoder.feed(data))
        return self._received.popleft()

    async def frames(self) -> AsyncIterator[Frame]:
        """Every further frame of a known type, until the connection ends (see `receive`)."""
        while True:
            frame = await self.receive()
            if not isinstance(frame, Unknown):
                yield frame

    def close(self) -> None:
        """Close once the queue is empty, at most a second from now; returns at once."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name=f"peernet-close-{self.id}")

    def abort(self) -> None:
        """Close now; what is queued is lost."""
        self._queue.clear()
        self._connection.abort()

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call back when a close that has begun is done."""
        if self._closing is not None:
            self._closing.add_done_callback(lambda _: callback())

    async def aclose(self) -> None:
        """Close and wait until nothing of it is left."""
        self.close()
        assert self._closing is not None
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        writer = self._writer
        if writer is not None:
            await asyncio.wait([writer], timeout=_FLUSH_S)
            if not writer.done():
                self.abort()
                await asyncio.wait([writer])
        if self.reader is not None:
            self.reader.cancel()
        await self._connection.aclose()

    async def _write(self) -> None:
        try:
            while self._queue:
                data = b"".join(self._queue)
                self._queue.clear()
                await self._connection.send(data)
        except _ENDED:
            self._queue.clear()  # its reader says why
        finally:
            self._writer = None
