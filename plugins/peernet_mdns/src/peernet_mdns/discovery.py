"""The backend: what core asks of it, joined to the browser that decides and the medium that speaks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

import attrs
from zeroconf import DNSRecord

from peernet_core.addresses import NetworkSnapshot
from peernet_core.contract import Announcement, Context, DiscoverySpec, Sighting, hookimpl
from peernet_core.keys import PeerKey
from peernet_mdns.answers import Claim, read_claims
from peernet_mdns.browser import Browser, Gone, Seen
from peernet_mdns.gate import Sender
from peernet_mdns.medium import Medium
from peernet_mdns.messages import HOST_TTL_S
from peernet_mdns.names import SERVICE, check_service
from peernet_mdns.peer_table import MAX_ORIGINS

__all__ = ["MdnsDiscovery"]

_MAX_ALIASES: Final = 12_288
_SLICE_S: Final = 0.0005
"""How long reports hold up the reading of further packets."""
_BUSY_S: Final = 0.005
"""How long reports wait while the sockets hold more than can be read."""
_HERD_S: Final = (0.02, 0.12)
"""After a change of the network many ask at once; RFC 6762 §5.2 lets them wait that long."""
_DEFEND_S: Final = 1.0
"""How often at most we contradict who speaks under our name."""


def _is_service(_: object, __: object, service: str) -> None:
    check_service(service)


@attrs.define(eq=False)
class MdnsDiscovery(DiscoverySpec):
    """Finds peers on the local network, and is found there.

    Attributes:
        interfaces: Names of the interfaces to speak on, exactly these, loopback and tunnels as well; one that
            is not there yet is waited for. Empty: all but loopback, containers', virtual machines' and
            tunnels'.
        service: The DNS-SD type; nodes of different types do not see each other.
    """

    interfaces: list[str] = attrs.field(
        factory=list, validator=attrs.validators.deep_iterable(attrs.validators.instance_of(str))
    )
    service: str = attrs.field(default=SERVICE, validator=[attrs.validators.instance_of(str), _is_service])
    counts: Counter[str] = attrs.field(init=False, factory=Counter)
    _context: Context | None = attrs.field(init=False, default=None)
    _medium: Medium | None = attrs.field(init=False, default=None)
    _browser: Browser | None = attrs.field(init=False, default=None)
    _announcement: Announcement | None = attrs.field(init=False, default=None)
    _reported: OrderedDict[str, tuple[Sighting, ...]] = attrs.field(init=False, factory=OrderedDict)
    _woken: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)
    _defended_at: float = attrs.field(init=False, default=float("-inf"))

    @hookimpl
    async def start(self, context: Context) -> None:
        """Open the sockets and ask who is there."""
        self._context = context
        now = context.clock()
        self._browser = Browser(now=now, jitter=random.Random(), own=self._is_own)
        snapshot = context.network.snapshot
        self._medium = await Medium.join(self)
        self._log_links()
        self._browser.search(now=now)
        self._ask()
        context.spawn(self._browse(), "browse")
        context.spawn(self._follow_network(snapshot), "follow the network")

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        """Publish it; others hear it within a millisecond."""
        self._announcement = announcement
        if self._medium is not None:
            self._medium.publish(self, announcement)

    @hookimpl
    async def resolve(self, key: PeerKey) -> None:
        """Ask for the peer by its name, for half a minute, often at first; or whether it is still there."""
        if self._context is not None and self._browser is not None:
            self._browser.want(self._context.alias(key), now=self._context.clock())
            self._woken.set()

    @hookimpl
    async def stop(self) -> None:
        """Say goodbye, and let go of the sockets."""
        medium, self._medium = self._medium, None
        if medium is not None:
            try:
                await medium.withdraw(self)
            finally:
                await medium.leave(self)

    # What the medium tells.

    @property
    def snapshot(self) -> NetworkSnapshot:
        """The network as our node sees it."""
        assert self._context is not None
        return self._context.network.snapshot

    def answers_received(self, records: Sequence[DNSRecord], sender: Sender, legacy: bool) -> None:
        """Take what somebody answered."""
        context, browser = self._context, self._browser
        if context is None or browser is None:
            return
        found = read_claims(records, self.service)
        if found.refused:
            self.counts["answers_refused"] += found.refused
            context.log.debug("%d answers of %s are no peer's", found.refused, sender.origin.ip)
        now = context.clock()
        for claim in found.claims:
            if self._is_own(claim.alias):
                self._contradict(claim, sender, now=now)
                continue
            if sender.own and not claim.goodbye and self._medium is not None:
                self._medium.heard_neighbour(claim.alias)
            if legacy and not claim.goodbye:
                # Such answers carry a short time to live for the sake of simple resolvers (RFC 6762 §6.7).
                claim = attrs.evolve(claim, ttl_s=max(claim.ttl_s, HOST_TTL_S))  # noqa: PLW2901
            browser.heard(claim, sender.origin, now=now)
        self._woken.set()

    def question_overheard(self, known: frozenset[str]) -> None:
        """Do not ask everybody what somebody else has just asked."""
        if self._context is not None and self._browser is not None:
            self._browser.overheard(known, now=self._context.clock())

    def link_opened(self) -> None:
        """Ask those who could not hear us before."""
        self._search()

    # Inside.

    def _is_own(self, alias: str) -> bool:
        return self._announcement is not None and alias == self._announcement.alias

    def _contradict(self, claim: Claim, sender: Sender, *, now: float) -> None:
        """Act on an answer that somebody else gave under our name: say again what is right.

        A record of ours that is newer than ours tells core that it was restored from a backup.
        """
        context, announcement, medium = self._context, self._announcement, self._medium
        assert context is not None
        assert announcement is not None
        if sender.own or (claim.record == announcement.record and not claim.goodbye):
            return
        self.counts["own_name_claimed"] += 1
        if medium is None or now - self._defended_at < _DEFEND_S:
            return
        self._defended_at = now
        context.log.debug("%s speaks under our name", sender.origin.ip)
        if claim.record is not None:
            context.record_received(claim.record, ttl_s=HOST_TTL_S)
        medium.announce_again(self)

    async def _browse(self) -> None:
        """Ask what is due, report what is new, wait for more."""
        context, browser = self._context, self._browser
        assert context is not None
        assert browser is not None
        while True:
            self._woken.clear()
            self._ask()
            self._report()
            if browser.pending():
                await asyncio.sleep(_BUSY_S if self._medium is not None and self._medium.is_busy else 0)
                continue
            deadline = browser.next_deadline()
            if deadline is None:
                await self._woken.wait()
                continue
            try:
                async with asyncio.timeout(max(0.0, deadline - context.clock())):
                    await self._woken.wait()
            except TimeoutError:
                pass

    def _ask(self) -> None:
        context, browser, medium = self._context, self._browser, self._medium
        if context is None or browser is None or medium is None:
            return
        now = context.clock()
        while (query := browser.take_query(now=now)) is not None:
            medium.ask(self, query, now=now)

    def _report(self) -> None:
        context, browser = self._context, self._browser
        assert context is not None
        assert browser is not None
        until = context.clock() + _SLICE_S
        while browser.pending() and context.clock() < until:
            for change in browser.take_changes(8):
                match change:
                    case Seen():
                        self._seen(change)
                    case Gone(alias):
                        for sighting in self._reported.pop(alias, ()):
                            context.peer_lost(sighting)

    def _seen(self, seen: Seen) -> None:
        context, browser = self._context, self._browser
        assert context is not None
        assert browser is not None
        heard = (seen.heard.ip, seen.heard.interface)
        sighting = context.record_received(seen.record, ttl_s=seen.ttl_s, heard=heard)
        if sighting is None or context.alias(sighting.key) != seen.alias:
            self.counts["records_refused"] += 1
            browser.refused(seen.alias)
            return
        # One for each origin from which a record was heard; a newer record ends those of older ones.
        others = (each for each in self._reported.get(seen.alias, ()) if each.id != sighting.id)
        self._reported[seen.alias] = (*others, sighting)[-MAX_ORIGINS:]
        self._reported.move_to_end(seen.alias)
        if len(self._reported) > _MAX_ALIASES:
            self._reported.popitem(last=False)  # its leases end by themselves

    async def _follow_network(self, known: NetworkSnapshot) -> None:
        context = self._context
        assert context is not None
        while True:
            while context.network.snapshot == known:
                await context.network.changed()
            known = context.network.snapshot
            medium = self._medium
            if medium is None:
                return
            await medium.network_changed(self)
            if self._medium is None:
                return  # stopped meanwhile: what has said goodbye is not to speak again
            self._log_links()
            if self._announcement is not None:
                # Core signs anew as well; but what was published for one link may now be wanted on another.
                medium.publish(self, self._announcement)
            self._search()

    def _search(self) -> None:
        if self._context is not None and self._browser is not None:
            self._browser.search(now=self._context.clock(), delay_s=random.uniform(*_HERD_S))
            self._woken.set()

    def _log_links(self) -> None:
        context, medium = self._context, self._medium
        if context is not None and medium is not None:
            names = ", ".join(ascii(link.name) for link in medium.links_of(self))
            context.log.debug("speaking on %s", names or "no interface; waiting for one")
