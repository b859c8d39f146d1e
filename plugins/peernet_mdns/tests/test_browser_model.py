"""The browser against a naive model of the network: peers that answer, peers that are silent, and liars.

The model knows no table: it knows who answers, when each was last heard, and what was handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from ipaddress import ip_address
from itertools import count
from random import Random

import attrs
from hypothesis import given
from hypothesis import strategies as st

from peernet_mdns.answers import Claim
from peernet_mdns.browser import Browser, Gone, Origin, Query, Seen

ALIASES = [letter * 26 for letter in "abcdef"]
ORIGINS = [Origin(ip_address(f"10.0.0.{host}"), "eth0") for host in (1, 2, 3)]
QUERIES_IN_10_S = 20 + 2 * 10 * 20
END_S = 400.0


@attrs.define(eq=False)
class Network:
    """Time, the peers that live on it, and the browser; every answer takes up to 0.4 s."""

    jitter: Random
    alive: set[str] = attrs.Factory(set)
    last_heard: dict[str, tuple[float, float]] = attrs.Factory(dict)
    believed: dict[str, bytes] = attrs.Factory(dict)
    sent: list[tuple[float, Query]] = attrs.Factory(list)
    gone: list[tuple[float, str]] = attrs.Factory(list)
    now: float = 0.0
    waiting: list[tuple[float, int, Callable[[], None]]] = attrs.Factory(list)
    numbers: count[int] = attrs.Factory(count)
    browser: Browser = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.browser = Browser(now=0.0, jitter=Random(self.jitter.random()), capacity=16, quota=8)

    def at(self, when: float, act: Callable[[], None]) -> None:
        heappush(self.waiting, (when, next(self.numbers), act))

    def run(self, until: float) -> None:
        while True:
            deadline = self.browser.next_deadline()
            due = [
                each for each in (deadline, self.waiting[0][0] if self.waiting else None) if each is not None
            ]
            if not due or min(due) > until:
                break
            self.now = max(self.now, min(due))
            while self.waiting and self.waiting[0][0] <= self.now:
                heappop(self.waiting)[2]()
            self.settle()
        self.now = until

    def settle(self) -> None:
        """Do what is due: it ends, and leaves nothing due."""
        for _ in range(100):
            query = self.browser.take_query(now=self.now)
            if query is None:
                break
            self.sent.append((self.now, query))
            self.answer(query)
        deadline = self.browser.next_deadline()
        assert deadline is None or deadline > self.now
        self.take()

    def take(self) -> None:
        for change in self.browser.take_changes(100):
            if isinstance(change, Gone):
                assert change.alias in self.believed, "gone without ever being seen"
                del self.believed[change.alias]
                self.gone.append((self.now, change.alias))
                assert change.alias not in self.alive, "a peer that answers is gone"
            elif change.record.startswith(b"junk"):
                self.browser.refused(change.alias)
            else:
                self.believed[change.alias] = change.record

    def answer(self, query: Query) -> None:
        known = {alias for alias, _ in query.known}
        for alias in sorted(self.alive):
            if alias in query.names or (query.everybody and alias not in known):
                self.at(self.now + self.jitter.uniform(0, 0.4), partial(self.says, alias))

    def says(self, alias: str, *, ttl_s: float = 120.0) -> None:
        """A living peer says that it is there."""
        if alias in self.alive:
            self.hear(Claim(alias, b"record of " + alias.encode(), ttl_s, complete=True))

    def hear(self, claim: Claim, origin: Origin = ORIGINS[0]) -> None:
        if not claim.goodbye and not (claim.record or b"").startswith(b"junk"):
            self.last_heard[claim.alias] = self.now, min(max(claim.ttl_s, 1), 120)
        self.browser.heard(claim, origin, now=self.now)


ACTS = st.tuples(
    st.sampled_from(
        ["born", "dies", "says", "replay", "pointer", "goodbye", "stop", "junk", "want", "search"]
    ),
    st.sampled_from(ALIASES),
    st.sampled_from(ORIGINS),
    st.sampled_from([0.0, 1.0, 20.0, 120.0, 4500.0]),
    st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.0, 30.0, 70.0, 119.0, 121.0]),
)


def act(network: Network, kind: str, alias: str, origin: Origin, ttl_s: float) -> None:
    browser, now = network.browser, network.now
    real = b"record of " + alias.encode()
    match kind:
        case "born":
            network.alive.add(alias)
            network.says(alias)
        case "dies":
            network.alive.discard(alias)
        case "says":
            network.says(alias, ttl_s=ttl_s)
        case "replay":
            network.hear(Claim(alias, real, ttl_s, complete=True), origin)
        case "pointer":
            network.hear(Claim(alias, None, ttl_s), origin)
        case "goodbye":
            network.hear(Claim(alias, goodbye=True), origin)
        case "stop":
            network.hear(Claim(alias, b"stop", goodbye=True), origin)
        case "junk":
            network.hear(Claim(alias, b"junk", ttl_s, complete=True), origin)
        case "want":
            browser.want(alias, now=now)
        case _:
            browser.search(now=now, delay_s=0.1)


@given(st.integers(), st.lists(ACTS, max_size=40))
def test_who_answers_stays_and_who_is_silent_goes(
    seed: int, acts: list[tuple[str, str, Origin, float, float]]
) -> None:
    """Whatever is claimed: no living peer is gone, no dead one stays, and the questions stay few."""
    network = Network(Random(seed))
    for kind, alias, origin, ttl_s, pause_s in acts:
        act(network, kind, alias, origin, ttl_s)
        network.settle()
        network.run(network.now + pause_s)
        assert len(network.browser) <= 16
        for each in network.believed.keys() - network.alive:
            heard, lease_s = network.last_heard[each]
            assert network.now <= max(heard + 120.0, heard + lease_s) + 1.5 + 1e-6, "a silent peer stays"
    network.run(network.now + END_S)
    assert set(network.believed) == network.alive & set(network.believed)
    times = [when for when, _ in network.sent]
    for index, when in enumerate(times):
        assert sum(1 for each in times[index:] if each < when + 10) <= QUERIES_IN_10_S


def test_a_living_peer_stays_known_through_a_quiet_hour() -> None:
    """Its lease is renewed by asking, and only about once a lease is it reported."""
    network = Network(Random(1))
    act(network, "born", ALIASES[0], ORIGINS[0], 120)
    network.settle()
    network.run(3600.0)
    assert set(network.believed) == {ALIASES[0]}
    asked = [query for _, query in network.sent if ALIASES[0] in query.names]
    assert 30 <= len(asked) <= 40


def test_the_loop_never_spins() -> None:
    """Two minutes of an idle peer take a handful of turns."""
    network = Network(Random(1))
    network.browser.search(now=0.0)
    act(network, "born", ALIASES[0], ORIGINS[0], 120)
    network.run(120.0)
    assert len(network.sent) <= 10


def test_seen_names_what_was_heard() -> None:
    """A change is a value: who, what, how long, and from where."""
    network = Network(Random(1))
    network.browser.heard(Claim("a" * 26, b"r", 60, complete=True), ORIGINS[1], now=0)
    assert network.browser.take_changes(1) == [Seen("a" * 26, b"r", 63.0, ORIGINS[1])]
