"""Registries over a simulated network: whatever happened, once it heals every pair is linked, exactly once.

Virtual time, no sockets. Announcements get lost; frames and closes arrive after random delays, some of them
seconds late as a lost packet makes them; a cut connection loses what was under way; a crash says nothing; a
partition lets nothing through until the system's keepalive gives up; hosts change their address, and one may
get that of another; firewalls let connections through one way only; a backend lies about where peers are,
forges their records, and repeats what they said before; trust ends and begins again; a host comes back from
a backup, with sequence numbers that it used before. Some hosts can be looked up by name.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from ipaddress import IPv4Interface, ip_address
from typing import Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peernet_core.addresses import Address, Interface, NetworkSnapshot
from peernet_core.decisions.effects import (
    CancelDial,
    CloseConnection,
    Dial,
    Effect,
    ExtendDial,
    Forget,
    LookUp,
    Publish,
    RaiseSequence,
    Remember,
    SendFrame,
)
from peernet_core.decisions.frames import Frame, Hello
from peernet_core.decisions.ledger import Candidate
from peernet_core.decisions.registry import Registry
from peernet_core.events import Event, IdentityConflict, PeerConnected, PeerDisconnected, UnreachableReason
from peernet_core.keys import Identity, PeerKey
from peernet_core.policy import TrustedOnly
from peernet_core.records import Record, encode_record
from peernet_core.trust import TrustedPeer, TrustList

IDENTITIES: Final = [Identity.generate() for _ in range(3)]
LIAR: Final = Identity.generate()
KEEPALIVE_S: Final = 15.0
TTL_S: Final = 120.0
REPEATS_S: Final = 30.0
LOST: Final = 0.2  # of announcements, until the network heals
LATE: Final = 0.05  # of frames, by up to three seconds
DIAL_TIMEOUT_S: Final = 5.0
HEALED_S: Final = 120.0  # four times the longest wait between dials
RECORDS: Final[dict[tuple[PeerKey, int, int, str], bytes]] = {}  # signing is slow, and always gives the same


@attrs.define(eq=False)
class Pipe:
    """One connection: an end each for the dialer and the acceptor, with the life that it was made in."""

    number: int
    ends: tuple[Host, Host]
    lives: tuple[int, int]
    address: Address
    hello: Hello  # the dialer's
    opened: bool = False
    closed: set[Host] = attrs.Factory(set)
    arrives: dict[Host, float] = attrs.Factory(dict)

    def other(self, host: Host) -> Host:
        return self.ends[host is self.ends[0]]


@attrs.define(eq=False)
class Host:
    """One node: its registry, which a crash replaces, and what the application was told."""

    identity: Identity
    net: Net
    number: int
    life: int = 0
    sequence: int = 0
    ip: str = ""
    up: bool = False
    port: int = 0
    registry: Registry = attrs.field(init=False)
    trust: TrustList = attrs.field(init=False)
    linked: set[PeerKey] = attrs.Factory(set)
    links: int = 0
    races: dict[PeerKey, int] = attrs.Factory(dict)
    pipes: dict[int, Pipe] = attrs.Factory(dict)

    @property
    def boot_id(self) -> bytes:
        return bytes([self.number, self.life]) * 8

    def start(self) -> None:
        self.life += 1
        self.sequence += 1
        self.up, self.port = True, self.net.random.choice([7000, 7000 + self.life])
        self.ip = self.ip or f"10.0.0.{self.number + 1}"
        self.trust = TrustList(
            TrustedPeer(each.identity.key, "")
            for each in self.net.hosts
            if each is not self and (self, each) not in self.net.distrust
        )
        self.registry = Registry(
            me=self.identity.key,
            trust=self.trust,
            policy=TrustedOnly(),
            now=self.net.now,
            seed=self.net.random.getrandbits(32),
        )
        self.registry.network = self.network()
        self.registry.own_port = self.port
        self.registry.own_sequence = self.sequence
        self.linked.clear()
        self.races.clear()
        self.pipes.clear()
        if self.net.lookups:
            self.registry.search(now=self.net.now)
        self.act()
        self.repeat(self.life)
        for other in self.net.hosts:
            other.answer(self)

    def network(self) -> NetworkSnapshot:
        return NetworkSnapshot((Interface("eth0", 2, (IPv4Interface(f"{self.ip}/24"),)),))

    def crash(self) -> None:
        """Nobody is told, unless the system can still answer for its sockets."""
        self.up = False
        for pipe in list(self.pipes.values()):
            other = pipe.other(self)
            delay = 0.05 if self.net.reach(self, other) else KEEPALIVE_S
            self.net.later(delay, other.notice_end, pipe)

    def restore(self) -> None:
        """Come back from a backup: with numbers that were used before."""
        if self.up:
            self.crash()
        self.sequence = max(0, self.sequence - 3)
        self.start()

    def shun(self, other: Host) -> None:
        """Trust it no more."""
        self.net.distrust.add((self, other))
        if self.up and self.trust.remove(other.identity.key):
            self.registry.untrusted(other.identity.key, now=self.net.now)
            self.act()

    def befriend(self, other: Host) -> None:
        """Trust it, perhaps again."""
        self.net.distrust.discard((self, other))
        if self.up and self.trust.add(other.identity.key):
            self.registry.trusted(other.identity.key, now=self.net.now)
            self.act()

    def move(self, ip: str) -> None:
        """To another address; links over the old one end here at once, and there when the system gives up."""
        if ip == self.ip or any(ip == each.ip for each in self.net.hosts):
            return
        self.ip = ip
        if not self.up:
            return
        for pipe in list(self.pipes.values()):
            self.net.later(KEEPALIVE_S, pipe.other(self).notice_end, pipe)
            self.notice_end(pipe)
        self.registry.network_changed(self.network(), now=self.net.now)
        self.sign(self.sequence + 1)

    def sign(self, sequence: int) -> None:
        """Announce anew."""
        self.sequence = self.registry.own_sequence = sequence
        self.registry.announced(self.record())
        self.act()
        self.announce()

    # What is announced.

    def repeat(self, life: int) -> None:
        """Announce now and from time to time."""
        if self.up and life == self.life:
            self.announce()
            self.net.at(self.net.now + REPEATS_S, self.repeat, life)

    def announce(self) -> None:
        for other in self.net.hosts:
            self.answer(other)

    def answer(self, asker: Host) -> None:
        if self.up and asker is not self and self.net.random.random() >= self.net.lost:
            self.net.later(0.5, asker.hear, self, self.record(), self.ip)

    def hear(self, sender: Host, record: bytes, ip: str) -> None:
        if self.up and self.net.reach(self, sender):
            self.net.said.append((record, ip))
            self.report("lan", record, ip)

    def report(self, source: str, record: bytes, ip: str) -> None:
        self.registry.record_received(
            source, record, ttl_s=TTL_S, heard=(ip_address(ip), "eth0"), now=self.net.now
        )
        self.act()

    def be_lied_to(self, about: Host, ip: str, port: int, old: int) -> None:
        """A hint that leads anywhere, a forgery, what somebody said long ago, and a goodbye that is none."""
        if not self.up or about is self:
            return
        address = Address(ip_address(ip), port, "liar")
        sighting = self.registry.peer_discovered(
            "liar", about.identity.key, address, ttl_s=TTL_S, now=self.net.now
        )
        self.act()
        self.report("liar", forgery(about.identity.key, port, ip), ip)
        if self.net.said:
            self.report("liar", *self.net.said[old % len(self.net.said)])
        if old % 3 == 0:
            self.registry.peer_lost(sighting, now=self.net.now)
            self.registry.source_lost("liar", about.identity.key, None, None, now=self.net.now)
            self.act()

    def record(self) -> bytes:
        key = (self.identity.key, self.sequence, self.port, self.ip)
        if key not in RECORDS:
            address = Address(ip_address(self.ip), self.port)
            record = Record(self.identity.key, self.sequence, self.port, (address,))
            RECORDS[key] = encode_record(record, self.identity)
        return RECORDS[key]

    def hello(self, other: Host) -> Hello:
        held = self.registry.sightings.ledger.highest_sequence(other.identity.key)
        return Hello(self.record(), self.boot_id, held)

    def act(self) -> None:
        """Carry out what the registry wants, and see to its next deadline."""
        for effect in self.registry.take_effects():
            self.carry_out(effect)
        due = self.registry.next_deadline()
        if due is not None:
            self.net.at(max(due, self.net.now), self.tick, self.life)

    def tick(self, life: int) -> None:
        if self.up and life == self.life:
            due = self.registry.next_deadline()
            if due is not None and due <= self.net.now:
                self.registry.handle_timer(now=self.net.now)
                self.act()

    def carry_out(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - a table of effects
        match effect:
            case Publish(event=event):
                self.note(event)
            case Dial(key=key, candidates=candidates):
                self.races[key] = len(candidates)
                for candidate in candidates:
                    self.net.later(0.02, self.dial, candidate, key, self.life)
            case ExtendDial(key=key, candidate=candidate):
                self.races[key] += 1
                self.net.later(0.02, self.dial, candidate, key, self.life)
            case CancelDial(key=key):
                self.races.pop(key, None)
            case SendFrame(connection=number, frame=frame):
                if number in self.pipes:
                    self.net.send(self.pipes[number], self, frame)
            case CloseConnection(connection=number):
                pipe = self.pipes.pop(number, None)
                if pipe is not None:
                    self.net.send(pipe, self, None)
            case Remember(key=key):
                assert self.registry.view(key) is not None
            case Forget(key=key):
                assert key not in self.trust
            case LookUp(key=key):
                assert self.net.lookups
                self.net.later(0.5, self.ask, key, self.life)
            case RaiseSequence(above=above):
                assert self.net.restored
                self.sign(above + 1)

    def ask(self, key: PeerKey, life: int) -> None:
        """A lookup: whoever has that key may hear of it, and may answer."""
        if self.up and life == self.life:
            for other in self.net.hosts:
                if other.is_(key) and self.net.reach(self, other):
                    other.answer(self)
            self.registry.looked_up(key, now=self.net.now)
            self.act()

    def is_(self, key: PeerKey) -> bool:
        return self.identity.key == key

    def note(self, event: Event) -> None:
        match event:
            case PeerConnected(key=key):
                assert key not in self.linked, "connected twice"
                assert all((self, each) not in self.net.distrust for each in self.net.hosts if each.is_(key))
                self.linked.add(key)
                self.links += 1
            case PeerDisconnected(key=key):
                self.linked.remove(key)
            case IdentityConflict():
                raise AssertionError("nobody has a copy of anybody's identity")

    def dial(self, candidate: Candidate, key: PeerKey, life: int) -> None:
        """TCP, TLS and HELLO, all at once."""
        if not self.up or life != self.life or key not in self.races:
            return
        address = candidate.address
        there = next((host for host in self.net.hosts if host.ip == str(address.ip)), None)
        if there is None or not self.net.reach(self, there) or (self, there) in self.net.walls:
            self.net.later(DIAL_TIMEOUT_S, self.dial_ends, key, address, UnreachableReason.TIMEOUT, life)
        elif not there.up or there.port != address.port:
            self.dial_ends(key, address, UnreachableReason.REFUSED, life)
        elif not there.is_(key):
            self.dial_ends(key, address, UnreachableReason.WRONG_KEY, life)
        elif there.registry.view(self.identity.key) is None:
            self.dial_ends(key, address, UnreachableReason.THEY_DO_NOT_TRUST_US, life)
        else:
            number = next(self.net.numbers)
            pipe = Pipe(number, (self, there), (self.life, there.life), address, self.hello(there))
            self.races.pop(key)
            self.pipes[number] = pipe
            self.registry.race_won(key, number, address, there.hello(self), now=self.net.now)
            self.act()

    def dial_ends(self, key: PeerKey, address: Address, reason: UnreachableReason, life: int) -> None:
        if not self.up or life != self.life or key not in self.races:
            return
        self.registry.dial_failed(key, address, reason, now=self.net.now)
        self.races[key] -= 1
        if self.races[key] == 0:
            del self.races[key]
            self.registry.race_lost(key, now=self.net.now)
        self.act()

    def receive(self, pipe: Pipe, frame: Frame | None) -> None:
        if not self.up or self.life != pipe.lives[self is pipe.ends[1]] or self in pipe.closed:
            return
        if frame is None:
            self.notice_end(pipe)
            return
        if self is pipe.ends[1] and not pipe.opened:  # the first frame is OPEN
            pipe.opened = True
            self.pipes[pipe.number] = pipe
            dialer = pipe.ends[0]
            remote = Address(ip_address(dialer.ip), 50000, "inbound")
            self.registry.inbound_opened(
                dialer.identity.key, pipe.number, remote, pipe.hello, now=self.net.now
            )
        else:
            self.registry.frame_received(pipe.number, frame, now=self.net.now)
        self.act()

    def notice_end(self, pipe: Pipe) -> None:
        if self.up and self.life == pipe.lives[self is pipe.ends[1]] and self not in pipe.closed:
            pipe.closed.add(self)
            self.pipes.pop(pipe.number, None)
            self.registry.connection_closed(pipe.number, "cut", now=self.net.now)
            self.act()


@attrs.define(eq=False)
class Net:
    """Virtual time, and who can reach whom."""

    random: random.Random
    lookups: bool = False
    lost: float = LOST
    restored: bool = False  # somebody came back from a backup
    distrust: set[tuple[Host, Host]] = attrs.Factory(set)  # the first does not trust the second
    walls: set[tuple[Host, Host]] = attrs.Factory(set)  # the first cannot dial the second
    said: list[tuple[bytes, str]] = attrs.Factory(list)  # all records that were ever heard, and from where
    hosts: list[Host] = attrs.Factory(list)
    cut: set[frozenset[Host]] = attrs.Factory(set)
    now: float = 1000.0
    numbers: itertools.count[int] = attrs.Factory(itertools.count)
    queue: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = attrs.Factory(list)
    order: itertools.count[int] = attrs.Factory(itertools.count)

    def reach(self, one: Host, other: Host) -> bool:
        return frozenset((one, other)) not in self.cut

    def at(self, when: float, act: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self.queue, (when, next(self.order), act, arguments))

    def later(self, most_s: float, act: Callable[..., None], *arguments: object) -> None:
        self.at(self.now + self.random.uniform(most_s / 2, most_s), act, *arguments)

    def send(self, pipe: Pipe, sender: Host, frame: Frame | None) -> None:
        """In order, after a delay; a partition holds it up until the system gives up."""
        receiver = pipe.other(sender)
        if frame is None:
            pipe.closed.add(sender)
        if not self.reach(sender, receiver):
            self.later(KEEPALIVE_S, receiver.notice_end, pipe)
            self.later(KEEPALIVE_S, sender.notice_end, pipe)
            return
        took = (
            self.random.uniform(0.2, 3.0)
            if self.random.random() < LATE
            else self.random.uniform(0.0005, 0.02)
        )
        when = max(pipe.arrives.get(receiver, 0.0), self.now + took)
        pipe.arrives[receiver] = when
        self.at(when, receiver.receive, pipe, frame)

    def break_links(self, one: Host, other: Host) -> None:
        """What is under way is lost; either end notices in its own time."""
        for host in (one, other):
            for pipe in list(host.pipes.values()):
                if pipe.other(host) in {one, other}:
                    self.later(KEEPALIVE_S, host.notice_end, pipe)

    def run(self, seconds: float) -> None:
        end, steps = self.now + seconds, 0
        while self.queue and self.queue[0][0] <= end:
            self.now, _, act, arguments = heapq.heappop(self.queue)
            act(*arguments)
            steps += 1
            assert steps < 200_000, "it never comes to rest"
        self.now = end


def forgery(key: PeerKey, port: int, ip: str) -> bytes:
    """A record with that key, and somebody else's signature; its number is higher than any."""
    place = (key, -1, port, ip)
    if place not in RECORDS:
        record = Record(LIAR.key, 10**6, port, (Address(ip_address(ip), port),))
        RECORDS[place] = encode_record(record, LIAR).replace(LIAR.key.raw, key.raw)
    return RECORDS[place]


