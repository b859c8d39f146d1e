"""What an attacker on the network can do to two nodes that use mDNS: nothing that matters."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest
from zeroconf import (
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSRecord,
    DNSService,
    DNSText,
)

from peernet_core.testing.lab import INTERFACE, Host, LabNode, Laboratory

pytestmark = pytest.mark.netns

GROUP: Final = "224.0.0.251"
TYPE: Final = "_peernet._tcp.local."
IN: Final = 1
FORBIDDEN: Final = ("8.8.8.8", "127.0.0.1", "169.254.169.254")


class Attacker:
    """Somebody on the bridge who says what they like from where they like."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._listening = host.inside(lambda: _listener(str(host.ipv4)))

    def close(self) -> None:
        self._listening.close()

    def overhear(self, alias: str) -> bytes:
        """Wait for the TXT of that name, as everybody on the network gets it."""
        while True:
            data, (ip, port) = self._listening.recvfrom(9000)
            for record in DNSIncoming(data, (ip, port)).answers():
                if isinstance(record, DNSText) and record.key == f"{alias}.{TYPE}":
                    return record.text

    def say(self, *records: DNSRecord, source: str | None = None, port: int = 5353) -> None:
        """Send a response with these to everybody."""
        message = DNSOutgoing(0x8400)
        for record in records:
            message.add_answer_at_time(record, 0)
        address = str(self.host.ipv4) if source is None else source
        for packet in message.packets():
            self.host.inside(lambda packet=packet: _send(packet, address, port, str(self.host.ipv4)))  # type: ignore[misc]


def _listener(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((GROUP, 5353))
    membership = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(interface))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    sock.settimeout(20)
    return sock


