"""One process that is many hosts on one link, each with an address of its own, and answers for all of them.

Run, on a host that `bench.emulate` has prepared: ``python -m benchmarks.mdns.responders COUNT INTERFACE``. It
prints ``{"event": "ready"}`` and ends with its standard input. There it is told, as JSON objects, to ``mute``
all hosts from number ``first`` on, and to ``report`` what it counted.

Behaves as RFC 6762 wants: a question with the unicast bit is answered to the asker at once, another one by
multicast after 20 to 120 ms, or after 400 to 500 ms where more known answers are to follow; what the asker
knows is not sent; a question by name is answered at once; a query from another port than 5353 is answered to
that port, with its number, and lives that are short. An answer leaves from the address of its host.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from typing import Final

import attrs
from zeroconf import DNSIncoming, DNSPointer

from benchmarks.mdns.packets import ANY, GROUP, MDNS_PORT, PTR, SRV, TXT, TYPE_NAME, peer_response
from benchmarks.mdns.population import PORT, EmulatedPeer, emulated_peers

__all__ = ["Responders", "main"]

_JITTER_S: Final = (0.02, 0.12)
_MORE_KNOWN_S: Final = (0.4, 0.5)
_IP_PKTINFO: Final = 8
"""Linux; Python names it from 3.14 on."""
_BATCH: Final = 200
_TRUNCATED: Final = 0x0200
_UNICAST_BIT: Final = 0x8000
_MAX_WAIT_S: Final = 60.0
Address = tuple[str, int]
_EVERYBODY: Final = (GROUP, MDNS_PORT)


@attrs.define(eq=False)
class _Round:
    """What one question for the type set off: who is going to answer it."""

    knows: set[int] = attrs.field(factory=set)


class Responders:
    """All of the hosts.

    Attributes:
        counts: Queries that came and answers that went.
    """

    def __init__(self, count: int, interface: str) -> None:
        self.counts: Counter[str] = Counter()
        self._peers = emulated_peers(count)
        self._index = {f"{peer.alias}.{TYPE_NAME}": number for number, peer in enumerate(self._peers)}
        number = socket.if_nametoindex(interface)
        self._ancillary = [
            [(socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", number, peer.ip.packed, bytes(4)))]
            for peer in self._peers
        ]
        self._by_ip = {peer.ip.packed: index for index, peer in enumerate(self._peers)}
        self._due: list[tuple[float, int, int, bytes, Address, _Round | None]] = []
        self._order = itertools.count()
        self._rounds: dict[Address, _Round] = {}
        self._muted: set[int] = set()
        self._unread = b""
        self._socket = _open(number)

    def run(self) -> None:
        """Answer until the standard input ends."""
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        waiting.register(sys.stdin, select.POLLIN | select.POLLHUP)
        while True:
            wait_s = max(0.0, self._due[0][0] - time.monotonic()) if self._due else _MAX_WAIT_S
            for descriptor, _ in waiting.poll(wait_s * 1000):
                if descriptor == self._socket.fileno():
                    self._receive()
                elif not self._listen():
                    return
            self._send_due()

    def _listen(self) -> bool:
        """Do what the other side says; False at the end of its words."""
        data = os.read(sys.stdin.fileno(), 65536)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return bool(data)

    def _obey(self, words: dict[str, object]) -> None:
        match words:
            case {"do": "mute", "first": int(first)}:
                self._muted = set(range(first, len(self._peers)))
                _say("muted")
            case {"do": "report"}:
                _say("report", **self.counts)

    def _receive(self) -> None:
        for _ in range(64):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(9000, 256)
            except BlockingIOError:
                return
            to = next(
                (item[8:12] for level, kind, item in ancillary if (level, kind) == (0, _IP_PKTINFO)), b""
            )
            self._take(data, sender, self._by_ip.get(to))

    def _take(self, data: bytes, sender: Address, only: int | None) -> None:
        message = DNSIncoming(data)
        if not message.valid or not message.is_query():
            self.counts["others"] += 1
            return
        self.counts["queries"] += 1
        known = {
            self._index.get(record.alias.lower())
            for record in message.answers()
            if isinstance(record, DNSPointer)
        }
        if not message.questions:
            earlier = self._rounds.get(sender)
            if earlier is not None:
                earlier.knows |= {index for index in known if index is not None}
            return
        if sender[1] != MDNS_PORT:
            self._answer_legacy(message, sender, only)
            return
        now = time.monotonic()
        named: dict[int, bool] = {}
        for question in message.questions:
            unicast = bool(question.class_ & _UNICAST_BIT) or question.unicast
            if question.name.lower() == TYPE_NAME and question.type in {PTR, ANY}:
                self._answer_all(
                    sender, known, only, now=now, unicast=unicast, more=bool(message.flags & _TRUNCATED)
                )
            elif question.type in {SRV, TXT, ANY}:
                index = self._index.get(question.name.lower())
                if index is not None and index not in self._muted:
                    named[index] = unicast
        for index, unicast in named.items():
            self._push(now, index, self._peers[index].by_name, sender if unicast else _EVERYBODY)

    def _answer_all(
        self,
        sender: Address,
        known: set[int | None],
        only: int | None,
        *,
        now: float,
        unicast: bool,
        more: bool,
    ) -> None:
        """Let everybody answer whom the asker does not know."""
        everybody = range(len(self._peers)) if only is None else (only,)
        chosen = [index for index in everybody if index not in known and index not in self._muted]
        if unicast:
            # Hosts answer at the same time, so in no order.
            random.shuffle(chosen)
            for index in chosen:
                self._push(now, index, self._peers[index].response, sender)
            return
        this = self._rounds[sender] = _Round()
        span = _MORE_KNOWN_S if more else _JITTER_S
        for index in chosen:
            self._push(now + random.uniform(*span), index, self._peers[index].response, _EVERYBODY, this)

    def _answer_legacy(self, message: DNSIncoming, sender: Address, only: int | None) -> None:
        questions = tuple((question.name, question.type) for question in message.questions)
        found: dict[int, bool] = {}
        for name, kind in questions:
            if name.lower() == TYPE_NAME and kind in {PTR, ANY}:
                found |= dict.fromkeys(range(len(self._peers)) if only is None else (only,), False)
            elif (index := self._index.get(name.lower())) is not None:
                found.setdefault(index, True)
        now = time.monotonic()
        for index, by_name in found.items():
            if index in self._muted:
                continue
            peer: EmulatedPeer = self._peers[index]
            legacy = (message.id, questions)
            data = peer_response(peer.alias, peer.record, PORT, peer.ip, by_name=by_name, legacy=legacy)
            self._push(now, index, data, sender)

    def _push(self, at: float, index: int, data: bytes, to: Address, this: _Round | None = None) -> None:
        heapq.heappush(self._due, (at, next(self._order), index, data, to, this))

    def _send_due(self) -> None:
        """Send what is due, but so much only that questions are heard in time."""
        due, send, ancillary = self._due, self._socket.sendmsg, self._ancillary
        now = time.monotonic()
        sent = 0
        while due and sent < _BATCH and due[0][0] <= now:
            _, _, index, data, to, this = heapq.heappop(due)
            if this is not None and index in this.knows:
                continue
            sent += 1
            try:
                send((data,), ancillary[index], 0, to)
            except OSError:
                self.counts["unsent"] += 1
        self.counts["answers"] += sent


def _say(event: str, **fields: int) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def _open(number: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    group = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), number)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, group)
    sock.bind(("", MDNS_PORT))
    sock.setblocking(False)
    return sock


def main() -> None:
    """Answer until the standard input ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int)
    parser.add_argument("interface")
    arguments = parser.parse_args()
    responders = Responders(arguments.count, arguments.interface)
    _say("ready", peers=arguments.count)
    responders.run()


if __name__ == "__main__":
    main()
