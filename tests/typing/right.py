"""What an author of a backend may write: both type checkers take all of it. Never run."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from peernet_core import (
    Announcement,
    Backend,
    Context,
    DiscoverySpec,
    PeerKey,
    Secret,
    Sighting,
    ThreadContext,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.testing import DiscoveryConformance, FailingDiscovery, Place


@attrs.define(eq=False)
class Right(DiscoverySpec):
    path: Path
    token: Secret | None = None
    poll_s: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    refresh_s: ClassVar[float] = 20.0
    _context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self._context = context
        context.spawn(self._look(), "look")
        context.spawn_thread(self._watch)
        context.log.info("%s is %s", context.source, context.alias(context.key))

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        (self.path / announcement.alias).write_bytes(announcement.record)

    @hookimpl(optionalhook=True)
    async def resolve(self, key: PeerKey) -> None:
        sighting: Sighting | None = self._context.record_received(bytes(key), ttl_s=60, renew=False)
        if sighting is not None:
            self._context.peer_lost(sighting)

    @hookimpl
    async def stop(self) -> None: ...

    async def _look(self) -> None:
        snapshot = await self._context.network.changed()
        self._context.record_received(
            b"", ttl_s=60, heard=(parse_ip("10.0.0.1"), snapshot.interfaces[0].name)
        )

    def _watch(self, context: ThreadContext) -> None:
        while not context.stopping.wait(self.poll_s):
            context.peer_discovered(context.key, parse_ip("10.0.0.1"), 7100, ttl_s=60)


@attrs.define(eq=False)
class OnlyStart:
    """The base is not needed."""

    @hookimpl
    async def start(self, context: Context) -> None: ...


class TestRight(DiscoveryConformance):
    backend = Right
    resolves = True
    wrong_options: ClassVar[dict[str, list[object]]] = {"path": [7]}

    def options(self, place: Place) -> dict[str, object]:
        return {"path": str(place.folder)}


made = Right(Path("x"), poll_s=2)
backend = Backend("lan", "", "right", lambda: made)
fake = FailingDiscovery("announce_self", after_s=1.0)
