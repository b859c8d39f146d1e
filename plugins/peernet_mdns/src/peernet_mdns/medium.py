"""The medium: the one zeroconf of an event loop, shared by every instance of the backend on that loop.

Two on one host would take the unicast answers from each other (RFC 6762 §15.1); within a process that is
avoided, and between processes it is noticed and got round with legacy queries.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol
from weakref import WeakKeyDictionary

import attrs
from zeroconf import DNSRecord

from peernet_core.addresses import NetworkSnapshot
from peernet_core.contract import Announcement
from peernet_mdns.browser import Query
from peernet_mdns.engine import LinkZeroconf, Publication, close, open_zeroconf, take_packet
from peernet_mdns.gate import MDNS_PORT, Gate, Sender
from peernet_mdns.inbox import SocketAddress
from peernet_mdns.legacy import LegacySockets
from peernet_mdns.links import Link, select_links
from peernet_mdns.messages import query_message, service_info
from peernet_mdns.names import alias_of, type_name
from peernet_mdns.zeroconf_log import escape_log

__all__ = ["Medium", "Member"]

_LOG: Final = logging.getLogger(__name__)
_ANNOUNCE_AGAIN_S: Final = (0.25, 1.0)
_GOODBYE_AGAIN_S: Final = (0.04, 0.08)
_TRY_AGAIN_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""When a link whose socket could not be made is tried again; the last for as long as it takes."""


class Member(Protocol):
    """One instance of the backend, as the medium sees it."""

    service: str
    interfaces: list[str]

    @property
    def snapshot(self) -> NetworkSnapshot:
        """The network as its node sees it."""
        ...

    def answers_received(self, records: Sequence[DNSRecord], sender: Sender, legacy: bool) -> None:
        """What somebody on one of its links answered; must not raise."""
        ...

    def question_overheard(self, known: frozenset[str]) -> None:
        """Somebody asked everybody of the service on its only link, but for those it knows."""
        ...

    def link_opened(self) -> None:
        """A link that was silent can be heard now."""
        ...


