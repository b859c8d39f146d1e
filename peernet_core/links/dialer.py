"""The dialer: races a peer's candidates to the first one that is authenticated."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

from peernet_core.addresses import Address
from peernet_core.decisions.backoff import KeyedBuckets
from peernet_core.decisions.candidates import RaceSchedule
from peernet_core.decisions.frames import Hello
from peernet_core.decisions.ledger import Candidate, Kind
from peernet_core.errors import MalformedFrameError
from peernet_core.events import UnreachableReason
from peernet_core.keys import PeerKey
from peernet_core.links.framed import ConnectionEndedError, FramedConnection
from peernet_core.links.transport import Connection, DialError, reason_of

__all__ = ["Dialer"]

_LOG: Final = logging.getLogger(__name__)
_HELLO_S: Final = 5.0
MAX_UNSIGNED_AT_ONCE: Final = 16
"""Of one race: whoever makes addresses up must not keep those out that somebody vouches for."""
MAX_UNSIGNED: Final = 32
"""Of one race; what comes after them has its turn in the next."""
PLACES: Final = 64
"""Dials that may be under way in all."""
UNSIGNED_PLACES: Final = 48
"""The same, to addresses that nobody vouches for."""
UNSIGNED_PER_S: Final = 100.0
UNSIGNED_BURST: Final = 500.0
"""Of one source, to addresses that nobody vouches for: whoever makes them up, of however many peers, must not
make a port scanner of us."""
_MAX_SOURCES: Final = 256

Connect = Callable[[Address, PeerKey], Awaitable[Connection]]
MakeHello = Callable[[PeerKey], Hello]
Failed = Callable[[PeerKey, Address, UnreachableReason], None]
Won = Callable[[FramedConnection, Hello], None]
Lost = Callable[[PeerKey], None]


class Dialer:
    """Runs at most one race for each peer.

    Args:
        connect: Dials one address and authenticates it.
        hello: Our HELLO for a peer.
        on_failed: One candidate failed.
        on_won: The first one that read the peer's HELLO; the receiver owns it.
        on_lost: Every candidate failed.
        counts: Where dials are counted, and those that had to wait as their source names too many addresses.
        clock: Loop time.
    """

    def __init__(
        self,
        *,
        connect: Connect,
        hello: MakeHello,
        on_failed: Failed,
        on_won: Won,
        on_lost: Lost,
        counts: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._hello = hello
        self._on_failed = on_failed
        self._on_won = on_won
        self._on_lost = on_lost
        self._counts = counts
        self._clock = clock
        self._unsigned = KeyedBuckets[str](UNSIGNED_PER_S, UNSIGNED_BURST, _MAX_SOURCES)
        self._places = asyncio.Semaphore(PLACES)
        self._unsigned_places = asyncio.Semaphore(UNSIGNED_PLACES)
        self._races: dict[PeerKey, _Race] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def race(self, key: PeerKey, candidates: Iterable[Candidate]) -> None:
        """Start a race; one that is on for this key is cancelled."""
        self.cancel(key)
        race = _Race(self._attempt, key, candidates, clock=self._clock)
        self._races[key] = race
        task = asyncio.create_task(self._run(race), name=f"peernet-race-{key.short}")
        race.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def extend(self, key: PeerKey, candidate: Candidate) -> None:
        """Let one more candidate take part; without a race this does nothing."""
        if key in self._races:
            self._races[key].add(candidate)

    def cancel(self, key: PeerKey) -> None:
        """End a race without a result."""
        race = self._races.pop(key, None)
        if race is not None and race.task is not None:
            race.task.cancel()

    async def aclose(self) -> None:
        """Cancel every race and wait until nothing of them is left."""
        for key in list(self._races):
            self.cancel(key)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, race: _Race) -> None:
        winner = await race.run()
        if self._races.get(race.key) is race:
            del self._races[race.key]
            if winner is None:
                self._on_lost(race.key)
            else:
                self._on_won(*winner)
        elif winner is not None:
            winner[0].abort()

    async def _attempt(self, key: PeerKey, candidate: Candidate) -> tuple[FramedConnection, Hello] | None:
        """Wait for a place, and dial."""
        async with AsyncExitStack() as places:
            if _is_unsigned(candidate):
                await self._wait_for_turn(candidate.address.source)
                await places.enter_async_context(self._unsigned_places)
            await places.enter_async_context(self._places)
            return await self._dial(key, candidate.address)

    async def _wait_for_turn(self, source: str) -> None:
        """Wait until this source may have one more address dialed that nobody vouches for."""
        if self._unsigned.take(source, now=self._clock()):
            return
        self._counts["dials_limited"] += 1
        while not self._unsigned.take(source, now=self._clock()):  # noqa: ASYNC110 - tokens come with time
            await asyncio.sleep(1 / UNSIGNED_PER_S)

    async def _dial(self, key: PeerKey, address: Address) -> tuple[FramedConnection, Hello] | None:
        """Dial one address up to its HELLO; None when that failed, which is reported."""
        self._counts["dials"] += 1
        try:
            connection = await self._connect(address, key)
        except DialError as error:
            _LOG.debug("%s at %s: %s", key.short, address, error)
            self._on_failed(key, address, error.reason)
            return None
        framed = FramedConnection(connection, address)
        try:
            async with asyncio.timeout(_HELLO_S):
                return framed, await framed.hello(self._hello(key))
        except TimeoutError:
            reason = UnreachableReason.TIMEOUT
        except MalformedFrameError as error:
            _LOG.debug("%s at %s: %s", key.short, address, error)
            reason = UnreachableReason.PROTOCOL
        except ConnectionEndedError as error:
            _LOG.debug("%s at %s: %s before HELLO", key.short, address, error)
            reason = reason_of(error.__cause__ or error)
        except BaseException:
            framed.abort()
            raise
        framed.abort()
        self._on_failed(key, address, reason)
        return None


class _Race:
    """One race: a staggered start, the next at once after a failure, all others cancelled by the first."""

    def __init__(
        self,
        attempt: Callable[[PeerKey, Candidate], Awaitable[tuple[FramedConnection, Hello] | None]],
        key: PeerKey,
        candidates: Iterable[Candidate],
        *,
        clock: Callable[[], float],
    ) -> None:
        self.key = key
        self.task: asyncio.Task[None] | None = None
        self._attempt = attempt
        self._clock = clock
        self._waiting = list(candidates)
        self._unsigned_left = MAX_UNSIGNED - sum(map(_is_unsigned, self._waiting))
        self._schedule = RaceSchedule()
        self._running: dict[asyncio.Task[tuple[FramedConnection, Hello] | None], bool] = {}
        self._extended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, candidate: Candidate) -> None:
        if _is_unsigned(candidate):
            if self._unsigned_left <= 0:
                return
            self._unsigned_left -= 1
            self._waiting.append(candidate)
        else:
            hints = (place for place, each in enumerate(self._waiting) if _is_unsigned(each))
            self._waiting.insert(next(hints, len(self._waiting)), candidate)
            if all(self._running.values()):
                self._schedule.failed()  # the first that somebody vouches for waits for nobody
        if not self._extended.done():
            self._extended.set_result(None)

    def _next(self) -> int | None:
        """The place of the next candidate that may start; None while there is none."""
        crowded = sum(self._running.values()) >= MAX_UNSIGNED_AT_ONCE
        places = (place for place, each in enumerate(self._waiting) if not (crowded and _is_unsigned(each)))
        return next(places, None)

    async def run(self) -> tuple[FramedConnection, Hello] | None:
        winners: list[tuple[FramedConnection, Hello]] = []
        try:
            while self._waiting or self._running:
                self._start_due()
                for task in await self._next_done():
                    del self._running[task]
                    result = task.result()
                    if result is None:
                        self._schedule.failed()
                    else:
                        winners.append(result)
                if winners:
                    return winners.pop(0)
            return None
        finally:
            await self._end(winners)

    def _start_due(self) -> None:
        while (place := self._next()) is not None and self._is_time():
            candidate = self._waiting.pop(place)
            self._schedule.started(now=self._clock())
            attempt = asyncio.ensure_future(self._attempt(self.key, candidate))
            self._running[attempt] = _is_unsigned(candidate)

    def _is_time(self) -> bool:
        return self._schedule.next_start(now=self._clock()) <= self._clock()

    async def _next_done(self) -> set[asyncio.Task[tuple[FramedConnection, Hello] | None]]:
        timeout_s = None
        if self._next() is not None:
            timeout_s = max(0.0, self._schedule.next_start(now=self._clock()) - self._clock())
        awaited: set[asyncio.Future[Any]] = {*self._running, self._extended}
        done, _ = await asyncio.wait(awaited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._extended.done():
            self._extended = asyncio.get_running_loop().create_future()
        return {task for task in self._running if task in done}

    async def _end(self, winners: list[tuple[FramedConnection, Hello]]) -> None:
        """Cancel who still runs; a connection that won too late closes before OPEN, without any effect."""
        for task in self._running:
            task.cancel()
        for ended in await asyncio.gather(*self._running, return_exceptions=True):
            if isinstance(ended, tuple):
                ended[0].abort()
        for framed, _ in winners:
            framed.abort()


def _is_unsigned(candidate: Candidate) -> bool:
    return candidate.kind is Kind.HINT
