"""zeroconf as we use it: every link is told its own addresses, and no packet ends the reading of others.

Over loopback and in real time; other programs may speak mDNS there, so each test has a type of its own.
"""

from __future__ import annotations

import ast
import asyncio
import errno
import inspect
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from importlib.metadata import version
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock

import attrs
import pytest
import zeroconf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zeroconf import DNSNsec, DNSOutgoing, DNSPointer, DNSQuestion, DNSRecord, DNSText, ServiceInfo
from zeroconf._engine import AsyncEngine
from zeroconf._listener import AsyncListener
from zeroconf._transport import _WrappedTransport

import peernet_mdns
import peernet_mdns.engine
from peernet_core.contract import Announcement
from peernet_core.testing import open_sockets
from peernet_mdns.browser import Query
from peernet_mdns.engine import LinkZeroconf, Publication, close, open_zeroconf, take_packet
from peernet_mdns.gate import Gate, Sender
from peernet_mdns.links import Link
from peernet_mdns.messages import query_message, service_info

GUARD_S: Final = 20.0
GROUP: Final = "224.0.0.251"
NEIGHBOUR: Final = "127.0.0.2"
ALIAS: Final = "a" * 26
OTHER: Final = "b" * 26
LO: Final = Link("lo", socket.if_nametoindex("lo"), (IPv4Interface("127.0.0.1/8"),))
SERVICE: Final = "_peernet._tcp"
TYPE: Final = f"{SERVICE}.local."
ETH0: Final = Link("eth0", 2, (IPv4Interface("10.1.0.5/24"), IPv6Interface("2001:db8:1::5/64")))
ETH1: Final = Link("eth1", 3, (IPv4Interface("10.2.0.5/24"),))
HEADER: Final = struct.pack("!HHHHHH", 0, 0x8400, 0, 1, 0, 0)

Heard = tuple[list[str], Sender, bool]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Ear:
    """Collects what the engine hands on, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard = list[Heard]()
        self._news = asyncio.Event()

    def __call__(self, records: Sequence[DNSRecord], sender: Sender, legacy: bool) -> None:
        self.heard.append(([record.name for record in records], sender, legacy))
        self._news.set()

    async def wait(self, condition: Callable[[list[Heard]], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not condition(self.heard):
                self._news.clear()
                await self._news.wait()

    def of(self, name: str) -> list[Heard]:
        return [each for each in self.heard if name in each[0]]


@asynccontextmanager
async def speaking(ear: Ear | None = None) -> AsyncIterator[LinkZeroconf]:
    gate = Gate()
    gate.set_links([LO])
    engine = await open_zeroconf([LO], gate, Ear() if ear is None else ear, Mock())
    try:
        await engine.set_links([LO])
        yield engine
    finally:
        await close(engine)


@pytest.fixture
def neighbour() -> Iterator[socket.socket]:
    """Port 5353 of an address that is on the link and not ours."""
    with speaker(NEIGHBOUR) as sock:
        yield sock


def speaker(address: str, port: int = 5353) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


def pointer(service: str, alias: str = ALIAS, ttl: int = 120) -> DNSPointer:
    return DNSPointer(f"{service}.local.", 12, 1, ttl, f"{alias}.{service}.local.")


def response(*records: DNSRecord) -> bytes:
    out = DNSOutgoing(0x8400)
    for record in records:
        out.add_answer_at_time(record, 0)
    (packet,) = out.packets()
    return packet


def own_type() -> str:
    return f"_pn-{secrets.token_hex(4)}x._tcp"


# What of zeroconf we rely on.


def test_zeroconf_still_has_what_we_use_of_its_inside() -> None:
    """A release without it is noticed here by name, and not by whoever runs a node."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        used: dict[str, tuple[Any, tuple[str, ...]]] = {
            "zeroconf._engine.AsyncEngine": (
                AsyncEngine,
                (
                    "_async_add_interface",
                    "_async_wrap_socket",
                    "_listen_socket",
                    "_respond_sockets",
                    "async_update_interfaces",
                    "loop",
                    "protocols",
                    "readers",
                    "senders",
                    "zc",
                ),
            ),
            "zeroconf._listener.AsyncListener": (
                AsyncListener,
                (
                    "_deferred",
                    "_respond_query",
                    "connection_lost",
                    "connection_made",
                    "datagram_received",
                    "error_received",
                ),
            ),
            "zeroconf._transport._WrappedTransport": (
                _WrappedTransport,
                ("is_ipv6", "multicast_index", "sock_name", "transport"),
            ),
            "zeroconf.Zeroconf": (
                zeroconf.Zeroconf,
                ("_async_close", "async_send", "async_wait_for_start", "generate_service_broadcast", "start"),
            ),
            "zeroconf.DNSPointer": (zeroconf.DNSPointer, ("alias_key", "key")),
            "zeroconf.DNSOutgoing": (
                DNSOutgoing(0),
                ("additionals", "answers", "authorities", "flags", "id", "multicast", "questions"),
            ),
            "zeroconf.ServiceInfo": (ServiceInfo(TYPE, f"x.{TYPE}"), ("key", "server_key")),
        }
    missing = [
        f"{owner}.{name}"
        for owner, (where, names) in used.items()
        for name in names
        if not hasattr(where, name)
    ]
    assert not missing, (
        f"zeroconf {version('zeroconf')} has no {', '.join(missing)} any more: see what "
        "took their place, change peernet_mdns.engine, and only then allow this release"
    )


