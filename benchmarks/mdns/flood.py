"""Somebody on the link who means harm: packets as fast as one process can send them.

Run on a host, as root: ``python -m benchmarks.mdns.flood KIND INTERFACE [options]``. It prints ``{"event":
"started", "at": ...}``, and ``{"event": "ended", "packets": ..., "seconds": ...}`` when the time is up.
Sources may be any addresses, ours or not.

Kinds:
    pointers: PTR records of instances that nobody has named before, thirty in a packet.
    peers: whole peers that nobody has seen before: every record well formed, its name that of its key, and
        only the signature wrong.
    goodbye: that the peer with `--alias` has gone.
    replay: the packet of `--packet`, in hexadecimal digits, with `--alias` in it renamed each time.
    queries: the type's question, with the unicast bit.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Final

from benchmarks.mdns.packets import GROUP, MDNS_PORT, goodbye, peer_response, pointer_response, query
from peernet_core.keys import Identity
from peernet_core.records import Record, encode_record

__all__ = ["KINDS", "flood", "packets_of"]

_IP_PKTINFO: Final = 8
"""Linux; Python names it from 3.14 on."""
_IP_TRANSPARENT: Final = 19
"""Lets packets leave from addresses that are nobody's here."""
_ALIAS_CONTEXT: Final = b"peernet-alias-v1"
_ALIAS_BYTES: Final = 16
_POINTERS: Final = 30
_PORT: Final = 7100


def _alias(digest: bytes) -> str:
    return base64.b32encode(digest[:_ALIAS_BYTES]).decode().rstrip("=").lower()


def _pointers() -> Iterator[bytes]:
    """Rename in place: all names stand in one packet, each at its own offset."""
    marks = [_alias(hashlib.sha256(bytes((number,))).digest()) for number in range(_POINTERS)]
    template = bytearray(pointer_response(marks))
    places = [template.index(mark.encode()) for mark in marks]
    while True:
        fresh = base64.b32encode(os.urandom(_ALIAS_BYTES * _POINTERS + 20)).lower()
        for number, place in enumerate(places):
            template[place : place + 26] = fresh[number * 26 : number * 26 + 26]
        yield bytes(template)


def _peers() -> Iterator[bytes]:
    identity = Identity.generate()
    record = encode_record(Record(identity.key, time.time_ns() // 1000, _PORT), identity)
    alias = identity.key.alias
    template = peer_response(alias, record, _PORT, IPv4Address("10.77.128.1"))
    # The alias stands in it twice: the instance and the host.
    names = list(_places(template, alias.encode()))
    key_at = template.index(identity.key.raw)
    signature_at = template.index(record[-64:])
    packet = bytearray(template)
    while True:
        key = os.urandom(32)
        name = _alias(hashlib.sha256(_ALIAS_CONTEXT + key).digest()).encode()
        packet[key_at : key_at + 32] = key
        packet[signature_at : signature_at + 64] = key + key
        for place in names:
            packet[place : place + 26] = name
        yield bytes(packet)


def _places(data: bytes, part: bytes) -> Iterator[int]:
    at = data.find(part)
    while at >= 0:
        yield at
        at = data.find(part, at + 1)


def _goodbye(alias: str) -> Iterator[bytes]:
    return itertools.repeat(goodbye(alias, _PORT))


def _replay(packet: bytes, alias: str) -> Iterator[bytes]:
    places = list(_places(packet.lower(), alias.encode()))
    renamed = bytearray(packet)
    while True:
        name = _alias(os.urandom(_ALIAS_BYTES)).encode()
        for place in places:
            renamed[place : place + 26] = name
        yield bytes(renamed)


KINDS: Final = ("pointers", "peers", "goodbye", "replay", "queries")


def packets_of(kind: str, *, alias: str = "", packet: bytes = b"") -> Iterator[bytes]:
    """Return an endless flood of that kind.

    Args:
        kind: One of `KINDS`.
        alias: Whose goodbye, or whose name is replaced in `packet`.
        packet: What is replayed.
    """
    match kind:
        case "pointers":
            return _pointers()
        case "peers":
            return _peers()
        case "goodbye":
            return _goodbye(alias)
        case "replay":
            return _replay(packet, alias)
        case "queries":
            return itertools.repeat(query(unicast=True))
    raise ValueError(f"one of {', '.join(KINDS)}, not {kind!r}")


def open_sender(interface: str, *, port: int = MDNS_PORT, ttl: int = 255) -> socket.socket:
    """A socket that may send multicast from any address."""
    number = socket.if_nametoindex(interface)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
    sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    sock.setsockopt(
        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), number)
    )
    sock.bind(("", port))
    return sock


def flood(
    sock: socket.socket,
    interface: str,
    packets: Iterator[bytes],
    sources: list[IPv4Address],
    *,
    seconds: float,
    to: str = GROUP,
    most: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Send for so many seconds, from each source in turn, and return how many packets went.

    Args:
        sock: From `open_sender`.
        interface: Where they go out.
        packets: Endless.
        sources: Addresses, ours or not; none: our own.
        seconds: How long.
        to: The group, or one victim.
        most: This many packets at most; 0: as many as go.
        clock: Seconds.
    """
    number = socket.if_nametoindex(interface)
    ancillary = [
        [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", number, ip.packed, bytes(4)))]
        for ip in sources or [IPv4Address(0)]
    ]
    address = (to, MDNS_PORT)
    deadline = clock() + seconds
    sent = 0
    for packet, part in zip(packets, itertools.cycle(ancillary), strict=False):
        with suppress(BlockingIOError):
            sock.sendmsg((packet,), part, 0, address)
        sent += 1
        if sent == most or (sent % 64 == 0 and clock() > deadline):
            break
    return sent


def main() -> None:
    """Send, and say how much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("interface")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--most", type=int, default=0, help="packets; 0: as many as go")
    parser.add_argument("--source", type=IPv4Address, help="the first address; may be off the link")
    parser.add_argument("--sources", type=int, default=1, help="how many from that one on")
    parser.add_argument("--port", type=int, default=MDNS_PORT, help="the source port")
    parser.add_argument("--ttl", type=int, default=255)
    parser.add_argument("--to", default=GROUP)
    parser.add_argument("--alias", default="")
    parser.add_argument("--packet", type=bytes.fromhex, default=b"")
    arguments = parser.parse_args()
    packets = packets_of(arguments.kind, alias=arguments.alias, packet=arguments.packet)
    sources = [arguments.source + each for each in range(arguments.sources)] if arguments.source else []
    with open_sender(arguments.interface, port=arguments.port, ttl=arguments.ttl) as sock:
        print(json.dumps({"event": "started", "at": time.monotonic()}), flush=True)
        began = time.monotonic()
        sent = flood(
            sock,
            arguments.interface,
            packets,
            sources,
            seconds=arguments.seconds,
            to=arguments.to,
            most=arguments.most,
        )
    print(json.dumps({"event": "ended", "packets": sent, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
