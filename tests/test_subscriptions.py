"""Readers of events: state first, nothing twice, nothing lost unsaid, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.events import BackendStarted, Event, Lagged, NodeStopped, PeerState, PeerStatus, Snapshot
from peernet_core.keys import Identity
from peernet_core.subscriptions import Subscriptions

KEY = Identity.generate().key


@attrs.define
class Counter:
    """A node whose whole state is how many events it has published."""

    subscriptions: Subscriptions = attrs.field(factory=Subscriptions)
    count: int = 0

    def publish(self, times: int = 1) -> None:
        for _ in range(times):
            self.count += 1
            self.subscriptions.publish(number(self.count))

    def snapshot(self) -> Snapshot:
        return state(self.count)


def number(count: int) -> BackendStarted:
    return BackendStarted(str(count), "counter")


def state(count: int) -> Snapshot:
    return Snapshot((PeerStatus(KEY, "", PeerState.UNSEEN, None, float(count)),))


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


async def test_the_state_comes_first_then_every_change_since() -> None:
    """Nothing that happened before entry is told again; everything after is, in order."""
    node = Counter()
    node.publish(3)
    async with node.subscriptions.subscribe(node.snapshot, 10) as events:
        node.publish(2)
        assert await take(events, 3) == [state(3), number(4), number(5)]


async def test_a_reader_waits_for_the_next_event() -> None:
    """An empty buffer blocks the reader, not the publisher."""
    node = Counter()
    async with node.subscriptions.subscribe(node.snapshot, 10) as events:
        await anext(events)
        asyncio.get_running_loop().call_later(600.0, node.publish)
        assert await anext(events) == number(1)


async def test_exactly_the_buffer_may_wait() -> None:
    """The last event that fits is not lost."""
    node = Counter()
    async with node.subscriptions.subscribe(node.snapshot, 3) as events:
        node.publish(3)
        assert await take(events, 4) == [state(0), number(1), number(2), number(3)]


async def test_a_slow_reader_is_told_how_much_it_missed_and_the_state_since() -> None:
    """What was published before the fresh Snapshot is counted; what comes after it is told."""
    node = Counter()
    async with node.subscriptions.subscribe(node.snapshot, 3) as events:
        await anext(events)
        node.publish(4)
        node.publish(2)
        assert await anext(events) == Lagged(6)
        node.publish(1)
        assert await take(events, 2) == [state(6), number(7)]


async def test_a_reader_that_lags_before_its_first_read_still_gets_a_snapshot_first() -> None:
    """An application may rely on the first event being a Snapshot."""
    node = Counter()
    async with node.subscriptions.subscribe(node.snapshot, 1) as events:
        node.publish(9)
        assert await take(events, 3) == [state(0), Lagged(9), state(9)]


async def test_a_slow_reader_does_not_affect_another() -> None:
    """Each reader has its own buffer."""
    node = Counter()
    async with (
        node.subscriptions.subscribe(node.snapshot, 1),
        node.subscriptions.subscribe(node.snapshot, 100) as quick,
    ):
        node.publish(50)
        assert await take(quick, 51) == [state(0), *map(number, range(1, 51))]


async def test_the_iteration_ends_after_node_stopped() -> None:
    """NodeStopped is the last event, whatever is published later."""
    node = Counter()
    async with node.subscriptions.subscribe(node.snapshot, 10) as events:
        node.publish()
        node.subscriptions.publish(NodeStopped())
        node.publish()
        assert [event async for event in events] == [state(0), number(1), NodeStopped()]
        assert [event async for event in events] == []


async def test_node_stopped_is_never_among_the_missed() -> None:
    """A reader that lags far behind still learns of the end."""
    node = Counter()
    async with node.subscriptions.subscribe(node.snapshot, 1) as events:
        node.publish(5)
        node.subscriptions.publish(NodeStopped())
        assert [event async for event in events] == [state(0), Lagged(5), state(5), NodeStopped()]


async def test_subscribing_to_a_stopped_node_ends_at_once() -> None:
    """The reader does not wait for events that cannot come."""
    node = Counter()
    node.subscriptions.publish(NodeStopped())
    async with node.subscriptions.subscribe(node.snapshot, 1) as events:
        assert [event async for event in events] == [state(0), NodeStopped()]


async def test_leaving_the_context_ends_a_reader_in_another_task() -> None:
    """A task that waits for an event does not wait for ever."""
    node = Counter()

    async def read(events: AsyncIterator[Event]) -> list[Event]:
        return [event async for event in events]

    async with node.subscriptions.subscribe(node.snapshot, 1) as events:
        tasks = [asyncio.create_task(read(events)) for _ in range(2)]
        await asyncio.sleep(1)
    assert await asyncio.gather(*tasks) == [[state(0)], []]


async def test_two_tasks_that_share_an_iterator_both_end_with_the_node() -> None:
    """The last event goes to one of them; the other ends as well."""
    node = Counter()

    async def read(events: AsyncIterator[Event]) -> list[Event]:
        return [event async for event in events]

    async with node.subscriptions.subscribe(node.snapshot, 9) as events:
        tasks = [asyncio.create_task(read(events)) for _ in range(2)]
        await asyncio.sleep(1)
        node.subscriptions.publish(NodeStopped())
        assert sorted(map(len, await asyncio.gather(*tasks))) == [0, 2]


async def test_what_happens_after_leaving_is_kept_nowhere() -> None:
    """A reader that has left costs nothing."""
    node = Counter()
    async with node.subscriptions.subscribe(node.snapshot, 5) as events:
        pass
    node.publish(3)
    assert [event async for event in events] == []
    assert not node.subscriptions._readers


@pytest.mark.parametrize("buffer", [0, -1])
def test_a_buffer_holds_at_least_one_event(buffer: int) -> None:
    """Nothing could ever be read through an empty one."""
    with pytest.raises(ValueError, match="at least 1"):
        Subscriptions().subscribe(Counter().snapshot, buffer)


@given(steps=st.lists(st.integers(-3, 3), max_size=40), buffer=st.integers(1, 4))
async def test_a_reader_always_knows_the_state_in_the_end(steps: list[int], buffer: int) -> None:
    """Whatever the pace of writer and reader, each event is told once, or counted and in a Snapshot."""
    node, known, accounted = Counter(), -1, 0

    async with node.subscriptions.subscribe(node.snapshot, buffer) as events:

        async def read() -> None:
            nonlocal known, accounted
            match await anext(events):
                case Snapshot(peers=(status,)):
                    known = int(status.since)
                case Lagged(missed=missed):
                    accounted += missed
                case BackendStarted(source=source):
                    accounted += 1
                    assert int(source) == known + 1
                    known = int(source)

        await read()
        for step in steps:
            if step > 0:
                node.publish(step)
            else:
                for _ in range(-step):
                    try:
                        async with asyncio.timeout(1):
                            await read()
                    except TimeoutError:
                        assert known == node.count
        async with asyncio.timeout(3600):
            while accounted < node.count or known < node.count:
                await read()
        assert (known, accounted) == (node.count, node.count)