def test_zeroconf_still_takes_the_arguments_that_we_give() -> None:
    """Ours stand in the place of its own methods, so they must be called alike."""
    expected: list[tuple[Any, tuple[str, ...]]] = [
        (zeroconf.Zeroconf.async_send, ("self", "out", "addr", "port", "v6_flow_scope", "transport")),
        (
            AsyncListener._respond_query,
            ("self", "msg", "addr", "port", "transport", "v6_flow_scope"),
        ),
        (AsyncEngine.__init__, ("self", "zeroconf", "listen_socket", "respond_sockets")),
        (AsyncEngine._async_wrap_socket, ("self", "sock", "is_sender")),
        (AsyncEngine._async_add_interface, ("self", "interface", "listen_socket", "apple_p2p")),
        (
            AsyncEngine.async_update_interfaces,
            ("self", "interfaces", "ip_version", "apple_p2p"),
        ),
    ]
    for function, names in expected:
        assert tuple(inspect.signature(function).parameters) == names, (
            f"zeroconf {version('zeroconf')} calls {function.__qualname__} otherwise; see peernet_mdns.engine"
        )


async def test_zeroconf_still_has_what_only_an_instance_has() -> None:
    """Those of its attributes that its constructor makes."""
    async with speaking() as engine:
        assert isinstance(engine._interface_update_lock, asyncio.Lock)
        registry = (
            "async_add",
            "async_get_info_name",
            "async_get_service_infos",
            "async_remove",
            "async_update",
        )
        assert [name for name in registry if not hasattr(engine.registry, name)] == []


