"""Laws of what a backend is for: peers find each other, and lose each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from peernet_core.events import PeerLost
from peernet_core.keys import Identity
from peernet_core.testing.blocking import before_access
from peernet_core.testing.conformance.subject import Subject
from peernet_core.testing.discovery_node import DiscoveryNode
from peernet_core.testing.laws import LawBrokenError, law
from peernet_core.testing.place import Place

__all__ = ["LawsOfMeeting"]

_OTHER_PORT: Final = 7200
_GARBAGE: Final = (b"", b"\x00", b"\xff" * 16, b"{}", b"peernet" * 40, bytes(range(256)) * 260)
_MOST_ACCESSES: Final = 3  # a look, and what is done with what was found


class LawsOfMeeting(Subject):
    """What is found, when, and when it is lost."""

    @law("report what others announce with context.record_received, and announce in announce_self")
    async def test_two_nodes_find_each_other(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """Two nodes find each other, whichever of them came first."""
        self._needs(announces=True)
        first, second = nodes(), nodes()
        await self._keeps(first.start(self._make(place)))
        await self._keeps(second.start(self._make(place)))
        await self._finds(first, second)
        await self._finds(second, first)

    @law("report in start what the options name, with context.peer_discovered(…, configured=True)")
    async def test_the_peers_that_it_is_told_of_are_reported(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A backend that only reports whom it knows reports them. The options name `place.peer`."""
        self._needs(announces=False)
        node = nodes()
        await self._keeps(node.start(self._make(place)))
        if not await node.until(lambda: place.address.port in node.ports_of(place.peer), self.patience_s):
            raise LawBrokenError(f"nothing was reported of {place.peer.short}… at {place.address}")

    @law("let each announce_self replace what was announced before, also where only the port is new")
    async def test_a_peer_that_announces_another_port_is_found_there(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A second announcement replaces the first."""
        self._needs(announces=True)
        first, second = await self._pair(place, nodes)
        await self._keeps(second.announce(_OTHER_PORT))
        await self._finds(first, second, _OTHER_PORT)

    @law(
        "announce the last record, which core hands over before stop, like any other; or call "
        "context.peer_lost when a goodbye is heard"
    )
    async def test_a_peer_that_stops_is_lost(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """A peer that stops is lost soon, and not only when its lease ends."""
        self._needs(announces=True, detects_loss=True)
        first, second = await self._pair(place, nodes)
        await second.stop()
        if not await first.until(lambda: not first.sees(second), self.goodbye_s):
            raise LawBrokenError(f"{self.goodbye_s:g} s after it stopped it was still said to be there")

    @law(
        "report with a finite ttl_s; on media that keep what was said also with renew=False, and declare "
        "refresh_s"
    )
    async def test_a_peer_that_dies_is_lost_when_its_lease_ends(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A peer that died without a word is lost within the length of a lease."""
        self._needs(announces=True, detects_loss=True, jumping=True)
        first, second = await self._pair(place, nodes)
        await second.die()
        for life in second.lives:
            await life.end()
            self.silence(life)
        if not await first.until(lambda: not first.sees(second), self.lease_s):
            raise LawBrokenError(f"{self.lease_s:g} s after it died it was still said to be there")

    @law("say again what was announced at least three times in the ttl_s of your reports")
    async def test_leases_are_refreshed_before_they_end(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """A peer that lives and stays is never lost."""
        self._needs(announces=True, detects_loss=True, jumping=True)
        first, second = await self._pair(place, nodes)
        await asyncio.sleep(3 * self.lease_s)
        lost = first.count(PeerLost, second.key)
        if lost or not first.sees(second):
            raise LawBrokenError(f"it was lost {max(lost, 1)} times in {3 * self.lease_s:g} s, and was there")

    @law("report others only; a record of our own that comes back may go to record_received, which drops it")
    async def test_a_node_never_finds_itself(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """What a node announces is never reported to it as a peer."""
        node = nodes()
        await self._keeps(node.start(self._make(place)))
        await asyncio.sleep(self._a_while_s)
        if node.own:
            raise LawBrokenError(f"peer_discovered was called {node.own} times with the node's own key")

    @law("hand over whatever comes as it is: record_received takes any bytes and never raises for them")
    async def test_garbage_on_the_medium_harms_nobody(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """Anything at all may be on the medium; nothing raises, and peers are still found."""
        self._needs(carries_bytes=True)
        unhandled: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, about: unhandled.append(repr(about.get("exception", about))))
        first, second = nodes(), nodes()
        await self._keeps(first.start(self._make(place)))
        record = second.announcement().record
        for data in (*_GARBAGE, record[:-1], record[:40], record + b"\0", bytes(reversed(record))):
            self.pollute(place, data)
            await asyncio.sleep(self._a_while_s / 10)
        if unhandled or first.crashes:
            raise LawBrokenError("; ".join([*unhandled, *first.crashes][:3]))
        if self.announces:
            await self._keeps(second.start(self._make(place)))
            await self._finds(first, second, why="which came after some garbage")

    @law("let the task or thread raise when its medium is gone: core starts a new instance")
    async def test_a_medium_that_vanishes_may_come_back(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """The medium may go away while it is read; when it is back peers are found."""
        self._needs(announces=True, medium_vanishes=True)
        first, second = nodes(), nodes()
        async with first.supervised(lambda: self._make(place)):
            await asyncio.sleep(self._a_while_s / 10)
            self.vanish(place)
            await asyncio.sleep(self._a_while_s)
            self.come_back(place)
            await asyncio.sleep(self._a_while_s)
            await self._keeps(second.start(self._make(place)))
            await self._finds(first, second, why="which came after the medium had come back", within_s=120)

    @law("a read may fail at any point: let that raise as well, in the task or thread that reads")
    async def test_a_medium_may_vanish_in_the_middle_of_a_read(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """The medium may go away just before any access to it; when it is back peers are found."""
        self._needs(announces=True, medium_vanishes=True)
        for access in range(1, _MOST_ACCESSES + 1):
            first, second = nodes(), nodes()
            async with first.supervised(lambda: self._make(place)):
                await asyncio.sleep(self._a_while_s / 10)
                with before_access(access, lambda: self.vanish(place)) as moment:
                    await asyncio.sleep(self._a_while_s)
                if moment.where is None:
                    return
                self.come_back(place)
                await asyncio.sleep(self._a_while_s)
                await self._keeps(second.start(self._make(place)))
                why = f"which came when the medium was back; it had gone just before {moment.where}"
                await self._finds(first, second, why=why, within_s=120)
            await second.close()

    @law("report what the lookup finds through the context, before resolve returns or soon after")
    async def test_a_lookup_finds_the_peer(self, place: Place, nodes: Callable[[], DiscoveryNode]) -> None:
        """`resolve` finds a peer that is there, at once."""
        self._needs(announces=True, resolves=True)
        first, second = nodes(), nodes()
        await self._keeps(second.start(self._make(place)))
        await asyncio.sleep(1.0)
        await self._keeps(first.start(self._make(place)))
        await self._keeps(first.lives[0].call("resolve", second.key))
        await self._finds(first, second, why="which was looked up", within_s=2.0)

    @law("return when nothing is found: that is an answer, and no error")
    async def test_a_lookup_of_nobody_comes_to_an_end(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> None:
        """`resolve` of somebody who is not there returns."""
        self._needs(resolves=True)
        node = nodes()
        await self._keeps(node.start(self._make(place)))
        await self._keeps(node.lives[0].call("resolve", Identity.generate().key))

    async def _pair(
        self, place: Place, nodes: Callable[[], DiscoveryNode]
    ) -> tuple[DiscoveryNode, DiscoveryNode]:
        """Two nodes that have found each other."""
        first, second = nodes(), nodes()
        for node in (first, second):
            await self._keeps(node.start(self._make(place)))
        await self._finds(first, second)
        return first, second
