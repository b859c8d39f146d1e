"""The engine: all that runs while a node is up, put together and taken apart in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import attrs

from peernet_core.addresses import Address, IPAddress
from peernet_core.announcer import Announcer
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.supervisor import Supervisor
from peernet_core.backends.witness import Witness, WitnessedIntake
from peernet_core.configuration.config import Config
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import Announcement, Sighting
from peernet_core.decisions.frames import BOOT_ID_SIZE, Hello
from peernet_core.decisions.ledger import KNOWN_SOURCE
from peernet_core.decisions.registry import Registry
from peernet_core.errors import BackendError, StorageError
from peernet_core.events import BackendStarted, BackendStatus, Event, NodeStarted
from peernet_core.home import Home
from peernet_core.keys import PeerKey
from peernet_core.links.acceptor import Acceptor
from peernet_core.links.certificates import TlsContexts
from peernet_core.links.sockets import bind
from peernet_core.links.stream_table import StreamTable
from peernet_core.links.switchboard import Switchboard
from peernet_core.network_watch import NetworkWatch
from peernet_core.policy import Policy
from peernet_core.trust_follower import TrustFollower

__all__ = ["Engine"]

_LOG: Final = logging.getLogger(__name__)
_GOODBYE_S: Final = 0.5
_KNOWN_TTL_S: Final = 600.0
"""How long a remembered address is believed before anybody has confirmed it."""
_SAVE_AFTER_S: Final = 5.0


class Engine:
    """Runs one node.

    Args:
        config: Settings.
        home: Identity, trust, storage; closed by its owner.
        policy: What to do with a sighting.
        streams: Handlers and open streams.
        publish: Where events go.
        untrusted: Called for a key that was removed from the trust list.
        witness: Is told of each report of a backend.

    Raises:
        BindError: a configured address cannot be listened on.
        StorageError: no record can be numbered.
    """

    def __init__(
        self,
        config: Config,
        home: Home,
        *,
        policy: Policy,
        streams: StreamTable,
        publish: Callable[[Event], None],
        untrusted: Callable[[PeerKey], None],
        witness: Witness | None = None,
    ) -> None:
        self.clock = asyncio.get_running_loop().time
        self.home = home
        self.network = NetworkWatch()
        self.contexts = TlsContexts(home.identity, home.trust.keys(), streams.protocols)
        self.registry = Registry(me=home.identity.key, trust=home.trust, policy=policy, now=self.clock())
        self.supervisor = Supervisor(make_context=self._make_context, publish=self._supervised)
        self.switchboard = Switchboard(
            self.registry,
            contexts=self.contexts,
            streams=streams,
            hello=self._hello,
            is_trusted=home.trust.__contains__,
            publish=publish,
            raise_sequence=self._raise_sequence,
            remember=self._remember,
            look_up=self.supervisor.resolve,
            clock=self.clock,
        )
        self.announcer = Announcer(
            home.identity,
            home.numbers,
            name=config.name,
            advertise=config.advertise,
            listen=config.listen,
        )
        self._publish = publish
        self._untrusted = untrusted
        self._intake = self if witness is None else WitnessedIntake(self, witness)
        self._backends_are_up = False
        self._boot_id = secrets.token_bytes(BOOT_ID_SIZE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._saving: asyncio.TimerHandle | None = None
        sockets = bind(config.listen, preferred_port=home.last_port())
        self.acceptor = Acceptor(sockets, self.switchboard.serve, clock=self.clock)
        self.registry.own_port = self.acceptor.port
        self.registry.network = self.network.snapshot
        self._unsubscribe = home.trust.subscribe(self._trust_changed)

    async def start(self, backends: Sequence[Backend]) -> None:
        """Accept, then start the backends.

        Raises:
            ExceptionGroup: of BackendError, one for each required backend that failed.
            StorageError: no record can be numbered.
        """
        announcement = self._sign()
        self.home.keep_port(self.acceptor.port)
        self.acceptor.start()
        addresses = self.announcer.addresses(self.acceptor.port, self.network.snapshot)
        self._publish(NodeStarted(self.home.identity.key, self.acceptor.port, addresses))
        self._recall()
        await self.supervisor.announce(announcement)
        await self.supervisor.start(backends)
        self._backends_are_up = True
        self._search()
        self._spawn(self.network.run(), "network")
        self._spawn(self._follow_network(), "follow-network")
        if self.home.watcher is not None:
            self._spawn(TrustFollower(self.home.watcher).run(), "trust")
        refresh_s = self._refresh_s(backends)
        if refresh_s is not None:
            self._spawn(self._refresh(refresh_s), "refresh")

    async def aclose(self) -> None:
        """Say goodbye on every link and medium, then end everything; takes seconds at most."""
        self._unsubscribe()
        self.acceptor.stop()
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
            self.home.known.forget(self.home.trust.keys())
            self.home.known.save()
        self.registry.stop("stopped", now=self.clock())
        self.switchboard.apply()
        try:
            await asyncio.gather(self._stop_backends(), self.switchboard.aclose())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.acceptor.aclose()

    async def _stop_backends(self) -> None:
        if self.announcer.record:
            await self._say_farewell()
        await self.supervisor.stop()

    async def _say_farewell(self) -> None:
        """The last record says that we stopped: it voids the others at once."""
        try:
            farewell = self._sign(stopping=True)
        except StorageError as error:
            _LOG.warning("leaving without a last record: %s", error)
            return
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self.supervisor.announce(farewell)
        except TimeoutError:
            _LOG.debug("a backend took too long over the last record")

    # Ourselves.

    def _hello(self, key: PeerKey) -> Hello:
        held = self.registry.sightings.ledger.highest_sequence(key)
        return Hello(self.announcer.record, self._boot_id, held)

    def _sign(self, *, above: int = 0, stopping: bool = False) -> Announcement:
        announcement = self.announcer.announcement(
            self.acceptor.port, self.network.snapshot, above=above, stopping=stopping
        )
        # The last one's as well: a medium may send us back what we say, which is nobody else's newer record.
        self.registry.own_sequence = self.announcer.sequence
        return announcement

    def announce(self, *, above: int = 0) -> None:
        """Sign anew and tell every backend and every link; nothing follows the last record."""
        if self.registry.stopping:
            return
        try:
            announcement = self._sign(above=above)
        except StorageError as error:
            _LOG.warning("nothing new is announced: %s", error)
            return
        self.registry.announced(announcement.record)
        self.switchboard.apply()
        self._spawn(self.supervisor.announce(announcement), "announce")

    def _raise_sequence(self, above: int) -> None:
        _LOG.warning("a peer holds a newer record of ours; was this node restored from a backup?")
        self.announce(above=above)

    def _refresh_s(self, backends: Sequence[Backend]) -> float | None:
        """How often the most demanding backend wants a new signature."""
        wanted = []
        for backend in backends:
            with contextlib.suppress(BackendError):  # one that did not start wants nothing
                wanted.append(getattr(self.supervisor.instance(backend.source), "refresh_s", None))
        return min((each for each in wanted if each is not None), default=None)

    # Lookups.

    def _supervised(self, event: Event) -> None:
        """Pass on what became of a backend; one that starts later than the others asks on its own."""
        self._publish(event)
        if isinstance(event, BackendStarted) and self._backends_are_up:
            self._search(event.source)

    def _search(self, *sources: str) -> None:
        if self.supervisor.resolves(*sources):
            self.registry.search(now=self.clock())
            self.switchboard.apply()

    def want(self, key: PeerKey) -> None:
        """The application waits for a link with this peer."""
        self.registry.wanted(key, now=self.clock())
        self.switchboard.apply()

    def backend_statuses(self) -> tuple[BackendStatus, ...]:
        """How each backend stands now."""
        now, rates = self.clock(), self.registry.sightings.rates
        return tuple(
            attrs.evolve(status, sightings_per_minute=rates[status.source].total(now=now))
            for status in self.supervisor.statuses()
        )

    # What we remember.

    def _recall(self) -> None:
        """Dial where peers were reached before, while the backends start."""
        for known in self.home.known.places():
            if known.key in self.home.trust and known.key != self.home.identity.key:
                address = known.address.with_source(KNOWN_SOURCE)
                self.registry.peer_discovered(
                    KNOWN_SOURCE, known.key, address, ttl_s=_KNOWN_TTL_S, now=self.clock()
                )
        self.switchboard.apply()

    def _remember(self, key: PeerKey, address: Address) -> None:
        if self.home.known.note(key, address, worked_at=int(time.time())) and self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(_SAVE_AFTER_S, self._save)

    def _save(self) -> None:
        self._saving = None
        self.home.known.forget(self.home.trust.keys())
        self._spawn(asyncio.to_thread(self.home.known.save), "known-addresses")

    # What runs beside.

    async def _refresh(self, refresh_s: float) -> None:
        while True:
            await asyncio.sleep(refresh_s)
            self.announce()

    async def _follow_network(self) -> None:
        while True:
            # The registry knows what was last acted on: a change while we were busy is not missed.
            while self.network.snapshot == self.registry.network:
                await self.network.changed()
            self.registry.network_changed(self.network.snapshot, now=self.clock())
            self.switchboard.network_changed()
            self.announce()

    def _trust_changed(self, key: PeerKey, trusted: bool) -> None:
        if trusted:
            self.contexts.trust(key)
            self.registry.trusted(key, now=self.clock())
        else:
            self.registry.untrusted(key, now=self.clock())
            self._spawn(self.contexts.distrust(key), "distrust")
            self._untrusted(key)
        self.switchboard.apply()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(self._contain(coroutine, name), name=f"peernet-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _contain(coroutine: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await coroutine
        except Exception:  # noqa: BLE001 - one failed task must not end the node
            _LOG.exception("the node's task %r failed", name)

    # What backends report.

    def _make_context(self, backend: Backend) -> HostContext:
        return HostContext(
            backend.source,
            key=self.home.identity.key,
            intake=self._intake,
            network=self.network,
            clock=self.clock,
        )

    def record_received(
        self,
        source: str,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool,
        heard: tuple[IPAddress, str] | None,
    ) -> Sighting | None:
        """See `contexts.Intake`."""
        sighting = self.registry.record_received(
            source, record, ttl_s=ttl_s, renew=renew, heard=heard, now=self.clock()
        )
        self.switchboard.apply()
        return sighting

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        """See `contexts.Intake`."""
        sighting = self.registry.peer_discovered(
            source, key, Address(ip, port, source), ttl_s=ttl_s, configured=configured, now=self.clock()
        )
        self.switchboard.apply()
        return sighting

    def peer_lost(self, sighting: Sighting) -> None:
        """See `contexts.Intake`."""
        self.registry.peer_lost(sighting, now=self.clock())
        self.switchboard.apply()

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        """See `contexts.Intake`."""
        self.registry.source_lost(source, key, ip, port, now=self.clock())
        self.switchboard.apply()