def test_only_the_engine_knows_the_inside_of_zeroconf() -> None:
    """Its private modules, and private names of public ones but constants, are imported nowhere else."""
    found = set()
    for path in Path(peernet_mdns.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zeroconf"):
                private = [each.name for each in node.names if each.name.startswith("_")]
                if "._" in str(node.module) or (private and node.module != "zeroconf.const"):
                    found.add(path.name)
    assert found == {"engine.py"}


# Answers per link.


def publication(alias: str = ALIAS, *links: Link, service: str = SERVICE) -> Publication:
    links = links or (ETH0, ETH1)
    ips = tuple(address.ip for link in links for address in link.addresses)
    by_link = {link.name: link.published(ips) for link in links}
    info = service_info(
        Announcement(7100, ips, b"record of " + alias.encode(), alias),
        service,
        frozenset().union(*by_link.values()),
    )
    return Publication(info, by_link)


@pytest.fixture
async def silent() -> AsyncIterator[LinkZeroconf]:
    """One that speaks on no link; what it would say is looked at."""
    engine = await open_zeroconf([], Gate(), Ear(), Mock())
    yield engine
    await close(engine)


def told(engine: LinkZeroconf, link: str, out: DNSOutgoing) -> tuple[set[str], list[str]]:
    """The addresses in what a link is told, and the kinds of the other answers."""
    variant = engine._for_link(link, out)
    records = [record for record, _ in variant.answers] + list(variant.additionals)
    addresses = {str(ip_address(record.address)) for record in records if hasattr(record, "address")}
    return addresses, sorted(type(record).__name__ for record in records if not hasattr(record, "address"))


async def test_each_link_is_told_its_own_addresses(silent: LinkZeroconf) -> None:
    """The rest of an announcement goes to all of them: PTR, SRV, TXT, and the NSEC of a host."""
    mine = publication()
    silent.publications[mine.info.key] = mine
    out = silent.generate_service_broadcast(mine.info, None)
    out.add_answer_at_time(DNSNsec(f"{ALIAS}.local.", 47, 1, 120, f"{ALIAS}.local.", [28]), 0)
    rest = ["DNSNsec", "DNSPointer", "DNSService", "DNSText"]
    assert told(silent, "eth0", out) == ({"10.1.0.5", "2001:db8:1::5"}, rest)
    assert told(silent, "eth1", out) == ({"10.2.0.5"}, rest)


async def test_a_service_is_not_told_where_it_is_not_published(silent: LinkZeroconf) -> None:
    """Two instances with links of their own: each link hears of its own instance alone."""
    for each in (publication(ALIAS, ETH0), publication(OTHER, ETH1)):
        silent.publications[each.info.key] = each
    out = DNSOutgoing(0x8400)
    for each in silent.publications.values():
        for record in (each.info.dns_pointer(), each.info.dns_service(), each.info.dns_text()):
            out.add_answer_at_time(record, 0)
        for address in each.info.dns_addresses():
            out.add_additional_answer(address)
    for link, alias in (("eth0", ALIAS), ("eth1", OTHER)):
        variant = silent._for_link(link, out)
        named = {record.name for record, _ in variant.answers} | {each.name for each in variant.additionals}
        assert named == {TYPE, f"{alias}.{TYPE}", f"{alias}.local."}
        assert [each.alias for each, _ in variant.answers if isinstance(each, DNSPointer)] == [
            f"{alias}.{TYPE}"
        ]


async def test_what_is_nobody_s_is_told_everywhere(silent: LinkZeroconf) -> None:
    """The pointer to the type (RFC 6763 §9); questions, id and flags stay as well."""
    mine = publication(ALIAS, ETH0)
    silent.publications[mine.info.key] = mine
    out = DNSOutgoing(0x8400, multicast=False, id_=77)
    out.add_question(DNSQuestion(TYPE, 12, 1))
    out.add_answer_at_time(DNSPointer("_services._dns-sd._udp.local.", 12, 1, 4500, TYPE), 0)
    variant = silent._for_link("eth1", out)
    assert [record.name for record, _ in variant.answers] == ["_services._dns-sd._udp.local."]
    assert (variant.flags, variant.id, variant.multicast, variant.questions) == (
        0x8400,
        77,
        False,
        out.questions,
    )


async def test_names_count_in_any_case(silent: LinkZeroconf) -> None:
    """Zeroconf may answer in the case in which it was asked."""
    mine = publication(ALIAS, ETH0)
    silent.publications[mine.info.key] = mine
    out = DNSOutgoing(0x8400)
    out.add_answer_at_time(DNSText(f"{ALIAS.upper()}.{TYPE}", 16, 1, 120, mine.info.text), 0)
    assert told(silent, "eth1", out) == (set(), [])
    assert told(silent, "eth0", out) == (set(), ["DNSText"])


async def test_a_text_that_was_replaced_is_not_told_any_more(silent: LinkZeroconf) -> None:
    """An answer that waited in zeroconf's queue meanwhile; the rest of it is still true."""
    mine = publication()
    silent.publications[mine.info.key] = mine
    out = silent.generate_service_broadcast(mine.info, None)
    old = DNSText(f"{ALIAS}.{TYPE}", 16, 1, 4500, b"\x03old")
    out.add_answer_at_time(old, 0)
    out.add_additional_answer(old)
    variant = silent._for_link("eth0", out)
    texts = [each for each, _ in variant.answers if isinstance(each, DNSText)]
    assert [each.text for each in texts] == [mine.info.text]
    assert variant.additionals == []


async def test_who_has_left_answers_no_more(silent: LinkZeroconf) -> None:
    """What waited in zeroconf's queue for an instance that is gone, while another one stays."""
    gone, other = publication(), publication(OTHER)
    silent.publications[other.info.key] = other
    out = silent.generate_service_broadcast(gone.info, None)
    assert told(silent, "eth0", out) == (set(), [])


async def test_who_has_said_goodbye_answers_no_more(silent: LinkZeroconf) -> None:
    """What waited in zeroconf's queue is not sent after it; the goodbye itself is."""
    mine, other = publication(), publication(OTHER)
    silent.publications = {
        mine.info.key: attrs.evolve(mine, ended=True),
        other.info.key: other,
    }
    for ttl_s, answers in ((None, []), (0, ["DNSPointer", "DNSService", "DNSText"])):
        assert told(silent, "eth0", silent.generate_service_broadcast(mine.info, ttl_s))[1] == answers
    assert told(silent, "eth0", silent.generate_service_broadcast(other.info, None))[1] != []


async def test_a_query_is_not_filtered() -> None:
    """A known answer is one whatever is published where."""
    service, ear = own_type(), Ear()
    async with speaking(ear) as engine:
        mine = publication(ALIAS, ETH0, service=service)
        engine.publications[mine.info.key] = mine
        with listener() as heard:
            engine.async_send(query_message(Query(everybody=True, known=((ALIAS, 100.0),)), service))
            message = await next_message(heard, f"{service}.local.")
            assert [each.alias for each in message.answers() if isinstance(each, DNSPointer)] == [
                f"{ALIAS}.{service}.local."
            ]


def listener() -> socket.socket:
    sock = speaker(GROUP)
    membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return sock


async def next_message(sock: socket.socket, name: str) -> zeroconf.DNSIncoming:
    async with asyncio.timeout(GUARD_S):
        while True:
            message = zeroconf.DNSIncoming(await asyncio.get_running_loop().sock_recv(sock, 9000))
            if any(each.name == name for each in (*message.questions, *message.answers())):
                return message


# Reading.


async def test_a_neighbour_s_answer_is_handed_on(neighbour: socket.socket) -> None:
    """With its address and link; it is not ours, and no answer to a legacy query."""
    service, ear = own_type(), Ear()
    async with speaking(ear):
        neighbour.sendto(response(pointer(service)), (GROUP, 5353))
        await ear.wait(lambda _: bool(ear.of(f"{service}.local.")))
        _, sender, legacy = ear.of(f"{service}.local.")[0]
        assert (str(sender.origin.ip), sender.origin.interface, sender.own, legacy) == (
            NEIGHBOUR,
            "lo",
            False,
            False,
        )


async def test_our_own_answer_is_known_as_ours() -> None:
    """Also when another process of this host has said it."""
    service, ear = own_type(), Ear()
    async with speaking(ear):
        with speaker("127.0.0.1") as other:
            other.sendto(response(pointer(service)), (GROUP, 5353))
            await ear.wait(lambda _: bool(ear.of(f"{service}.local.")))
            assert ear.of(f"{service}.local.")[0][1].own


BROKEN: Final[dict[str, tuple[bytes, str | None]]] = {
    "nothing": (b"", "truncated"),
    "less than a header": (HEADER[:11], "truncated"),
    "a header that promises more": (HEADER, None),
    "no DNS at all": (b"\xff" * 40, None),
    "an endless name": (HEADER + b"\xc0\x0c" * 20, None),
    "more than a packet of mDNS": (response(pointer(SERVICE)) + bytes(9000), "oversized"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_packet_is_counted_and_the_next_is_read(neighbour: socket.socket, what: str) -> None:
    """Whatever it holds; it reaches nobody, and the one after it does."""
    packet, reason = BROKEN[what]
    service, ear = own_type(), Ear()
    async with speaking(ear) as engine:
        neighbour.sendto(packet, (GROUP, 5353))
        neighbour.sendto(response(pointer(service)), (GROUP, 5353))
        await ear.wait(lambda _: bool(ear.of(f"{service}.local.")))
        assert not [each for each in ear.heard if str(each[1].origin.ip) == NEIGHBOUR and each[0] == [TYPE]]
        assert reason is None or engine.counts[reason] >= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: HEADER + tail), max_size=5)
)
async def test_nothing_that_comes_raises(silent: LinkZeroconf, packets: list[bytes]) -> None:
    """Whoever sends it, whether it is a query or a response."""
    silent.gate.set_links([LO])
    for packet in packets:
        for host in ("127.0.0.1", NEIGHBOUR):
            take_packet(silent, packet, (host, 5353))
    silent.inbox.work()


