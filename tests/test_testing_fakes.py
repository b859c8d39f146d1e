"""Backends that lie, fail, hang and say nothing: each does just that, and is a backend otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Literal

import anyio
import attrs
import pytest

from peernet_core import (
    Address,
    Backend,
    BackendFailed,
    Config,
    DiscoverySpec,
    Event,
    Identity,
    Node,
    PeerConnected,
    PeerDiscovered,
    PeerKey,
    TrustedPeer,
)
from peernet_core.configuration.config import RESERVED_KEYS
from peernet_core.configuration.entrypoints import check_class
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.configuration.options import structure_options
from peernet_core.testing import (
    FailingDiscovery,
    HangingDiscovery,
    LyingDiscovery,
    RadioDiscovery,
    SilentDiscovery,
)
from peernet_core.testing.broadcast import BroadcastMedium

GUARD_S: Final = 600.0
CONFIG = Config(listen=(ListenAddress(IPv4Address("127.0.0.1"), 0),))
NOWHERE = Address(IPv4Address("127.0.0.1"), 9)


def make_node(me: Identity, friend: PeerKey, *plugins: DiscoverySpec) -> Node:
    backends = [
        Backend(f"fake{number}", "", "fake", lambda plugin=plugin: plugin, required=False, restart=False)  # type: ignore[misc]  # mypy does not know lambdas with defaults
        for number, plugin in enumerate(plugins)
    ]
    return Node(CONFIG, identity=me, trust=[TrustedPeer(friend, "")], backends=backends)


async def until(events: AsyncIterator[Event], kind: type[Event]) -> Event:
    with anyio.fail_after(GUARD_S):
        return await anext(event async for event in events if isinstance(event, kind))


@pytest.mark.parametrize(
    "cls", [FailingDiscovery, HangingDiscovery, LyingDiscovery, RadioDiscovery, SilentDiscovery]
)
def test_a_fake_keeps_the_contract(cls: type) -> None:
    """A configuration could name it: its options can be read from a file."""
    assert check_class(cls) == ()


def test_options_of_a_fake_are_checked_like_any(tmp_path: Path) -> None:
    """From a table, as a distribution of fakes would have it."""
    made = structure_options(
        FailingDiscovery, {"where": "stop", "after_s": 3}, where="", base=tmp_path, reserved=RESERVED_KEYS
    )
    assert isinstance(made, FailingDiscovery)
    assert attrs.astuple(made) == ("stop", 3.0, "the medium is gone")


@pytest.mark.parametrize("where", ["start", "announce_self", "resolve", "stop", "task", "thread"])
async def test_one_that_fails_does_so_where_it_is_told_to(
    where: Literal["start", "announce_self", "resolve", "stop", "task", "thread"],
) -> None:
    """After the time that it is told to let pass, and nowhere else."""
    after_s = 0.0 if where == "thread" else 2.0  # a node's threads wait in real time
    node = make_node(Identity.generate(), Identity.generate().key, FailingDiscovery(where, after_s=after_s))
    async with node.events() as events:
        began = anyio.current_time()
        async with node:
            failed = None if where == "stop" else await until(events, BackendFailed)
        failed = failed or await until(events, BackendFailed)
    assert isinstance(failed, BackendFailed)
    subject = f'{where} "failing"' if where in {"task", "thread"} else where
    assert failed.error == f"[discovery.fake0]: {subject} raised OSError: the medium is gone"
    assert anyio.current_time() - began >= after_s


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("where", ["start", "announce_self", "resolve", "stop"])
async def test_one_that_hangs_is_given_up(
    where: Literal["start", "announce_self", "resolve", "stop"], *, stubborn: bool
) -> None:
    """When its time is over; a stubborn one has to be ended by force."""
    fake = HangingDiscovery(where, stubborn=stubborn)
    node = make_node(Identity.generate(), Identity.generate().key, fake)
    async with node.events() as events:
        async with node:
            await asyncio.sleep(20)
        failed = await until(events, BackendFailed)
    assert isinstance(failed, BackendFailed)
    assert f"{where} did not return within" in failed.error
    assert ("ended by force" in failed.error) is stubborn


async def test_one_that_hangs_in_a_task_holds_up_nobody() -> None:
    """The task is ended with the node; that is no failure."""
    me, friend = Identity.generate(), Identity.generate()
    node = make_node(me, friend.key, HangingDiscovery("task"), HangingDiscovery("task", stubborn=True))
    began = anyio.current_time()
    async with node:
        pass
    assert anyio.current_time() - began < 5


async def test_the_silent_one_finds_nobody() -> None:
    """And does nothing wrong; meanwhile another one finds the peer."""
    medium, me, friend = BroadcastMedium(), Identity.generate(), Identity.generate()
    node = make_node(me, friend.key, SilentDiscovery(), RadioDiscovery(medium.name))
    async with make_node(friend, me.key, RadioDiscovery(medium.name)), node.events() as events, node:
        await until(events, PeerConnected)
        (peer,) = node.peers()
        assert {address.source for address in peer.addresses} & {"fake0", "fake1"} == {"fake1"}
        assert all(backend.error == "" for backend in node.backends())


async def test_the_liar_keeps_nobody_from_the_truth() -> None:
    """Its hint is dialed in vain, its record is counted and dropped, and the truth links."""
    medium, me, friend = BroadcastMedium(), Identity.generate(), Identity.generate()
    node = make_node(me, friend.key, LyingDiscovery(friend.key, [NOWHERE]), RadioDiscovery(medium.name))
    async with node.events() as events, node:
        lie = await until(events, PeerDiscovered)
        assert isinstance(lie, PeerDiscovered)
        assert (lie.address.ip, lie.address.port, lie.address.source) == (NOWHERE.ip, NOWHERE.port, "fake0")
        assert node.statistics()["signatures_bad"] > 0
        async with make_node(friend, me.key, RadioDiscovery(medium.name)):
            await until(events, PeerConnected)
