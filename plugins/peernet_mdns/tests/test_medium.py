"""What the instances of one event loop share, over loopback and in real time."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from ipaddress import IPv4Interface
from typing import Final

import attrs
import pytest
from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSRecord, DNSService, DNSText

from peernet_core.addresses import Interface, NetworkSnapshot
from peernet_core.contract import Announcement
from peernet_core.testing import open_sockets, unfinished_tasks
from peernet_mdns.browser import Query
from peernet_mdns.gate import Sender
from peernet_mdns.medium import Medium, _is_taken
from peernet_mdns.txt import record_in

GUARD_S: Final = 20.0
GROUP: Final = "224.0.0.251"
NEIGHBOUR: Final = "127.0.0.2"
ALIAS, OTHER = "a" * 26, "b" * 26
WITH_LO: Final = NetworkSnapshot(
    (Interface("lo", socket.if_nametoindex("lo"), (IPv4Interface("127.0.0.1/8"),)),)
)
NOTHING: Final = NetworkSnapshot()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def own_type() -> str:
    return f"_pn-{secrets.token_hex(4)}x._tcp"


@attrs.define(eq=False)
class Member:
    """Writes down what it hears."""

    service: str = attrs.field(factory=own_type)
    interfaces: list[str] = attrs.field(factory=lambda: ["lo"])
    snapshot: NetworkSnapshot = WITH_LO
    heard: list[tuple[str, Sender, bool]] = attrs.field(factory=list)
    overheard: list[frozenset[str]] = attrs.field(factory=list)
    opened: int = 0
    fault: Exception | None = None
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)

    def answers_received(self, records: Sequence[DNSRecord], sender: Sender, legacy: bool) -> None:
        self.heard += [(record.name, sender, legacy) for record in records]
        self._news.set()
        if self.fault is not None:
            raise self.fault

    def question_overheard(self, known: frozenset[str]) -> None:
        self.overheard.append(known)
        self._news.set()

    def link_opened(self) -> None:
        self.opened += 1
        self._news.set()

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def of(self, service: str) -> list[tuple[str, Sender, bool]]:
        return [each for each in self.heard if each[0] == f"{service}.local."]


@asynccontextmanager
async def joined(*members: Member) -> AsyncIterator[Medium]:
    media = [await Medium.join(member) for member in members]
    try:
        yield media[0]
    finally:
        for member, medium in zip(members, media, strict=True):
            await medium.leave(member)


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Once the last member has left there is no socket, no task, and no medium."""
    sockets, tasks = open_sockets(), await unfinished_tasks()
    yield
    for _ in range(3):
        await asyncio.sleep(0)
    assert open_sockets() == sockets
    assert not await unfinished_tasks(but=tasks)
    assert asyncio.get_running_loop() not in Medium._of_loop


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
    with speaker(NEIGHBOUR) as sock:
        yield sock


@pytest.fixture
def overhearing() -> Iterator[socket.socket]:
    """All that is said to the group on loopback."""
    with speaker(GROUP) as sock:
        membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        yield sock


def response(*records: DNSRecord) -> bytes:
    out = DNSOutgoing(0x8400)
    for record in records:
        out.add_answer_at_time(record, 0)
    (packet,) = out.packets()
    return packet


def pointer(service: str, alias: str = ALIAS, ttl: int = 120) -> bytes:
    return response(DNSPointer(f"{service}.local.", 12, 1, ttl, f"{alias}.{service}.local."))


async def overhear(sock: socket.socket, service: str) -> tuple[DNSIncoming, tuple[str, int]]:
    """The next message about this type."""
    async with asyncio.timeout(GUARD_S):
        while True:
            data, address = await asyncio.get_running_loop().sock_recvfrom(sock, 9000)
            message = DNSIncoming(data)
            named = {each.name for each in (*message.questions, *message.answers())}
            if any(name.endswith(f"{service}.local.") for name in named):
                return message, address


def text(message: DNSIncoming) -> bytes | None:
    return next((record_in(each.text) for each in message.answers() if isinstance(each, DNSText)), None)


def ttls(message: DNSIncoming) -> set[int]:
    return {each.ttl for each in message.answers()}


def announcement(record: bytes = b"record", alias: str = ALIAS) -> Announcement:
    return Announcement(7100, (), record, alias)


# Joining and leaving.


async def test_members_of_one_loop_share_one_set_of_sockets() -> None:
    """However many there are; what comes to it reaches each of them."""
    first, second, third = Member(), Member(), Member()
    async with joined(first) as medium:
        sockets = open_sockets()
        async with joined(second, third) as other:
            assert other is medium
            assert open_sockets() == sockets


