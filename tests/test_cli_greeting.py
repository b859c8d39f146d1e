"""The greeting: one line each way, bounded in size and in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any, cast

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from peernet_core.cli.greeting import GREETING, MAX_GREETING_BYTES, Greeter
from peernet_core.errors import PeerUnreachableError
from peernet_core.keys import Identity, PeerKey

OURS = Identity.generate().key
THEIRS = Identity.generate().key

Answer = Callable[[Any], Coroutine[Any, Any, object]]


class End(ByteStream):
    """One end of a stream in memory."""

    def __init__(
        self, inward: MemoryObjectReceiveStream[bytes], outward: MemoryObjectSendStream[bytes]
    ) -> None:
        self._inward, self._outward = inward, outward

    async def receive(self, max_bytes: int = 65536) -> bytes:
        del max_bytes
        return await self._inward.receive()

    async def send(self, item: bytes) -> None:
        await self._outward.send(item)

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        self._inward.close()
        self._outward.close()


def pair() -> tuple[End, End]:
    out_here, in_there = anyio.create_memory_object_stream[bytes](math.inf)
    out_there, in_here = anyio.create_memory_object_stream[bytes](math.inf)
    return End(in_here, out_here), End(in_there, out_there)


class Node:
    """What the greeter uses of a node."""

    def __init__(self, name: str, end: End | None = None) -> None:
        self.name = name
        self.key = OURS
        self._end = end

    async def open(self, key: PeerKey, protocol: str, *, timeout_s: float) -> End:
        assert (key, protocol) == (THEIRS, GREETING)
        assert timeout_s > 0
        assert self._end is not None
        return self._end


def greeter(name: str = "", end: End | None = None) -> Greeter:
    return Greeter(cast("Any", Node(name, end)))


async def exchange(text: str, answer: Answer) -> str:
    here, there = pair()
    said = ""
    async with anyio.create_task_group() as tasks, there:
        tasks.start_soon(answer, there)
        try:
            said = await greeter(end=here).greet(THEIRS, text)
        finally:
            tasks.cancel_scope.cancel()
    return said


@pytest.mark.parametrize(("name", "answer"), [("kitchen", "kitchen"), ("küche", "küche"), ("", OURS.short)])
async def test_the_answer_is_the_name(name: str, answer: str) -> None:
    """A node without a name answers with the beginning of its key."""
    assert await exchange("hello", greeter(name).answer) == answer


@pytest.mark.parametrize("text", ["", "two\nlines", "x" * 5000, "ü" * 1000, "\udc80"])
async def test_any_text_is_one_bounded_line(text: str) -> None:
    """What is asked for over the control socket cannot break the protocol."""
    heard: list[bytes] = []

    async def listen(stream: End) -> None:
        heard.append(await stream.receive())
        await stream.send(b"kitchen\n")

    assert await exchange(text, listen) == "kitchen"
    assert heard[0].endswith(b"\n")
    assert heard[0].count(b"\n") == 1
    assert len(heard[0]) <= MAX_GREETING_BYTES


@pytest.mark.parametrize("sent", [b"", b"no end", b"x" * 2 * MAX_GREETING_BYTES])
async def test_a_bad_greeting_gets_no_answer(sent: bytes) -> None:
    """Too little, too much or nothing: the handler ends without raising, and says nothing."""
    here, there = pair()
    if sent:
        await here.send(sent)
    here._outward.close()
    await greeter("kitchen").answer(cast("Any", there))
    await there.aclose()
    with pytest.raises(anyio.EndOfStream):
        await here.receive()
    await here.aclose()


async def test_a_silent_guest_is_not_waited_for() -> None:
    """The handler ends after its time, and its stream with it."""
    here, there = pair()
    async with here, there:
        began = anyio.current_time()
        await greeter("kitchen").answer(cast("Any", there))
        assert anyio.current_time() - began < 60


async def silent(_: End) -> None:
    await anyio.sleep_forever()


async def gone(stream: End) -> None:
    await stream.aclose()


async def endless(stream: End) -> None:
    await stream.send(b"x" * 2 * MAX_GREETING_BYTES)


@pytest.mark.parametrize("answer", [silent, gone, endless])
async def test_no_answer_is_a_reason(answer: Answer) -> None:
    """Whoever greets is told that the peer did not answer, whatever it did instead."""
    with pytest.raises(ExceptionGroup) as raised:
        await exchange("hello", answer)
    assert raised.group_contains(PeerUnreachableError, match="greeting")
