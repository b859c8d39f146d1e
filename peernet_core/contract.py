"""The contract between peernet and a discovery backend.

A backend is an attrs class, named by an entry point in the group ``peernet.discovery``; its fields are its
options. Subclass `DiscoverySpec` for static typing, decorate each hook with `hookimpl`, report through the
`Context` that `start` hands over.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar, overload

import attrs
import pluggy

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot
from peernet_core.keys import PeerKey

__all__ = [
    "ENTRY_POINT_GROUP",
    "PROJECT",
    "Announcement",
    "Clock",
    "Context",
    "DiscoverySpec",
    "NetworkMonitor",
    "Sighting",
    "ThreadContext",
    "hookimpl",
    "hookspec",
]

PROJECT: Final = "peernet"
ENTRY_POINT_GROUP: Final = "peernet.discovery"

_F = TypeVar("_F", bound=Callable[..., object])


class _SpecMarker(Protocol):
    """Typed so that a decorated hook keeps its signature."""

    def __call__(self, function: _F, /) -> _F: ...


class _ImplMarker(Protocol):
    """The same, with the one option that the contract permits."""

    @overload
    def __call__(self, function: _F, /) -> _F: ...
    @overload
    def __call__(self, *, optionalhook: bool = False) -> Callable[[_F], _F]: ...


hookspec: Final[_SpecMarker] = pluggy.HookspecMarker(PROJECT)
hookimpl: Final[_ImplMarker] = pluggy.HookimplMarker(PROJECT)


@attrs.frozen
class Announcement:
    """All that a backend may make public about us; core decides what that is.

    Put nothing else on your medium. Carry the `record`, as it is, if the medium has room for it.

    Attributes:
        port: Where we accept links, 1 to 65535.
        addresses: Our addresses, best first; never loopback or link-local. Empty when we stop, or have none.
        record: Our signed record, opaque, at most 230 bytes.
        alias: 26 characters of lower-case base32 for media that need a name.
    """

    port: int
    addresses: tuple[IPAddress, ...]
    record: bytes
    alias: str


@attrs.frozen
class Sighting:
    """A handle on one report from one source; hand it back to `Context.peer_lost`.

    Attributes:
        id: Unique within the node while it runs.
        key: Whom the report is about; not proven before the handshake.
        source: The backend instance that reported.
        addresses: Where the report says that the peer listens.
    """

    id: int
    key: PeerKey
    source: str
    addresses: tuple[Address, ...]


class Clock(Protocol):
    """The loop's time: seconds, monotonic; jumps in tests."""

    def __call__(self) -> float:
        """The time now."""
        ...


class NetworkMonitor(Protocol):
    """Which interfaces and addresses this host has now."""

    @property
    def snapshot(self) -> NetworkSnapshot:
        """The newest state; never blocks."""
        ...

    async def changed(self) -> NetworkSnapshot:
        """Wait for the next change and return the state after it."""
        ...


class Context(ABC):
    """What a backend is given. Its calls never block and never raise for what the network sent.

    Call them on the loop's thread only; from a thread, use the `ThreadContext` of `spawn_thread`.

    Attributes:
        key: Our own public key.
        source: This instance's name in the configuration.
        log: A logger that carries the source.
        network: The network monitor.
        clock: Loop time in seconds.
    """

    key: PeerKey
    source: str
    log: logging.LoggerAdapter[logging.Logger]
    network: NetworkMonitor
    clock: Clock

    @abstractmethod
    def record_received(
        self,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool = True,
        heard: tuple[IPAddress, str] | None = None,
    ) -> Sighting | None:
        """Report an opaque record.

        What is forged, damaged, outdated, or our own, core drops and counts. Whom it is from, and whether
        that is somebody trusted, a backend need not know.

        Args:
            record: The bytes as the medium carried them; anything at all is safe to pass.
            ttl_s: The lease, in seconds from now.
            renew: Whether a record that was not signed anew extends the lease; False for media that never
                forget.
            heard: The sender's address and the name of the interface, where the medium shows them: only then
                are link-local addresses usable.

        Returns:
            The sighting, a stranger's too; None when the bytes are no record, or are our own.
        """

    @abstractmethod
    def peer_discovered(
        self,
        key: PeerKey,
        ip: IPAddress,
        port: int,
        *,
        ttl_s: float | None = None,
        configured: bool = False,
    ) -> Sighting:
        """Report a key and an address without proof.

        For media that have no room for a record. An address that anybody may have made up is dialed after
        those that a peer signed, and only on networks of our own.

        Args:
            key: The key.
            ip: IPv6 link-local ones with their zone.
            port: 1 to 65535.
            ttl_s: The lease in seconds; None: until `peer_lost`.
            configured: Only for the operator's own word: then any address may be dialed.

        Raises:
            MalformedAddressError: the address can be nobody's (unspecified, multicast, port 0).
        """

    @abstractmethod
    def peer_lost(self, sighting: Sighting) -> None:
        """End that one sighting; what others said, or another announcement of the key, stands.

        For an explicit goodbye; otherwise let the lease end.

        Args:
            sighting: One that a report of this instance returned.
        """

    @abstractmethod
    def spawn(self, coroutine: Coroutine[Any, Any, object], name: str | None = None) -> None:
        """Run a task that core owns, watches, and cancels after `stop`.

        If it raises, that is reported with the backend's name, and a new instance takes this one's place.

        Args:
            coroutine: What goes on.
            name: For messages; the coroutine's own unless given.
        """

    @abstractmethod
    def spawn_thread(self, function: Callable[[ThreadContext], object], name: str | None = None) -> None:
        """Run a blocking function in a thread; it must return soon after `stopping` is set.

        If it raises, that is reported with the backend's name, and a new instance takes this one's place.

        Args:
            function: Gets a `ThreadContext`.
            name: For messages; the function's own unless given.
        """

    @abstractmethod
    def alias(self, key: PeerKey) -> str:
        """The alias under which a peer announces itself, for media that can be asked by name.

        Args:
            key: Whose.
        """


