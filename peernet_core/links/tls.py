"""TLS over a TCP stream: what OpenSSL wants to read is received for it, and what it wrote is sent.

With memory BIOs, as the ``ssl`` module's documentation has it. anyio's ``TLSStream`` does the same, and
brings 9 ms of modules with it, for which every start would wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Final, ParamSpec, Self, TypeVar

import anyio

from peernet_core.links.tcp import TcpStream

__all__ = ["TlsStream"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class TlsStream:
    """A TLS connection. One task at a time may receive, and one send.

    Cancelling a blocked `send` breaks the connection for good: nobody can read what follows a lost record.

    Attributes:
        tcp: What carries it; closing that ends this, without a goodbye.
    """

    def __init__(self, tcp: TcpStream, context: ssl.SSLContext, *, server_name: str | None) -> None:
        self.tcp: Final = tcp
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name and server_name.encode("ascii"),  # text would load the codec of IDNA
        )
        self._flushing = asyncio.Lock()
        self._sending = False
        self._broken = False

    @classmethod
    async def shake_hands(
        cls, tcp: TcpStream, context: ssl.SSLContext, *, server_name: str | None = None
    ) -> Self:
        """Make a connection of a stream, which stays open when this fails.

        Args:
            tcp: The stream.
            context: Used before anything is awaited.
            server_name: What we dial; None: we were dialed.

        Raises:
            anyio.BrokenResourceError: the other end is gone, or OpenSSL does not like it; see the cause.
            anyio.ClosedResourceError: we closed the stream.
        """
        stream = cls(tcp, context, server_name=server_name)
        await stream._call(stream._tls.do_handshake)
        return stream

    @property
    def peer_certificate(self) -> bytes | None:
        """What the other end has shown, in DER."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def agreed_protocol(self) -> str | None:
        """By ALPN (RFC 7301).

        Raises:
            UnicodeDecodeError: a server named what nobody offered.
        """
        return self._tls.selected_alpn_protocol()

    async def receive(self, max_bytes: int) -> bytes:
        """Return what came next: at least one byte, at most `max_bytes`.

        Raises:
            anyio.EndOfStream: the other end said goodbye.
            anyio.BrokenResourceError: it ended without; the cause says how: an alert is an SSLError.
            anyio.ClosedResourceError: we closed the stream.
            anyio.BusyResourceError: another task is receiving.
        """
        data = await self._call(self._tls.read, max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, data: bytes) -> None:
        """Send all of the bytes; returns when the system has taken them.

        Raises:
            anyio.BrokenResourceError: the connection ended; the cause says how.
            anyio.ClosedResourceError: we closed the stream.
            anyio.BusyResourceError: another task is sending.
        """
        if self._sending:
            raise anyio.BusyResourceError("writing to")
        self._sending = True
        try:
            await self._call(self._tls.write, data)
            async with self._flushing:  # where another task was at it, that one takes ours along
                pass
        finally:
            self._sending = False

    def say_goodbye(self) -> None:
        """Write our goodbye; it leaves with the next `receive`."""
        with contextlib.suppress(ssl.SSLError):  # that it wants to read, mostly
            self._tls.unwrap()

    async def _call(self, operation: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        if self._broken:
            raise anyio.BrokenResourceError
        while True:
            try:
                result = operation(*args, **options)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError as error:
                self._broken = True
                raise anyio.BrokenResourceError from error
            else:
                await self._flush()
                return result

    async def _feed(self) -> None:
        try:
            self._incoming.write(await self.tcp.receive())
        except anyio.EndOfStream:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        """Send what OpenSSL wrote; who receives does not wait for another task that is at it already."""
        if self._flushing.locked():
            return
        async with self._flushing:
            try:
                while self._outgoing.pending:
                    await self.tcp.send(self._outgoing.read())
            except BaseException:
                self._broken = True
                raise
