"""Lookups: at once when a peer is missed, ever more rarely while that is in vain, and few at a time."""

from __future__ import annotations

import itertools
import math
from typing import Final

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from peernet_core.decisions.lookups import (
    FIRST_WAIT_S,
    FLOOR_S,
    LONGEST_WAIT_S,
    MAX_UNDER_WAY,
    SWEEP_GAP_S,
    Lookups,
)
from peernet_core.keys import Identity, PeerKey

KEYS: Final = [Identity.generate().key for _ in range(40)]
A, B = KEYS[:2]


@attrs.define
class Bench:
    """Lookups that end at once, unless told otherwise; written down with their time."""

    now: float = 1000.0
    hanging: bool = False
    reachable: set[PeerKey] = attrs.Factory(set)
    log: list[tuple[float, PeerKey]] = attrs.Factory(list)
    under_way: list[PeerKey] = attrs.Factory(list)
    lookups: Lookups = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.lookups = Lookups(is_missing=lambda key, _: key not in self.reachable)

    def trust(self, *keys: PeerKey) -> None:
        for key in keys:
            self.lookups.add(key, now=self.now)

    def run(self, seconds: float = 0.0) -> list[tuple[float, PeerKey]]:
        """Let that much time pass; returns what was begun, with seconds from here."""
        here, earlier = self.now, len(self.log)
        while (due := self.lookups.next_deadline()) is not None and due <= here + seconds:
            self.now = max(self.now, due)
            self._begun(self.lookups.handle_timer(now=self.now))
        self.now = here + seconds
        return [(round(at - here, 6), key) for at, key in self.log[earlier:]]

    def _begun(self, keys: list[PeerKey]) -> None:
        self.log += [(self.now, key) for key in keys]
        self.under_way += keys
        while self.under_way and not self.hanging:
            self.end()

    def end(self) -> None:
        self._begun(self.lookups.ended(self.under_way.pop(0), now=self.now))

    def link(self, key: PeerKey, *, up: bool = True) -> None:
        self.lookups.settled(key, linked=up, now=self.now)


@pytest.fixture
def bench() -> Bench:
    """Two trusted keys without addresses, and a backend that looks peers up."""
    bench = Bench()
    bench.trust(A, B)
    bench.lookups.search(now=bench.now)
    return bench


def test_nobody_is_asked_before_somebody_can_answer() -> None:
    """Whatever happens before a backend that looks peers up has started, nothing is due."""
    bench = Bench()
    bench.trust(A, B)
    bench.link(A)
    bench.link(A, up=False)
    bench.lookups.race_lost(A, now=bench.now)
    bench.lookups.lost_sight(B, now=bench.now)
    bench.lookups.network_changed(now=bench.now)
    assert bench.lookups.next_deadline() is None
    bench.lookups.search(now=bench.now)
    assert bench.run() == [(0, A), (0, B)]


def test_a_search_asks_for_those_that_have_neither_link_nor_address() -> None:
    """All others can wait."""
    bench = Bench(reachable={B})
    bench.trust(*KEYS[:4])
    bench.link(KEYS[2])
    bench.lookups.search(now=bench.now)
    assert bench.run(20) == [(0, A), (0, KEYS[3])]


def test_vain_lookups_become_rare(bench: Bench) -> None:
    """30 seconds to the next, doubling to five minutes."""
    begun = [at for at, key in bench.run(1400) if key == A]
    assert begun == [0, 30, 90, 210, 450, 750, 1050, 1350]


def test_a_key_that_is_newly_trusted_is_asked_for_at_once(bench: Bench) -> None:
    """Unless what was heard of it as a stranger has an address; trust given anew starts afresh."""
    bench.run(1)
    bench.trust(KEYS[2])
    bench.reachable.add(KEYS[3])
    bench.trust(KEYS[3])
    assert bench.run() == [(0, KEYS[2])]
    bench.lookups.forget(KEYS[2])
    assert KEYS[2] not in {key for _, key in bench.run(600)}
    bench.trust(KEYS[2])
    assert bench.run() == [(0, KEYS[2])]


def test_a_lost_link_is_asked_about_even_with_addresses(bench: Bench) -> None:
    """They may be those of a peer that is gone."""
    bench.reachable = {A, B}
    bench.link(A)
    bench.run(60)
    bench.link(A, up=False)
    assert bench.run(29) == [(0, A)]


def test_a_link_that_comes_and_goes_is_not_asked_about_each_time(bench: Bench) -> None:
    """Five seconds lie between two lookups."""
    bench.run(60)
    for _ in range(20):
        bench.link(A)
        bench.link(A, up=False)
        bench.run(1)
    times = [at for at, key in bench.log if key == A and 1060 <= at < 1080]
    assert len(times) == 4
    assert all(later - earlier >= FLOOR_S for earlier, later in itertools.pairwise(times))


