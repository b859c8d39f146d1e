"""The loop whose time jumps: never past what still happens outside, at once when nothing does."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from peernet_core.testing import JumpingEventLoop, clock, open_sockets, running_threads, unfinished_tasks

HOUR_S = 3600.0
MUCH_LESS_S = 5.0


async def test_an_hour_of_sleep_takes_no_time_and_moves_the_clock_by_an_hour() -> None:
    """Real time hardly passes; the loop's time passes exactly."""
    loop, began = asyncio.get_running_loop(), time.monotonic()
    before = loop.time()
    await asyncio.sleep(HOUR_S)
    assert loop.time() == pytest.approx(before + HOUR_S)
    assert time.monotonic() - began < MUCH_LESS_S


async def test_timers_fire_in_order_each_at_its_own_time() -> None:
    """A jump goes to the next timer, not past it."""
    loop = asyncio.get_running_loop()
    start, fired = loop.time(), list[float]()

    async def wait(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        fired.append(loop.time() - start)

    await asyncio.gather(*map(wait, (600.0, 0.25, 5.0, 5.0)))
    assert fired == pytest.approx([0.25, 5.0, 5.0, 600.0])


async def test_time_stands_still_while_callbacks_are_ready() -> None:
    """Work in the loop costs no time, however much it is."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.time() == before


async def test_timeouts_of_anyio_and_asyncio_use_the_jumping_clock() -> None:
    """Both libraries take their deadlines from the loop."""
    with anyio.move_on_after(HOUR_S) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HOUR_S):
            await asyncio.Event().wait()


async def test_data_on_a_loopback_connection_comes_before_the_timeout() -> None:
    """A short timeout is not jumped to while bytes are on their way."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        before = asyncio.get_running_loop().time()
        for _ in range(100):
            writer.write(b"ping")
            async with asyncio.timeout(0.001):
                assert await reader.readexactly(4) == b"ping"
        assert asyncio.get_running_loop().time() == before
        writer.close()
        await writer.wait_closed()


async def test_a_silent_socket_does_not_stop_time() -> None:
    """Waiting for bytes that never come ends with the timeout, in no time."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs, pytest.raises(TimeoutError):
        async with asyncio.timeout(HOUR_S):
            await asyncio.get_running_loop().sock_recv(ours, 1)


@pytest.mark.parametrize("run", [asyncio.to_thread, anyio.to_thread.run_sync])
async def test_a_call_in_a_worker_thread_returns_before_the_timeout(run: Callable[..., object]) -> None:
    """A thread that blocks, or computes, keeps time where it is."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    for call in (lambda: time.sleep(0.15), lambda: sum(range(2_000_000))):
        async with asyncio.timeout(0.01):
            await run(call)  # type: ignore[misc]  # both return awaitables
    assert loop.time() == before


async def test_idle_workers_of_both_pools_cost_nothing() -> None:
    """A pool's thread that has nothing to do does not slow the jumps."""
    await asyncio.to_thread(int)
    await anyio.to_thread.run_sync(int)
    began = time.monotonic()
    for _ in range(500):
        await asyncio.sleep(60)
    assert time.monotonic() - began < 500 * clock.PARKED_S / 2


async def test_a_parked_thread_lets_time_jump_and_is_heard_when_it_wakes() -> None:
    """A thread that waits for an event stops nothing; what it then reports comes before the next timer."""
    loop, go, heard = asyncio.get_running_loop(), threading.Event(), asyncio.Event()

    def wait_then_report() -> None:
        go.wait()
        loop.call_soon_threadsafe(heard.set)

    thread = threading.Thread(target=wait_then_report)
    thread.start()
    await asyncio.sleep(HOUR_S)
    go.set()
    async with asyncio.timeout(0.001):
        await heard.wait()
    thread.join()


async def test_while_a_parked_thread_lives_each_jump_waits_longer_than_for_a_socket() -> None:
    """It may just have been woken, and needs the processor once before it shows."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingEventLoop)
    assert loop._outside(watching=False) == (False, 0.0)
    assert loop._outside(watching=True) == (False, clock.QUIET_S)
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    while loop._outside(watching=True)[0]:
        go.wait(0.001)  # until it has come to its wait
    assert loop._outside(watching=True) == (False, clock.PARKED_S)
    assert clock.PARKED_S > clock.QUIET_S
    go.set()
    thread.join()


async def test_a_thread_that_waits_in_the_loops_time_goes_in_step_with_it() -> None:
    """Neither runs ahead of the other: each of its waits ends when the loop's clock says so."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingEventLoop)
    stopping, woken = loop.make_event(), list[float]()

    def poll() -> None:
        while not stopping.wait(10.0):
            woken.append(loop.time() - start)

    start, began = loop.time(), time.monotonic()
    thread = threading.Thread(target=poll)
    thread.start()
    try:
        await asyncio.sleep(HOUR_S + 5)
    finally:
        stopping.set()
        thread.join()
    assert woken == pytest.approx([10.0 * number for number in range(1, 361)])
    assert time.monotonic() - began < MUCH_LESS_S
    assert stopping.wait()


async def test_a_thread_that_blocks_for_ever_gives_way_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience the loop jumps, so that a test of such a thread can end."""
    monkeypatch.setattr(clock, "BUSY_S", 0.2)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=theirs.recv, args=(1,))
    thread.start()
    with ours, theirs:
        began = time.monotonic()
        await asyncio.sleep(HOUR_S)
        assert 0.2 <= time.monotonic() - began < MUCH_LESS_S
        ours.send(b"x")
        thread.join()


async def test_without_a_timer_the_loop_waits_for_the_outside() -> None:
    """Nothing to jump to: the loop blocks until a thread calls."""
    loop = asyncio.get_running_loop()
    called: asyncio.Future[None] = loop.create_future()
    thread = threading.Timer(0.05, loop.call_soon_threadsafe, (called.set_result, None))
    thread.start()
    await called
    thread.join()


def test_two_loops_have_clocks_of_their_own() -> None:
    """Each starts at the same time, so a run does not depend on those before it."""
    times = []
    for _ in range(2):
        with asyncio.Runner(loop_factory=JumpingEventLoop) as runner:
            runner.run(asyncio.sleep(HOUR_S))
            times.append(runner.get_loop().time())
    assert times == pytest.approx([clock.START_S + HOUR_S] * 2)


async def test_an_unfinished_task_is_seen_and_a_finishing_one_is_not() -> None:
    """The guard reports what would go on by itself, and gives what is ending a few turns."""
    before = await unfinished_tasks()
    ending = asyncio.create_task(asyncio.sleep(0), name="ending")
    staying = asyncio.create_task(asyncio.Event().wait(), name="staying")
    assert {task.get_name() for task in await unfinished_tasks(but=before)} == {"staying"}
    staying.cancel()
    assert not await unfinished_tasks(but=before)
    assert ending.done()


def test_an_open_socket_and_a_running_thread_are_seen() -> None:
    """Both guards compare what is there with what was there."""
    threads, sockets = running_threads(), open_sockets()
    with socket.socket() as ours:
        assert {descriptor for descriptor, _ in open_sockets() - sockets} == {ours.fileno()}
    assert open_sockets() == sockets
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    assert running_threads(but=threads) == {thread}
    go.set()
    assert not running_threads(but=threads, within_s=5.0)
