"""Connections over real loopback sockets: both ends know each other, and each failure has its reason."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address
from peernet_core.errors import MalformedFrameError
from peernet_core.events import UnreachableReason
from peernet_core.keys import Identity, PeerKey
from peernet_core.links import transport
from peernet_core.links.certificates import TlsContexts
from peernet_core.links.tcp import CHUNK_BYTES, TcpStream
from peernet_core.links.tls import TlsStream
from peernet_core.links.transport import (
    LINK_PROTOCOL,
    AcceptError,
    Connection,
    DialError,
    NoSuchProtocolError,
    accept,
    dial,
    reason_of,
)
from peernet_core.testing import open_sockets

ALICE, BOB, CAROL = (Identity.generate() for _ in range(3))
ALICES, BOBS = TlsContexts(ALICE, [BOB.key]), TlsContexts(BOB, [ALICE.key], ["chat/1", "files/1"])
CAROLS = TlsContexts(CAROL, [ALICE.key, BOB.key])
REMOTE = Address(IPv4Address("127.0.0.1"), 9)
MEGABYTE = bytes(range(256)) * 4096


def everybody(_: PeerKey) -> bool:
    return True


@attrs.frozen
class Listener:
    """A listening socket on loopback."""

    socket: socket.socket

    @property
    def address(self) -> Address:
        host, port = self.socket.getsockname()[:2]
        return Address(ip_address(host), port)

    async def incoming(self) -> TcpStream:
        """Wait for the next connection, as it comes from the system."""
        connection, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        return TcpStream(connection)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield Listener(listening)


Dialed = Connection | DialError
Accepted = Connection | AcceptError


async def meet(
    listener: Listener,
    *,
    dialing: TlsContexts = ALICES,
    accepting: TlsContexts = BOBS,
    protocol: str = LINK_PROTOCOL,
) -> tuple[Dialed, Accepted]:
    """Let `dialing` dial Bob's key where `accepting` answers; a failure comes back as its error."""
    dialed: list[Dialed] = []
    accepted: list[Accepted] = []

    async def answer() -> None:
        stream = await listener.incoming()
        try:
            accepted.append(await accept(stream, accepting, is_trusted=everybody, remote=REMOTE))
        except AcceptError as error:
            accepted.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        try:
            dialed.append(
                await dial(listener.address, BOB.key, dialing, protocol=protocol, is_trusted=everybody)
            )
        except DialError as error:
            dialed.append(error)
    return dialed[0], accepted[0]


