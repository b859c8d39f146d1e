"""systemd-resolved, which answers programs' look-ups on most Linux servers and speaks mDNS if told to."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Self

import pytest
from zeroconf import DNSIncoming, DNSService

from peernet_core.testing.lab import INTERFACE

if TYPE_CHECKING:
    from peernet_core.testing.lab import Host

    from .conftest import ForeignPeer, Programs

pytestmark = pytest.mark.netns

_TYPE: Final = "_peernet._tcp"
_GROUP: Final = "224.0.0.251"
_FROM_CACHE: Final = "--network=no"
_BUS_NAME: Final = "org.freedesktop.resolve1"
_BUS_PATH: Final = "/org/freedesktop/resolve1"


class SystemdResolved:
    """The daemon on a host of its own, and its tool."""

    def __init__(self, programs: Programs, host: Host, peers: Iterable[ForeignPeer] = ()) -> None:
        """Start it; it publishes these peers."""
        self.host = host
        self._programs = programs
        self._bus = programs.bus(host)
        services = programs.folder / "dnssd"
        services.mkdir()
        for peer in peers:
            strings = (string.partition(b"=") for string in peer.txt)
            txt = " ".join(f"{name.decode()}={b64encode(value).decode()}" for name, _, value in strings)
            services.joinpath(f"{peer.alias}.dnssd").write_text(
                f"[Service]\nName={peer.alias}\nType={_TYPE}\nPort={programs.foreign_port}\nTxtData={txt}\n",
                encoding="ascii",
            )
        copy = f'mkdir /run/systemd && cp -r {services} /run/systemd/dnssd && exec "$@"'
        daemon = programs.path("lib/systemd/systemd-resolved")
        programs.daemon(host, "sh", "-c", copy, "sh", daemon, variables=self._bus)
        programs.until(lambda: self._tool("mdns", INTERFACE, "yes") is not None, "resolved speaks mDNS")

    def instances(self, *options: str) -> list[bytes] | None:
        """The data of the PTR records of our type that it has or finds."""
        return self._look_up("PTR", f"{_TYPE}.local", *options)

    def service(self, alias: str) -> tuple[bytes, list[bytes]] | None:
        """The data of the SRV record and the strings of the TXT record of one instance."""
        name = f"{alias}.{_TYPE}.local"
        srv, txt = self._look_up("SRV", name), self._look_up("TXT", name)
        return (srv[0], _strings(txt[0])) if srv and txt else None

    def addresses(self, name: str) -> list[str]:
        """What it resolves a host's name to."""
        found = [self._tool("query", "--legend=no", family, name) or b"" for family in ("-4", "-6")]
        lines = b"".join(found).decode().splitlines()
        return [line.removeprefix(f"{name}:").split()[0] for line in lines]

    def withdraw(self, peer: ForeignPeer) -> None:
        """Have it say goodbye for that peer."""
        path = f"{_BUS_PATH}/dnssd/{_escaped(peer.alias)}"
        call = ("call", _BUS_NAME, _BUS_PATH, f"{_BUS_NAME}.Manager", "UnregisterService", "o", path)
        busctl = self._programs.path("usr/bin/busctl")
        done = self._programs.query(self.host, busctl, *call, variables=self._bus)
        assert done is not None, self._programs.report()

    def _look_up(self, kind: str, name: str, *options: str) -> list[bytes] | None:
        found = self._tool(*options, "--raw=packet", "query", f"--type={kind}", name)
        if found is None:
            return None
        data = []
        while found:
            size = int.from_bytes(found[:8], "little")
            data.append(_data(found[8 : 8 + size]))
            found = found[8 + size :]
        return data

    def _tool(self, *arguments: str) -> bytes | None:
        path = self._programs.path("usr/bin/resolvectl")
        return self._programs.query(self.host, path, *arguments, variables=self._bus)


class Announcements:
    """What is multicast on a host's network."""

    def __init__(self, host: Host) -> None:
        self._socket = host.inside(lambda: _join(host))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self, sender: Host, name: str) -> bool:
        """Whether the next packet is that host's response with an SRV record of that name."""
        try:
            data, (ip, *_) = self._socket.recvfrom(9000)
        except BlockingIOError:
            return False
        message = DNSIncoming(data)
        return (
            ip == str(sender.ipv4)
            and message.is_response()
            and any(isinstance(record, DNSService) and record.name == name for record in message.answers())
        )


def _join(host: Host) -> socket.socket:
    """Bind to the group, not to the port alone: what is sent to the host itself is for others."""
    joined = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    joined.setblocking(False)
    joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    joined.bind((_GROUP, 5353))
    membership = socket.inet_aton(_GROUP) + host.ipv4.packed
    joined.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return joined


def _escaped(label: str) -> str:
    """As an element of a path on the bus: a digit that comes first is escaped."""
    return f"_{ord(label[0]):x}{label[1:]}" if label[0].isdigit() else label


def _data(record: bytes) -> bytes:
    """Cut off a resource record's name, type, class, time to live and length."""
    while record[0]:
        record = record[1 + record[0] :]
    return record[11:]


def _strings(data: bytes) -> list[bytes]:
    found = []
    while data:
        found.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return found


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def test_it_sees_us_and_that_we_stop(programs: Programs) -> None:
    """Instance, SRV, TXT and addresses are ours to the byte; a goodbye ends that."""
    us = programs.publish("us")
    us.wait("backend_started", source="lan")
    resolved = SystemdResolved(programs, programs.lab.host("server"))
    assert programs.until(resolved.instances, "resolved sees us") == [_wire(f"{us.alias}.{_TYPE}.local")]
    srv, txt = programs.until(lambda: resolved.service(us.alias), "resolved resolves us")
    assert srv == bytes(4) + us.port.to_bytes(2, "big") + _wire(f"{us.alias}.local")
    us.check_txt(txt)
    us.check_addresses(resolved.addresses(f"{us.alias}.local"))
    assert resolved.instances(_FROM_CACHE)
    us.stop()
    programs.until(lambda: not resolved.instances(_FROM_CACHE), "resolved sees nobody", guard_s=5)


def test_we_see_it_and_that_it_stops(programs: Programs, foreign: tuple[ForeignPeer, ForeignPeer]) -> None:
    """A trusted key that it publishes is discovered where it is heard; a stranger's is dropped."""
    trusted, stranger = foreign
    us = programs.publish("us", trust=[trusted])
    us.wait("backend_started", source="lan")
    host = programs.lab.host("server")
    programs.accept(host)
    with Announcements(us.host) as announcements:
        resolved = SystemdResolved(programs, host, foreign)
        name = f"{trusted.alias}.{_TYPE}.local."
        # It answers before; but what it has not announced it does not say goodbye for.
        programs.until(lambda: announcements.heard(host, name), "resolved announces")
    since = us.check_discovery(trusted, stranger, str(host.ipv4))
    resolved.withdraw(trusted)
    us.check_loss(trusted, since=since)