async def test_a_receiver_that_raises_ends_nothing(neighbour: socket.socket) -> None:
    """The packet is counted, and the next one comes."""
    service = own_type()
    ear = Ear()

    def receive(records: Sequence[DNSRecord], sender: Sender, legacy: bool) -> None:
        if any(isinstance(each, DNSPointer) and each.alias.startswith(OTHER) for each in records):
            raise RuntimeError("\x1b[31m")
        ear(records, sender, legacy)

    gate = Gate()
    gate.set_links([LO])
    engine = await open_zeroconf([LO], gate, receive, Mock())
    try:
        await engine.set_links([LO])
        neighbour.sendto(response(pointer(service, OTHER)), (GROUP, 5353))
        neighbour.sendto(response(pointer(service)), (GROUP, 5353))
        await ear.wait(lambda _: bool(ear.of(f"{service}.local.")))
        assert engine.counts["packets_failed"] >= 1
    finally:
        await close(engine)


async def test_one_wake_up_reads_what_waits(silent: LinkZeroconf) -> None:
    """Up to 257 packets; the rest have their turn after whatever else waits on the loop."""
    silent.gate.set_links([LO])
    turns = list[int]()
    got = asyncio.Event()
    total = 300
    with closing(speaker(NEIGHBOUR, 0)) as sender, closing(speaker("127.0.0.1", 0)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        # Queries: a port of its own makes them no response.
        for number in range(total):
            sender.sendto(struct.pack("!HHHHHH", number, 0, 0, 0, 0, 0), sock.getsockname())
        reader = peernet_mdns.engine._LinkListener(silent, sock)
        taken = 0

        def take(_: bytes, __: object) -> None:
            nonlocal taken
            taken += 1

        reader._take = take  # type: ignore[method-assign,assignment]
        loop = asyncio.get_running_loop()

        def wake_up() -> None:
            nonlocal taken
            data, address = sock.recvfrom(9000)
            reader.datagram_received(data, address)
            turns.append(taken)
            taken = 0
            if sum(turns) == total:
                got.set()

        loop.add_reader(sock, wake_up)
        try:
            async with asyncio.timeout(GUARD_S):
                await got.wait()
        finally:
            loop.remove_reader(sock)
    assert turns == [257, 43]


# Opening and closing.


async def test_a_port_that_is_not_shared_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user reads says what is wrong, what to do, and how to find who it is; no socket is left."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as holder:
        holder.bind(("0.0.0.0", 0))
        monkeypatch.setattr(peernet_mdns.engine, "MDNS_PORT", holder.getsockname()[1])
        before = open_sockets()
        with pytest.raises(OSError, match="does not share") as raised:
            await open_zeroconf([LO], Gate(), Ear(), Mock())
        assert open_sockets() == before
    assert raised.value.errno == errno.EADDRINUSE
    assert str(raised.value) == (
        f"[Errno {errno.EADDRINUSE}] "
        "another program uses UDP port 5353, that of mDNS, and does not share it: stop that program, "
        "or let it share (avahi-daemon: disallow-other-stacks=no); "
        "`ss -ulpn sport = 5353` shows who it is"
    )


async def test_a_host_that_allows_no_ipv6_speaks_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a service that may only have IPv4 sockets, on an interface that has addresses of both."""

    class Socket(socket.socket):
        def __init__(self, family: int = -1, *arguments: Any, **options: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments, **options)

    link = Link(LO.name, LO.index, (*LO.addresses, IPv6Interface("fe80::5/64")))
    monkeypatch.setattr(socket, "socket", Socket)
    engine = await open_zeroconf([link], Gate(), Ear(), Mock())
    try:
        await engine.set_links([link])
        assert [each.sock_name[0] for each in engine.engine.senders] == ["127.0.0.1"]
        assert engine.silent_links() == ()
    finally:
        await close(engine)


async def test_a_link_that_is_not_there_is_silent_and_tried_again() -> None:
    """An address that the system has not, or not yet; the others speak."""
    gone = Link("gone", 9999, (IPv4Interface("203.0.113.5/24"),))
    engine = await open_zeroconf([LO, gone], Gate(), Ear(), Mock())
    try:
        await engine.set_links([LO, gone])
        assert engine.silent_links() == ("gone",)
        await engine.set_links([LO])
        assert engine.silent_links() == ()
    finally:
        await close(engine)


async def test_an_interface_whose_ipv6_address_has_gone_leaks_nothing() -> None:
    """Its number leads nowhere any more when it is opened."""
    gone = Link("gone", 9999, (IPv6Interface("2001:db8::5/64"),))
    before = open_sockets()
    engine = await open_zeroconf([LO, gone], Gate(), Ear(), Mock())
    try:
        await engine.set_links([LO, gone])
        assert "gone" in engine.silent_links()
    finally:
        await close(engine)
    assert open_sockets() == before


async def test_who_is_cancelled_while_opening_leaves_no_socket() -> None:
    """At whichever turn of the loop that happens."""
    for turns in range(6):
        before = open_sockets()
        opening = asyncio.ensure_future(open_zeroconf([LO], Gate(), Ear(), Mock()))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        try:
            engine = await opening
        except asyncio.CancelledError:
            pass
        else:
            await close(engine)
        for _ in range(3):
            await asyncio.sleep(0)  # a transport closes its socket a turn later
        assert open_sockets() == before, turns


async def test_closing_twice_is_closing_once() -> None:
    """And nothing can be sent afterwards, nor raises."""
    engine = await open_zeroconf([LO], Gate(), Ear(), Mock())
    await engine.set_links([LO])
    await close(engine)
    await close(engine)
    engine.async_send(query_message(Query(everybody=True), SERVICE))
    engine.send_on(["lo"], query_message(Query(everybody=True), SERVICE))