@asynccontextmanager
async def connected(
    listener: Listener, protocol: str = LINK_PROTOCOL
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Alice's and Bob's end of one connection; both closed by force in the end."""
    near, far = await meet(listener, protocol=protocol)
    assert isinstance(near, Connection)
    assert isinstance(far, Connection)
    try:
        yield near, far
    finally:
        for end in (near, far):
            end.abort()
            await end.aclose()


async def receive_exactly(connection: Connection, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await connection.receive()
    return data


@asynccontextmanager
async def answering(
    listener: Listener, answer: Callable[[TcpStream], Awaitable[object]]
) -> AsyncIterator[None]:
    """Give the next connection to `answer`, and close it after."""

    async def serve() -> None:
        stream = await listener.incoming()
        try:
            await answer(stream)
        finally:
            stream.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        yield
        tasks.cancel_scope.cancel()


async def reason_to_fail(address: Address, contexts: TlsContexts = ALICES) -> UnreachableReason:
    with pytest.raises(DialError) as caught:
        await dial(address, BOB.key, contexts, is_trusted=everybody)
    assert caught.value.detail
    return caught.value.reason


async def test_both_ends_know_who_the_other_is_and_what_for(listener: Listener) -> None:
    """Key, protocol and remote address stand on the connection."""
    async with connected(listener) as (near, far):
        assert (near.peer, far.peer) == (BOB.key, ALICE.key)
        assert near.protocol == far.protocol == LINK_PROTOCOL
        assert (near.remote, far.remote) == (listener.address, REMOTE)


async def test_data_arrives_whole_and_in_small_pieces(listener: Listener) -> None:
    """A megabyte each way at once; no piece is larger than asked for, nor than 16 KiB."""
    async with connected(listener, "chat/1") as (near, far), anyio.create_task_group() as tasks:
        tasks.start_soon(near.send, MEGABYTE)
        tasks.start_soon(far.send, MEGABYTE)
        assert len(await near.receive(10)) == 10
        assert len(await near.receive(1_000_000)) <= 16384
        pieces = [await far.receive() for _ in range(4)]
        assert max(map(len, pieces)) <= 16384
        received = b"".join(pieces)
        tasks.start_soon(receive_exactly, near, 900_000)
        received += await receive_exactly(far, len(MEGABYTE) - len(received))
        assert received == MEGABYTE


async def test_a_stream_has_the_protocol_that_was_asked_for(listener: Listener) -> None:
    """Also where two protocols of one peer are dialed at once, over one context."""
    dialed: dict[str, Connection] = {}

    async def dial_for(protocol: str) -> None:
        dialed[protocol] = await dial(
            listener.address, BOB.key, ALICES, protocol=protocol, is_trusted=everybody
        )

    accepted: list[Connection] = []
    async with anyio.create_task_group() as tasks:
        for protocol in ("chat/1", "files/1"):
            tasks.start_soon(dial_for, protocol)
        for _ in range(2):
            stream = await listener.incoming()
            accepted.append(await accept(stream, BOBS, is_trusted=everybody, remote=REMOTE))
    assert {protocol: each.protocol for protocol, each in dialed.items()} == {
        "chat/1": "chat/1",
        "files/1": "files/1",
    }
    assert {each.protocol for each in accepted} == {"chat/1", "files/1"}
    async with anyio.create_task_group() as tasks:
        for each in (*dialed.values(), *accepted):
            tasks.start_soon(each.aclose)


async def test_a_protocol_that_the_peer_does_not_have_is_told_apart(listener: Listener) -> None:
    """The peer was authenticated, and both ends have closed."""
    before = open_sockets()
    near, far = await meet(listener, protocol="games/1")
    assert isinstance(near, NoSuchProtocolError)
    assert near.reason is UnreachableReason.PROTOCOL
    assert isinstance(far, AcceptError)
    assert far.peer == ALICE.key
    assert open_sockets() == before


async def test_a_server_that_names_another_protocol_is_not_believed(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL's client takes any name from a server, offered or not; a stream must not become a link."""
    context = ALICES.client(BOB.key, LINK_PROTOCOL)
    monkeypatch.setattr(TlsContexts, "client", lambda *_: context)
    near, far = await meet(listener, protocol="chat/1")
    assert isinstance(near, NoSuchProtocolError)
    assert isinstance(far, Connection)
    await far.aclose()


async def test_a_name_that_alpn_cannot_carry_is_the_caller_s_mistake(listener: Listener) -> None:
    """It is no reason for calling the peer unreachable, and leaves no socket open."""
    with pytest.raises(ValueError, match="protocol's name"):
        await dial(listener.address, BOB.key, ALICES, protocol="", is_trusted=everybody)


async def test_nobody_listening_is_refused(listener: Listener) -> None:
    """The system says so at once."""
    address = listener.address
    listener.socket.close()
    assert await reason_to_fail(address) is UnreachableReason.REFUSED


async def _silence(_: TcpStream) -> None:
    await anyio.sleep_forever()


async def _goes(stream: TcpStream) -> None:
    await stream.receive()


async def _resets(stream: TcpStream) -> None:
    stream.raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def _speaks_http(stream: TcpStream) -> None:
    await stream.receive()
    await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await stream.receive()


async def _speaks_ssh(stream: TcpStream) -> None:
    await stream.send(b"SSH-2.0-OpenSSH_9.7\r\n")
    await stream.receive()
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(_silence, UnreachableReason.TIMEOUT, id="silence"),
        pytest.param(_goes, UnreachableReason.REFUSED, id="closes"),
        pytest.param(_resets, UnreachableReason.REFUSED, id="resets"),
        pytest.param(_speaks_http, UnreachableReason.PROTOCOL, id="http"),
        pytest.param(_speaks_ssh, UnreachableReason.PROTOCOL, id="ssh"),
    ],
)
async def test_whatever_else_answers_gives_a_reason(
    listener: Listener, answer: Callable[[TcpStream], Awaitable[object]], reason: UnreachableReason
) -> None:
    """Nothing that another service does comes through as a foreign exception."""
    async with answering(listener, answer):
        assert await reason_to_fail(listener.address) is reason