def test_a_goodbye_is_no_reason_to_ask(bench: Bench) -> None:
    """Neither it, nor what follows from it, for half a minute; then the peer is missed like any other."""
    bench.run(1)
    bench.link(A)
    bench.run(600)
    bench.lookups.left(A, now=bench.now)
    bench.link(A, up=False)
    bench.lookups.lost_sight(A, now=bench.now)
    bench.lookups.race_lost(A, now=bench.now)
    assert [at for at, key in bench.run(100) if key == A] == [30, 60]


def test_a_lost_race_is_a_reason_until_asking_was_in_vain(bench: Bench) -> None:
    """Evidence makes it one again."""
    bench.reachable = {A, B}
    bench.run(10)
    bench.lookups.race_lost(A, now=bench.now)
    assert bench.run(10) == [(0, A)]
    bench.lookups.race_lost(A, now=bench.now)
    assert bench.run(10) == []
    bench.lookups.discovered(A)
    bench.lookups.race_lost(A, now=bench.now)
    assert bench.run(3) == [(0, A)]
    bench.lookups.discovered(A)
    bench.lookups.race_lost(A, now=bench.now)
    assert bench.run(3) == [(2, A)]


def test_a_peer_that_the_application_wants_is_asked_for_at_once(bench: Bench) -> None:
    """However long it was in vain; not again within five seconds, and not while it is linked."""
    bench.lookups.forget(B)
    bench.run(200.0)
    bench.lookups.wanted(A, now=bench.now)
    assert bench.run(1.0) == [(0.0, A)]
    bench.lookups.wanted(A, now=bench.now)
    assert bench.run(10.0) == [(4.0, A)]
    bench.lookups.settled(A, linked=True, now=bench.now)
    bench.lookups.wanted(A, now=bench.now)
    assert bench.run(100.0) == []


def test_vain_lookups_end_with_the_first_address(bench: Bench) -> None:
    """And begin again, with the shortest wait, half a minute after the last was lost."""
    bench.run(100)
    bench.reachable = {A, B}
    bench.lookups.discovered(A)
    assert bench.run(1000) == []
    bench.reachable = {B}
    bench.lookups.lost_sight(A, now=bench.now)
    assert bench.run(100) == [(30, A), (60, A)]


def test_a_changed_network_is_new_to_all_that_have_no_link(bench: Bench) -> None:
    """Also to those with addresses: they may be of the network that we left."""
    bench.run(200)
    bench.reachable = {A}
    bench.trust(KEYS[2])
    bench.link(KEYS[2])
    bench.run()
    bench.lookups.network_changed(now=bench.now)
    assert bench.run(31) == [(0, A), (0, B), (30, B)]


def test_a_link_ends_the_asking(bench: Bench) -> None:
    """Also for a lookup that waits its turn."""
    bench.hanging = True
    bench.trust(*KEYS[2:20])
    bench.run(0)
    waiting = KEYS[MAX_UNDER_WAY]
    assert len(bench.under_way) == MAX_UNDER_WAY
    bench.run(1)
    bench.link(waiting)
    bench.hanging = False
    bench.end()
    assert waiting not in {key for _, key in bench.log}
    assert {key for _, key in bench.log} == set(KEYS[:20]) - {waiting}


def test_a_reason_that_comes_during_a_lookup_counts_after_it(bench: Bench) -> None:
    """A backend that starts meanwhile was not asked."""
    bench.hanging = True
    bench.run(2)
    bench.lookups.search(now=bench.now)
    assert bench.run(1) == []
    bench.hanging = False
    bench.end()
    assert [key for at, key in bench.log if at == bench.now] == [A, B]


def test_those_that_are_missed_now_go_before_those_whose_turn_it_is() -> None:
    """But in turns: neither many absent peers nor many restless links hold up the others."""
    bench = Bench(hanging=True)
    bench.trust(*KEYS[:30])
    for key in KEYS[30:]:
        bench.trust(key)
        bench.link(key)
    bench.lookups.search(now=bench.now)
    bench.run(1)
    for key in KEYS[30:]:
        bench.link(key, up=False)
    bench.run(1)
    assert [key for _, key in bench.log] == KEYS[:MAX_UNDER_WAY]
    for _ in range(6):
        bench.end()
    assert [key for _, key in bench.log][MAX_UNDER_WAY:] in (
        [KEYS[30], KEYS[16], KEYS[31], KEYS[17], KEYS[32], KEYS[18]],
        [KEYS[16], KEYS[30], KEYS[17], KEYS[31], KEYS[18], KEYS[32]],
    )


