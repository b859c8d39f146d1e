"""Connections: TCP and TLS between two nodes, authenticated; or an error that says what kind of failure.

What the operating system, OpenSSL and anyio raise is turned into our own words here, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, TypeVar

import anyio
from anyio import TypedAttributeProvider
from anyio.abc import AnyByteStream, ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream

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
from peernet_core.values import define, frozen

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

_T = TypeVar("_T")

# What passes OpenSSL's buffers at once stays allocated there while the connection lives, and a third more.
# Small reads cost a sixth of the throughput, small writes two thirds. So everything is read in small
# pieces, and links, of which there are many and whose frames are small, also write in small pieces. An end
# takes 21 kB idle; after 256 kB each way 36 kB for a link, and 51 kB for a stream (measured over 200,
# without the dialer's contexts).
CHUNK_BYTES: Final = 16384  # a TLS record's payload
SMALL_CHUNK_BYTES: Final = 4096
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

    def __init__(self, stream: TLSStream, peer: PeerKey, remote: Address, protocol: str) -> None:
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
        told: SocketAddress = _about(self.stream, SocketAttribute.raw_socket).getsockname()
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
        try:
            return await self.stream.receive(min(max_bytes, CHUNK_BYTES))
        except OSError as error:  # an alert, mostly; OpenSSL's errors are OSErrors
            raise anyio.BrokenResourceError from error

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
            try:
                await self.stream.send(data[start : start + size])
            except OSError as error:
                raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        """Say goodbye and wait until the peer has, for at most 1 s; then close by force. May be repeated."""
        try:
            if not self._closing:
                self._closing = True
                with anyio.move_on_after(_GOODBYE_S):
                    await self._say_goodbye()
        finally:
            await _close(self.stream.transport_stream)

    async def _say_goodbye(self) -> None:
        # TLSStream.aclose gives up when data arrives before the peer's goodbye, and our last data can then be
        # lost to the reset that follows. So what still comes is read and dropped.
        with contextlib.suppress(ssl.SSLError):  # "want read": our goodbye stands ready for `receive` to send
            _about(self.stream, TLSAttribute.ssl_object).unwrap()
        with contextlib.suppress(OSError, anyio.BusyResourceError, *_ENDED):
            while True:
                await self.stream.receive(CHUNK_BYTES)

    def abort(self) -> None:
        """End it at once, without a goodbye, from plain code. `aclose` is then quick, and may be left out."""
        with contextlib.suppress(OSError):  # it had ended already
            _about(self.stream, SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)
        if not self._closing:
            self._closing = True
            closing = asyncio.get_running_loop().create_task(self.stream.transport_stream.aclose())
            _aborting.add(closing)
            closing.add_done_callback(_aborting.discard)


_aborting: Final[set[asyncio.Task[None]]] = set()  # the loop itself keeps only weak references


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
        with anyio.fail_after(timeout_s):
            tcp = await reach(address)
            return await authenticate(tcp, address, key, contexts, protocol=protocol, is_trusted=is_trusted)
    except TimeoutError as error:
        raise DialError.of(error) from error


async def reach(address: Address) -> SocketStream:
    """Connect to one address by TCP alone; nobody is authenticated.

    Raises:
        DialError: it failed; the reason says how.
    """
    try:
        return await connect(address)
    except OSError as error:
        raise DialError.of(error) from error


async def authenticate(
    tcp: SocketStream,
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
        await _close(tcp)
        raise
    try:
        tls, peer = await _secure(
            _Transport(tcp),
            lambda: contexts.client(key, protocol),
            server_side=False,
            is_trusted=lambda candidate: candidate == key and is_trusted(candidate),
        )
    except (WrongKeyError, PeerNotTrustedError) as error:
        raise DialError(UnreachableReason.WRONG_KEY, str(error)) from error
    except (OSError, *_ENDED) as error:
        raise DialError.of(error) from error
    if _agreed_protocol(tls) != protocol:
        await _close(tcp)
        raise NoSuchProtocolError(protocol)
    return Connection(tls, peer, address, protocol)


async def accept(
    stream: SocketStream,
    contexts: TlsContexts,
    *,
    is_trusted: Callable[[PeerKey], bool],
    remote: Address,
) -> Connection:
    """Make an incoming TCP connection into a connection with a trusted peer.

    Takes the stream over: it is closed if this fails or is cancelled. The timeout is the caller's.

    Args:
        stream: Fresh from the listener.
        contexts: Our leaf, and the anchors.
        is_trusted: The trust list, asked after the handshake.
        remote: Where the stream comes from.

    Raises:
        AcceptError: it is no peer of ours, or wants a protocol that we do not have, or went away.
    """
    try:
        tls, peer = await _secure(
            _Transport(stream), lambda: contexts.server, server_side=True, is_trusted=is_trusted
        )
    except (WrongKeyError, PeerNotTrustedError) as error:
        raise AcceptError(str(error)) from error
    except (OSError, *_ENDED) as error:
        raise AcceptError(_what_happened(error)) from error
    protocol = _agreed_protocol(tls)
    if protocol is None:
        await _close(stream)
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
    stream: ByteStream,
    context: Callable[[], ssl.SSLContext],
    *,
    server_side: bool,
    is_trusted: Callable[[PeerKey], bool],
) -> tuple[TLSStream, PeerKey]:
    """Do the handshake and find out whose it was; closes the stream when that fails."""
    try:
        tune(_about(stream, SocketAttribute.raw_socket))
        tls = await TLSStream.wrap(
            stream,
            server_side=server_side,
            hostname=None if server_side else SERVER_NAME,
            ssl_context=context(),  # used before the next await, see `TlsContexts.client`
            standard_compatible=True,
        )
        return tls, _authenticate(tls, is_trusted)
    except BaseException:
        await _close(stream)
        raise


def _about(stream: TypedAttributeProvider, attribute: _T) -> _T:
    return stream.extra(attribute)  # noqa: S610 - anyio's; there is no database here


@frozen
class _Those:
    """A set of keys given by a question."""

    contains: Callable[[PeerKey], bool]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, PeerKey) and self.contains(key)


def _authenticate(tls: TLSStream, is_trusted: Callable[[PeerKey], bool]) -> PeerKey:
    leaf = _about(tls, TLSAttribute.peer_certificate_binary)
    if leaf is None:
        raise WrongKeyError("no certificate was shown")
    return authenticated_key(leaf, _Those(is_trusted))


def _agreed_protocol(tls: TLSStream) -> str | None:
    try:
        return _about(tls, TLSAttribute.alpn_protocol)
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


async def _close(stream: AnyByteStream) -> None:
    with anyio.CancelScope(shield=True):
        await stream.aclose()


@define(eq=False)
class _Transport(ByteStream):
    """Hands what was received to TLSStream in small pieces; it asks for 64 KiB at once."""

    _inner: ByteStream
    _rest: bytes = b""

    async def receive(self, max_bytes: int = SMALL_CHUNK_BYTES) -> bytes:
        size = min(max_bytes, SMALL_CHUNK_BYTES)
        data = self._rest or await self._inner.receive(CHUNK_BYTES)
        self._rest = data[size:]
        return data[:size]

    async def send(self, item: bytes) -> None:
        await self._inner.send(item)

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes
