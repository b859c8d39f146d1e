"""DNS packets as other hosts send them, written here from the RFCs and not by what is measured."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Final

import attrs

__all__ = [
    "GROUP",
    "MDNS_PORT",
    "TYPE_NAME",
    "Message",
    "encode_strings",
    "goodbye",
    "peer_response",
    "pointer_response",
    "query",
]

GROUP: Final = "224.0.0.251"
MDNS_PORT: Final = 5353
TYPE_NAME: Final = "_peernet._tcp.local."
HOST_TTL_S: Final = 120
OTHER_TTL_S: Final = 4500
LEGACY_TTL_S: Final = 10
"""The most that an answer to a legacy query may say (RFC 6762 §6.7)."""

A, PTR, TXT, SRV, ANY = 1, 12, 16, 33, 255
IN: Final = 1
TOP_BIT: Final = 0x8000
"""In a question: answer by unicast; in an answer: forget what others said (RFC 6762 §18.12, §18.13)."""
_RESPONSE: Final = 0x8400
_POINTER: Final = 0xC000


class Message:
    """A packet that is being written, with compressed names (RFC 1035 §4.1.4)."""

    def __init__(self, *, ident: int = 0, response: bool = True) -> None:
        self._ident = ident
        self._flags = _RESPONSE if response else 0
        self._counts = [0, 0, 0]
        self._body = bytearray()
        self._places: dict[str, int] = {}

    def ask(self, name: str, kind: int, *, unicast: bool = False) -> None:
        """Add a question; before any answer."""
        self._name(name)
        self._body += struct.pack("!HH", kind, IN | (TOP_BIT if unicast else 0))
        self._counts[0] += 1

    def pointer(self, name: str, target: str, ttl_s: int) -> None:
        """Add a PTR as an answer; before any additional record."""
        self._record(name, PTR, ttl_s, unique=False)
        start = len(self._body)
        self._body += b"\0\0"
        self._name(target)
        self._close(start)
        self._counts[1] += 1

    def service(self, name: str, port: int, target: str, ttl_s: int, *, unique: bool = True) -> None:
        """Add an SRV."""
        self._record(name, SRV, ttl_s, unique=unique)
        start = len(self._body)
        self._body += b"\0\0" + struct.pack("!HHH", 0, 0, port)
        self._name(target)
        self._close(start)
        self._counts[2] += 1

    def data(self, name: str, kind: int, data: bytes, ttl_s: int, *, unique: bool = True) -> None:
        """Add a record that holds no names: TXT or A."""
        self._record(name, kind, ttl_s, unique=unique)
        self._body += struct.pack("!H", len(data)) + data
        self._counts[2] += 1

    def encode(self, *, answers: bool = False) -> bytes:
        """Return the packet.

        Args:
            answers: Whether all records count as answers, and none as additional.
        """
        questions, first, more = self._counts
        if answers:
            first, more = first + more, 0
        return struct.pack("!6H", self._ident, self._flags, questions, first, 0, more) + self._body

    def _record(self, name: str, kind: int, ttl_s: int, *, unique: bool) -> None:
        self._name(name)
        self._body += struct.pack("!HHI", kind, IN | (TOP_BIT if unique else 0), ttl_s)

    def _close(self, start: int) -> None:
        struct.pack_into("!H", self._body, start, len(self._body) - start - 2)

    def _name(self, name: str) -> None:
        while name:
            place = self._places.get(name)
            if place is not None:
                self._body += struct.pack("!H", _POINTER | place)
                return
            self._places[name] = 12 + len(self._body)
            label, _, name = name.partition(".")
            encoded = label.encode()
            self._body.append(len(encoded))
            self._body += encoded
        self._body.append(0)


def encode_strings(*strings: bytes) -> bytes:
    """The strings of a TXT record, each after its length (RFC 6763 §6.1)."""
    return b"".join(bytes((len(each),)) + each for each in strings)


def _text(record: bytes) -> bytes:
    return encode_strings(b"txtvers=1", b"record=" + record)


@attrs.frozen
class _Lives:
    host_s: int = HOST_TTL_S
    other_s: int = OTHER_TTL_S
    unique: bool = True


def _add_peer(message: Message, alias: str, record: bytes, port: int, ip: IPv4Address, lives: _Lives) -> None:
    instance, host = f"{alias}.{TYPE_NAME}", f"{alias}.local."
    message.service(instance, port, host, lives.host_s, unique=lives.unique)
    message.data(instance, TXT, _text(record), lives.other_s, unique=lives.unique)
    message.data(host, A, ip.packed, lives.host_s, unique=lives.unique)


def peer_response(
    alias: str,
    record: bytes,
    port: int,
    ip: IPv4Address,
    *,
    by_name: bool = False,
    legacy: tuple[int, tuple[tuple[str, int], ...]] | None = None,
) -> bytes:
    """All that a peer says of itself in one packet.

    Args:
        alias: Its instance.
        record: What its TXT carries.
        port: What its SRV says.
        ip: What its A says.
        by_name: It was asked for by its name, so the PTR stays out.
        legacy: The number and the questions of the query, names and kinds, where that is a legacy one
            (RFC 6762 §6.7).
    """
    lives = _Lives()
    if legacy is None:
        message = Message()
    else:
        message = Message(ident=legacy[0])
        for name, kind in legacy[1]:
            message.ask(name, kind)
        lives = _Lives(LEGACY_TTL_S, LEGACY_TTL_S, unique=False)
    if not by_name:
        message.pointer(TYPE_NAME, f"{alias}.{TYPE_NAME}", lives.other_s)
    _add_peer(message, alias, record, port, ip, lives)
    return message.encode(answers=by_name)


def pointer_response(aliases: list[str]) -> bytes:
    """A response that names instances and says no more of them."""
    message = Message()
    for alias in aliases:
        message.pointer(TYPE_NAME, f"{alias}.{TYPE_NAME}", OTHER_TTL_S)
    return message.encode()


def goodbye(alias: str, port: int) -> bytes:
    """What anybody can send to say that an instance has gone: PTR and SRV with no life."""
    message = Message()
    message.pointer(TYPE_NAME, f"{alias}.{TYPE_NAME}", 0)
    message.service(f"{alias}.{TYPE_NAME}", port, f"{alias}.local.", 0)
    return message.encode()


def query(name: str = TYPE_NAME, kind: int = PTR, *, unicast: bool = False, ident: int = 0) -> bytes:
    """One question."""
    message = Message(ident=ident, response=False)
    message.ask(name, kind, unicast=unicast)
    return message.encode()
