"""Streams: further authenticated connections to a peer, one for each use of an application protocol."""

from __future__ import annotations

from collections.abc import Callable

from anyio.abc import ByteStream

from peernet_core.keys import PeerKey
from peernet_core.links.transport import Connection

__all__ = ["Stream"]


class Stream(ByteStream):
    """A byte stream to a trusted peer, encrypted and authenticated; an anyio ``ByteStream``.

    Attributes:
        peer: Whose end the other one is.
        protocol: The application protocol that both ends speak.
    """

    def __init__(self, connection: Connection, *, on_closed: Callable[[Stream], None]) -> None:
        self.peer: PeerKey = connection.peer
        self.protocol: str = connection.protocol
        self._connection = connection
        self._on_closed = on_closed

    def __repr__(self) -> str:
        return f"<Stream {self.protocol!a} with {self.peer.short}>"

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive at least one byte.

        Raises:
            anyio.EndOfStream: the peer closed its end in good order.
            anyio.BrokenResourceError: the connection was cut, or the peer is no longer trusted.
            anyio.ClosedResourceError: we closed it.
        """
        return await self._connection.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        """Send all of the bytes.

        Raises:
            anyio.BrokenResourceError: the connection was cut, or the peer is no longer trusted.
            anyio.ClosedResourceError: we closed it.
        """
        await self._connection.send(item)

    async def send_eof(self) -> None:
        """Not available: TLS has no half-close that every end keeps apart from a full one.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a stream cannot be half closed; say in your protocol where a message ends")

    async def aclose(self) -> None:
        """Close; waits at most a second for the other end, then cuts."""
        try:
            await self._connection.aclose()
        finally:
            self._on_closed(self)

    def abort(self) -> None:
        """Cut the connection now."""
        self._connection.abort()
        self._on_closed(self)
