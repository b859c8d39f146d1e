"""The streams that are open, and who takes the ones that peers open."""

from __future__ import annotations

import enum
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from peernet_core.errors import ProtocolRefusedError
from peernet_core.keys import PeerKey
from peernet_core.links.transport import Connection

if TYPE_CHECKING:
    from peernet_core.links.stream import Stream

__all__ = [
    "MAX_STREAMS_PER_PEER",
    "OWN_PROTOCOLS",
    "RESERVED_PREFIX",
    "Handler",
    "Status",
    "StreamTable",
    "await_status",
]

MAX_STREAMS_PER_PEER: Final = 64
RESERVED_PREFIX: Final = "peernet/"
OWN_PROTOCOLS: Final = frozenset({"peernet/greet/1"})
"""The reserved names that are in use: the command line's greeting."""
_MAX_PROTOCOL_BYTES: Final = 255
_LOG: Final = logging.getLogger(__name__)


_ENDED: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Status(enum.IntEnum):
    """The acceptor's first byte on a stream."""

    ACCEPTED = 0
    NO_SUCH_PROTOCOL = 1
    TOO_MANY = 2


_REFUSALS: Final[dict[int, str]] = {
    Status.NO_SUCH_PROTOCOL: "no such protocol",
    Status.TOO_MANY: f"it has {MAX_STREAMS_PER_PEER} streams with us already",
}


Handler: TypeAlias = "Callable[[Stream], Awaitable[object]]"


class StreamTable:
    """The protocols that we take streams of, and the streams that are open."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._streams: set[Stream] = set()
        self._taken: Counter[PeerKey] = Counter()

    @property
    def protocols(self) -> frozenset[str]:
        """What there are handlers for."""
        return frozenset(self._handlers)

    def register(self, protocol: str, handler: Handler) -> None:
        """Take streams of this protocol from now on.

        Raises:
            ValueError: the name cannot stand in ALPN (RFC 7301 §3.1), or has a handler already.
        """
        if not protocol.isascii() or not 0 < len(protocol) <= _MAX_PROTOCOL_BYTES:
            raise ValueError(
                f"a protocol's name is 1 to {_MAX_PROTOCOL_BYTES} ASCII characters: {protocol!a}"
            )
        if protocol in self._handlers:
            raise ValueError(f"{protocol!r} has a handler already")
        self._handlers[protocol] = handler

    def __len__(self) -> int:
        return len(self._streams)

    def adopt(self, connection: Connection) -> Stream:
        """Make a stream of an accepted connection."""
        from peernet_core.links.stream import Stream  # noqa: PLC0415 - 3 ms that no link waits for

        stream = Stream(connection, on_closed=self._streams.discard)
        self._streams.add(stream)
        return stream

    async def serve(self, connection: Connection, established: Callable[[], None]) -> None:
        """Answer the dialer and run the handler; what that raises ends this stream and nothing else."""
        peer, protocol = connection.peer, connection.protocol
        handler = self._handlers.get(protocol)
        stream = self.adopt(connection)  # before anything is awaited: trust may end at any moment
        self._taken[peer] += 1
        try:
            if handler is None:
                await stream.send(bytes([Status.NO_SUCH_PROTOCOL]))
            elif self._taken[peer] > MAX_STREAMS_PER_PEER:
                await stream.send(bytes([Status.TOO_MANY]))
            else:
                await stream.send(bytes([Status.ACCEPTED]))
                established()
                await handler(stream)
        except _ENDED:
            _LOG.debug("%s: a stream of %a ended under its handler", peer.short, protocol)
        except Exception:  # noqa: BLE001 - an application's handler may raise anything
            _LOG.exception("%s: the handler of %a failed; its stream is closed", peer.short, protocol)
        finally:
            self._taken[peer] -= 1
            if not self._taken[peer]:
                del self._taken[peer]
            await stream.aclose()

    def end(self, key: PeerKey | None = None) -> None:
        """Cut every stream with this peer, or every one."""
        for stream in [each for each in self._streams if key is None or each.peer == key]:
            stream.abort()


async def await_status(connection: Connection) -> None:
    """Read the acceptor's first byte.

    Raises:
        ProtocolRefusedError: the peer does not take the stream, or ends it before it says.
    """
    try:
        answer = await connection.receive(1)
    except _ENDED as error:
        raise ProtocolRefusedError(connection.peer, connection.protocol, "it ended the connection") from error
    if answer != bytes([Status.ACCEPTED]):
        refusal = _REFUSALS.get(answer[0], f"status {answer[0]}")
        raise ProtocolRefusedError(connection.peer, connection.protocol, refusal)
