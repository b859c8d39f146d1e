"""Framed connections: frames in order, closed after the last one, given up when nobody reads."""

from __future__ import annotations

import anyio
import attrs
import pytest

from peernet_core.addresses import Address, parse_ip
from peernet_core.decisions.frames import (
    Bye,
    Frame,
    FrameDecoder,
    Hello,
    Open,
    Ping,
    Unknown,
    Up,
    encode_frame,
)
from peernet_core.errors import MalformedFrameError
from peernet_core.keys import Identity, PeerKey
from peernet_core.links.framed import ConnectionEndedError, FramedConnection

PEER = Identity.generate().key
ADDRESS = Address(parse_ip("10.0.0.2"), 7100, "lan")


@attrs.define(eq=False)
class Wire:
    """A connection whose other end is the test."""

    peer: PeerKey = PEER
    takes_s: float = 0.0
    arriving: list[bytes] = attrs.Factory(list)
    decoder: FrameDecoder = attrs.Factory(FrameDecoder)
    sent: list[Frame | Unknown] = attrs.Factory(list)
    sends: int = 0
    ended: str = ""

    async def receive(self, max_bytes: int = 0) -> bytes:
        _ = max_bytes
        if not self.arriving:
            raise anyio.EndOfStream
        return self.arriving.pop(0)

    async def send(self, data: bytes) -> None:
        self.sends += 1
        for _ in range(10):
            await anyio.sleep(self.takes_s / 10)
            if self.ended:
                raise anyio.ClosedResourceError
        self.sent += self.decoder.feed(data)

    async def aclose(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"


def framed(wire: Wire) -> FramedConnection:
    return FramedConnection(wire, ADDRESS)  # type: ignore[arg-type]  # the transport's stand-in


async def test_frames_leave_in_order_and_together() -> None:
    """What is queued at one time takes one write."""
    wire = Wire()
    link = framed(wire)
    for nonce in range(5):
        link.send(Ping(nonce))
    await link.aclose()
    assert wire.sent == [Ping(nonce) for nonce in range(5)]
    assert (wire.sends, wire.ended) == (1, "closed")


async def test_closing_waits_for_the_last_frame() -> None:
    """A BYE arrives, and nothing that is sent after the close."""
    wire = Wire(takes_s=0.5)
    link = framed(wire)
    link.send(Bye("stopped"))
    link.close()
    link.send(Ping(1))
    await link.aclose()
    assert wire.sent == [Bye("stopped")]


async def test_closing_gives_up_on_a_peer_that_does_not_read() -> None:
    """After a second, by force."""
    wire = Wire(takes_s=1e6)
    link = framed(wire)
    link.send(Bye("stopped"))
    started = anyio.current_time()
    wire.takes_s = 10
    await link.aclose()
    assert anyio.current_time() - started < 12
    assert wire.ended == "aborted"


async def test_a_peer_that_never_reads_loses_the_connection() -> None:
    """The queue is bounded."""
    wire = Wire(takes_s=10)
    link = framed(wire)
    link.send(Ping(0))
    await anyio.sleep(0.1)
    for nonce in range(300):
        link.send(Ping(nonce))
    assert wire.ended == "aborted"
    await link.aclose()


async def test_hello_is_exchanged() -> None:
    """Ours leaves; theirs is returned."""
    theirs = Hello(b"theirs", b"t" * 16, 3)
    wire = Wire(arriving=[encode_frame(theirs)])
    link = framed(wire)
    assert await link.hello(Hello(b"ours", b"o" * 16, 0)) == theirs
    await link.aclose()
    assert wire.sent == [Hello(b"ours", b"o" * 16, 0)]


@pytest.mark.parametrize(
    ("arriving", "error"),
    [
        ([], ConnectionEndedError),
        ([encode_frame(Up())], MalformedFrameError),
        ([b"\x00\x00"], MalformedFrameError),
        ([encode_frame(Open())[:-1]], ConnectionEndedError),
    ],
)
async def test_anything_but_hello_is_an_error(arriving: list[bytes], error: type[Exception]) -> None:
    """An end, another frame, garbage, half a frame."""
    link = framed(Wire(arriving=arriving))
    with pytest.raises(error):
        await link.hello(Hello(b"ours", b"o" * 16, 0))
    await link.aclose()


async def test_frames_of_unknown_types_are_passed_over() -> None:
    """A later version may send them."""
    unknown = bytes.fromhex("0004a1001863")
    wire = Wire(arriving=[unknown + encode_frame(Ping(1)), encode_frame(Ping(2))])
    link = framed(wire)
    frames = link.frames()
    assert [await anext(frames), await anext(frames)] == [Ping(1), Ping(2)]
    with pytest.raises(ConnectionEndedError, match="closed"):
        await anext(frames)
    await link.aclose()
