"""A backend over a simulated radio: everybody says where they are now and then, and all hear it.

It keeps every law of the kit, and lets the nodes of one process find each other without any network.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import ClassVar, Final

import attrs

from peernet_core.contract import Announcement, Context, DiscoverySpec, hookimpl
from peernet_core.keys import PeerKey
from peernet_core.testing.broadcast import BroadcastMedium, Member

__all__ = ["RadioDiscovery"]

_QUESTION: Final = b"who is "
# Whoever is heard is in this process. Without it nobody could be dialed who listens on loopback only.
_HERE: Final = (IPv4Address("127.0.0.1"), "lo")


@attrs.define(eq=False)
class RadioDiscovery(DiscoverySpec):
    """Finds peers on a broadcast medium.

    Attributes:
        channel: The medium's name.
        every_s: How often to say where we are, in seconds.
    """

    channel: str
    every_s: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))
    ttl_s: ClassVar[float] = 20.0
    _context: Context | None = attrs.field(init=False, default=None)
    _member: Member | None = attrs.field(init=False, default=None)
    _announcement: Announcement | None = attrs.field(init=False, default=None)

    @hookimpl
    async def start(self, context: Context) -> None:
        """Listen, and begin to say where we are."""
        self._context = context
        self._member = BroadcastMedium.named(self.channel).join(self._hear)
        await asyncio.sleep(0)
        context.spawn(self._say_again(), "beacon")

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        """Say it at once, and again from now on."""
        self._announcement = announcement
        self._say()
        await asyncio.sleep(0)

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        """Ask for this peer."""
        if self._context is not None and self._member is not None:
            self._member.say(_QUESTION + self._context.alias(key).encode())
        await asyncio.sleep(0.1)

    @hookimpl
    async def stop(self) -> None:
        """Hear and say nothing more."""
        try:
            await asyncio.sleep(0)
        finally:
            if self._member is not None:
                self._member.leave()

    def _hear(self, data: bytes) -> None:
        if self._context is None:
            return
        if data.startswith(_QUESTION):
            if data.removeprefix(_QUESTION) == self._context.alias(self._context.key).encode():
                self._say()
        else:
            self._context.record_received(data, ttl_s=self.ttl_s, heard=_HERE)

    def _say(self) -> None:
        if self._announcement is not None and self._member is not None:
            self._member.say(self._announcement.record)

    async def _say_again(self) -> None:
        while True:
            await asyncio.sleep(self.every_s)
            self._say()
