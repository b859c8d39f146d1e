"""Events for any number of readers: the state first, then every change; a slow reader holds nobody up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from peernet_core.events import Event, Lagged, NodeStopped, Snapshot

__all__ = ["Subscriptions"]


class Subscriptions:
    """Everyone who reads a node's events. Not thread safe: on the loop's thread only."""

    def __init__(self) -> None:
        self._readers: set[_Subscription] = set()
        self._stopped: NodeStopped | None = None

    def publish(self, event: Event) -> None:
        """Give an event to every reader; never blocks. After `NodeStopped` nothing more is given."""
        if self._stopped is not None:
            return
        if isinstance(event, NodeStopped):
            self._stopped = event
        for reader in self._readers:
            reader.push(event)

    def subscribe(
        self, snapshot: Callable[[], Snapshot], buffer: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Read events while the context is open.

        The reader gets a Snapshot as of entry, then every event published since. One that leaves more than
        `buffer` unread gets a Lagged and a fresh Snapshot instead of them. The iteration ends after
        NodeStopped, which is never among the missed, and when the context is left.

        Args:
            snapshot: Tells the state now; called on entry and after a lag.
            buffer: How many events may wait, at least 1.

        Raises:
            ValueError: a buffer that holds nothing.
        """
        if buffer < 1:
            raise ValueError(f"buffer: at least 1 event must fit, not {buffer}")
        return _Subscription(self, snapshot, buffer)

    def add(self, reader: _Subscription) -> NodeStopped | None:
        """Let a reader hear everything from now on; NodeStopped if there will be nothing more."""
        self._readers.add(reader)
        return self._stopped

    def discard(self, reader: _Subscription) -> None:
        """Forget a reader."""
        self._readers.discard(reader)


class _Subscription(AbstractAsyncContextManager[AsyncIterator[Event]], AsyncIterator[Event]):
    def __init__(self, subscriptions: Subscriptions, snapshot: Callable[[], Snapshot], buffer: int) -> None:
        self._subscriptions = subscriptions
        self._snapshot = snapshot
        self._buffer = buffer
        # Read in this order: the state, then how many changes to it were missed, then the changes since.
        self._state: Snapshot | None = None
        self._missed = 0
        self._changes: deque[Event] = deque()
        self._last: NodeStopped | None = None
        self._ended = False
        self._news = asyncio.Event()

    def push(self, event: Event) -> None:
        if isinstance(event, NodeStopped):
            self._last = event
        elif self._missed or len(self._changes) == self._buffer:
            # What comes between here and the fresh Snapshot is in that already, so it is missed as well.
            self._missed += len(self._changes) + 1
            self._changes.clear()
        else:
            self._changes.append(event)
        self._news.set()

    async def __aenter__(self) -> AsyncIterator[Event]:
        self._state = self._snapshot()
        self._last = self._subscriptions.add(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._subscriptions.discard(self)
        self._ended = True
        self._news.set()

    async def __anext__(self) -> Event:
        while not self._ended:
            event = self._pop()
            if event is not None:
                return event
            self._news.clear()
            await self._news.wait()
        raise StopAsyncIteration

    def _pop(self) -> Event | None:
        if self._state is not None:
            state, self._state = self._state, None
            return state
        if self._missed:
            lagged, self._missed = Lagged(self._missed), 0
            self._state = self._snapshot()
            return lagged
        if self._changes:
            return self._changes.popleft()
        self._ended = self._last is not None
        return self._last
