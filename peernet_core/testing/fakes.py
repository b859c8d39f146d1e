"""Backends that misbehave on purpose, for tests of what stands on them: they lie, fail, hang, say nothing.

Each is an ordinary backend, so that an application's test gives it to a node like any other::

    Node(config, backends=[Backend("radio", "", "radio", lambda: FailingDiscovery("announce_self"))])
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Literal

import attrs

from peernet_core.addresses import Address
from peernet_core.contract import Announcement, Context, DiscoverySpec, ThreadContext, hookimpl
from peernet_core.keys import Identity, PeerKey
from peernet_core.records import MAX_SEQUENCE, Record, encode_record

__all__ = ["FailingDiscovery", "HangingDiscovery", "LyingDiscovery", "SilentDiscovery"]


@attrs.define(eq=False)
class SilentDiscovery(DiscoverySpec):
    """Does all that it is asked to, and finds nobody."""

    @hookimpl
    async def start(self, context: Context) -> None:
        """Listen to nothing."""

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        """Tell nobody."""

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        """Ask nobody."""

    @hookimpl
    async def stop(self) -> None:
        """Say no goodbye."""


@attrs.define(eq=False)
class FailingDiscovery(DiscoverySpec):
    """Raises an OSError.

    Attributes:
        where: In which hook; or in a task, or a thread, that `start` begins.
        after_s: How long after that was entered, in seconds of the loop's time.
        message: What the exception says.
    """

    where: Literal["start", "announce_self", "resolve", "stop", "task", "thread"] = "start"
    after_s: float = 0.0
    message: str = "the medium is gone"

    @hookimpl
    async def start(self, context: Context) -> None:
        """Start the task or thread that fails; or fail."""
        if self.where == "task":
            context.spawn(self._fail(), "failing")
        elif self.where == "thread":
            context.spawn_thread(self._fail_in_thread, "failing")
        await self._enter("start")

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        """Tell nobody; or fail."""
        del announcement
        await self._enter("announce_self")

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        """Find nobody; or fail."""
        del key
        await self._enter("resolve")

    @hookimpl
    async def stop(self) -> None:
        """Stop; or fail."""
        await self._enter("stop")

    async def _enter(self, hook: str) -> None:
        if hook == self.where:
            await self._fail()

    async def _fail(self) -> None:
        await asyncio.sleep(self.after_s)
        raise OSError(self.message)

    def _fail_in_thread(self, context: ThreadContext) -> None:
        if not context.stopping.wait(self.after_s):
            raise OSError(self.message)


@attrs.define(eq=False)
class HangingDiscovery(DiscoverySpec):
    """Never returns.

    Attributes:
        where: From which hook; or from a task that `start` begins, when that is told to end.
        stubborn: It swallows every cancellation, too.
    """

    where: Literal["start", "announce_self", "resolve", "stop", "task"] = "start"
    stubborn: bool = False

    @hookimpl
    async def start(self, context: Context) -> None:
        """Start the task that hangs; or hang."""
        if self.where == "task":
            context.spawn(self._hang(), "hanging")
        await self._enter("start")

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        """Tell nobody; or hang."""
        del announcement
        await self._enter("announce_self")

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        """Find nobody; or hang."""
        del key
        await self._enter("resolve")

    @hookimpl
    async def stop(self) -> None:
        """Stop; or hang."""
        await self._enter("stop")

    async def _enter(self, hook: str) -> None:
        if hook == self.where:
            await self._hang()

    async def _hang(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise


@attrs.define(eq=False)
class LyingDiscovery(DiscoverySpec):
    """Says again and again what is not true of a peer.

    It reports the key at addresses where it is not, as a hint and in a record that somebody else signed, of
    the highest sequence number that there is.

    Attributes:
        key: About whom.
        addresses: Where that peer is said to be.
        every_s: How often, in seconds.
    """

    key: PeerKey
    addresses: list[Address] = attrs.field(
        factory=lambda: [Address(IPv4Address("192.0.2.66"), 9)], validator=attrs.validators.min_len(1)
    )
    every_s: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    @hookimpl
    async def start(self, context: Context) -> None:
        """Begin to lie."""
        context.spawn(self._lie(context), "lying")

    async def _lie(self, context: Context) -> None:
        record = _forged(self.key, tuple(self.addresses))
        while True:
            for address in self.addresses:
                context.peer_discovered(self.key, address.ip, address.port, ttl_s=3 * self.every_s)
            context.record_received(record, ttl_s=3 * self.every_s)
            await asyncio.sleep(self.every_s)


def _forged(key: PeerKey, addresses: tuple[Address, ...]) -> bytes:
    """A record about a key that is well-formed, and whose signature is not that key's."""
    forger = Identity.generate()
    record = encode_record(Record(forger.key, MAX_SEQUENCE, addresses[0].port, addresses), forger)
    return record.replace(bytes(forger.key), bytes(key))
