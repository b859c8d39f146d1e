"""The writer of lines: whatever the reader does, who writes goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import anyio
import pytest

from peernet_core.cli.line_writer import LineWriter


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Real time: a thread blocks in the system."""
    return "asyncio"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:  # the test closed it
            continue


def read_all(reader: int) -> bytes:
    data = b""
    while chunk := os.read(reader, 65536):
        data += chunk
    return data


def test_lines_come_out_whole_and_in_order(pipe: tuple[int, int]) -> None:
    """Each line ends; closing waits for all of them."""
    reader, descriptor = pipe
    writer = LineWriter(descriptor)
    assert all(writer.offer(f"line {number}") for number in range(100))
    assert writer.close()
    os.close(descriptor)
    assert read_all(reader).decode() == "".join(f"line {number}\n" for number in range(100))


def test_what_the_reader_cannot_show_is_escaped(pipe: tuple[int, int]) -> None:
    """A terminal that knows only ASCII gets escapes, and no line is lost to an error."""
    reader, descriptor = pipe
    writer = LineWriter(descriptor, encoding="ascii")
    writer.offer("küche \udc80")
    assert writer.close()
    assert os.read(reader, 100) == rb"k\xfcche \udc80" + b"\n"


def test_a_stalled_reader_stalls_nobody(pipe: tuple[int, int]) -> None:
    """When pipe and queue are full a line is refused at once, and closing gives up after its timeout."""
    reader, descriptor = pipe
    writer = LineWriter(descriptor, max_lines=4)
    taken = 0
    while writer.offer("x" * 100_000):
        taken += 1
    assert 4 <= taken <= 6
    assert not writer.close(timeout_s=0.01)
    os.close(reader)  # ends the thread


def test_there_is_room_for_one_last_line(pipe: tuple[int, int]) -> None:
    """However full it is: it comes after all others."""
    reader, descriptor = pipe
    writer = LineWriter(descriptor, max_lines=0)
    assert not writer.offer("no room")
    assert writer.close(last="goodbye")
    assert os.read(reader, 100) == b"goodbye\n"


async def test_writing_waits_for_room(pipe: tuple[int, int]) -> None:
    """`write` returns when its line is queued: not before somebody reads, and then soon."""
    reader, descriptor = pipe
    writer = LineWriter(descriptor, max_lines=1)
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(20):
            await writer.write("x" * 100_000)
            written += 1

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            while writer.offer("y"):
                await anyio.lowlevel.checkpoint()
            assert written < 20
            collected: list[bytes] = []
            thread = threading.Thread(target=lambda: collected.append(read_all(reader)))
            thread.start()
    assert written == 20
    assert writer.close()
    os.close(descriptor)
    thread.join()
    assert collected[0].count(b"x" * 100_000 + b"\n") == 20


def test_a_reader_that_is_gone_is_reported_once(pipe: tuple[int, int]) -> None:
    """Then every line is taken and thrown away, so that whoever writes can come to an end."""
    reader, descriptor = pipe
    broken = threading.Semaphore(0)
    os.close(reader)
    writer = LineWriter(descriptor, on_broken=broken.release, max_lines=1)
    writer.offer("anybody?")
    assert broken.acquire(timeout=30)
    assert all(writer.offer("still there?") for _ in range(10))
    assert not writer.close()
    assert not broken.acquire(blocking=False)


async def test_a_reader_that_goes_while_somebody_waits(pipe: tuple[int, int]) -> None:
    """Who waits for room is let go when there will never be any."""
    reader, descriptor = pipe
    writer = LineWriter(descriptor, max_lines=1)
    with anyio.fail_after(30):
        while writer.offer("x" * 100_000):
            await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.write, "one more")
            await anyio.lowlevel.checkpoint()
            os.close(reader)
    assert not writer.close()


def test_a_descriptor_that_does_not_block(pipe: tuple[int, int]) -> None:
    """Somebody who shares the terminal may make it non-blocking: then the thread waits by other means."""
    reader, descriptor = pipe
    os.set_blocking(descriptor, False)
    writer = LineWriter(descriptor)
    for _ in range(5):
        writer.offer("x" * 100_000)
    collected: list[bytes] = []
    thread = threading.Thread(target=lambda: collected.append(read_all(reader)))
    thread.start()
    assert writer.close(timeout_s=30)
    os.close(descriptor)
    thread.join()
    assert len(collected[0]) == 5 * 100_001