class Medium:
    """What the members on one event loop share.

    Attributes:
        gate: What is looked at.
        counts: What was dropped, by reason.
        shared: Whether another process of this host answers on port 5353 as well.
    """

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Medium]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.gate = Gate()
        self.shared = False
        self._members: dict[Member, tuple[Link, ...]] = {}
        self._zeroconf: LinkZeroconf | None = None
        self._legacy = LegacySockets(self._legacy_received)
        self._changing = asyncio.Lock()
        self._published: dict[Member, Publication] = {}
        self._repeating: dict[Member, asyncio.Task[None]] = {}
        self._retrying: asyncio.Task[None] | None = None

    @classmethod
    async def join(cls, member: Member) -> Medium:
        """Become a member of the running loop's medium; the first opens it.

        Raises:
            OSError: port 5353 is not shared, or the system gives no socket; nobody has joined then.
        """
        loop = asyncio.get_running_loop()
        while True:
            medium = cls._of_loop.get(loop)
            if medium is None:
                medium = cls._of_loop[loop] = cls()
            try:
                if await medium._join(member):
                    return medium
            except BaseException:
                await medium.leave(member)
                raise

    async def leave(self, member: Member) -> None:
        """End a membership; the last closes the sockets. Any number of times."""
        self._members.pop(member, None)  # at once, so that nothing is published any more
        self._stop_repeating(member)
        self._remove(self._published.pop(member, None))
        async with self._changing:
            if self._members:
                await self._reconcile()
                return
            if self._is_current():
                del self._of_loop[asyncio.get_running_loop()]
            if self._retrying is not None:
                self._retrying.cancel()
            self._legacy.close()
            if self._zeroconf is not None:
                zeroconf, self._zeroconf = self._zeroconf, None
                await close(zeroconf)

    async def network_changed(self, member: Member) -> None:
        """Speak on the links that there are now."""
        async with self._changing:
            if member in self._members:
                self._members[member] = select_links(member.snapshot, member.interfaces)
                await self._reconcile()

    @property
    def counts(self) -> Counter[str]:
        """What was dropped, by reason."""
        return self.gate.counts + (self._zeroconf.counts if self._zeroconf is not None else Counter())

    @property
    def is_busy(self) -> bool:
        """Whether more arrives than can be read; whatever can wait had better wait some milliseconds."""
        return self._zeroconf is not None and self._zeroconf.inbox.is_busy

    def links_of(self, member: Member) -> tuple[Link, ...]:
        """Where a member speaks."""
        return self._members.get(member, ())

    # What is said.

    def ask(self, member: Member, query: Query, *, now: float) -> None:
        """Put a question on the member's links; unicast ones also from a port of our own where that helps."""
        if self._zeroconf is None:
            return
        names = [link.name for link in self._members.get(member, ())]
        self._zeroconf.send_on(names, query_message(query, member.service))
        if query.unicast and (self.shared or self.gate.is_flooded(now=now)):
            self._legacy.send(names, query_message(query, member.service, legacy=True))

    def publish(self, member: Member, announcement: Announcement) -> None:
        """Answer with this from now on, and say it now, and twice more."""
        if self._zeroconf is None or member not in self._members:
            return
        before = self._published.get(member)
        by_link = {link.name: link.published(announcement.addresses) for link in self._members[member]}
        info = service_info(announcement, member.service, frozenset().union(*by_link.values()))
        publication = Publication(info, by_link)
        self._published[member] = publication
        if before is not None and before.info.key != info.key:
            self._send(before, ttl_s=0)
            self._remove(before)
        self._add(publication)
        self._repeat(member)

    async def withdraw(self, member: Member) -> None:
        """Say goodbye, three times within an eighth of a second, with what was published last."""
        self._stop_repeating(member)
        publication = self._published.get(member)
        if publication is None or self._zeroconf is None:
            return
        self._zeroconf.registry.async_remove(publication.info)
        self._zeroconf.publications[publication.info.key] = attrs.evolve(publication, ended=True)
        for wait_s in (*_GOODBYE_AGAIN_S, 0.0):
            self._send(publication, ttl_s=0)
            await asyncio.sleep(wait_s)

    def announce_again(self, member: Member) -> None:
        """Say it again: somebody may not have heard it, or heard something else."""
        if member in self._published:
            self._repeat(member)

    def heard_neighbour(self, alias: str) -> None:
        """Note that this alias was heard from this host: unless it is a member's, another process answers."""
        published = (publication.info.name for publication in self._published.values())
        if not any(name.startswith(f"{alias}.") for name in published):
            self.shared = True

    # Inside.

    async def _join(self, member: Member) -> bool:
        """Returns whether this is still the loop's medium: its last member may have left meanwhile."""
        async with self._changing:
            if not self._is_current():
                return False
            self._members[member] = select_links(member.snapshot, member.interfaces)
            if self._zeroconf is None:
                escape_log()
                self.shared = _is_taken(MDNS_PORT)
                self._zeroconf = await open_zeroconf(
                    self._links(), self.gate, self._received, self._overheard
                )
            await self._reconcile()
            return True

    def _is_current(self) -> bool:
        return self._of_loop.get(asyncio.get_running_loop()) is self

    def _links(self) -> tuple[Link, ...]:
        by_name = {link.name: link for links in self._members.values() for link in links}
        return tuple(by_name.values())

    async def _reconcile(self) -> None:
        if self._zeroconf is None:
            return
        links = self._links()
        self.gate.set_links(links)
        await self._zeroconf.set_links(links)
        self._legacy.set_links(links)
        self._watch_silent_links()

    def _watch_silent_links(self) -> None:
        assert self._zeroconf is not None
        if self._zeroconf.silent_links() and (self._retrying is None or self._retrying.done()):
            self._retrying = asyncio.create_task(self._retry(), name="mdns: silent links")

    async def _retry(self) -> None:
        waits_s = iter(_TRY_AGAIN_S)
        while True:
            await asyncio.sleep(next(waits_s, _TRY_AGAIN_S[-1]))
            async with self._changing:
                zeroconf = self._zeroconf
                if zeroconf is None or not (before := zeroconf.silent_links()):
                    return
                await zeroconf.set_links(self._links())
                after = zeroconf.silent_links()
            if after != before:
                for member in tuple(self._members):
                    self.announce_again(member)
                    member.link_opened()
            if not after:
                return

    def _add(self, publication: Publication) -> None:
        assert self._zeroconf is not None
        key = publication.info.key
        self._zeroconf.publications[key] = publication
        if self._zeroconf.registry.async_get_info_name(key) is None:
            self._zeroconf.registry.async_add(publication.info)
        else:
            self._zeroconf.registry.async_update(publication.info)

    def _remove(self, publication: Publication | None) -> None:
        if publication is not None and self._zeroconf is not None:
            self._zeroconf.registry.async_remove(publication.info)
            self._zeroconf.publications.pop(publication.info.key, None)

    def _send(self, publication: Publication, *, ttl_s: int | None = None) -> None:
        if self._zeroconf is not None:
            self._zeroconf.async_send(self._zeroconf.generate_service_broadcast(publication.info, ttl_s))

    def _repeat(self, member: Member) -> None:
        self._stop_repeating(member)
        self._send(self._published[member])
        self._repeating[member] = asyncio.create_task(self._announce(member), name="mdns: announce")

    async def _announce(self, member: Member) -> None:
        for wait_s in _ANNOUNCE_AGAIN_S:
            await asyncio.sleep(wait_s)
            self._send(self._published[member])

    def _stop_repeating(self, member: Member) -> None:
        task = self._repeating.pop(member, None)
        if task is not None:
            task.cancel()

    # What is heard.

    def _received(self, records: Sequence[DNSRecord], sender: Sender, legacy: bool) -> None:
        for member, links in tuple(self._members.items()):
            if any(link.name == sender.origin.interface for link in links):
                try:
                    member.answers_received(records, sender, legacy)
                except Exception as error:  # noqa: BLE001 - the others are to hear it as well
                    self.gate.counts["members_failed"] += 1
                    _LOG.debug("a member failed at an answer of %s: %s", sender.origin.ip, ascii(repr(error)))

    def _overheard(self, name: str, known: frozenset[str], link: str) -> None:
        for member, links in tuple(self._members.items()):
            # Who speaks on several links has one schedule for all of them.
            if type_name(member.service) == name and [each.name for each in links] == [link]:
                aliases = (alias_of(each, member.service) for each in known)
                member.question_overheard(frozenset(alias for alias in aliases if alias is not None))

    def _legacy_received(self, data: bytes, address: SocketAddress) -> None:
        if self._zeroconf is not None:
            take_packet(self._zeroconf, data, address, legacy=True)
            self._zeroconf.inbox.work()


def _is_taken(port: int) -> bool:
    """Whether another socket of this host listens on that UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False
