"""The node: one identity on the network, its backends, its links, and the application's view of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import anyio

from peernet_core.addresses import Address
from peernet_core.backends.witness import Witness
from peernet_core.configuration.config import Config
from peernet_core.configuration.entrypoints import Backend, load_configuration
from peernet_core.decisions.explanation import Explanation
from peernet_core.decisions.registry import PeerView
from peernet_core.decisions.strangers import Stranger
from peernet_core.engine import Engine
from peernet_core.errors import NodeClosedError, PeerNotTrustedError, PeerUnreachableError
from peernet_core.events import BackendStatus, Event, NodeStopped, PeerConnected, PeerStatus, Snapshot
from peernet_core.home import Home
from peernet_core.keys import Identity, PeerKey
from peernet_core.links.stream_table import OWN_PROTOCOLS, RESERVED_PREFIX, Handler, StreamTable
from peernet_core.policy import Policy, TrustedOnly
from peernet_core.storage.data_directory import default_data_dir
from peernet_core.subscriptions import Subscriptions
from peernet_core.trust import TrustedPeer, TrustList
from peernet_core.trust_book import TrustBook

if TYPE_CHECKING:
    from peernet_core.links.stream import Stream

__all__ = ["Node"]

_B = TypeVar("_B")
_H = TypeVar("_H", bound=Handler)


class Node:
    """A running peer; an asynchronous context manager, to be entered once.

    Args:
        config: Settings; its `sources` are not read here, see `from_config`.
        identity: Our key; None: the data directory's, made on first use.
        trust: Whom to trust; None: the data directory's list, which is then followed while the node runs.
        backends: What discovers peers.
        policy: What to do with a sighting.
        data_dir: Where identity, trust list and state are kept; None: the configuration's, and if that names
            none either, in memory only.
        witness: Is told of each report of a backend, on the loop; must neither block nor raise.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        identity: Identity | None = None,
        trust: TrustList | Iterable[TrustedPeer] | None = None,
        backends: Sequence[Backend] = (),
        policy: Policy | None = None,
        data_dir: Path | str | None = None,
        witness: Witness | None = None,
    ) -> None:
        self._config = config or Config()
        self._identity = identity
        self._trusted = trust
        self._backends = tuple(backends)
        self._policy = policy or TrustedOnly()
        self._data_dir = Path(data_dir) if data_dir is not None else self._config.data_dir
        self._witness = witness
        self._subscriptions = Subscriptions()
        self._streams = StreamTable()
        self._waiters: dict[PeerKey, list[asyncio.Future[None]]] = {}
        self._entered = False
        self._running: Engine | None = None
        self._closing = contextlib.AsyncExitStack()

    @classmethod
    def from_config(cls, path: Path | str | None = None, *, data_dir: Path | str | None = None) -> Self:
        """Make a node as a configuration file says.

        Args:
            path: The file; None: where it is looked for otherwise, and if there is none, no backends.
            data_dir: Overrides PEERNET_DATA_DIR, the file, and the user's data folder, in this order.

        Raises:
            ConfigurationError: every mistake in the file.
        """
        config, backends = load_configuration(None if path is None else Path(path))
        folder = Path(data_dir) if data_dir is not None else None
        return cls(
            config,
            backends=backends,
            data_dir=folder or default_data_dir(os.environ, configured=config.data_dir),
        )

    # Life.

    async def __aenter__(self) -> Self:
        if self._entered:
            raise NodeClosedError("a node is entered once; make another one")
        self._entered = True
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        home = Home.open(self._data_dir, identity=self._identity, trust=self._trusted)
        self._closing.callback(home.close)
        running = Engine(
            self._config,
            home,
            policy=self._policy,
            streams=self._streams,
            publish=self._publish,
            untrusted=self._wake,
            witness=self._witness,
        )
        self._closing.push_async_callback(running.aclose)
        self._running = running
        await running.start(self._backends)

    async def _stop(self) -> None:
        with anyio.CancelScope(shield=True):  # a goodbye that is cut short is none
            await self._closing.aclose()
        self._running = None
        for waiting in self._waiters.values():
            for each in waiting:
                if not each.done():
                    each.set_exception(NodeClosedError("the node is stopped"))
        self._waiters.clear()
        self._subscriptions.publish(NodeStopped())

    # Who and where we are.

    @property
    def key(self) -> PeerKey:
        """Our own public key."""
        return self._now_running().home.identity.key

    @property
    def name(self) -> str:
        """Our name for people; may be empty."""
        return self._config.name

    @property
    def port(self) -> int:
        """Where we accept links."""
        return self._now_running().acceptor.port

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others may reach us; never loopback or link-local."""
        running = self._now_running()
        return running.announcer.addresses(running.acceptor.port, running.network.snapshot)

    @property
    def control_path(self) -> Path | None:
        """Where a control socket for this node belongs; None: there is no place for one."""
        return self._now_running().home.control_path

    @property
    def trust(self) -> TrustBook:
        """Whom we trust; to be read and edited."""
        home = self._now_running().home
        return TrustBook(home.trust, home.trust_file)

    # Peers.

    def peers(self) -> tuple[PeerStatus, ...]:
        """Every trusted peer as it stands now."""
        running = self._running
        if running is None:
            return ()
        return tuple(self._status(running, view) for view in running.registry.views())

    def strangers(self) -> tuple[Stranger, ...]:
        """Who was seen and is not trusted, the most recent first; bounded."""
        return self._now_running().registry.sightings.strangers.listing()

    def backends(self) -> tuple[BackendStatus, ...]:
        """Every discovery backend as it stands now; none before the start."""
        running = self._running
        return () if running is None else running.backend_statuses()

    def explain(self, key: PeerKey) -> Explanation:
        """Why a peer is, or is not, linked: its addresses, what came of them, and what is done next.

        Any key can be asked for, also a stranger's.

        Raises:
            NodeClosedError: the node is not running.
        """
        running = self._now_running()
        return running.registry.explain(key, backends=self.backends(), now=running.clock())

    def statistics(self) -> Mapping[str, int]:
        """What was counted since the start: dials, failures, drops by reason, sightings by source."""
        running = self._now_running()
        return {
            **running.registry.counts,
            "connections_refused": running.acceptor.refused,
            "accept_pauses": running.acceptor.pauses,
            "streams_open": len(self._streams),
        }

    def backend(self, source: str, kind: type[_B]) -> _B:
        """The current instance of a backend, to call its own methods.

        Args:
            source: Its name in the configuration.
            kind: Its class.

        Raises:
            BackendError: there is none of that name, or it does not run now.
            TypeError: it is of another class.
        """
        instance = self._now_running().supervisor.instance(source)
        if not isinstance(instance, kind):
            raise TypeError(f"[discovery.{source}] is a {type(instance).__name__}, not a {kind.__name__}")
        return instance

    def events(self, *, buffer: int = 1024) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Subscribe: a Snapshot first, then every change. May be entered before the node is.

        Args:
            buffer: How many events may wait for a slow reader before it is told that it lagged.
        """
        return self._subscriptions.subscribe(lambda: Snapshot(self.peers()), buffer)

    # Streams.

    def protocol(self, name: str) -> Callable[[_H], _H]:
        """Register a handler for incoming streams, before or after the start.

        Args:
            name: 1 to 255 ASCII characters; ``peernet/`` is reserved.

        Raises:
            ValueError: the name cannot be used, or has a handler.
        """
        if name.startswith(RESERVED_PREFIX) and name not in OWN_PROTOCOLS:
            raise ValueError(f"{name!r}: protocols that begin with {RESERVED_PREFIX!r} are peernet's own")

        def register(handler: _H) -> _H:
            self._streams.register(name, handler)
            if self._running is not None:
                self._running.contexts.set_protocols(self._streams.protocols)
            return handler

        return register

    async def open(self, key: PeerKey, protocol: str, *, timeout_s: float = 10.0) -> Stream:
        """Open a stream to a trusted peer; waits for a link to it first.

        Args:
            key: The peer.
            protocol: What both ends will speak.
            timeout_s: For all of it.

        Raises:
            PeerNotTrustedError: the key is not in the trust list.
            PeerUnreachableError: there is no link in time, or no address to dial.
            ProtocolRefusedError: the peer does not take this protocol, or no more streams now.
            NodeClosedError: the node is not running.
        """
        running = self._now_running()
        if key not in running.home.trust:
            raise PeerNotTrustedError(key)
        try:
            async with asyncio.timeout(timeout_s):
                await self._linked(running, key)
                return await running.switchboard.open(key, protocol)
        except TimeoutError:
            why = running.registry.explain(key, backends=self.backends(), now=running.clock()).next
            raise PeerUnreachableError(key, f"no stream within {timeout_s:g} s: {why}") from None

    async def _linked(self, running: Engine, key: PeerKey) -> None:
        while running.registry.link_of(key) is None:
            if key not in running.home.trust:
                raise PeerNotTrustedError(key)
            running.want(key)
            linked = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(key, []).append(linked)
            try:
                await linked
            finally:
                waiting = self._waiters.get(key, [])
                if linked in waiting:
                    waiting.remove(linked)

    # Inside.

    def _now_running(self) -> Engine:
        if self._running is None:
            raise NodeClosedError("the node is not running" if self._entered else "the node was not started")
        return self._running

    def _publish(self, event: Event) -> None:
        if isinstance(event, PeerConnected):
            self._wake(event.key)
        self._subscriptions.publish(event)

    def _wake(self, key: PeerKey) -> None:
        """Let whoever waits for this peer look again."""
        for waiting in self._waiters.pop(key, ()):
            if not waiting.done():
                waiting.set_result(None)

    def _status(self, running: Engine, view: PeerView) -> PeerStatus:
        age = running.clock() - view.since
        return PeerStatus(
            key=view.key,
            label=running.home.trust.label(view.key),
            state=view.state,
            address=view.address,
            since=time.time() - age,
            addresses=view.addresses,
        )
