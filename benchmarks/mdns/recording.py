"""What a backend reports, with the time of each report: core's part in a measurement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import attrs

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot
from peernet_core.contract import Context, NetworkMonitor, Sighting, ThreadContext
from peernet_core.errors import MalformedRecordError
from peernet_core.keys import PeerKey
from peernet_core.network import read_network
from peernet_core.records import decode_record

__all__ = ["RecordingContext", "Reported", "StillNetwork"]

_MOST: Final = 12_288
_LOG: Final = logging.getLogger("benchmarks.mdns")


@attrs.frozen
class Reported:
    """One change that core would tell an application.

    Attributes:
        what: seen or lost.
        at: Loop time.
        port: Where the peer listens now; 0 when it is lost.
    """

    what: str
    at: float
    key: PeerKey
    port: int = 0


class StillNetwork:
    """A network that never changes: what the system says when this is made."""

    def __init__(self) -> None:
        self._snapshot = read_network()

    @property
    def snapshot(self) -> NetworkSnapshot:
        """The one state."""
        return self._snapshot

    async def changed(self) -> NetworkSnapshot:
        """Wait for what never comes."""
        await asyncio.get_running_loop().create_future()
        return self._snapshot


@attrs.define(eq=False)
class _Peer:
    sighting: Sighting
    record: bytes
    sequence: int
    ends_at: float


class RecordingContext(Context):
    """Takes records as core does, trust and signatures aside: no verification, no dialing.

    A record without a newer sequence changes nothing but the lease; one that says that its peer has stopped
    ends it, and so does the end of its lease.

    Args:
        key: Ours.
        network: What the backend sees of the host.
        report: Called with each change.

    Attributes:
        refused: What was reported and is no record.
        crashed: The exceptions that ended spawned tasks.
    """

    def __init__(self, key: PeerKey, network: NetworkMonitor, report: Callable[[Reported], None]) -> None:
        self.key = key
        self.source = "lan"
        self.log = logging.LoggerAdapter(_LOG, {"source": self.source})
        self.network = network
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self.refused = 0
        self.crashed: list[BaseException] = []
        self._report = report
        self._peers: dict[PeerKey, _Peer] = {}
        self._by_record: dict[bytes, _Peer] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0

    @property
    def known(self) -> int:
        """How many peers are there."""
        return len(self._peers)

    def record_received(
        self,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool = True,
        heard: tuple[IPAddress, str] | None = None,
    ) -> Sighting | None:
        """See `Context.record_received`."""
        now = self.clock()
        # Keyed by the bytes as well, so that a lease is renewed without decoding.
        same = self._by_record.get(record)
        if same is not None:
            if renew:
                same.ends_at = now + ttl_s
            return same.sighting
        try:
            said = decode_record(record).record
        except MalformedRecordError:
            self.refused += 1
            return None
        if said.key == self.key:
            return None
        known = self._peers.get(said.key)
        if known is not None and said.sequence <= known.sequence:
            return known.sighting
        self._number += 1
        addresses = (Address(heard[0], said.port),) if heard is not None else said.addresses
        sighting = Sighting(self._number, said.key, self.source, addresses)
        if said.stopped:
            if known is not None:
                self._lose(said.key, now)
            return sighting
        if known is not None:
            del self._by_record[known.record]
        peer = _Peer(sighting, record, said.sequence, now + ttl_s)
        self._peers[said.key] = self._by_record[record] = peer
        self._make_room()
        self._report(Reported("seen", now, said.key, said.port))
        if self._timer is None:
            self._timer = self._loop.call_at(now + ttl_s, self._expire)
        return sighting

    def _make_room(self) -> None:
        if len(self._peers) > _MOST:  # of strangers core remembers a twelfth of that
            del self._by_record[self._peers.pop(next(iter(self._peers))).record]

    def peer_discovered(
        self,
        key: PeerKey,
        ip: IPAddress,
        port: int,
        *,
        ttl_s: float | None = None,
        configured: bool = False,
    ) -> Sighting:
        """Not what a backend that carries records calls."""
        raise NotImplementedError

    def peer_lost(self, sighting: Sighting) -> None:
        """See `Context.peer_lost`."""
        peer = self._peers.get(sighting.key)
        if peer is not None and peer.sighting.id == sighting.id:
            self._lose(sighting.key, self.clock())

    def spawn(self, coroutine: Coroutine[Any, Any, object], name: str | None = None) -> None:
        """See `Context.spawn`."""
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def spawn_thread(self, function: Callable[[ThreadContext], object], name: str | None = None) -> None:
        """No backend that is measured here has threads."""
        raise NotImplementedError

    def alias(self, key: PeerKey) -> str:
        """See `Context.alias`."""
        return key.alias

    async def aclose(self) -> None:
        """End what was spawned."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lose(self, key: PeerKey, now: float) -> None:
        del self._by_record[self._peers.pop(key).record]
        self._report(Reported("lost", now, key))

    def _expire(self) -> None:
        now = self.clock()
        for key in [key for key, peer in self._peers.items() if peer.ends_at <= now]:
            self._lose(key, now)
        ends = min((peer.ends_at for peer in self._peers.values()), default=None)
        self._timer = None if ends is None else self._loop.call_at(ends, self._expire)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crashed.append(error)
            _LOG.error("%s raised", task.get_name(), exc_info=error)