async def test_whoever_joins_while_the_last_leaves_gets_a_medium_that_works(
    neighbour: socket.socket,
) -> None:
    """At whichever turn of the loop that is."""
    for turns in range(6):
        leaving, joining = Member(), Member()
        medium = await Medium.join(leaving)
        going = asyncio.ensure_future(medium.leave(leaving))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with joined(joining) as new:
            await going
            assert Medium._of_loop[asyncio.get_running_loop()] is new
            neighbour.sendto(pointer(joining.service), (GROUP, 5353))
            await joining.wait(lambda who=joining: bool(who.of(who.service)))  # type: ignore[misc]


async def test_who_waited_to_join_what_was_closed_joins_another() -> None:
    """While something else had its turn, the last member went before it."""
    leaving, joining = Member(), Member()
    medium = await Medium.join(leaving)
    async with medium._changing:
        going = asyncio.ensure_future(medium.leave(leaving))
        await asyncio.sleep(0)
        coming = asyncio.ensure_future(Medium.join(joining))
        await asyncio.sleep(0)
    await going
    new = await coming
    assert Medium._of_loop[asyncio.get_running_loop()] is new
    assert new.links_of(joining) != ()
    await new.leave(joining)


async def test_leaving_twice_and_without_having_joined_is_nothing() -> None:
    """The others go on."""
    staying, leaving, stranger = Member(), Member(), Member()
    async with joined(staying, leaving) as medium:
        sockets = open_sockets()
        for member in (leaving, leaving, stranger):
            await medium.leave(member)
        assert open_sockets() == sockets
        assert medium.links_of(staying) != ()
        assert medium.links_of(leaving) == ()


async def test_all_may_leave_at_once() -> None:
    """The last of them closes everything, whichever it is."""
    members = [Member() for _ in range(4)]
    media = [await Medium.join(member) for member in members]
    await asyncio.gather(*(medium.leave(each) for medium, each in zip(media, members, strict=True)))
    assert media[0].links_of(members[0]) == ()


async def test_who_is_cancelled_while_joining_has_not_joined() -> None:
    """At whichever turn; who joined beside it has."""
    for turns in range(8):
        cancelled, other = Member(), Member()
        joining = asyncio.ensure_future(Medium.join(cancelled))
        beside = asyncio.ensure_future(Medium.join(other))
        for _ in range(turns):
            await asyncio.sleep(0)
        joining.cancel()
        try:
            medium = await joining
        except asyncio.CancelledError:
            pass
        else:
            await medium.leave(cancelled)
        medium = await beside
        assert medium.links_of(other) != ()
        assert medium.links_of(cancelled) == ()
        await medium.leave(other)


async def test_a_port_that_is_not_shared_lets_nobody_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first nor who waits behind it; afterwards, when it is shared, both can."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as holder:
        holder.bind(("0.0.0.0", 0))
        with monkeypatch.context() as patched:
            patched.setattr("peernet_mdns.engine.MDNS_PORT", holder.getsockname()[1])
            members = Member(), Member()
            results = await asyncio.gather(*map(Medium.join, members), return_exceptions=True)
            assert [type(each) for each in results] == [OSError, OSError]
            assert asyncio.get_running_loop() not in Medium._of_loop
        async with joined(*members) as medium:
            assert all(medium.links_of(member) for member in members)


# What is heard.


async def test_a_member_that_raises_keeps_nobody_from_an_answer(neighbour: socket.socket) -> None:
    """Neither the other members, nor itself from the next one."""
    faulty, other = Member(fault=RuntimeError("\x1b[31m")), Member()
    async with joined(faulty, other) as medium:
        for _ in range(2):
            service = own_type()
            neighbour.sendto(pointer(service), (GROUP, 5353))
            await other.wait(lambda service=service: bool(other.of(service)))  # type: ignore[misc]
            assert faulty.of(service)
        assert medium.counts["members_failed"] >= 2


async def test_a_member_hears_what_comes_on_its_links(neighbour: socket.socket) -> None:
    """And nothing of the links of others."""
    here, elsewhere = Member(), Member(interfaces=["eth9"])
    async with joined(here, elsewhere):
        neighbour.sendto(pointer(here.service), (GROUP, 5353))
        await here.wait(lambda: bool(here.of(here.service)))
        assert elsewhere.heard == []


# What is said.


