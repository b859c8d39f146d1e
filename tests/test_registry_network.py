"""Registries over a simulated network: whatever happened, once it heals every pair is linked, exactly once.

Virtual time, no sockets: frames and closes arrive after random delays, a cut connection loses what was under
way, a crash says nothing, a partition lets nothing through until the system's keepalive gives up.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from ipaddress import IPv4Interface, ip_address
from typing import Final

import attrs
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
    Publish,
    RaiseSequence,
    SendFrame,
)
from peernet_core.decisions.frames import Frame, Hello
from peernet_core.decisions.ledger import Candidate
from peernet_core.decisions.registry import Registry
from peernet_core.events import Event, PeerConnected, PeerDisconnected, UnreachableReason
from peernet_core.keys import Identity, PeerKey
from peernet_core.policy import TrustedOnly
from peernet_core.records import Record, encode_record
from peernet_core.trust import TrustedPeer, TrustList

IDENTITIES: Final = [Identity.generate() for _ in range(3)]
KEEPALIVE_S: Final = 15.0
DIAL_TIMEOUT_S: Final = 5.0
HEALED_S: Final = 120.0  # four times the longest wait between dials
RECORDS: Final[dict[tuple[PeerKey, int, int], bytes]] = {}  # signing is slow, and always gives the same


@attrs.define(eq=False)
class Pipe:
    """One connection: an end each for the dialer and the acceptor, with the life that it was made in."""

    number: int
    ends: tuple[Host, Host]
    lives: tuple[int, int]
    address: Address
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
    up: bool = False
    port: int = 0
    registry: Registry = attrs.field(init=False)
    linked: set[PeerKey] = attrs.Factory(set)
    races: dict[PeerKey, int] = attrs.Factory(dict)
    pipes: dict[int, Pipe] = attrs.Factory(dict)

    @property
    def ip(self) -> str:
        return f"10.0.0.{self.number + 1}"

    @property
    def boot_id(self) -> bytes:
        return bytes([self.number, self.life]) * 8

    def start(self) -> None:
        self.life += 1
        self.up, self.port = True, 7000 + self.life
        trust = TrustList(
            TrustedPeer(each.identity.key, "")
            for each in self.net.hosts
            if each is not self and frozenset((each, self)) not in self.net.strangers
        )
        self.registry = Registry(
            me=self.identity.key,
            trust=trust,
            policy=TrustedOnly(),
            now=self.net.now,
            seed=self.net.random.getrandbits(32),
        )
        self.registry.network = NetworkSnapshot((Interface("eth0", 2, (IPv4Interface(f"{self.ip}/24"),)),))
        self.registry.own_port = self.port
        self.linked.clear()
        self.races.clear()
        self.pipes.clear()
        for other in self.net.hosts:
            if other is not self and other.up:
                self.net.later(0.5, self.hear_of, other)
                self.net.later(0.5, other.hear_of, self)

    def crash(self) -> None:
        """Nobody is told, unless the system can still answer for its sockets."""
        self.up = False
        for pipe in list(self.pipes.values()):
            other = pipe.other(self)
            delay = 0.05 if self.net.reach(self, other) else KEEPALIVE_S
            self.net.later(delay, other.notice_end, pipe)

    def hear_of(self, other: Host) -> None:
        if self.up and other.up:
            address = Address(ip_address(other.ip), other.port, "lan")
            self.registry.peer_discovered("lan", other.identity.key, address, now=self.net.now)
            self.act()

    def hello(self) -> Hello:
        key = (self.identity.key, self.life, self.port)
        if key not in RECORDS:
            address = Address(ip_address(self.ip), self.port)
            record = Record(self.identity.key, self.life, self.port, (address,))
            RECORDS[key] = encode_record(record, self.identity)
        return Hello(RECORDS[key], self.boot_id, 0)

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

    def carry_out(self, effect: Effect) -> None:  # noqa: C901 - a table of effects
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
            case Forget() | RaiseSequence():
                raise AssertionError(effect)

    def note(self, event: Event) -> None:
        match event:
            case PeerConnected(key=key):
                assert key not in self.linked, "connected twice"
                self.linked.add(key)
            case PeerDisconnected(key=key):
                self.linked.remove(key)

    def dial(self, candidate: Candidate, key: PeerKey, life: int) -> None:
        """TCP, TLS and HELLO, all at once."""
        if not self.up or life != self.life or key not in self.races:
            return
        address = candidate.address
        there = next(host for host in self.net.hosts if host.ip == str(address.ip))
        if not self.net.reach(self, there):
            self.net.later(DIAL_TIMEOUT_S, self.dial_ends, key, address, UnreachableReason.TIMEOUT, life)
        elif not there.up or there.port != address.port:
            self.dial_ends(key, address, UnreachableReason.REFUSED, life)
        elif there.registry.view(self.identity.key) is None:
            self.dial_ends(key, address, UnreachableReason.THEY_DO_NOT_TRUST_US, life)
        else:
            number = next(self.net.numbers)
            pipe = Pipe(number, (self, there), (self.life, there.life), address)
            self.races.pop(key)
            self.pipes[number] = pipe
            self.registry.race_won(key, number, address, there.hello(), now=self.net.now)
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
                dialer.identity.key, pipe.number, remote, dialer.hello(), now=self.net.now
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
    strangers: set[frozenset[Host]] = attrs.Factory(set)
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
        when = max(pipe.arrives.get(receiver, 0.0), self.now + self.random.uniform(0.0005, 0.02))
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


def agree(net: Net) -> None:
    """Every pair that trusts each other is linked over one and the same connection; nobody else is."""
    for one, other in itertools.combinations(net.hosts, 2):
        links = [one.registry.link_of(other.identity.key), other.registry.link_of(one.identity.key)]
        if frozenset((one, other)) in net.strangers:
            assert links == [None, None]
            continue
        assert links[0] is not None, f"{one.number} has no link with {other.number}"
        assert links[0] == links[1]
        assert other.identity.key in one.linked
        assert one.identity.key in other.linked


# Mostly things happen while everybody is linked, or after a failure has had time to show.
waits = st.one_of(st.floats(0.001, 2.0), st.floats(5.0, 40.0))
pairs = st.sampled_from([(0, 1), (0, 2), (1, 2)])
steps = st.one_of(
    st.tuples(st.just("wait"), waits),
    st.tuples(st.sampled_from(["crash", "start", "restart"]), st.integers(0, 2)),
    st.tuples(st.sampled_from(["cut", "heal", "break"]), pairs),
)


@settings(max_examples=max(500, settings().max_examples))  # each is short, and the stories that tell are rare
@given(
    seed=st.integers(0, 2**32),
    count=st.sampled_from([2, 3]),
    stranger=st.booleans(),
    story=st.lists(steps, max_size=12),
)
def test_once_the_network_heals_everybody_is_linked(
    seed: int, count: int, stranger: bool, story: list[tuple[str, object]]
) -> None:
    """After crashes, restarts at other ports, partitions and cut connections, within bounded time."""
    net = Net(random.Random(seed))
    net.hosts = [Host(identity, net, number) for number, identity in enumerate(IDENTITIES[:count])]
    if stranger and count > 2:
        net.strangers.add(frozenset(net.hosts[1:]))
    for host in net.hosts:
        host.start()
    for what, detail in story:
        _happen(net, what, detail)
    net.cut.clear()
    for host in net.hosts:
        if not host.up:
            host.start()
        for other in net.hosts:
            if other is not host:
                net.later(0.5, host.hear_of, other)
    net.run(HEALED_S)
    agree(net)
    quiet = [dict(host.registry.counts) for host in net.hosts]
    net.run(HEALED_S)
    agree(net)
    assert [dict(host.registry.counts) for host in net.hosts] == quiet, "it did not stay as it was"


def _happen(net: Net, what: str, detail: object) -> None:
    match what, detail:
        case "wait", float(seconds):
            net.run(seconds)
        case "crash" | "start" | "restart", int(number) if number < len(net.hosts):
            host = net.hosts[number]
            if what != "start" and host.up:
                host.crash()
            if what != "crash" and not host.up:
                host.start()
        case "cut" | "heal" | "break", (int(one), int(other)) if max(one, other) < len(net.hosts):
            pair = net.hosts[one], net.hosts[other]
            if what == "cut":
                net.cut.add(frozenset(pair))
            if what == "heal":
                net.cut.discard(frozenset(pair))
            if what != "heal":
                net.break_links(*pair)
