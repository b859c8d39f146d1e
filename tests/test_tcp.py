"""TCP streams, over loopback."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anyio
import pytest

from peernet_core.links.tcp import CHUNK_BYTES, SMALL_CHUNK_BYTES, TcpStream

MEGABYTES = bytes(range(256)) * 2**16
"""More than all buffers on the way take: whoever sends it has to wait."""

Pair = tuple[TcpStream, TcpStream]


@pytest.fixture
async def ends() -> AsyncIterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    streams = []
    for each in (near, far):
        each.setblocking(False)
        streams.append(TcpStream(each))
    yield streams[0], streams[1]
    for stream in streams:
        stream.close()


async def receive_all(stream: TcpStream, size: int) -> bytes:
    data = bytearray()
    with anyio.fail_after(60):
        while len(data) < size:
            data += await stream.receive(CHUNK_BYTES)
    return bytes(data)


async def test_what_is_sent_arrives(ends: Pair) -> None:
    """Whole and in order, also where the sender has to wait for the receiver."""
    near, far = ends
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(near.send, MEGABYTES)
        await anyio.wait_all_tasks_blocked()
        assert await receive_all(far, len(MEGABYTES)) == MEGABYTES


async def test_a_piece_is_as_small_as_asked_for(ends: Pair) -> None:
    """And nothing of the rest is lost."""
    near, far = ends
    await near.send(MEGABYTES[: 2 * CHUNK_BYTES])
    with anyio.fail_after(60):
        pieces = [await far.receive(100), await far.receive(), await far.receive(CHUNK_BYTES)]
    assert [len(piece) for piece in pieces] == [
        100,
        SMALL_CHUNK_BYTES,
        CHUNK_BYTES - 100 - SMALL_CHUNK_BYTES,
    ]
    assert b"".join(pieces) == MEGABYTES[:CHUNK_BYTES]


async def test_an_end_is_an_end_again_and_again(ends: Pair) -> None:
    """After everything that came before it."""
    near, far = ends
    await near.send(b"last")
    near.close()
    assert await far.receive() == b"last"
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await far.receive()


async def test_a_reset_breaks_both_directions(ends: Pair) -> None:
    """The cause is what the system said."""
    near, far = ends
    near.raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
    for failing in (far.receive, lambda: far.send(b"x")):
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await failing()
        assert isinstance(caught.value.__cause__, ConnectionError)


Operation = Callable[[TcpStream], Coroutine[Any, Any, object]]
BOTH = pytest.mark.parametrize(
    "operation",
    [lambda stream: stream.receive(), lambda stream: stream.send(MEGABYTES)],
    ids=["receive", "send"],
)


@BOTH
async def test_a_close_wakes_who_waits(ends: Pair, operation: Operation) -> None:
    """It is told that we closed it, and so is who comes later; the loop watches nothing any more."""
    near, _ = ends

    async def wait() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await operation(near)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        descriptor = near.raw_socket.fileno()
        near.close()
        assert not is_watched(descriptor)
    await wait()


@BOTH
async def test_a_second_one_is_refused(ends: Pair, operation: Operation) -> None:
    """It would take the first one's turn, and that one would wait for ever."""
    near, _ = ends
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(operation, near)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError), anyio.fail_after(60):
            await operation(near)
        tasks.cancel_scope.cancel()


@BOTH
async def test_a_cancelled_wait_leaves_nothing(ends: Pair, operation: Operation) -> None:
    """The loop does not watch the socket any more, and the next one has its turn."""
    near, far = ends
    for _ in range(2):
        with anyio.move_on_after(0.1) as scope:
            await operation(near)
        assert scope.cancelled_caught
        assert not is_watched(near.raw_socket.fileno())
    await far.send(b"x")
    assert await near.receive() == b"x"


async def test_a_cancelled_receive_loses_nothing(ends: Pair) -> None:
    """Not even what arrives in the turn of the loop in which it is cancelled."""
    near, far = ends
    receiving = asyncio.create_task(far.receive())
    await anyio.wait_all_tasks_blocked()
    near.raw_socket.send(b"x")
    far._wake(far._reading)  # as the loop does
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await far.receive() == b"x"


async def test_a_second_one_does_not_take_what_the_first_has_got(ends: Pair) -> None:
    """Not even while that one leaves others a turn: it would think that nothing more comes."""
    near, far = ends
    await near.send(b"x")
    first, second = asyncio.create_task(far.receive()), asyncio.create_task(far.receive())
    with pytest.raises(anyio.BusyResourceError):
        await second
    assert await first == b"x"


async def test_who_never_waits_leaves_others_a_turn(ends: Pair) -> None:
    """A peer that sends faster than we can read does not stop the loop, nor one that takes all we send."""
    near, far = ends
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(count())
    for rounds in range(1, 9):
        await near.send(b"there before anybody asks for it")
        await far.receive()
        assert turns >= 2 * rounds - 1
    beside.cancel()


def is_watched(descriptor: int) -> bool:
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    return descriptor in selector.get_map()