async def test_an_announcement_is_said_at_once_and_twice_more(overhearing: socket.socket) -> None:
    """With the record; after that, questions are answered with it."""
    member = Member()
    async with joined(member) as medium:
        medium.publish(member, announcement(b"first"))
        for _ in range(3):
            message, _ = await overhear(overhearing, member.service)
            assert text(message) == b"first"
        (host,) = {each.server for each in message.answers() if isinstance(each, DNSService)}
        assert host == f"{ALIAS}.local."
        medium.ask(member, Query(names=(ALIAS,)), now=0.0)
        question, _ = await overhear(overhearing, member.service)
        assert question.is_query()
        answer, _ = await overhear(overhearing, member.service)
        assert text(answer) == b"first"
        await medium.withdraw(member)


async def test_a_new_record_takes_the_place_of_the_old_one(overhearing: socket.socket) -> None:
    """In what is announced and in what is answered; the old one is heard no more."""
    member = Member()
    async with joined(member) as medium:
        medium.publish(member, announcement(b"old"))
        medium.publish(member, announcement(b"new"))
        said = [text((await overhear(overhearing, member.service))[0]) for _ in range(4)]
        assert said == [b"old", b"new", b"new", b"new"]


async def test_a_goodbye_holds_the_record_that_was_published_last(overhearing: socket.socket) -> None:
    """Three times, with a TTL of nothing, and nothing after it; not even an answer."""
    member, asker = Member(), Member()
    async with joined(member, asker) as medium:
        medium.publish(member, announcement(b"stopped"))
        await overhear(overhearing, member.service)
        await medium.withdraw(member)
        goodbyes = [(await overhear(overhearing, member.service))[0] for _ in range(3)]
        assert [(text(each), ttls(each)) for each in goodbyes] == [(b"stopped", {0})] * 3
        await medium.leave(member)
        asker.service = member.service
        medium.ask(asker, Query(names=(ALIAS,)), now=0.0)
        medium.publish(asker, announcement(b"after", OTHER))
        messages = [(await overhear(overhearing, member.service))[0] for _ in range(2)]
        assert [each.is_query() for each in messages] == [True, False]
        assert text(messages[1]) == b"after"


async def test_another_alias_takes_leave_of_the_one_before(overhearing: socket.socket) -> None:
    """A node that has got another key is another peer."""
    member = Member()
    async with joined(member) as medium:
        medium.publish(member, announcement(b"old"))
        await overhear(overhearing, member.service)
        medium.publish(member, announcement(b"new", OTHER))
        said = [(await overhear(overhearing, member.service))[0] for _ in range(2)]
        assert [(text(each), ttls(each) == {0}) for each in said] == [(b"old", True), (b"new", False)]


async def test_who_has_left_publishes_nothing() -> None:
    """However late it asks for it."""
    staying, gone = Member(), Member()
    async with joined(staying, gone) as medium:
        medium.publish(gone, announcement())
        await medium.withdraw(gone)
        leaving = asyncio.ensure_future(medium.leave(gone))
        await asyncio.sleep(0)
        medium.publish(gone, announcement())
        await leaving
        assert medium._published == {}
        assert medium._repeating == {}
        assert medium._zeroconf is not None
        assert medium._zeroconf.registry.async_get_service_infos() == []
        medium.announce_again(gone)
        assert medium._repeating == {}


# Links that come and go.


async def test_what_was_published_without_a_link_is_said_on_the_first(overhearing: socket.socket) -> None:
    """The sockets follow the network; when it has gone again, nothing is said."""
    member = Member(snapshot=NOTHING)
    async with joined(member) as medium:
        medium.publish(member, announcement())
        assert medium.links_of(member) == ()
        member.snapshot = WITH_LO
        await medium.network_changed(member)
        medium.publish(member, announcement())
        assert text((await overhear(overhearing, member.service))[0]) == b"record"
        member.snapshot = NOTHING
        await medium.network_changed(member)
        assert medium.links_of(member) == ()


async def test_a_link_that_could_not_be_opened_is_opened_later(overhearing: socket.socket) -> None:
    """Its members are told, and what they publish is said again."""
    member = Member()
    busy = Interface("lo", 1, (IPv4Interface("203.0.113.5/24"),))  # an address that is not there yet
    member.snapshot = NetworkSnapshot((busy,))
    async with joined(member) as medium:
        medium.publish(member, announcement())
        assert medium._retrying is not None
        assert medium._zeroconf is not None
        assert medium._zeroconf.silent_links() == ("lo",)
        # What the system has is found when it is tried again.
        medium._members[member] = medium._members[member][:0] + tuple(
            attrs.evolve(link, addresses=(IPv4Interface("127.0.0.1/8"),)) for link in medium.links_of(member)
        )
        medium.gate.set_links(medium.links_of(member))
        silent_links = medium._zeroconf.silent_links
        assert silent_links() == ("lo",)
        await member.wait(lambda: member.opened == 1)
        assert text((await overhear(overhearing, member.service))[0]) == b"record"
        assert silent_links() == ()