def _send(packet: bytes, source: str, port: int, interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        sock.bind((source, port))
        sock.sendto(packet, (GROUP, 5353))


def service(
    alias: str, text: bytes, *addresses: str, port: int = 7100, ttl: int = 120
) -> tuple[DNSRecord, ...]:
    """Everything that a node announces."""
    name, host = f"{alias}.{TYPE}", f"{alias}.local."
    return (
        DNSPointer(TYPE, 12, IN, ttl, name),
        DNSService(name, 33, IN, ttl, 0, 0, port, host),
        DNSText(name, 16, IN, ttl, text),
        *(DNSAddress(host, 1, IN, ttl, socket.inet_aton(each)) for each in addresses),
    )


@pytest.fixture
def pair(lab: Laboratory) -> tuple[LabNode, LabNode]:
    """Two nodes that trust each other and have no configuration."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node, other in ((alpha, beta), (beta, alpha)):
        node.configure(trust=[other])
        node.config.unlink()
    return alpha, beta


@pytest.fixture
def attacker(lab: Laboratory) -> Iterator[Attacker]:
    attacker = Attacker(lab.host("attacker"))
    yield attacker
    attacker.close()


def forbid(host: Host) -> None:
    """Count what this host sends where it must not."""
    rules = "counter forbidden { }\nchain leaving { type filter hook output priority 0;\n"
    for address in FORBIDDEN:
        rules += f'oifname != "lo" ip daddr {address} counter name "forbidden"\n'
    host.filter(f'{rules}tcp dport < 1024 counter name "forbidden"\n}}')


def forbidden(host: Host) -> int:
    listing = subprocess.run(
        host.command("nft", "-j", "list", "counter", "inet", "lab", "forbidden"),
        check=True,
        capture_output=True,
    ).stdout
    return int(
        next(each["counter"]["packets"] for each in json.loads(listing)["nftables"] if "counter" in each)
    )


def test_no_answer_leads_to_a_forbidden_address(pair: tuple[LabNode, LabNode], attacker: Attacker) -> None:
    """A trusted peer's record with everybody's addresses and port 22: the genuine link comes up and stays."""
    alpha, beta = pair
    alias = beta.key.alias
    forbid(alpha.host)
    with beta.start() as b:
        text = attacker.overhear(alias)
        with alpha.start() as a:
            a.wait("backend_started", source="mdns")
            for _ in range(5):
                attacker.say(*service(alias, text, *FORBIDDEN, port=22))
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))
            since = a.mark()
            for _ in range(5):
                attacker.say(*service(alias, text, *FORBIDDEN, port=22))
            assert a.terminate() == 0
            assert not a.seen("peer_disconnected", since=since, reason="closed")
            assert forbidden(alpha.host) == 0
            places = {line.fields["ip"] for line in a.seen("peer_discovered", key=str(beta.key))}
            assert not places & set(FORBIDDEN)


def test_a_trusted_key_at_an_attackers_address_does_not_hide_the_genuine_peer(
    pair: tuple[LabNode, LabNode], attacker: Attacker
) -> None:
    """The attacker answers first and for ever; its address is tried, fails, and the genuine one links."""
    alpha, beta = pair
    alias = beta.key.alias
    with beta.start():
        text = attacker.overhear(alias)
    with alpha.start() as a:
        a.wait("backend_started", source="mdns")
        attacker.say(*service(alias, text, str(attacker.host.ipv4)))
        a.wait("peer_discovered", key=str(beta.key), ip=str(attacker.host.ipv4), source="mdns")
        with beta.start() as b:
            for _ in range(20):
                attacker.say(*service(alias, text, str(attacker.host.ipv4)))
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))


@pytest.mark.parametrize("way", ["wrong port", "off link"])
def test_what_does_not_come_from_a_neighbours_responder_is_not_believed(
    pair: tuple[LabNode, LabNode], attacker: Attacker, way: str
) -> None:
    """A genuine record from another source port, or from an address of another network, is no sighting."""
    alpha, beta = pair
    alias = beta.key.alias
    with beta.start():
        text = attacker.overhear(alias)
    attacker.host.ip("address", "add", "203.0.113.5/32", "dev", INTERFACE)
    with alpha.start() as a:
        a.wait("backend_started", source="mdns")
        for _ in range(3):
            if way == "off link":
                attacker.say(*service(alias, text), source="203.0.113.5")
            else:
                attacker.say(*service(alias, text), port=5354)
        # What comes after in order, from the right place, is believed.
        attacker.say(*service(alias, text))
        first = a.wait("peer_discovered", key=str(beta.key), source="mdns")
        assert first.fields["ip"] != "203.0.113.5"
        assert a.terminate() == 0
        heard = {line.fields["ip"] for line in a.seen("peer_discovered", source="mdns")}
        assert "203.0.113.5" not in heard


@pytest.fixture
def trio(lab: Laboratory) -> tuple[LabNode, LabNode, LabNode]:
    """Alpha trusts beta and gamma, and is trusted by both."""
    alpha, beta, gamma = lab.node("alpha"), lab.node("beta"), lab.node("gamma")
    for node, others in ((alpha, [beta, gamma]), (beta, [alpha]), (gamma, [alpha])):
        node.configure(trust=others)
        node.config.unlink()
    return alpha, beta, gamma


@pytest.mark.parametrize("what", ["its goodbye", "a replay under other names"])
def test_who_is_alive_is_not_taken_away(
    trio: tuple[LabNode, LabNode, LabNode], attacker: Attacker, what: str
) -> None:
    """Beta is said goodbye for, many times, and stays; gamma, which has really gone, is lost after that."""
    alpha, beta, gamma = trio
    with alpha.start() as a, beta.start() as b, gamma.start() as g:
        texts = {node: attacker.overhear(node.key.alias) for node in (beta, gamma)}
        for node in (beta, gamma):
            a.wait("peer_discovered", key=str(node.key), source="mdns")
            a.wait("peer_connected", key=str(node.key))
        b.wait("peer_connected", key=str(alpha.key))
        since = a.mark()
        names = [beta.key.alias] * 50 if what == "its goodbye" else [each * 26 for each in "abcdefgh"]
        if what != "its goodbye":
            for name in names:
                attacker.say(*service(name, texts[beta]))
        for name in names:
            attacker.say(*service(name, texts[beta], ttl=0))
            attacker.say(DNSPointer(TYPE, 12, IN, 0, f"{name}.{TYPE}"))
        g.kill()
        attacker.say(*service(gamma.key.alias, texts[gamma], ttl=0))
        a.wait("peer_lost", key=str(gamma.key), source="mdns", since=since)
        assert not a.seen("peer_lost", key=str(beta.key), since=since)
        assert not a.seen("peer_disconnected", key=str(beta.key), since=since)


def test_names_and_texts_from_hell_harm_nobody(pair: tuple[LabNode, LabNode], attacker: Attacker) -> None:
    """Escape codes, newlines, right-to-left marks, overrunning and endless texts: the peers still link."""
    alpha, beta = pair
    names = ["\x1b[31mred", "new\nline", "\u202eevil", "a" * 63, "kitchen", f"{beta.key.alias.upper()}x"]
    texts = [
        b"",
        b"\xff" + b"a" * 10,
        b"\x09txtvers=1\x05record",
        b"\x06RECORD",
        b"\xfarecord=" + b"\0" * 243,
        (b"\xff" + b"x" * 255) * 5,
    ]
    with alpha.start() as a, beta.start() as b:
        a.wait("backend_started", source="mdns")
        for name in names:
            for text in texts:
                attacker.say(
                    DNSPointer(TYPE, 12, IN, 120, f"{name}.{TYPE}"),
                    DNSText(f"{name}.{TYPE}", 16, IN, 120, text),
                )
        attacker.say(*service(beta.key.alias, b"\x09txtvers=1\x0arecord=abc"))
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        assert (a.terminate(), b.terminate()) == (0, 0)
        for log in (a.report(), b.report()):
            assert not set(log) & set("\x1b\u202e\u200f")
