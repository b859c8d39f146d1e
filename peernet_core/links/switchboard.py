"""The switchboard: carries out what the registry decides, and tells it what happens.

The registry is pure; here are its hands. Every connection that reached OPEN is held here by its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from peernet_core.addresses import Address
from peernet_core.decisions.effects import (
    CancelDial,
    CloseConnection,
    Dial,
    DialBack,
    Effect,
    ExtendDial,
    Forget,
    LookUp,
    Publish,
    RaiseSequence,
    Remember,
    SendFrame,
)
from peernet_core.decisions.frames import Dialback, Hello, Open
from peernet_core.decisions.registry import Registry
from peernet_core.errors import MalformedFrameError
from peernet_core.events import Event, UnreachableReason
from peernet_core.keys import PeerKey
from peernet_core.links.acceptor import Arrival
from peernet_core.links.certificates import TlsContexts
from peernet_core.links.dialer import Dialer
from peernet_core.links.framed import ConnectionEndedError, FramedConnection
from peernet_core.links.openings import Openings, Way
from peernet_core.links.sockets import is_ours
from peernet_core.links.stream_table import StreamTable
from peernet_core.links.transport import (
    DIALBACK_PROTOCOL,
    LINK_PROTOCOL,
    AcceptError,
    Connection,
    accept,
    dial,
)

if TYPE_CHECKING:
    from peernet_core.links.stream import Stream

__all__ = ["Switchboard"]

_LOG: Final = logging.getLogger(__name__)


class Switchboard:
    """Connects the registry with dialer, acceptor, links and streams.

    Args:
        registry: Decides.
        contexts: For every handshake.
        streams: Open streams and their handlers.
        hello: Our HELLO for a peer.
        is_trusted: Asked again after every handshake.
        publish: Where events go.
        raise_sequence: Called when somebody holds a higher sequence of ours.
        look_up: Asks the backends for a peer; what it raises is logged.
        clock: Loop time.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        contexts: TlsContexts,
        streams: StreamTable,
        hello: Callable[[PeerKey], Hello],
        is_trusted: Callable[[PeerKey], bool],
        publish: Callable[[Event], None],
        raise_sequence: Callable[[int], None],
        remember: Callable[[PeerKey, Address], None],
        look_up: Callable[[PeerKey], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._contexts = contexts
        self._streams = streams
        self._hello = hello
        self._is_trusted = is_trusted
        self._publish = publish
        self._raise_sequence = raise_sequence
        self._remember = remember
        self._look_up = look_up
        self._clock = clock
        self._dialer = Dialer(
            connect=self._connect,
            hello=hello,
            on_failed=self._dial_failed,
            on_won=self._race_won,
            on_lost=self._race_lost,
            counts=registry.counts,
            clock=clock,
        )
        self._openings = Openings(
            contexts=contexts,
            streams=streams,
            is_trusted=is_trusted,
            way=self._way,
            ask=self._ask_over_link,
            counts=registry.counts,
            clock=clock,
        )
        self._links: dict[int, FramedConnection] = {}
        self._closing: set[FramedConnection] = set()
        self._greeting: set[FramedConnection] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._lookups: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._applying = False
        self._ended = False

    def apply(self) -> None:
        """Carry out everything that the registry wants now, and arm the timer for what it wants later."""
        if self._applying or self._ended:
            return  # the loop below takes what is added meanwhile
        self._applying = True
        try:
            while effects := self._registry.take_effects():
                for effect in effects:
                    self._carry_out(effect)
        finally:
            self._applying = False
        self._arm()

    async def serve(self, arrival: Arrival) -> None:
        """Serve one accepted connection: authenticate it, then treat it as a link or a stream."""
        try:
            connection = await accept(
                arrival.stream, self._contexts, is_trusted=self._is_trusted, remote=arrival.remote
            )
        except AcceptError as error:
            self._registry.counts["accept_failed"] += 1
            _LOG.debug("%s: %s", arrival.remote, error)
            return
        arrival.authenticated()
        if self._registry.stopping:
            connection.abort()
        elif connection.protocol == LINK_PROTOCOL:
            await self._serve_link(connection, arrival)
        elif connection.protocol == DIALBACK_PROTOCOL:
            await self._openings.arrived(connection, arrival)
        else:
            await self._streams.serve(connection, arrival.established)

    async def open(self, key: PeerKey, protocol: str) -> Stream:
        """Open a stream to a peer; see `Openings.open`."""
        return await self._openings.open(key, protocol)

    def network_changed(self) -> None:
        """End at once what runs over an address that this host has no more: nothing can come back there."""
        for framed in tuple(self._links.values()):
            with contextlib.suppress(OSError):  # it is closed already
                if is_ours(framed.local):
                    continue
                del self._links[framed.id]
                self._registry.connection_closed(framed.id, "our address is gone", now=self._clock())
                framed.abort()
        self.apply()

    async def aclose(self) -> None:
        """End all that is open; goodbyes that are queued have a second to leave."""
        await self._dialer.aclose()
        await self._openings.aclose()
        links = {*self._links.values(), *self._closing, *self._greeting}
        await asyncio.gather(*(framed.aclose() for framed in links), return_exceptions=True)
        tasks = self._readers | self._lookups
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._streams.end()
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    # What the registry wants.

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - a table of effects, a line or two each
        match effect:
            case Publish(event=event):
                self._publish(event)
            case Dial(key=key, candidates=candidates):
                self._dialer.race(key, candidates)
            case ExtendDial(key=key, candidate=candidate):
                self._dialer.extend(key, candidate)
            case CancelDial(key=key):
                self._dialer.cancel(key)
            case SendFrame(connection=number, frame=frame):
                if number in self._links:
                    self._links[number].send(frame)
            case CloseConnection(connection=number):
                framed = self._links.pop(number, None)
                if framed is not None:
                    self._close(framed)
            case DialBack(key=key, request=request):
                self._openings.dial_back(key, request)
            case Forget(key=key):
                self._openings.forget(key)
                self._streams.end(key)
                for framed in [each for each in self._greeting if each.peer == key]:
                    framed.abort()
            case LookUp(key=key):
                lookup = asyncio.create_task(self._ask_for(key), name=f"peernet-lookup-{key.short}")
                self._lookups.add(lookup)
                lookup.add_done_callback(self._lookups.discard)
            case RaiseSequence(above=above):
                self._raise_sequence(above)
            case Remember(key=key, address=address):
                self._remember(key, address)

    async def _ask_for(self, key: PeerKey) -> None:
        try:
            await self._look_up(key)
        except Exception:  # noqa: BLE001 - a lookup is a favour; nothing depends on it
            _LOG.exception("looking up %s failed", key.short)
        finally:
            self._registry.looked_up(key, now=self._clock())
            self.apply()

    def _close(self, framed: FramedConnection) -> None:
        """Close in the background what the registry is done with."""
        self._closing.add(framed)
        framed.close()
        framed.on_closed(lambda: self._closing.discard(framed))

    def _arm(self) -> None:
        due = self._registry.next_deadline()
        if self._timer is not None:
            if due is not None and self._timer.when() == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._registry.handle_timer(now=self._clock())
        self.apply()

    # What happens.

    async def _connect(self, address: Address, key: PeerKey) -> Connection:
        return await dial(address, key, self._contexts, is_trusted=self._is_trusted)

    def _way(self, key: PeerKey) -> Way:
        registry = self._registry
        routes = registry.routes(key, now=self._clock())
        return Way(registry.link_of(key), registry.link_address(key), routes)

    def _ask_over_link(self, key: PeerKey, request: Dialback) -> bool:
        link = self._registry.link_of(key)
        if link is None or link not in self._links:
            return False
        self._links[link].send(request)
        return True

    def _dial_failed(self, key: PeerKey, address: Address, reason: UnreachableReason) -> None:
        self._registry.dial_failed(key, address, reason, now=self._clock())
        self.apply()

    def _race_lost(self, key: PeerKey) -> None:
        self._registry.race_lost(key, now=self._clock())
        self.apply()

    def _race_won(self, framed: FramedConnection, hello: Hello) -> None:
        self._links[framed.id] = framed
        self._registry.race_won(framed.peer, framed.id, framed.address, hello, now=self._clock())
        self._read(framed)
        self.apply()

    async def _serve_link(self, connection: Connection, arrival: Arrival) -> None:
        """HELLO and OPEN of a connection that somebody dialed; from then on it is the registry's."""
        framed = FramedConnection(connection, arrival.remote)
        self._greeting.add(framed)
        try:
            hello = await framed.hello(self._hello(framed.peer))
            await framed.expect(Open)
        except (ConnectionEndedError, MalformedFrameError) as error:
            _LOG.debug("%s from %s: %s before OPEN", framed.peer.short, arrival.remote, error)
            framed.abort()
            return
        except BaseException:
            framed.abort()
            raise
        finally:
            self._greeting.discard(framed)
        arrival.established()
        arrival.detach()
        self._links[framed.id] = framed
        self._registry.inbound_opened(framed.peer, framed.id, framed.address, hello, now=self._clock())
        self._read(framed)
        self.apply()

    def _read(self, framed: FramedConnection) -> None:
        framed.reader = reader = asyncio.create_task(
            self._follow(framed), name=f"peernet-link-{framed.peer.short}-{framed.id}"
        )
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _follow(self, framed: FramedConnection) -> None:
        """Hand every frame to the registry until the connection ends."""
        reason = "stopped"
        try:
            async for frame in framed.frames():
                self._registry.frame_received(framed.id, frame, now=self._clock())
                self.apply()
        except (ConnectionEndedError, MalformedFrameError) as error:
            reason = str(error)
        finally:
            if self._links.pop(framed.id, None) is not None:
                self._registry.connection_closed(framed.id, reason, now=self._clock())
                self._close(framed)
                self.apply()