class ThreadContext(ABC):
    """A `Context` for use in the thread that `Context.spawn_thread` started.

    The reports are those of `Context`, but return nothing: they go through a bounded queue, and when it is
    full the oldest report is dropped and counted.

    Attributes:
        key: Our own public key.
        source: This instance's name in the configuration.
        log: A logger that carries the source.
        stopping: Set when the node wants the thread to end; wait on it instead of sleeping.
    """

    key: PeerKey
    source: str
    log: logging.LoggerAdapter[logging.Logger]
    stopping: threading.Event

    @abstractmethod
    def record_received(
        self,
        record: bytes,
        *,
        ttl_s: float,
        renew: bool = True,
        heard: tuple[IPAddress, str] | None = None,
    ) -> None:
        """See `Context.record_received`."""

    @abstractmethod
    def peer_discovered(
        self,
        key: PeerKey,
        ip: IPAddress,
        port: int,
        *,
        ttl_s: float | None = None,
        configured: bool = False,
    ) -> None:
        """See `Context.peer_discovered`."""

    @abstractmethod
    def peer_lost(self, key: PeerKey, ip: IPAddress | None = None, port: int | None = None) -> None:
        """End what this source said of a key.

        Args:
            key: Whose.
            ip: What it said of this address only.
            port: What it said of this port only.
        """


class DiscoverySpec:
    """The hooks of a backend. Only `start` must be there; signatures are frozen.

    A hook is a coroutine function, decorated with `hookimpl`. Those of one instance never overlap, but for
    `resolve`. One that exceeds its time is cancelled, gets one second to end, and is left alone.
    """

    @hookspec
    async def start(self, context: Context) -> None:
        """Listen, and return; never wait for peers or for a network.

        Called once, before all other hooks. What goes on belongs into `Context.spawn` or
        `Context.spawn_thread`. If it raises, or takes more than 10 s (`start_timeout_s` in the table), the
        backend has failed.

        Args:
            context: Keep it: it is how the instance reports.
        """
        raise NotImplementedError

    @hookspec
    async def announce_self(self, announcement: Announcement) -> None:
        """Make us known; replaces what was announced before.

        Called after `start`, and again whenever something changed; of announcements that wait only the newest
        comes. If it raises, or takes more than 5 s, the backend has failed. The last one says that we have
        stopped; half a second later `stop` is called, done or not. A backend that only listens leaves it out.

        Args:
            announcement: What to say.
        """
        raise NotImplementedError

    @hookspec
    async def resolve(self, key: PeerKey) -> None:
        """Look this peer up now, and report through the context, before it returns or later.

        Called for trusted peers without a link, ever more rarely while nothing comes of it; may overlap other
        hooks, itself included. Finding nothing is no failure. One that raises, or takes more than 10 s, is
        reported and changes nothing else. A backend that only listens leaves it out.

        Args:
            key: Whom; `Context.alias` says what it calls itself on the medium.
        """
        raise NotImplementedError

    @hookspec
    async def stop(self) -> None:
        """Say goodbye, and let go of everything that core does not end by itself.

        Called exactly once if `start` was entered, also if that failed or was cancelled. Tasks and threads of
        the context still run, and are ended after it. If it takes more than 5 s (`stop_timeout_s` in the
        table), it is cancelled. A backend that holds nothing leaves it out.
        """
        raise NotImplementedError