async def test_somebody_else_answering_is_a_wrong_key(listener: Listener) -> None:
    """Also where we trust that somebody."""
    dialing = TlsContexts(ALICE, [BOB.key, CAROL.key])
    near, far = await meet(listener, dialing=dialing, accepting=CAROLS)
    assert isinstance(near, DialError)
    assert near.reason is UnreachableReason.WRONG_KEY
    assert isinstance(far, AcceptError)


async def test_a_key_removed_while_it_is_dialed_gets_no_connection(listener: Listener) -> None:
    """Trust is asked for once more when the handshake is done."""
    async with answering(listener, lambda stream: accept(stream, BOBS, is_trusted=everybody, remote=REMOTE)):
        with pytest.raises(DialError, match="not in the trust list"):
            await dial(listener.address, BOB.key, ALICES, is_trusted=lambda _: False)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, UnreachableReason.REFUSED),
        (errno.ECONNRESET, UnreachableReason.REFUSED),
        (errno.ETIMEDOUT, UnreachableReason.TIMEOUT),
        (errno.EHOSTUNREACH, UnreachableReason.TIMEOUT),
        (errno.ENETUNREACH, UnreachableReason.TIMEOUT),
        (errno.EACCES, UnreachableReason.TIMEOUT),
        (errno.EMFILE, UnreachableReason.TIMEOUT),
    ],
)
async def test_every_error_of_the_system_has_a_reason(
    number: int, reason: UnreachableReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no refusal is no answer; the detail is the system's own word."""

    async def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", fail)
    with pytest.raises(DialError, match=os.strerror(number)) as caught:
        await dial(REMOTE, BOB.key, ALICES, is_trusted=everybody)
    assert caught.value.reason is reason


async def test_an_address_that_cannot_be_routed_is_a_timeout() -> None:
    """A link-local address without a zone, and one on an interface that is not there."""
    for text in ("fe80::1", "fe80::1%no-such-one"):
        assert await reason_to_fail(Address(IPv6Address(text), 7100)) is UnreachableReason.TIMEOUT


async def test_ipv6_works() -> None:
    """As IPv4 does."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        listening.setblocking(False)
        async with connected(Listener(listening)) as (near, _):
            assert near.remote.ip == IPv6Address("::1")


@pytest.mark.parametrize("moment", ["connecting", "handshaking"])
async def test_a_dial_that_is_cancelled_leaves_nothing(listener: Listener, moment: str) -> None:
    """The loser of a race lets go of its socket; the guard of every test would find it."""
    before = open_sockets()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reason_to_fail, listener.address)
        if moment == "handshaking":
            stream = await listener.incoming()
            await stream.receive()
            stream.close()
        else:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert open_sockets() == before


async def test_a_peer_that_does_not_trust_us_shows_at_the_first_read(listener: Listener) -> None:
    """The dial itself succeeds, because a TLS 1.3 client is done first."""
    near, far = await meet(listener, dialing=TlsContexts(CAROL, [BOB.key]))
    assert isinstance(far, AcceptError)
    assert isinstance(near, Connection)
    with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)) as caught:
        await near.receive()
    assert reason_of(caught.value) is UnreachableReason.THEY_DO_NOT_TRUST_US
    await near.aclose()


async def test_a_peer_that_says_why_it_does_not_trust_us_is_understood(listener: Listener) -> None:
    """An alert after our handshake means the same as an end without one."""
    context = BOBS.server
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)

    async def answer(stream: TcpStream) -> None:
        for _ in range(2):
            to_server.write(await stream.receive())
            try:
                server.do_handshake()
            except ssl.SSLError:
                await stream.send(to_client.read())  # anyio's TLSStream would not send the alert
        await stream.receive()

    async with answering(listener, answer):
        near = await dial(listener.address, BOB.key, TlsContexts(CAROL), is_trusted=everybody)
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await near.receive()
        assert isinstance(caught.value.__cause__, ssl.SSLError)
        assert reason_of(caught.value) is UnreachableReason.THEY_DO_NOT_TRUST_US
        await near.aclose()


def unnamed_eof() -> ssl.SSLError:
    """What Python 3.11.2 makes of an unexpected end, instead of an SSLEOFError."""
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, "[SSL: UNEXPECTED_EOF_WHILE_READING]")
    error.reason = "UNEXPECTED_EOF_WHILE_READING"
    return error


def test_an_unexpected_end_is_known_in_either_form() -> None:
    """It is an end and no word in another protocol, whichever class Python gives it."""
    for cause in (unnamed_eof(), ssl.SSLEOFError()):
        assert transport.DialError.of(broken_by(cause)).reason is UnreachableReason.REFUSED


def broken_by(cause: OSError) -> anyio.BrokenResourceError:
    error = anyio.BrokenResourceError()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (anyio.EndOfStream(), UnreachableReason.THEY_DO_NOT_TRUST_US),
        (anyio.BrokenResourceError(), UnreachableReason.THEY_DO_NOT_TRUST_US),
        (broken_by(ConnectionResetError(errno.ECONNRESET, "")), UnreachableReason.THEY_DO_NOT_TRUST_US),
        (broken_by(ssl.SSLEOFError()), UnreachableReason.THEY_DO_NOT_TRUST_US),
        (broken_by(TimeoutError(errno.ETIMEDOUT, "")), UnreachableReason.TIMEOUT),
        (broken_by(OSError(errno.EHOSTUNREACH, "")), UnreachableReason.TIMEOUT),
        (ssl.SSLEOFError(), UnreachableReason.THEY_DO_NOT_TRUST_US),
        (ConnectionResetError(errno.ECONNRESET, ""), UnreachableReason.THEY_DO_NOT_TRUST_US),
        (TimeoutError(), UnreachableReason.TIMEOUT),
        (anyio.ClosedResourceError(), UnreachableReason.TIMEOUT),
        (MalformedFrameError("no frame"), UnreachableReason.PROTOCOL),
        (DialError(UnreachableReason.REFUSED, ""), UnreachableReason.REFUSED),
    ],
)
def test_every_end_before_the_first_byte_has_a_reason(
    error: BaseException, reason: UnreachableReason
) -> None:
    """Only an end that the peer made says that it does not trust us."""
    assert reason_of(error) is reason


async def test_a_goodbye_is_an_end_of_stream(listener: Listener) -> None:
    """And takes no longer than the other end does to answer it."""
    async with connected(listener) as (near, far), anyio.create_task_group() as tasks:
        await near.send(b"last")
        started = anyio.current_time()
        tasks.start_soon(near.aclose)
        assert await far.receive() == b"last"
        with pytest.raises(anyio.EndOfStream):
            await far.receive()
        await far.aclose()
        assert anyio.current_time() == started


async def test_a_goodbye_while_data_arrives_loses_nothing_of_ours(listener: Listener) -> None:
    """What the other end still sends is dropped, and does not reset what we sent."""
    async with connected(listener) as (near, far):

        async def send_and_close() -> None:
            await near.send(MEGABYTE)
            await near.aclose()

        async with anyio.create_task_group() as tasks:
            await far.send(MEGABYTE[:40_000])
            tasks.start_soon(send_and_close)
            assert await receive_exactly(far, len(MEGABYTE)) == MEGABYTE
            with pytest.raises(anyio.EndOfStream):
                await far.receive()
            await far.aclose()


async def test_both_may_say_goodbye_at_once(listener: Listener) -> None:
    """Neither waits for the other, nor fails."""
    async with connected(listener) as (near, far):
        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(near.aclose)
            tasks.start_soon(far.aclose)
        assert anyio.current_time() == started


async def test_a_goodbye_that_nobody_answers_takes_one_second(listener: Listener) -> None:
    """Then the connection is closed by force."""
    before = open_sockets()
    async with connected(listener) as (near, _):
        during = open_sockets()
        started = anyio.current_time()
        await near.aclose()
        assert anyio.current_time() == pytest.approx(started + 1.0, abs=0.01)
        assert len(during - before) == 2
        assert len(open_sockets() - before) == 1
        await near.aclose()


async def test_a_goodbye_that_is_cancelled_closes_all_the_same(listener: Listener) -> None:
    """The descriptor is free and the cancellation goes on."""
    before = open_sockets()
    async with connected(listener) as (near, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(near.aclose)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert len(open_sockets() - before) == 1


async def test_a_goodbye_ends_a_read_that_waits_elsewhere(listener: Listener) -> None:
    """The reader learns that it was us, and the other end still gets its goodbye."""
    async with connected(listener) as (near, far):

        async def read() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await near.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await near.aclose()
        with pytest.raises(anyio.EndOfStream):
            await far.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await near.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await near.send(b"x")


async def test_an_abort_ends_everything_at_once(listener: Listener) -> None:
    """Our waiting reader, the other end's, and the descriptor, without anybody calling `aclose`."""
    before = open_sockets()
    async with connected(listener) as (near, far):

        async def read() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await near.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            near.abort()
            near.abort()
            with pytest.raises(anyio.BrokenResourceError):
                await far.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await near.send(b"x")
        await anyio.wait_all_tasks_blocked()
        assert len(open_sockets() - before) == 1
        await near.aclose()


async def test_an_abort_ends_a_blocked_send(listener: Listener) -> None:
    """A peer that reads nothing holds nobody up."""
    async with connected(listener) as (near, _):

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await near.send(bytes(2**25))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            near.abort()


async def test_an_abort_cuts_a_goodbye_short(listener: Listener) -> None:
    """Whoever waits in `aclose` is let go."""
    async with connected(listener) as (near, _):
        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(near.aclose)
            await anyio.wait_all_tasks_blocked()
            near.abort()
        assert anyio.current_time() < started + 0.5


async def test_a_forged_end_is_no_goodbye(listener: Listener) -> None:
    """A bare end of the TCP stream, which anybody on the path can make, is an error."""
    async with connected(listener) as (near, far):
        far.stream.tcp.close()
        with pytest.raises(anyio.BrokenResourceError):
            await near.receive()


@pytest.mark.parametrize("ending", ["closes", "resets"])
async def test_an_incoming_connection_that_goes_away_is_an_accept_error(
    listener: Listener, ending: str
) -> None:
    """Nothing else is raised, and the socket is closed."""
    before = open_sockets()
    caller = socket.create_connection(listener.socket.getsockname())
    stream = await listener.incoming()
    if ending == "resets":
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    caller.close()
    with pytest.raises(AcceptError):
        await accept(stream, BOBS, is_trusted=everybody, remote=REMOTE)
    assert open_sockets() == before


@given(st.binary(min_size=1, max_size=300), st.booleans())
async def test_any_bytes_from_a_stranger_are_an_accept_error(data: bytes, framed: bool) -> None:
    """Nothing that the network sends raises anything else, and nothing stays open."""
    before = open_sockets()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        with socket.create_connection(listening.getsockname()) as caller:
            stream = await Listener(listening).incoming()
            caller.sendall(b"\x16\x03\x01" + len(data).to_bytes(2, "big") + data if framed else data)
            caller.shutdown(socket.SHUT_WR)
            with pytest.raises(AcceptError):
                await accept(stream, BOBS, is_trusted=everybody, remote=REMOTE)
    assert open_sockets() == before


async def test_an_accept_that_is_cancelled_closes_the_stream(listener: Listener) -> None:
    """The timeout is the caller's; a silent stranger costs no descriptor after it."""
    before = open_sockets()
    with socket.create_connection(listener.socket.getsockname()):
        stream = await listener.incoming()
        with anyio.move_on_after(5.0) as scope:
            await accept(stream, BOBS, is_trusted=everybody, remote=REMOTE)
        assert scope.cancelled_caught
        assert len(open_sockets() - before) == 1


async def test_a_key_removed_since_its_anchor_was_loaded_is_not_accepted(listener: Listener) -> None:
    """OpenSSL still lets it in until the rebuild is done; the check after the handshake does not."""
    async with answering(
        listener,
        lambda stream: _refused(stream, "not in the trust list"),
    ):
        near = await dial(listener.address, BOB.key, ALICES, is_trusted=everybody)
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)) as caught:
            await near.receive()
        assert reason_of(caught.value) is UnreachableReason.THEY_DO_NOT_TRUST_US
        await near.aclose()


