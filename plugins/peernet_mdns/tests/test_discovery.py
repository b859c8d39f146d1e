"""The backend as core uses it, over loopback and in real time: found, changed, gone, stopped at any time."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from ipaddress import IPv4Interface
from random import Random
from typing import Final, Self

import attrs
import pytest
from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSRecord, DNSService, DNSText

from peernet_core.addresses import Address, Interface, IPAddress, NetworkSnapshot
from peernet_core.backends.contexts import HostContext
from peernet_core.contract import Announcement, Sighting
from peernet_core.errors import MalformedError
from peernet_core.keys import Identity, PeerKey
from peernet_core.records import Record, decode_record, encode_record
from peernet_core.testing import open_sockets, unfinished_tasks
from peernet_mdns import MdnsDiscovery
from peernet_mdns.browser import Browser, Gone, Origin, Seen
from peernet_mdns.gate import Sender
from peernet_mdns.medium import Medium
from peernet_mdns.txt import encode_txt, record_in

GUARD_S: Final = 20.0
GROUP: Final = "224.0.0.251"
NEIGHBOUR: Final = "127.0.0.2"
PORT: Final = 7100
WITH_LO: Final = NetworkSnapshot(
    (Interface("lo", socket.if_nametoindex("lo"), (IPv4Interface("127.0.0.1/8"),)),)
)
NOTHING: Final = NetworkSnapshot()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Once every node has stopped there is no socket, no task, and no medium."""
    sockets, tasks = open_sockets(), await unfinished_tasks()
    yield
    for _ in range(3):
        await asyncio.sleep(0)
    assert open_sockets() == sockets
    assert not await unfinished_tasks(but=tasks)
    assert asyncio.get_running_loop() not in Medium._of_loop


class Network:
    """A monitor that says what it is told to."""

    def __init__(self, snapshot: NetworkSnapshot) -> None:
        self.snapshot = snapshot
        self._change = asyncio.Event()

    async def changed(self) -> NetworkSnapshot:
        await self._change.wait()
        return self.snapshot

    def become(self, snapshot: NetworkSnapshot) -> None:
        self.snapshot = snapshot
        self._change.set()
        self._change = asyncio.Event()


class Core:
    """Takes reports as a node does: it reads and verifies records, and knows its own key."""

    def __init__(self, own: PeerKey) -> None:
        self.own = own
        self.seen = list[tuple[PeerKey, bytes, str]]()
        self.sightings = list[Sighting]()
        self.lost = list[int]()
        self.refused = list[bytes]()
        self.news = asyncio.Event()

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        del ttl_s, renew
        self.news.set()
        try:
            signed = decode_record(record)
            signed.verify()
        except MalformedError:
            self.refused.append(record)
            return None
        if signed.record.key == self.own:
            self.refused.append(record)
            return None
        self.seen.append((signed.record.key, record, "" if heard is None else str(heard[0])))
        places = () if heard is None else (Address(heard[0], signed.record.port, source),)
        sighting = Sighting(len(self.sightings) + 1, signed.record.key, source, places)
        self.sightings.append(sighting)
        return sighting

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        raise AssertionError(source, key, ip, port, ttl_s, configured)

    def peer_lost(self, sighting: Sighting) -> None:
        self.lost.append(sighting.id)
        self.news.set()

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        raise AssertionError(source, key, ip, port)

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def knows(self, key: PeerKey, record: bytes | None = None) -> bool:
        return any(each == key and record in {None, said} for each, said, _ in self.seen)


class Node:
    """One instance of the backend, with the real context around it."""

    def __init__(self, service: str, snapshot: NetworkSnapshot = WITH_LO) -> None:
        self.identity = Identity.generate()
        self.key = self.identity.key
        self.core = Core(self.key)
        self.network = Network(snapshot)
        self.context = HostContext("mdns", key=self.key, intake=self.core, network=self.network)
        self.crashes = list[str]()
        self.context.on_crash = lambda what, error: self.crashes.append(f"{what}: {error!r}")
        self.backend = MdnsDiscovery(interfaces=["lo"], service=service)
        self.sequence = 0

    def sign(self, *, stopped: bool = False) -> bytes:
        self.sequence += 1
        return encode_record(Record(self.key, self.sequence, PORT, stopped=stopped), self.identity)

    async def announce(self, record: bytes) -> bytes:
        await self.backend.announce_self(Announcement(PORT, (), record, self.key.alias))
        return record

    async def start(self) -> None:
        await self.backend.start(self.context)

    async def stop(self) -> None:
        await self.backend.stop()
        assert await self.context.aclose(thread_timeout_s=1.0) == ()
        assert self.crashes == []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


@pytest.fixture
def service() -> str:
    return f"_pn-{secrets.token_hex(4)}x._tcp"