def agree(net: Net) -> None:
    """Every pair that trusts each other is linked over one and the same connection; nobody else is."""
    for one, other in itertools.combinations(net.hosts, 2):
        links = [one.registry.link_of(other.identity.key), other.registry.link_of(one.identity.key)]
        if (one, other) in net.distrust or (other, one) in net.distrust:
            assert links == [None, None]
            continue
        assert links[0] is not None, f"{one.number} has no link with {other.number}"
        assert links[0] == links[1]
        assert other.identity.key in one.linked
        assert one.identity.key in other.linked


# Mostly things happen while everybody is linked, or after a failure has had time to show.
waits = st.one_of(st.just(0.0), st.floats(0.001, 2.0), st.floats(5.0, 40.0))
pairs = st.sampled_from([(0, 1), (0, 2), (1, 2)])
hosts = st.integers(0, 2)
places = st.sampled_from([f"10.0.0.{number}" for number in range(1, 7)])
steps = st.one_of(
    st.tuples(st.sampled_from(["crash", "start", "restart", "restore"]), hosts),
    st.tuples(st.sampled_from(["cut", "heal", "break"]), pairs),
    st.tuples(st.sampled_from(["shun", "befriend"]), st.permutations([0, 1, 2])),
    st.tuples(st.just("move"), st.tuples(hosts, places)),
    st.tuples(st.just("wall"), st.permutations([0, 1, 2])),
    st.tuples(st.just("open"), st.none()),
    st.tuples(
        st.just("lie"), st.tuples(hosts, hosts, places, st.integers(7000, 7003), st.integers(0, 10_000))
    ),
)
Story = list[tuple[tuple[str, object], float]]
worlds = {
    "seed": st.integers(0, 2**32),
    "count": st.sampled_from([2, 3]),
    "distrust": st.sampled_from([(), ((1, 2),), ((1, 2), (2, 1))]),
    "lookups": st.booleans(),
}


