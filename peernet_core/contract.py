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

    Attributes:
        port: Where we accept links, 1 to 65535.
        addresses: Our addresses, best first; never loopback or link-local.
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

    def __call__(self) -> float: ...


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

        Args:
            record: The bytes as the medium carried them; anything at all is safe to pass.
            ttl_s: The lease, in seconds from now.
            renew: Whether identical bytes extend the lease; False for media that never forget.
            heard: The sender's address and the name of the interface, where the medium shows them.

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

        Args:
            key: The key.
            ip: IPv6 link-local ones with their zone.
            port: 1 to 65535.
            ttl_s: The lease in seconds; None: until `peer_lost`.
            configured: The operator's own word: any address may be dialed.

        Raises:
            MalformedAddressError: the address can be nobody's (unspecified, multicast, port 0).
        """

    @abstractmethod
    def peer_lost(self, sighting: Sighting) -> None:
        """End that one sighting; what others said, or another announcement of the key, stands."""

    @abstractmethod
    def spawn(self, coroutine: Coroutine[Any, Any, object], name: str | None = None) -> None:
        """Run a task that core owns, watches, and cancels after `stop`."""

    @abstractmethod
    def spawn_thread(self, function: Callable[[ThreadContext], object], name: str | None = None) -> None:
        """Run a blocking function in a thread; it must return soon after `stopping` is set."""

    @abstractmethod
    def alias(self, key: PeerKey) -> str:
        """The alias under which `key` announces itself."""


class ThreadContext(ABC):
    """A `Context` for use in the thread that `Context.spawn_thread` started.

    The reports are those of `Context`, but return nothing: they go through a bounded queue, and when it is
    full the oldest report is dropped and counted.

    Attributes:
        stopping: Set when the node wants the thread to end.
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
        """End what this source said of `key` (at that address, if one is given)."""


class DiscoverySpec:
    """The hooks of a backend. Only `start` must be there; signatures are frozen."""

    @hookspec
    async def start(self, context: Context) -> None:
        """Listen, and return; never wait for peers. At most 10 s."""
        raise NotImplementedError

    @hookspec
    async def announce_self(self, announcement: Announcement) -> None:
        """Make us known; replaces what was announced before. At most 5 s."""
        raise NotImplementedError

    @hookspec
    async def resolve(self, key: PeerKey) -> None:
        """Look this peer up now and report through the context. At most 10 s; may overlap other hooks."""
        raise NotImplementedError

    @hookspec
    async def stop(self) -> None:
        """Say goodbye and let go of everything. Called once if `start` was entered. At most 5 s."""
        raise NotImplementedError
