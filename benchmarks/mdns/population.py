"""Many peers that exist only as keys, signed records and addresses."""

from __future__ import annotations

import os
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import attrs

from benchmarks.mdns.packets import peer_response
from peernet_core.keys import Identity
from peernet_core.records import Record, decode_record, encode_record

__all__ = ["CAPACITY", "NETWORK", "PORT", "EmulatedPeer", "emulated_peers"]

NETWORK: Final = "10.77.128.0/17"
"""Where emulated hosts live; with a prefix of 16 bits it is on the link of a laboratory's hosts."""
CAPACITY: Final = 10_000
PORT: Final = 7100
_FIRST: Final = IPv4Address("10.77.128.1")


@attrs.frozen
class EmulatedPeer:
    """One of them.

    Attributes:
        response: All that it says, as a multicast or unicast answer to the type's question.
        by_name: The same, asked for by its name.
    """

    alias: str
    record: bytes
    ip: IPv4Address
    response: bytes
    by_name: bytes


def emulated_peers(count: int) -> list[EmulatedPeer]:
    """Return the first `count` of them; the same ones as long as the temporary folder lives.

    Raises:
        ValueError: more than 10,000.
    """
    if not 0 <= count <= CAPACITY:
        raise ValueError(f"0 to {CAPACITY} peers, not {count}")
    return [_peer(number, record) for number, record in enumerate(_records(count))]


def _peer(number: int, record: bytes) -> EmulatedPeer:
    alias = decode_record(record).record.key.alias
    ip = _FIRST + number
    return EmulatedPeer(
        alias,
        record,
        ip,
        peer_response(alias, record, PORT, ip),
        peer_response(alias, record, PORT, ip, by_name=True),
    )


def _records(count: int) -> list[bytes]:
    folder = Path(tempfile.gettempdir(), f"peernet-benchmarks-{os.geteuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} is somebody else's")
    path = folder / "records-1"
    found = _split(path.read_bytes()) if path.exists() else []
    if len(found) < count:
        found += [_make() for _ in range(count - len(found))]
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(b"".join(bytes((len(each),)) + each for each in found))
        fresh.replace(path)
    return found[:count]


def _split(data: bytes) -> list[bytes]:
    found = []
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        found.append(data[at + 1 : end])
        at = end
    return found


def _make() -> bytes:
    identity = Identity.generate()
    return encode_record(Record(identity.key, time.time_ns() // 1000, PORT), identity)