def test_a_long_list_is_swept_slowly_and_to_its_end() -> None:
    """However often it begins anew, the last ones have their turn when they would have had it."""
    bench = Bench()
    bench.trust(*KEYS)
    for _ in range(3):
        bench.lookups.search(now=bench.now)
        assert len(bench.run()) <= MAX_UNDER_WAY
        bench.run(SWEEP_GAP_S / 2)
    bench.run(SWEEP_GAP_S)
    first = {key: at - 1000.0 for at, key in reversed(bench.log)}
    assert [first[key] for key in KEYS] == pytest.approx(
        [place // MAX_UNDER_WAY * SWEEP_GAP_S for place in range(len(KEYS))]
    )


def test_after_the_stop_nothing_begins(bench: Bench) -> None:
    """Whatever is still reported."""
    bench.hanging = True
    bench.trust(*KEYS[2:])
    bench.run(0)
    bench.lookups.stop()
    bench.lookups.discovered(A)
    bench.lookups.race_lost(A, now=bench.now)
    bench.lookups.lost_sight(A, now=bench.now)
    bench.link(A)
    bench.link(A, up=False)
    bench.lookups.network_changed(now=bench.now)
    bench.lookups.forget(B)
    assert bench.lookups.next_deadline() is None
    while bench.under_way:
        bench.end()
    assert len(bench.log) == MAX_UNDER_WAY


@attrs.define
class Expected:
    """What may be expected of one key."""

    linked: bool = False
    in_doubt: bool = False
    quiet_until: float = -math.inf
    vain: int = 0

    def void(self) -> None:
        self.quiet_until, self.vain = -math.inf, 0


class LookupsModel(RuleBasedStateMachine):
    """Any history: what begins is wanted, not too early, not twice at once; who is missed is asked for."""

    keys = st.sampled_from(KEYS[:20])

    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.reachable = set[PeerKey]()
        self.peers: dict[PeerKey, Expected] = {}
        self.under_way = set[PeerKey]()
        self.last: dict[PeerKey, float] = {}
        self.lookups = Lookups(is_missing=lambda key, _: key not in self.reachable)
        for key in KEYS[:18]:
            self.trust(key)
        self.search()

    def begun(self, keys: list[PeerKey]) -> None:
        for key in keys:
            peer = self.peers[key]
            assert key not in self.under_way
            assert not peer.linked
            assert peer.in_doubt or key not in self.reachable
            assert self.now >= peer.quiet_until
            peer.quiet_until = self.now + min(FIRST_WAIT_S * 2**peer.vain, LONGEST_WAIT_S)
            peer.vain += 1
            peer.in_doubt = False
            self.under_way.add(key)
            self.last[key] = self.now

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 31.0, 400.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.lookups.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.begun(self.lookups.handle_timer(now=self.now))
        self.now = end

    @rule(key=keys)
    def trust(self, key: PeerKey) -> None:
        if key not in self.peers:
            self.peers[key] = Expected()
            self.lookups.add(key, now=self.now)

    @rule(key=keys)
    def distrust(self, key: PeerKey) -> None:
        self.peers.pop(key, None)
        self.lookups.forget(key)

    @rule(key=keys)
    def end(self, key: PeerKey) -> None:
        if key in self.under_way:
            self.under_way.discard(key)
            self.begun(self.lookups.ended(key, now=self.now))

    @rule(key=keys, linked=st.booleans())
    def settle(self, key: PeerKey, linked: bool) -> None:
        if key in self.peers:
            peer = self.peers[key]
            if linked:
                peer.void()
            peer.in_doubt = not linked and (peer.in_doubt or peer.linked)
            peer.linked = linked
            self.lookups.settled(key, linked=linked, now=self.now)

    @rule(key=keys)
    def leave(self, key: PeerKey) -> None:
        if key in self.peers and self.peers[key].linked:
            self.peers[key] = Expected(quiet_until=self.now + FIRST_WAIT_S)
            self.lookups.left(key, now=self.now)

    @rule(key=keys, there=st.booleans())
    def report(self, key: PeerKey, there: bool) -> None:
        if key in self.peers and there != (key in self.reachable):
            self.reachable ^= {key}
            if there:
                self.peers[key].void()
                self.lookups.discovered(key)
            else:
                self.lookups.lost_sight(key, now=self.now)

    @rule(key=keys)
    def race(self, key: PeerKey) -> None:
        if key in self.peers:
            self.peers[key].in_doubt = not self.peers[key].linked
            self.lookups.race_lost(key, now=self.now)

    @rule(elsewhere=st.booleans())
    def search(self, elsewhere: bool = False) -> None:
        for peer in self.peers.values():
            if not peer.linked:
                peer.void()
                peer.in_doubt |= elsewhere
        sweep = self.lookups.network_changed if elsewhere else self.lookups.search
        sweep(now=self.now)

    @invariant()
    def few_at_a_time(self) -> None:
        assert len(self.under_way) <= MAX_UNDER_WAY

    def teardown(self) -> None:
        began = self.now
        for _ in range(40):
            for key in list(self.under_way):
                self.end(key)
            self.wait(10.0)
        missed = {k for k, peer in self.peers.items() if not peer.linked and k not in self.reachable}
        assert {key for key in missed if self.last.get(key, 0.0) < began} == set()


TestLookupsModel = LookupsModel.TestCase