# Beside another process.


async def test_a_port_is_free_or_taken() -> None:
    """Whoever listens there, and whether it shares."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert _is_taken(port)
    assert not _is_taken(port)


async def test_where_another_process_shares_the_port_questions_leave_from_another_one(
    overhearing: socket.socket, neighbour: socket.socket
) -> None:
    """Its answers come back there, and are known to be answers to legacy queries."""
    member = Member()
    async with joined(member) as medium:
        assert medium.shared
        medium.ask(member, Query(everybody=True, unicast=True), now=0.0)
        ports = dict[bool, tuple[str, int]]()
        while set(ports) != {False, True}:
            message, address = await overhear(overhearing, member.service)
            assert message.is_query()
            ports[address[1] == 5353] = address
        neighbour.sendto(pointer(member.service), ports[False])
        await member.wait(lambda: bool(member.of(member.service)))
        ((_, sender, legacy),) = member.of(member.service)
        assert (str(sender.origin.ip), legacy) == (NEIGHBOUR, True)


async def test_an_answer_to_the_legacy_port_from_another_port_is_nobody_s(
    overhearing: socket.socket, neighbour: socket.socket
) -> None:
    """Only who has port 5353 answers for mDNS."""
    member = Member()
    async with joined(member) as medium:
        medium.shared = True
        medium.ask(member, Query(everybody=True, unicast=True), now=0.0)
        address = ("", 5353)
        while address[1] == 5353:
            _, address = await overhear(overhearing, member.service)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as liar:
            liar.bind((NEIGHBOUR, 0))
            liar.sendto(pointer(member.service, OTHER), address)
        neighbour.sendto(pointer(member.service), address)
        await member.wait(lambda: bool(member.of(member.service)))
        assert len(member.of(member.service)) == 1
        assert medium.counts["wrong_port"] >= 1


async def test_a_neighbour_is_whoever_is_no_member() -> None:
    """Heard from an address of this host: unless a member publishes it, another process does."""
    member = Member()
    async with joined(member) as medium:
        medium.shared = False
        medium.publish(member, announcement())
        medium.heard_neighbour(ALIAS)
        assert not medium.shared
        medium.heard_neighbour(OTHER)
        assert medium.shared


def question(
    service: str, known: Sequence[str] = (), *, unicast: bool = False, kind: int = 12
) -> list[bytes]:
    out = DNSOutgoing(0)
    out.add_question(DNSQuestion(f"{service}.local.", kind, 0x8001 if unicast else 1))
    for alias in known:
        name = f"{alias}.{service}.local."
        out.add_answer_at_time(DNSPointer(f"{service}.local.", 12, 1, 4500, name), 0)
    return out.packets()


async def test_a_question_to_everybody_is_overheard(neighbour: socket.socket) -> None:
    """By who publishes on that link alone and has that type; with all that the asker knows already."""
    one, another = Member(), Member()
    many = [f"{letter * 25}{digit}" for letter in "abcdefgh" for digit in "234567"]
    async with joined(one, another) as medium:
        medium.publish(one, announcement())
        for known in ((), (OTHER.upper(),), many):
            packets = question(one.service, known)
            assert (len(packets) > 1) is (known is many)
            for packet in packets:
                neighbour.sendto(packet, (GROUP, 5353))
            wanted = frozenset(each.lower() for each in known)
            await one.wait(lambda wanted=wanted: wanted in one.overheard)  # type: ignore[misc]
        assert len(one.overheard) == 3
        assert another.overheard == []


async def test_a_question_whose_answers_we_do_not_hear_is_not_overheard(neighbour: socket.socket) -> None:
    """One by unicast, one from a port of its own, one of another kind, one of a link among several."""
    one, several = Member(), Member()
    async with joined(one, several) as medium:
        medium.publish(one, announcement())
        medium._members[several] = (
            *medium.links_of(several),
            attrs.evolve(medium.links_of(one)[0], name="x"),
        )
        with closing(speaker_on_any_port()) as legacy:
            legacy.sendto(question(one.service)[0], (GROUP, 5353))
            neighbour.sendto(question(one.service, unicast=True)[0], (GROUP, 5353))
            neighbour.sendto(question(one.service, kind=16)[0], (GROUP, 5353))
            neighbour.sendto(question(several.service)[0], (GROUP, 5353))
            neighbour.sendto(question(one.service, [OTHER])[0], (GROUP, 5353))
            await one.wait(lambda: bool(one.overheard))
        assert one.overheard == [{OTHER}]
        assert several.overheard == []


def speaker_on_any_port() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    sock.bind((NEIGHBOUR, 0))
    return sock
