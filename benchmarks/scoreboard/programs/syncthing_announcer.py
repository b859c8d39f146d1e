"""Many Syncthing devices that nobody knows, as far as a link sees them: their local announcements.

Run: ``python -m benchmarks.scoreboard.programs.syncthing_announcer INTERFACE COUNT``. Each is announced
every 30 s, by IPv4 broadcast and IPv6 multicast, evenly spread over that time.

Source: Syncthing's documentation, Local Discovery Protocol v4.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from typing import Final

from benchmarks.scoreboard.programs.said import say

__all__ = ["encode_announcement"]

_MAGIC: Final = 0x2EA7D90B
_PORT: Final = 21027
_INTERVAL_S: Final = 30.0
_GROUP: Final = "ff12::8384"
_BROADCAST: Final = "255.255.255.255"


def encode_announcement(device: bytes, address: str, instance: int) -> bytes:
    """Encode one: a magic number, and a message with the fields id, addresses and instance_id."""
    fields = b"\x0a" + _varint(len(device)) + device
    fields += b"\x12" + _varint(len(address)) + address.encode("ascii")
    return struct.pack(">I", _MAGIC) + fields + b"\x18" + _varint(instance)


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return encoded + bytes((value,))


def _main(interface: str, count: int) -> None:
    announcements = [
        encode_announcement(os.urandom(32), f"tcp://0.0.0.0:{22000 + number}", number + 1)
        for number in range(count)
    ]
    broadcast = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    broadcast.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    broadcast.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    multicast = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    multicast.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(interface))

    def announce(data: bytes) -> None:
        broadcast.sendto(data, (_BROADCAST, _PORT))
        multicast.sendto(data, (_GROUP, _PORT))

    for data in announcements:
        announce(data)
    say("ready")
    due = time.monotonic()
    while True:
        for data in announcements:
            due += _INTERVAL_S / count
            time.sleep(max(0.0, due - time.monotonic()))
            announce(data)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
