"""Opening streams: at the first address that answers, or by letting the peer dial us where none does.

A stream costs the other end a handler, so only TCP is raced: one connection at a time goes on to TLS.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Self

import anyio

from peernet_core.addresses import Address
from peernet_core.decisions.agreement import ConnectionId
from peernet_core.decisions.candidates import FIRST_GAP_S, RaceSchedule
from peernet_core.decisions.frames import TOKEN_SIZE, Dialback
from peernet_core.decisions.sightings import INBOUND_SOURCE
from peernet_core.errors import PeerUnreachableError, ProtocolRefusedError
from peernet_core.keys import PeerKey
from peernet_core.links.acceptor import Arrival
from peernet_core.links.certificates import TlsContexts
from peernet_core.links.stream_table import MAX_STREAMS_PER_PEER, StreamTable, await_status
from peernet_core.links.tcp import TcpStream
from peernet_core.links.transport import (
    DIALBACK_PROTOCOL,
    Connection,
    DialError,
    NoSuchProtocolError,
    authenticate,
    reach,
)
from peernet_core.values import frozen

if TYPE_CHECKING:
    from peernet_core.links.stream import Stream

__all__ = ["Openings", "Way"]

_LOG: Final = logging.getLogger(__name__)
_STATUS_S: Final = 5.0
_TLS_S: Final = 5.0
_TCP_S: Final = 5.0
_DIALBACK_S: Final = 5.0
_ENDED: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@frozen
class Way:
    """How a peer can be reached now.

    Attributes:
        link: The connection that is the link; None: there is none.
        link_address: Where its other end is.
        addresses: Where to dial, best first.
    """

    link: ConnectionId | None
    link_address: Address | None
    addresses: Sequence[Address]

    @property
    def peer_dialed(self) -> bool:
        """Whether the peer dialed the link: that we can dial it is not said."""
        return self.link_address is not None and self.link_address.source == INBOUND_SOURCE


@frozen(eq=False)
class _Expected:
    """A stream that a peer was asked to dial."""

    peer: PeerKey
    arrived: asyncio.Future[Connection]


class Openings:
    """Opens streams to peers, and dials those that peers ask for.

    Args:
        contexts: For every handshake.
        streams: Open streams and their handlers.
        is_trusted: Asked again after every handshake.
        way: How a peer can be reached now.
        ask: Sends a frame over the link with a peer; False: there is no link.
        counts: Where dials back are counted.
        clock: Loop time.
    """

    def __init__(
        self,
        *,
        contexts: TlsContexts,
        streams: StreamTable,
        is_trusted: Callable[[PeerKey], bool],
        way: Callable[[PeerKey], Way],
        ask: Callable[[PeerKey, Dialback], bool],
        counts: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        self._contexts = contexts
        self._streams = streams
        self._is_trusted = is_trusted
        self._way = way
        self._ask = ask
        self._counts = counts
        self._clock = clock
        self._expected: dict[bytes, _Expected] = {}
        self._dialing: set[asyncio.Task[None]] = set()
        self._asked_by: Counter[PeerKey] = Counter()
        self._one_way: dict[PeerKey, ConnectionId] = {}

    async def open(self, key: PeerKey, protocol: str) -> Stream:
        """Open a stream.

        Raises:
            PeerUnreachableError: no address answers, and the peer does not dial us either.
            ProtocolRefusedError: the peer does not take it.
        """
        way = self._way(key)
        patience_s: float | None = FIRST_GAP_S if way.peer_dialed else None
        if way.link is not None and self._one_way.get(key) == way.link:
            patience_s = 0.0
        asked = False
        async with _Race(way.addresses, clock=self._clock) as race:
            while True:
                found = await race.next(patience_s)
                if found is not None:
                    stream = await self._dialed(key, protocol, *found, race=race)
                    if stream is not None:
                        return stream
                elif asked:
                    raise PeerUnreachableError(key, race.reason)
                else:
                    asked, patience_s = True, None
                    stream = await self._dialed_back(key, protocol)
                    if stream is not None:
                        if way.link is not None:
                            self._one_way[key] = way.link
                        return stream

    async def arrived(self, connection: Connection, arrival: Arrival) -> None:
        """Take a connection that we asked a peer to dial: it says which one it is, and the opener has it."""
        token = await _receive_exactly(connection, TOKEN_SIZE)
        expected = self._expected.get(token)
        if expected is None or expected.peer != connection.peer or expected.arrived.done():
            _LOG.debug("%s dialed a stream that nobody waits for", connection.peer.short)
            await connection.aclose()
            return
        arrival.established()
        arrival.detach()
        expected.arrived.set_result(connection)

    def dial_back(self, key: PeerKey, request: Dialback) -> None:
        """Dial a stream that a peer asked for over the link; returns at once."""
        if self._asked_by[key] >= MAX_STREAMS_PER_PEER:
            self._counts["dialbacks_refused"] += 1
            return
        self._counts["dialbacks"] += 1
        self._asked_by[key] += 1
        task = asyncio.create_task(self._serve_back(key, request), name=f"peernet-dialback-{key.short}")
        self._dialing.add(task)
        task.add_done_callback(self._dialing.discard)

    def forget(self, key: PeerKey) -> None:
        """The key is not trusted any more."""
        self._one_way.pop(key, None)

    async def aclose(self) -> None:
        """End the dials that peers asked for, with their streams."""
        for task in self._dialing:
            task.cancel()
        await asyncio.gather(*self._dialing, return_exceptions=True)

    # We open.

    async def _dialed(
        self, key: PeerKey, protocol: str, address: Address, tcp: TcpStream, *, race: _Race
    ) -> Stream | None:
        try:
            connection = await self._authenticate(key, protocol, address, tcp)
        except NoSuchProtocolError as error:
            raise ProtocolRefusedError(key, protocol, "no such protocol") from error
        except DialError as error:
            race.reason = f"{address}: {error}"
            return None
        try:
            return await self._accepted(connection)
        except TimeoutError:
            race.reason = f"{address}: no answer"
            return None

    async def _authenticate(
        self, key: PeerKey, protocol: str, address: Address, tcp: TcpStream
    ) -> Connection:
        try:
            async with asyncio.timeout(_TLS_S):
                return await authenticate(
                    tcp, address, key, self._contexts, protocol=protocol, is_trusted=self._is_trusted
                )
        except TimeoutError as error:
            raise DialError.of(error) from error

    async def _accepted(self, connection: Connection) -> Stream:
        """Make a stream of a connection, once the peer's end has said that it takes it.

        Raises:
            ProtocolRefusedError: it does not.
            TimeoutError: it does not say.
        """
        stream = self._streams.adopt(connection)
        try:
            async with asyncio.timeout(_STATUS_S):
                await await_status(connection)
        except BaseException:
            stream.abort()
            raise
        return stream

    async def _dialed_back(self, key: PeerKey, protocol: str) -> Stream | None:
        connection = await self._ask_back(key, protocol)
        if connection is None:
            return None
        connection.protocol = protocol
        try:
            return await self._accepted(connection)
        except TimeoutError:
            return None

    async def _ask_back(self, key: PeerKey, protocol: str) -> Connection | None:
        """Ask the peer to dial us; None: there is no link to ask over, or it did not come."""
        token = secrets.token_bytes(TOKEN_SIZE)
        expected = _Expected(key, asyncio.get_running_loop().create_future())
        self._expected[token] = expected
        try:
            if not self._ask(key, Dialback(token, protocol)):
                return None
            self._counts["dialbacks_asked"] += 1
            async with asyncio.timeout(_DIALBACK_S):
                return await expected.arrived
        except TimeoutError:
            return None
        except BaseException:
            if expected.arrived.done() and not expected.arrived.cancelled():
                expected.arrived.result().abort()
            raise
        finally:
            del self._expected[token]

    # The peer opens, and we dial.

    async def _serve_back(self, key: PeerKey, request: Dialback) -> None:
        try:
            connection = await self._dial_any(key)
            if connection is None:
                return
            try:
                await connection.send(request.token)
            except BaseException as error:
                connection.abort()
                if isinstance(error, _ENDED):
                    return
                raise
            connection.protocol = request.protocol
            await self._streams.serve(connection, lambda: None)
        finally:
            self._asked_by[key] -= 1
            if not self._asked_by[key]:
                del self._asked_by[key]

    async def _dial_any(self, key: PeerKey) -> Connection | None:
        async with _Race(self._way(key).addresses, clock=self._clock) as race:
            while (found := await race.next(None)) is not None:
                try:
                    return await self._authenticate(key, DIALBACK_PROTOCOL, *found)
                except DialError as error:
                    race.reason = f"{found[0]}: {error}"
            _LOG.debug("%s asked to be dialed: %s", key.short, race.reason)
            return None


class _Race:
    """TCP connections to several addresses, begun one after the other; those that answer come out first.

    Attributes:
        reason: Why the last one that failed did.
    """

    def __init__(self, addresses: Sequence[Address], *, clock: Callable[[], float]) -> None:
        self.reason = "no address is known that may be dialed from here"
        self._waiting = deque(addresses)
        self._clock = clock
        self._schedule = RaceSchedule()
        self._running: dict[asyncio.Task[TcpStream], Address] = {}
        self._answered: deque[tuple[Address, TcpStream]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        for ended in await asyncio.gather(*self._running, return_exceptions=True):
            if isinstance(ended, TcpStream):
                ended.close()
        for _address, tcp in self._answered:
            tcp.close()

    async def next(self, patience_s: float | None) -> tuple[Address, TcpStream] | None:
        """The next that answers; None: none is left, or none did in that time, and all go on trying."""
        give_up = None if patience_s is None else self._clock() + patience_s
        while not self._answered:
            now = self._clock()
            if give_up is not None and now >= give_up:
                return None
            self._start_due(now)
            if not self._running:
                return None
            due = [self._schedule.next_start(now=now)] if self._waiting else []
            due += [] if give_up is None else [give_up]
            timeout_s = max(0.0, min(due) - now) if due else None
            done, _ = await asyncio.wait(
                self._running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                self._note(self._running.pop(task), task)
        return self._answered.popleft()

    def _start_due(self, now: float) -> None:
        while self._waiting and self._schedule.next_start(now=now) <= now:
            address = self._waiting.popleft()
            self._schedule.started(now=now)
            self._running[asyncio.create_task(_reach(address))] = address

    def _note(self, address: Address, task: asyncio.Task[TcpStream]) -> None:
        error = task.exception()
        if error is None:
            self._answered.append((address, task.result()))
        elif isinstance(error, DialError):
            self.reason = f"{address}: {error}"
            self._schedule.failed()
        else:
            raise error


async def _reach(address: Address) -> TcpStream:
    try:
        async with asyncio.timeout(_TCP_S):
            return await reach(address)
    except TimeoutError as error:
        raise DialError.of(error) from error


async def _receive_exactly(connection: Connection, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await connection.receive(size - len(data))
    return data
