"""Lookups: when the backends are asked for a trusted peer by its name, and how many times.

Pure. A trusted peer without a link is wanted. That nothing came of asking is remembered for a while that
doubles, so that absent peers cost little; whatever is heard of a peer makes it worth asking for again.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from peernet_core.decisions.deadlines import Deadlines
from peernet_core.keys import PeerKey
from peernet_core.values import define, frozen

__all__ = [
    "FIRST_WAIT_S",
    "FLOOR_S",
    "LONGEST_WAIT_S",
    "MAX_UNDER_WAY",
    "SWEEP_GAP_S",
    "LookupPlan",
    "Lookups",
]

FIRST_WAIT_S: Final = 30.0
LONGEST_WAIT_S: Final = 300.0
FLOOR_S: Final = 5.0
"""Between two lookups of a peer whose link comes and goes."""
MAX_UNDER_WAY: Final = 16
SWEEP_GAP_S: Final = 0.32
"""Where all are asked for, that many at once begin this long after those before them."""


@frozen
class LookupPlan:
    """How it stands with asking for one peer, in loop time.

    Attributes:
        under_way: It is being asked for.
        asked_at: When the last lookup began; None: there was none.
        due: When the next one begins, if it is wanted then; None: none is planned.
    """

    under_way: bool
    asked_at: float | None
    due: float | None


@define(eq=False)
class _Peer:
    """What is remembered of one trusted key.

    Attributes:
        linked: Whether it has a link; then nobody is asked.
        due: When the next lookup begins, if it is wanted then.
        asked_at: When the last one began.
        not_before: Until then nothing but new evidence is a reason to ask again.
        wait_s: How long that will be after the next lookup.
        even_so: The lookup that is due is made although addresses are known: they are in doubt.
        urgent: It goes before those that merely have their turn.
        again: It came due while one was under way.
    """

    key: PeerKey
    number: int
    linked: bool = False
    due: float | None = None
    asked_at: float = -math.inf
    not_before: float = -math.inf
    wait_s: float = FIRST_WAIT_S
    even_so: bool = False
    urgent: bool = False
    again: bool = False

    def void(self) -> None:
        """Forget that asking was in vain."""
        self.not_before = -math.inf
        self.wait_s = FIRST_WAIT_S


class Lookups:
    """Decides which of the trusted keys the backends look up now.

    Input methods only note what is due. `handle_timer` and `ended` say which lookups begin, and whoever
    carries them out calls `ended` once for each. Nothing is due before the first `search`.

    Args:
        is_missing: Whether no address of a key may be dialed; asked with the time, when a lookup is due.
    """

    def __init__(self, *, is_missing: Callable[[PeerKey, float], bool]) -> None:
        self._is_missing = is_missing
        self._peers: dict[PeerKey, _Peer] = {}
        self._by_number: dict[int, _Peer] = {}
        self._numbers = itertools.count()
        self._deadlines = Deadlines()
        self._urgent: OrderedDict[PeerKey, _Peer] = OrderedDict()
        self._others: OrderedDict[PeerKey, _Peer] = OrderedDict()
        self._others_next = False
        self._under_way: set[PeerKey] = set()
        self._active = False

    # Who is wanted.

    def add(self, key: PeerKey, *, now: float) -> None:
        """A key became trusted."""
        peer = _Peer(key, next(self._numbers))
        self._peers[key] = self._by_number[peer.number] = peer
        self._ask(peer, now, urgent=True)

    def forget(self, key: PeerKey) -> None:
        """A key is not trusted any more."""
        peer = self._peers.pop(key, None)
        if peer is not None:
            del self._by_number[peer.number]
            self._deadlines.discard(peer.number)
            self._urgent.pop(key, None)
            self._others.pop(key, None)

    def stop(self) -> None:
        """Begin no more lookups."""
        self._active = False
        self._deadlines = Deadlines()
        self._urgent.clear()
        self._others.clear()

    # Why to ask.

    def search(self, *, now: float) -> None:
        """A backend that looks peers up has started: ask for all that have no address."""
        self._active = True
        self._sweep(now, even_so=False)

    def network_changed(self, *, now: float) -> None:
        """We may be elsewhere now: ask for all that have no link."""
        self._sweep(now, even_so=True)

    def discovered(self, key: PeerKey) -> None:
        """An address became live: should it lead nowhere, asking for another has a point again."""
        self._peers[key].void()

    def lost_sight(self, key: PeerKey, *, now: float) -> None:
        """An address is not live any more: whoever said so knows best for a while."""
        peer = self._peers[key]
        self._ask(peer, max(peer.not_before, now + FIRST_WAIT_S))

    def race_lost(self, key: PeerKey, *, now: float) -> None:
        """No address answered."""
        peer = self._peers[key]
        self._ask(peer, max(now, peer.not_before, peer.asked_at + FLOOR_S), even_so=True, urgent=True)

    def wanted(self, key: PeerKey, *, now: float) -> None:
        """The application wants this peer now: that asking was in vain before does not count."""
        peer = self._peers[key]
        if not peer.linked:
            peer.void()
            self._ask(peer, max(now, peer.asked_at + FLOOR_S), even_so=True, urgent=True)

    def left(self, key: PeerKey, *, now: float) -> None:
        """The peer said goodbye, which ends its link: it is taken at its word for a while."""
        peer = self._peers[key]
        peer.linked = False
        peer.void()
        peer.not_before = now + FIRST_WAIT_S
        self._ask(peer, peer.not_before)

    def settled(self, key: PeerKey, *, linked: bool, now: float) -> None:
        """Something happened to a peer: if its link came that ends the asking, and if it went it begins."""
        peer = self._peers.get(key)
        if peer is None or peer.linked == linked:
            return
        peer.linked = linked
        if linked:
            peer.void()
            peer.due, peer.even_so, peer.urgent, peer.again = None, False, False, False
            self._deadlines.discard(peer.number)
        else:
            self._ask(peer, max(now, peer.asked_at + FLOOR_S), even_so=True, urgent=True)

    def plan(self, key: PeerKey) -> LookupPlan:
        """What is planned for a trusted peer."""
        peer = self._peers[key]
        asked_at = None if peer.asked_at == -math.inf else peer.asked_at
        queued = key in self._urgent or key in self._others
        return LookupPlan(key in self._under_way or queued, asked_at, peer.due)

    # Time.

    def next_deadline(self) -> float | None:
        """When `handle_timer` is due; what waits for one under way to end waits for no time."""
        return self._deadlines.next()

    def handle_timer(self, *, now: float) -> list[PeerKey]:
        """Act on every deadline that has passed; returns whom to look up now."""
        for number in self._deadlines.pop_due(now=now):
            peer = self._by_number[number]
            peer.due = None
            if peer.key in self._under_way:
                peer.again = True
            else:
                self._enqueue(peer)
        return self._begin(now)

    def ended(self, key: PeerKey, *, now: float) -> list[PeerKey]:
        """A lookup ended, whatever came of it; returns whom to look up in its place."""
        self._under_way.discard(key)
        peer = self._peers.get(key)
        if peer is not None and peer.again:
            peer.again = False
            self._enqueue(peer)
        return self._begin(now)

    # Inside.

    def _sweep(self, now: float, *, even_so: bool) -> None:
        unlinked = (peer for peer in self._peers.values() if not peer.linked)
        for place, peer in enumerate(unlinked):
            peer.void()
            # Never later than it was due: the last of a long list would wait for ever.
            self._ask(peer, now + place // MAX_UNDER_WAY * SWEEP_GAP_S, even_so=even_so)

    def _ask(self, peer: _Peer, at: float, *, even_so: bool = False, urgent: bool = False) -> None:
        """Let a lookup be due, at that time or when it is due anyway."""
        if not self._active or peer.linked:
            return
        peer.even_so |= even_so
        peer.urgent |= urgent
        if peer.due is None or at < peer.due:
            peer.due = at
            self._deadlines.set(peer.number, at)

    def _enqueue(self, peer: _Peer) -> None:
        if peer.urgent:
            self._others.pop(peer.key, None)
            self._urgent.setdefault(peer.key, peer)
        else:
            self._others.setdefault(peer.key, peer)

    def _begin(self, now: float) -> list[PeerKey]:
        """Fill the free places, from both queues in turn: neither can hold up the other."""
        begun: list[PeerKey] = []
        while len(self._under_way) < MAX_UNDER_WAY and (self._urgent or self._others):
            from_others = bool(self._others) and (self._others_next or not self._urgent)
            key, peer = (self._others if from_others else self._urgent).popitem(last=False)
            self._others_next = not from_others
            wanted = not peer.linked and (peer.even_so or self._is_missing(key, now))
            peer.even_so = peer.urgent = False
            if wanted:
                self._under_way.add(key)
                begun.append(key)
                peer.asked_at, peer.not_before = now, now + peer.wait_s
                peer.wait_s = min(peer.wait_s * 2, LONGEST_WAIT_S)
                peer.due = peer.not_before
                self._deadlines.set(peer.number, peer.due)
        return begun
