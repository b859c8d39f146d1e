"""Connections: TCP and TLS between two nodes, authenticated; or an error that says what kind of failure.

What the operating system, OpenSSL and anyio raise is turned into our own words here, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Callable
from typing import Final, Self

import anyio

from peernet_core.addresses import Address
from peernet_core.errors import PeerNetError, PeerNotTrustedError
from peernet_core.events import UnreachableReason
from peernet_core.keys import PeerKey
from peernet_core.links.certificates import (
    DIALBACK_PROTOCOL,
    LINK_PROTOCOL,
    SERVER_NAME,
    TlsContexts,
    WrongKeyError,
    authenticated_key,
)
from peernet_core.links.sockets import SocketAddress, connect, tune
from peernet_core.links.tcp import CHUNK_BYTES, SMALL_CHUNK_BYTES, TcpStream
from peernet_core.links.tls import TlsStream
from peernet_core.values import frozen

__all__ = [
    "DIALBACK_PROTOCOL",
    "LINK_PROTOCOL",
    "AcceptError",
    "Connection",
    "DialError",
    "NoSuchProtocolError",
    "accept",
    "authenticate",
    "dial",
    "reach",
    "reason_of",
]

_GOODBYE_S: Final = 1.0
_DIAL_TIMEOUT_S: Final = 5.0

_UNEXPECTED_EOF: Final = "UNEXPECTED_EOF_WHILE_READING"  # older Pythons (3.11.2) make no SSLEOFError of it
_REFUSED: Final = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})
_ENDED: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class DialError(PeerNetError):
    """No connection to that address; stays between transport and dialer.

    Args:
        reason: For events and for the address book.
        detail: What happened, for a log line.
    """

    def __init__(self, reason: UnreachableReason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")

    @classmethod
    def of(cls, error: Exception) -> Self:
        """What the system, OpenSSL or anyio said, in our words."""
        cause = _system_error(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = UnreachableReason.WRONG_KEY
        elif isinstance(cause, ssl.SSLError):
            reason = UnreachableReason.PROTOCOL
        elif cause is None or cause.errno in _REFUSED:
            reason = UnreachableReason.REFUSED  # a forwarder with nobody behind it accepts, then closes
        else:
            reason = UnreachableReason.TIMEOUT
        return cls(reason, _what_happened(error))


class NoSuchProtocolError(DialError):
    """The right peer answered, and takes no stream of this protocol."""

    def __init__(self, protocol: str) -> None:
        super().__init__(UnreachableReason.PROTOCOL, f"the peer does not take {protocol!a}")


class AcceptError(PeerNetError):
    """An incoming connection that did not become one of ours; stays between transport and acceptor.

    Args:
        detail: What happened, for a log line.
        peer: Who it was, where a trusted peer was authenticated and the protocol alone did not fit.
    """

    def __init__(self, detail: str, peer: PeerKey | None = None) -> None:
        self.detail = detail
        self.peer = peer
        super().__init__(detail)


class Connection:
    """A byte stream with a trusted peer, encrypted and authenticated both ways.

    One task at a time may receive, and one send; cancelling a blocked `send` breaks the connection for good.

    Attributes:
        stream: What carries it.
        peer: Who the other end is, proven.
        remote: Where the other end is.
        protocol: What it is for, as both ends agreed: `LINK_PROTOCOL`, or an application's protocol.
    """

    __slots__ = ("_closing", "peer", "protocol", "remote", "stream")

    def __init__(self, stream: TlsStream, peer: PeerKey, remote: Address, protocol: str) -> None:
        self.stream = stream
        self.peer = peer
        self.remote = remote
        self.protocol = protocol
        self._closing = False

    @property
    def local(self) -> SocketAddress:
        """Our end, as the system tells it.

        Raises:
            OSError: it is closed.
        """
        told: SocketAddress = self.stream.tcp.raw_socket.getsockname()
        return told

    async def receive(self, max_bytes: int = CHUNK_BYTES) -> bytes:
        """Return what came next: at least one byte, at most `max_bytes` and at most 16 KiB.

        Raises:
            anyio.EndOfStream: the peer said goodbye.
            anyio.BrokenResourceError: the connection ended in any other way; see `reason_of`.
            anyio.ClosedResourceError: we closed it.
        """
        if self._closing:
            raise anyio.ClosedResourceError
        return await self.stream.receive(min(max_bytes, CHUNK_BYTES))

    async def send(self, data: bytes) -> None:
        """Send all of `data`; returns when it is on its way.

        Raises:
            anyio.BrokenResourceError: the connection ended.
            anyio.ClosedResourceError: we closed it.
        """
        size = SMALL_CHUNK_BYTES if self.protocol == LINK_PROTOCOL else CHUNK_BYTES
        for start in range(0, len(data), size):
            if self._closing:
                raise anyio.ClosedResourceError
            await self.stream.send(data[start : start + size])

    async def aclose(self) -> None:
        """Say goodbye and wait until the peer has, for at most 1 s; then close by force. May be repeated."""
        try:
            if not self._closing:
                self._closing = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await self._say_goodbye()
        finally:
            self.stream.tcp.close()

    async def _say_goodbye(self) -> None:
        # Our last data would be lost to the reset that follows on closing with something unread. So what
        # still comes before the peer's goodbye is read and dropped.
        self.stream.say_goodbye()
        with contextlib.suppress(anyio.BusyResourceError, *_ENDED):
            while True:
                await self.stream.receive(CHUNK_BYTES)

    def abort(self) -> None:
        """End it at once, without a goodbye, from plain code. `aclose` is then quick, and may be left out."""
        self._closing = True
        self.stream.tcp.close()


async def dial(
    address: Address,
    key: PeerKey,
    contexts: TlsContexts,
    *,
    protocol: str = LINK_PROTOCOL,
    is_trusted: Callable[[PeerKey], bool],
    timeout_s: float = _DIAL_TIMEOUT_S,
) -> Connection:
    """Connect to one address and make sure that `key`, and nobody else, answers there.

    Success does not mean that the peer accepted us: in TLS 1.3 the client is done first, and a refusal comes
    with the first `receive`; see `reason_of`.

    Args:
        address: Where; a link-local one with its zone.
        key: Whom to expect.
        contexts: Our leaf, and the anchors.
        protocol: What the connection is for.
        is_trusted: Asked once more after the handshake.
        timeout_s: For all of it, TCP and TLS.

    Raises:
        DialError: it failed; the reason says how.
        NoSuchProtocolError: a DialError; the right peer answered, but does not take the protocol.
        ValueError: the protocol's name cannot stand in ALPN.
    """
    try:
        async with asyncio.timeout(timeout_s):
            tcp = await reach(address)
            return await authenticate(tcp, address, key, contexts, protocol=protocol, is_trusted=is_trusted)
    except TimeoutError as error:
        raise DialError.of(error) from error


async def reach(address: Address) -> TcpStream:
    """Connect to one address by TCP alone; nobody is authenticated.

    Raises:
        DialError: it failed; the reason says how.
    """
    try:
        return await connect(address)
    except OSError as error:
        raise DialError.of(error) from error


async def authenticate(
    tcp: TcpStream,
    address: Address,
    key: PeerKey,
    contexts: TlsContexts,
    *,
    protocol: str,
    is_trusted: Callable[[PeerKey], bool],
) -> Connection:
    """Make sure that `key`, and nobody else, is at the other end of what `reach` returned; see `dial`.

    Takes the stream over: it is closed if this fails or is cancelled. The timeout is the caller's.
    """
    try:
        await contexts.prepare(key)
    except BaseException:
        tcp.close()
        raise
    try:
        tls, peer = await _secure(
            tcp,
            lambda: contexts.client(key, protocol),
            server_name=SERVER_NAME,
            is_trusted=lambda candidate: candidate == key and is_trusted(candidate),
        )
    except (WrongKeyError, PeerNotTrustedError) as error:
        raise DialError(UnreachableReason.WRONG_KEY, str(error)) from error
    except (OSError, *_ENDED) as error:
        raise DialError.of(error) from error
    if _agreed_protocol(tls) != protocol:
        tcp.close()
        raise NoSuchProtocolError(protocol)
    return Connection(tls, peer, address, protocol)


async def accept(
    tcp: TcpStream,
    contexts: TlsContexts,
    *,
    is_trusted: Callable[[PeerKey], bool],
    remote: Address,
) -> Connection:
    """Make an incoming TCP connection into a connection with a trusted peer.

    Takes the stream over: it is closed if this fails or is cancelled. The timeout is the caller's.

    Args:
        tcp: Fresh from the listener.
        contexts: Our leaf, and the anchors.
        is_trusted: The trust list, asked after the handshake.
        remote: Where it comes from.

    Raises:
        AcceptError: it is no peer of ours, or wants a protocol that we do not have, or went away.
    """
    try:
        tls, peer = await _secure(tcp, lambda: contexts.server, server_name=None, is_trusted=is_trusted)
    except (WrongKeyError, PeerNotTrustedError) as error:
        raise AcceptError(str(error)) from error
    except (OSError, *_ENDED) as error:
        raise AcceptError(_what_happened(error)) from error
    protocol = _agreed_protocol(tls)
    if protocol is None:
        tcp.close()
        raise AcceptError("no protocol in common", peer)
    return Connection(tls, peer, remote, protocol)


def reason_of(error: BaseException) -> UnreachableReason:
    """Say why a connection from `dial` came to nothing before the peer's first byte.

    An end without a word is what a peer that does not trust us looks like from here; its alert seldom comes.

    Args:
        error: From `dial`, from `Connection.receive`, from reading what was received, or a TimeoutError.
    """
    if isinstance(error, DialError):
        return error.reason
    if isinstance(error, anyio.ClosedResourceError):
        return UnreachableReason.TIMEOUT  # we gave it up
    cause = _system_error(error)
    if isinstance(error, anyio.EndOfStream | anyio.BrokenResourceError | OSError) and cause is None:
        return UnreachableReason.THEY_DO_NOT_TRUST_US
    if isinstance(cause, ssl.SSLError) or (cause is not None and cause.errno in _REFUSED):
        return UnreachableReason.THEY_DO_NOT_TRUST_US
    return UnreachableReason.PROTOCOL if cause is None else UnreachableReason.TIMEOUT


async def _secure(
    tcp: TcpStream,
    context: Callable[[], ssl.SSLContext],
    *,
    server_name: str | None,
    is_trusted: Callable[[PeerKey], bool],
) -> tuple[TlsStream, PeerKey]:
    """Do the handshake and find out whose it was; closes the connection when that fails."""
    try:
        tune(tcp.raw_socket)
        tls = await TlsStream.shake_hands(tcp, context(), server_name=server_name)
        return tls, _authenticate(tls, is_trusted)
    except BaseException:
        tcp.close()
        raise


@frozen
class _Those:
    """A set of keys given by a question."""

    contains: Callable[[PeerKey], bool]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, PeerKey) and self.contains(key)


def _authenticate(tls: TlsStream, is_trusted: Callable[[PeerKey], bool]) -> PeerKey:
    leaf = tls.peer_certificate
    if leaf is None:
        raise WrongKeyError("no certificate was shown")
    return authenticated_key(leaf, _Those(is_trusted))


def _agreed_protocol(tls: TlsStream) -> str | None:
    try:
        return tls.agreed_protocol
    except UnicodeDecodeError:  # a server may name what nobody offered
        return None


def _system_error(error: BaseException) -> OSError | None:
    """What the system or OpenSSL said; None where the other end has just closed."""
    said = error.__cause__ if isinstance(error, anyio.BrokenResourceError) else error
    if isinstance(said, ssl.SSLError) and getattr(said, "reason", None) == _UNEXPECTED_EOF:
        return None
    return said if isinstance(said, OSError) and not isinstance(said, ssl.SSLEOFError) else None


def _what_happened(error: BaseException) -> str:
    cause = _system_error(error)
    if cause is None:
        return "closed by the other end"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or 'failed'}"
    return cause.strerror or "no answer in time"
