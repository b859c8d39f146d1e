"""A node among backends that misbehave: it runs on through the good one, or fails whole with every reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal, TypeAlias

import anyio
import attrs
import pytest

from peernet_core import (
    Announcement,
    Backend,
    BackendFailed,
    Config,
    Context,
    DiscoverySpec,
    Event,
    Identity,
    Node,
    NodeStopped,
    PeerConnected,
    PeerKey,
    TrustedPeer,
    hookimpl,
)
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.testing import FailingDiscovery, HangingDiscovery

GUARD_S: Final = 120.0
LOOPBACK = parse_ip("127.0.0.1")
CONFIG = Config(listen=(ListenAddress(LOOPBACK, 0),))
Hook: TypeAlias = Literal["start", "announce_self", "stop"]
HOOKS: Final[tuple[Hook, ...]] = ("start", "announce_self", "stop")
MISDEEDS: Final = ("raises", "hangs", "swallows", "garbage", "exits", "cancels")


@attrs.define(eq=False)
class Odd(DiscoverySpec):
    """Returns, or raises, in one hook what nobody expects."""

    hook: str
    misdeed: str

    @hookimpl
    async def start(self, context: Context) -> None:
        _ = context
        return self._misbehave("start")  # type: ignore[return-value]  # that is the misdeed

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        _ = announcement
        return self._misbehave("announce_self")  # type: ignore[return-value]  # that is the misdeed

    @hookimpl
    async def stop(self) -> None:
        return self._misbehave("stop")  # type: ignore[return-value]  # that is the misdeed

    def _misbehave(self, hook: str) -> object:
        match self.misdeed if self.hook == hook else "":
            case "garbage":
                return [object(), "garbage"]
            case "exits":
                raise SystemExit(3)
            case "cancels":
                raise asyncio.CancelledError
        return None


def bad(hook: Hook, misdeed: str) -> DiscoverySpec:
    match misdeed:
        case "raises":
            return FailingDiscovery(hook)
        case "hangs" | "swallows":
            return HangingDiscovery(hook, stubborn=misdeed == "swallows")
    return Odd(hook, misdeed)


@attrs.define(eq=False)
class Good(DiscoverySpec):
    """Reports one peer as it starts."""

    key: PeerKey
    port: int

    @hookimpl
    async def start(self, context: Context) -> None:
        context.peer_discovered(self.key, LOOPBACK, self.port, configured=True)


async def until(events: AsyncIterator[Event], kind: type[Event]) -> list[Event]:
    seen: list[Event] = []
    with anyio.fail_after(GUARD_S):
        async for event in events:
            seen.append(event)
            if isinstance(event, kind):
                return seen
    raise AssertionError(f"no {kind.__name__} came: {seen}")


@pytest.mark.parametrize("misdeed", MISDEEDS)
@pytest.mark.parametrize("hook", HOOKS)
async def test_a_bad_backend_delays_no_link(hook: Hook, misdeed: str) -> None:
    """With `required = false` the node links through the other one at once, and stops within seconds."""
    me, friend = Identity.generate(), Identity.generate()
    async with Node(CONFIG, identity=friend, trust=[TrustedPeer(me.key, "")]) as peer:
        backends = [
            Backend("bad", "acme 1.0", "bad", lambda: bad(hook, misdeed), required=False),
            Backend("good", "", "good", lambda: Good(friend.key, peer.port)),
        ]
        node = Node(CONFIG, identity=me, trust=[TrustedPeer(friend.key, "")], backends=backends)
        async with node.events() as events:
            started = anyio.current_time()
            async with node:
                seen = await until(events, PeerConnected)
                assert anyio.current_time() - started < 1, "the bad backend was waited for"
                stopping = anyio.current_time()
            assert anyio.current_time() - stopping < 15, "the bad backend held up the stop"
            seen += await until(events, NodeStopped)
            failed = [event for event in seen if isinstance(event, BackendFailed)]
            assert {event.source for event in failed} <= {"bad"}
            if (hook, misdeed) == ("start", "raises"):
                reason = "[discovery.bad], acme 1.0: start raised OSError: the medium is gone"
                assert failed == [BackendFailed("bad", reason)]
    await anyio.sleep(60)  # until what swallowed its cancellation has ended, for the guards that follow


@pytest.mark.parametrize("misdeed", ["raises", "hangs", "swallows", "exits", "cancels"])
async def test_a_required_backend_that_cannot_start_ends_the_start(misdeed: str) -> None:
    """Every reason is told, and nothing runs on: no listener, task, thread or socket."""
    me = Identity.generate()
    backends = [
        Backend("one", "acme 1.0", "bad", lambda: bad("start", misdeed)),
        Backend("two", "acme 1.0", "bad", lambda: bad("start", "raises")),
        Backend("good", "", "good", lambda: Good(me.key, 1)),
    ]
    with pytest.raises(ExceptionGroup) as caught:
        await Node(CONFIG, identity=me, backends=backends).__aenter__()
    assert sorted(str(error).partition(",")[0] for error in caught.value.exceptions) == [
        "[discovery.one]",
        "[discovery.two]",
    ]
    await anyio.sleep(60)