async def _refused(stream: TcpStream, why: str) -> None:
    with pytest.raises(AcceptError, match=why):
        await accept(stream, BOBS, is_trusted=lambda _: False, remote=REMOTE)


def test_a_protocol_that_is_no_text_is_no_protocol() -> None:
    """A hostile server may name what nobody offered, in any bytes."""

    class Hostile:
        @property
        def agreed_protocol(self) -> str:
            return b"\xff".decode()

    stream: TlsStream = Hostile()  # type: ignore[assignment] # Python's own server cannot be made to say it
    assert transport._agreed_protocol(stream) is None


async def test_a_dead_peer_is_noticed_by_the_system(listener: Listener) -> None:
    """Both ends probe; by the system's clock: 5 + 3 * 3 s of silence, or 13 s without an acknowledgement."""
    async with connected(listener) as ends:
        for end in ends:
            raw_socket = end.stream.tcp.raw_socket
            assert raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                values = [raw_socket.getsockopt(socket.IPPROTO_TCP, option) for option in options]
                assert values == [5, 3, 3]
                assert raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 13_000


async def test_a_goodbye_during_a_send_follows_what_is_sent(listener: Listener) -> None:
    """Closing while another task sends: the piece that is on its way arrives whole, and then the goodbye."""
    async with connected(listener, "files/1") as (near, far):
        arrived = bytearray()

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await near.send(MEGABYTE * 16)

        async def receive() -> None:
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    arrived.extend(await far.receive())
            await far.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(near.aclose)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(receive)
        assert len(arrived) > 0
        assert len(arrived) % CHUNK_BYTES == 0