# Each is short, and the stories that tell are rare.
@settings(max_examples=800)
@given(**worlds, story=st.lists(st.tuples(steps, waits), min_size=1, max_size=10))
def test_once_the_network_heals_everybody_is_linked(
    seed: int, count: int, distrust: tuple[tuple[int, int], ...], lookups: bool, story: Story
) -> None:
    """Whatever happened before, within bounded time, exactly once, and only those that trust each other.

    Firewalls that let connections through one way, and lies, stay as they are.
    """
    live_through(seed, count, distrust, lookups, story)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@settings(max_examples=10_000, derandomize=False)
@given(**worlds, story=st.lists(st.tuples(steps, waits), min_size=5, max_size=25))
def test_once_the_network_heals_everybody_is_linked_after_long_stories(
    seed: int, count: int, distrust: tuple[tuple[int, int], ...], lookups: bool, story: Story
) -> None:
    """The same, with other stories each time."""
    live_through(seed, count, distrust, lookups, story)


def live_through(
    seed: int, count: int, distrust: tuple[tuple[int, int], ...], lookups: bool, story: Story
) -> None:
    net = Net(random.Random(seed), lookups=lookups)
    net.hosts = [Host(identity, net, number) for number, identity in enumerate(IDENTITIES[:count])]
    net.distrust = {(net.hosts[one], net.hosts[other]) for one, other in distrust if count > max(one, other)}
    for host in net.hosts:
        host.start()
    for (what, detail), seconds in story:
        _happen(net, what, detail)
        net.run(seconds)
    net.cut.clear()  # somewhere in between: no host notices anything
    net.lost = 0.0  # else a few in a row are, and who alone may dial hears nothing within any bound
    for host in net.hosts:
        if not host.up:
            host.start()
    net.run(HEALED_S)
    agree(net)
    links = [host.links for host in net.hosts]
    net.run(HEALED_S)
    agree(net)
    assert [host.links for host in net.hosts] == links, "it did not stay as it was"


