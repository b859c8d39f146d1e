"""Mutual TLS between peers that know each other's certificates: what people write around a discovery library.

Both sides listen and both dial as soon as they hear of the other; what is authenticated first counts. A dial
that failed, or a link that ended, is followed by another look-up and dial every second. TCP's own keepalive
ends a link whose peer is silent for 15 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from benchmarks.scoreboard.programs.said import say

__all__ = ["Address", "Links", "contexts", "fingerprints"]

_DIAL_S: Final = 3.0
_AGAIN_S: Final = 1.0
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),
)
_WELCOME: Final = b"\x01"
"""The client of TLS 1.3 is done before the server has seen its certificate; this byte says that it has."""
Address = tuple[str, int]


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the server's and the client's, from ``own.pem`` and ``trusted.pem`` of that folder."""
    found = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(folder / "own.pem")
        context.load_verify_locations(folder / "trusted.pem")
        found.append(context)
    return found[0], found[1]


def fingerprints(folder: Path) -> set[str]:
    """Return the names of all that are trusted."""
    begin, text = "-----BEGIN CERTIFICATE-----", (folder / "trusted.pem").read_text(encoding="ascii")
    return {_name(ssl.PEM_cert_to_DER_cert(begin + each)) for each in text.split(begin)[1:]}


def _name(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()[:26]


class Links:
    """All links of one identity.

    Args:
        folder: Its certificates.
        find: Looks a peer up again; None: it is not known any more.
    """

    def __init__(self, folder: Path, find: Callable[[str], Awaitable[Address | None]]) -> None:
        self._server, self._client = contexts(folder)
        self._trusted = fingerprints(folder)
        self._find = find
        self._held: Counter[str] = Counter()
        self._pursuits: dict[str, asyncio.Task[None]] = {}
        self._holding: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        """Take links on any port, and return it."""
        server = await asyncio.start_server(self._accept, "0.0.0.0", 0, ssl=self._server, backlog=512)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def found(self, name: str) -> None:
        """Dial that peer, unless it is linked, is being dialed, or is nobody of ours."""
        if name in self._trusted and not self._held[name] and name not in self._pursuits:
            task = asyncio.ensure_future(self._pursue(name))
            self._pursuits[name] = task
            task.add_done_callback(lambda _: self._pursuits.pop(name))

    async def _pursue(self, name: str) -> None:
        while not self._held[name]:
            address = await self._find(name)
            if address is None:
                return
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_DIAL_S):
                    reader, writer = await asyncio.open_connection(*address, ssl=self._client)
                    if await reader.readexactly(1) == _WELCOME and _peer(writer) == name:
                        self._keep(reader, writer)
                        return
            await asyncio.sleep(_AGAIN_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_WELCOME)
        self._keep(reader, writer)

    def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = _peer(writer)
        sock = writer.get_extra_info("socket")
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)
        self._held[name] += 1
        if self._held[name] == 1:
            say("linked", name)
        task = asyncio.ensure_future(self._hold(name, reader, writer))
        self._holding.add(task)
        task.add_done_callback(self._holding.discard)

    async def _hold(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(1024):
                pass
        writer.close()
        self._held[name] -= 1
        if not self._held[name]:
            say("lost", name)
            await asyncio.sleep(_AGAIN_S)
            self.found(name)


def _peer(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return _name(certificate)