async def test_two_tasks_may_not_send_at_once(listener: Listener) -> None:
    """Their records would mix; the second is told, and the first goes on."""
    async with connected(listener) as (near, far), anyio.create_task_group() as tasks:
        tasks.start_soon(near.send, MEGABYTE * 16)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError), anyio.fail_after(60):
            await near.send(b"x")
        assert await receive_exactly(far, len(MEGABYTE) * 16) == MEGABYTE * 16


async def test_a_send_that_was_cancelled_breaks_the_connection(listener: Listener) -> None:
    """Nobody could read what would follow a record that left in part."""
    async with connected(listener) as (near, _):
        with anyio.move_on_after(1) as scope:
            await near.send(MEGABYTE * 16)
        assert scope.cancelled_caught
        for failing in (near.receive, lambda: near.send(b"x")):
            with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(60):
                await failing()


async def test_a_send_waits_for_what_another_task_is_sending(listener: Listener) -> None:
    """Who receives may have to answer, a new key for example; what is sent meanwhile must not pile up."""
    async with connected(listener) as (near, far), anyio.create_task_group() as tasks:
        near.stream._tls.write(MEGABYTE * 16)
        tasks.start_soon(near.stream._flush)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(1) as scope:
            await near.send(b"x")
        assert scope.cancelled_caught
        assert await receive_exactly(far, len(MEGABYTE) * 16 + 1) == MEGABYTE * 16 + b"x"


async def test_both_ends_may_send_more_than_the_network_holds(listener: Listener) -> None:
    """Who receives does not wait for who sends: the other end does neither until it has been heard."""
    data = MEGABYTE * 16
    async with connected(listener, "files/1") as (near, far):
        with anyio.fail_after(600):
            async with anyio.create_task_group() as tasks:
                for end in (near, far):
                    tasks.start_soon(end.send, data)
                for end in (near, far):
                    tasks.start_soon(receive_exactly, end, len(data))