def speaker(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    sock.bind((address, 5353))
    sock.setblocking(False)
    return sock


@pytest.fixture
def neighbour() -> Iterator[socket.socket]:
    """Port 5353 of an address that is on the link and not ours."""
    with speaker(NEIGHBOUR) as sock:
        yield sock


@pytest.fixture
def overhearing() -> Iterator[socket.socket]:
    """All that is said to the group on loopback."""
    with speaker(GROUP) as sock:
        membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        yield sock


async def overhear(sock: socket.socket, condition: Callable[[DNSIncoming], bool]) -> DNSIncoming:
    async with asyncio.timeout(GUARD_S):
        while True:
            message = DNSIncoming(await asyncio.get_running_loop().sock_recv(sock, 9000))
            if condition(message):
                return message


def records(service: str, alias: str, record: bytes, ttl: int = 120) -> tuple[DNSRecord, ...]:
    name = f"{alias}.{service}.local."
    return (
        DNSPointer(f"{service}.local.", 12, 1, ttl, name),
        DNSService(name, 33, 1, ttl, 0, 0, PORT, f"{alias}.local."),
        DNSText(name, 16, 1, ttl, encode_txt(record)),
    )


def say(sock: socket.socket, said: Sequence[DNSRecord]) -> None:
    out = DNSOutgoing(0x8400)
    for record in said:
        out.add_answer_at_time(record, 0)
    for packet in out.packets():
        sock.sendto(packet, (GROUP, 5353))


def text_of(message: DNSIncoming, key: PeerKey) -> bytes | None:
    texts = [each for each in message.answers() if isinstance(each, DNSText)]
    return next((record_in(each.text) for each in texts if each.name.startswith(key.alias)), None)


async def turn_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something has happened of which nobody is told."""
    async with asyncio.timeout(GUARD_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


# Finding.


async def test_two_nodes_of_one_process_find_each_other(service: str) -> None:
    """Whichever started first; they share one set of sockets, and neither finds itself."""
    async with Node(service) as first:
        await first.announce(first.sign())
        sockets = open_sockets()
        async with Node(service) as second:
            await second.announce(second.sign())
            await first.core.wait(lambda: first.core.knows(second.key))
            await second.core.wait(lambda: second.core.knows(first.key))
            assert first.backend._medium is second.backend._medium
            # One may have been added: for legacy queries, where another process shares the port.
            assert len(open_sockets() - sockets) <= 1
            assert not first.core.knows(first.key)
            assert not second.core.knows(second.key)


async def test_nodes_of_other_types_are_not_found(service: str) -> None:
    """Though their packets come by the same sockets."""
    async with Node(service) as first, Node(f"_po-{secrets.token_hex(4)}x._tcp") as other:
        await other.announce(other.sign())
        async with Node(service) as second:
            await second.announce(second.sign())
            await first.core.wait(lambda: first.core.knows(second.key))
        assert not first.core.knows(other.key)


async def test_a_changed_record_is_reported_and_the_old_one_never_comes_back(service: str) -> None:
    """Not even in an answer that was under way when it changed."""
    async with Node(service) as first:
        async with Node(service) as second:
            old = await second.announce(second.sign())
            await first.core.wait(lambda: first.core.knows(second.key, old))
            new = await second.announce(second.sign())
            await first.core.wait(lambda: first.core.knows(second.key, new))
            stopped = await second.announce(second.sign(stopped=True))
        await first.core.wait(lambda: first.core.knows(second.key, stopped))
        said = [record for _, record, _ in first.core.seen]
        assert list(dict.fromkeys(said)) == [old, new, stopped]
        assert said == sorted(said, key=[old, new, stopped].index)


async def test_a_clean_stop_is_proven_by_the_record_in_the_goodbye(service: str) -> None:
    """What core signed last is heard, though nobody is asked for it any more."""
    async with Node(service) as first:
        async with Node(service) as second:
            await second.announce(second.sign())
            await first.core.wait(lambda: first.core.knows(second.key))
            stopped = await second.announce(second.sign(stopped=True))
        await first.core.wait(lambda: first.core.knows(second.key, stopped))


async def test_the_goodbye_itself_holds_the_stop_record(service: str, overhearing: socket.socket) -> None:
    """Also for who heard nothing else."""
    async with Node(service) as node:
        await node.announce(node.sign())
        stopped = await node.announce(node.sign(stopped=True))
        alias = f"{node.key.alias}.{service}.local."
    goodbye = await overhear(
        overhearing, lambda each: any(said.name == alias and said.ttl == 0 for said in each.answers())
    )
    assert text_of(goodbye, node.key) == stopped


async def test_a_wanted_peer_is_asked_for_by_its_name(service: str, overhearing: socket.socket) -> None:
    """At once, SRV and TXT."""
    wanted = Identity.generate().key
    name = f"{wanted.alias}.{service}.local."
    async with Node(service) as node:
        await node.backend.resolve(wanted)
        message = await overhear(
            overhearing, lambda each: any(question.name == name for question in each.questions)
        )
        assert {each.type for each in message.questions if each.name == name} == {33, 16}


async def test_what_core_refuses_is_counted_and_hides_nobody(service: str, neighbour: socket.socket) -> None:
    """No record, one that nobody signed, one of another alias; the genuine one is reported all the same."""
    peer, other = Identity.generate(), Identity.generate()
    record = encode_record(Record(peer.key, 1, PORT), peer)
    forged = record[:-1] + bytes([record[-1] ^ 1])
    async with Node(service) as node:
        for bad in (b"no record", forged, encode_record(Record(other.key, 1, PORT), other)):
            refused = node.backend.counts["records_refused"]
            say(neighbour, records(service, peer.key.alias, bad))
            await turn_until(lambda refused=refused: node.backend.counts["records_refused"] > refused)  # type: ignore[misc]
        say(neighbour, records(service, peer.key.alias, record))
        await node.core.wait(lambda: node.core.knows(peer.key, record))
        assert node.core.refused == [b"no record", forged]
        assert node.backend._browser is not None
        assert node.backend._browser.counts.refused >= 3


async def test_all_origins_of_a_peer_are_withdrawn_when_it_is_gone(service: str) -> None:
    """One sighting for each address from which the same record was heard."""
    peer = Identity.generate()
    record = encode_record(Record(peer.key, 1, PORT), peer)
    alias = peer.key.alias
    async with Node(service) as node:
        changes: list[Seen | Gone] = [
            Seen(alias, record, 120.0, Origin(WITH_LO.interfaces[0].addresses[0].ip + last, "lo"))
            for last in range(3)
        ]
        browser = node.backend._browser
        assert browser is not None
        for change in changes:
            assert isinstance(change, Seen)
            node.backend._seen(change)
        assert [heard for _, _, heard in node.core.seen] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        pending = [[Gone(alias)]]
        browser.pending = lambda: bool(pending)  # type: ignore[method-assign]
        browser.take_changes = lambda _: pending.pop()  # type: ignore[method-assign,assignment,return-value]
        node.backend._report()
        assert sorted(node.core.lost) == [1, 2, 3]
        del browser.pending, browser.take_changes


# Whoever speaks under our name.


async def test_who_speaks_under_our_name_is_contradicted_once_a_second(
    service: str, neighbour: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is done; core sees the record, the browser does not."""
    async with Node(service) as node:
        await node.announce(node.sign())
        again = list[float]()
        now = node.context.clock()
        node.context.clock = lambda: now
        monkeypatch.setattr(Medium, "announce_again", lambda *_: again.append(now))
        forged = records(service, node.key.alias, b"forged")
        for expected in range(1, 4):
            for _ in range(5):
                claimed = node.backend.counts["own_name_claimed"]
                say(neighbour, forged)
                await turn_until(
                    lambda claimed=claimed: node.backend.counts["own_name_claimed"] > claimed  # type: ignore[misc]
                )
            assert len(again) == expected
            now += 1.0
        assert node.core.refused == [b"forged"] * 3
        assert node.core.seen == []


async def test_a_false_goodbye_in_our_name_is_contradicted(
    service: str, neighbour: socket.socket, overhearing: socket.socket
) -> None:
    """With our own record in it, too: what is right is said again."""
    async with Node(service) as node:
        record = await node.announce(node.sign())

        def announced(message: DNSIncoming) -> bool:
            return text_of(message, node.key) == record and all(each.ttl for each in message.answers())

        for _ in range(3):
            await overhear(overhearing, announced)
        say(neighbour, records(service, node.key.alias, record, ttl=0))
        await overhear(overhearing, announced)
        assert node.backend.counts["own_name_claimed"] == 1


async def test_what_this_host_says_of_us_is_no_claim(service: str) -> None:
    """Our own packets come back to us, and so do those that were sent before a change."""
    async with Node(service) as node:
        await node.announce(node.sign())
        sender = Sender(Origin(WITH_LO.interfaces[0].addresses[0].ip, "lo"), own=True)
        node.backend.answers_received(records(service, node.key.alias, b"before"), sender, legacy=False)
        assert node.backend.counts["own_name_claimed"] == 0
        assert node.core.refused == []


async def test_what_was_asked_by_somebody_else_is_not_asked_again(service: str) -> None:
    """Once the start is over; an instance that runs not, or no more, is not troubled."""
    backend = MdnsDiscovery(service=service)
    backend.question_overheard(frozenset())
    async with Node(service) as node:
        now = node.context.clock()
        browser = node.backend._browser = Browser(now=now - 40.0, jitter=Random(1))
        browser.search(now=now - 40.0)
        while (due := browser.next_deadline()) is not None and due < now:
            browser.take_query(now=due)
        before = browser.next_deadline()
        node.backend.question_overheard(frozenset({"a" * 26}))
        assert browser.next_deadline() == before
        node.backend.question_overheard(frozenset())
        after = browser.next_deadline()
        assert before is not None
        assert after is not None
        assert after > now + 60.0 > before


# Starting and stopping.


async def test_stopping_any_number_of_times_and_without_a_start_is_nothing(service: str) -> None:
    """And so is everything that core may still ask after that."""
    node = Node(service)
    await node.backend.stop()
    async with node:
        await node.announce(node.sign())
    await node.backend.stop()
    await node.announce(node.sign())
    await node.backend.resolve(Identity.generate().key)


async def test_a_start_that_failed_can_be_stopped_and_says_why(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is held by somebody who does not share it."""
    node = Node(service)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("0.0.0.0", 0))
        with monkeypatch.context() as patched:
            patched.setattr("peernet_mdns.engine.MDNS_PORT", holder.getsockname()[1])
            with pytest.raises(OSError, match="another program uses UDP port 5353"):
                await node.start()
        await node.stop()


async def test_a_start_that_is_cancelled_leaves_nothing(service: str) -> None:
    """At whichever turn of the loop."""
    for turns in range(8):
        node = Node(service)
        before = open_sockets()
        starting = asyncio.ensure_future(node.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait({starting})
        await node.stop()
        for _ in range(3):
            await asyncio.sleep(0)
        assert open_sockets() == before, turns


async def test_the_last_to_stop_closes_the_sockets(service: str) -> None:
    """Not the first."""
    before = open_sockets()
    first, second = Node(service), Node(service)
    await first.start()
    await second.start()
    await first.stop()
    assert open_sockets() != before
    await second.announce(second.sign())
    await second.stop()
    await asyncio.sleep(0)
    assert open_sockets() == before


# The network changes.


async def test_a_node_that_starts_without_a_link_is_found_when_it_has_one(service: str) -> None:
    """What it announced in the meantime is said then, and it asks who is there."""
    async with Node(service) as first, Node(service, NOTHING) as second:
        await first.announce(first.sign())
        await second.announce(second.sign())
        medium = second.backend._medium
        assert medium is not None
        assert medium.links_of(second.backend) == ()
        second.network.become(WITH_LO)
        await first.core.wait(lambda: first.core.knows(second.key))
        await second.core.wait(lambda: second.core.knows(first.key))


async def test_a_link_that_has_just_gone_ends_nothing(service: str) -> None:
    """The snapshot still has it, the system not any more; what comes after that is followed."""
    ghost = Interface("lo", 9999, (IPv4Interface("203.0.113.5/24"),))
    async with Node(service) as first, Node(service) as second:
        await first.announce(first.sign())
        second.network.become(NetworkSnapshot((ghost,)))
        medium = second.backend._medium
        assert medium is not None
        await turn_until(lambda: [link.index for link in medium.links_of(second.backend)] == [9999])
        second.network.become(WITH_LO)
        await second.announce(second.sign())
        await first.core.wait(lambda: first.core.knows(second.key))
        assert second.crashes == []


async def test_who_stops_while_the_network_changes_says_nothing_after_its_goodbye(service: str) -> None:
    """At whichever turn of the loop the change comes."""
    for turns in range(8):
        async with Node(service) as staying:
            node = Node(service)
            await node.start()
            await node.announce(node.sign())
            medium = node.backend._medium
            assert medium is not None
            node.network.become(NOTHING if turns % 2 else attrs.evolve(WITH_LO, resumes=1))
            for _ in range(turns):
                await asyncio.sleep(0)
            await node.stop()
            assert node.backend not in medium._published
            assert node.backend not in medium._repeating
            await staying.announce(staying.sign())


async def test_a_change_that_was_under_way_when_it_stopped_is_not_announced(
    service: str, overhearing: socket.socket
) -> None:
    """After the first goodbye of a node comes nothing but goodbyes."""
    async with Node(service) as staying:
        node = Node(service)
        await node.start()
        await node.announce(node.sign())
        medium = node.backend._medium
        assert medium is not None
        async with medium._changing:
            node.network.become(attrs.evolve(WITH_LO, resumes=1))
            for _ in range(5):
                await asyncio.sleep(0)
            stopping = asyncio.ensure_future(node.stop())
            await asyncio.sleep(0)
        await stopping
        last = await staying.announce(staying.sign())
        said = list[set[int]]()

        def is_last(message: DNSIncoming) -> bool:
            if text_of(message, node.key) is not None:
                said.append({each.ttl for each in message.answers()})
            return text_of(message, staying.key) == last

        await overhear(overhearing, is_last)
        assert said.index({0}) == len(said) - 3
        assert said[-3:] == [{0}] * 3