def _happen(net: Net, what: str, detail: object) -> None:  # noqa: C901, PLR0912 - a table of what can happen
    match what, detail:
        case "crash" | "start" | "restart", int(number) if number < len(net.hosts):
            host = net.hosts[number]
            if what != "start" and host.up:
                host.crash()
            if what != "crash" and not host.up:
                host.start()
        case "restore", int(number) if number < len(net.hosts) and not net.walls:
            net.restored = True
            net.hosts[number].restore()
        case "shun" | "befriend", [int(one), int(other), _] if max(one, other) < len(net.hosts):
            if what == "shun":
                net.hosts[one].shun(net.hosts[other])
            else:
                net.hosts[one].befriend(net.hosts[other])
        case "move", (int(number), str(ip)) if number < len(net.hosts):
            net.hosts[number].move(ip)
        # Who came back from a backup is believed again once it has a link: it has to be let through.
        case "wall", [int(one), int(other), _] if max(one, other) < len(net.hosts) and not net.restored:
            one_way = net.hosts[one], net.hosts[other]
            if one_way[::-1] not in net.walls:
                net.walls.add(one_way)
        case "open", None:
            net.walls.clear()
        case "lie", (int(number), int(about), str(ip), int(port), int(old)) if max(number, about) < len(
            net.hosts
        ):
            net.hosts[number].be_lied_to(net.hosts[about], ip, port, old)
        case "cut" | "heal" | "break", (int(one), int(other)) if max(one, other) < len(net.hosts):
            pair = net.hosts[one], net.hosts[other]
            if what == "cut":
                net.cut.add(frozenset(pair))
            if what == "heal":
                net.cut.discard(frozenset(pair))
            if what != "heal":
                net.break_links(*pair)
