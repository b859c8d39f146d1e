"""What both type checkers must refuse: a mark says of each line what is wrong with it. Never run."""

from __future__ import annotations

import attrs

from peernet_core import Announcement, Context, DiscoverySpec, PeerKey, ThreadContext, hookimpl
from peernet_core.testing import DiscoveryConformance, FailingDiscovery


@attrs.define(eq=False)
class SyncHooks(DiscoverySpec):
    @hookimpl
    def start(self, context: Context) -> None: ...  # E: override

    @hookimpl
    def announce_self(self, announcement: Announcement) -> None: ...  # E: override

    @hookimpl
    def resolve(self, key: PeerKey) -> None: ...  # E: override

    @hookimpl
    def stop(self) -> None: ...  # E: override


@attrs.define(eq=False)
class WrongParameters(DiscoverySpec):
    @hookimpl
    async def start(self) -> None: ...  # E: override

    @hookimpl
    async def announce_self(self, record: bytes) -> None: ...  # E: override

    @hookimpl
    async def resolve(self, key: PeerKey, deep: bool) -> None: ...  # E: override

    @hookimpl
    async def stop(self, timeout_s: float) -> None: ...  # E: override


@attrs.define(eq=False)
class WrongTypes(DiscoverySpec):
    @hookimpl
    async def start(self, context: ThreadContext) -> None: ...  # E: override

    @hookimpl
    async def announce_self(self, announcement: bytes) -> None: ...  # E: override

    @hookimpl
    async def resolve(self, key: str) -> None: ...  # E: override

    @hookimpl
    async def stop(self) -> bool:  # E: override
        return True


@attrs.define(eq=False)
class WrongDecorators(DiscoverySpec):
    @hookimpl(tryfirst=True)  # E: decorator
    async def start(self, context: Context) -> None: ...

    @hookimpl(wrapper=True)  # E: decorator
    async def stop(self) -> None: ...


@attrs.define(eq=False)
class WrongCalls(DiscoverySpec):
    @hookimpl
    async def start(self, context: Context) -> None:
        context.record_received("text", ttl_s=60)  # E: argument
        context.record_received(b"", 60)  # E: call
        context.record_received(b"")  # E: call
        context.peer_discovered(context.key, "10.0.0.1", 7100)  # E: argument
        context.peer_lost(context.key)  # E: argument
        context.spawn(self._look)  # E: argument
        context.spawn_thread(self._watch)  # E: argument
        context.alias("mfrgg")  # E: argument

    async def _look(self) -> None: ...

    def _watch(self, context: Context) -> None: ...


class TestWrong(DiscoveryConformance):
    backend = "folder"  # E: assignment
    resolves = "yes"  # E: assignment

    def options(self, place: str) -> dict[str, object]:  # E: override
        return {"path": place}


fake = FailingDiscovery("begin")  # E: argument
