"""The acceptor: one port, and a loop that nothing can end."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.decisions.admission import MAX_UNAUTHENTICATED
from peernet_core.links.acceptor import Acceptor, Arrival
from peernet_core.links.sockets import bind

V4 = ListenAddress(parse_ip("127.0.0.1"), 0)


@asynccontextmanager
async def accepting(serve: Callable[[Arrival], Awaitable[None]]) -> AsyncIterator[Acceptor]:
    acceptor = Acceptor(bind((V4,)), serve, clock=asyncio.get_running_loop().time)
    acceptor.start()
    try:
        yield acceptor
    finally:
        await acceptor.aclose()


async def _echo(arrival: Arrival) -> None:
    await arrival.stream.send(await arrival.stream.receive())


async def _ask(port: int) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"x")
        return await stream.receive()


async def _silent(arrival: Arrival) -> None:
    _ = arrival
    await anyio.sleep_forever()


async def test_each_connection_is_served() -> None:
    """Each in its own task."""
    async with accepting(_echo) as acceptor:
        assert [await _ask(acceptor.port) for _ in range(3)] == [b"x"] * 3


async def test_a_connection_that_fails_harms_no_other() -> None:
    """Whatever its server raises stays there."""

    async def fail(arrival: Arrival) -> None:
        if await arrival.stream.receive() == b"bad":
            raise RuntimeError("a bug")
        await arrival.stream.send(b"fine")

    async with accepting(fail) as acceptor:
        async with await anyio.connect_tcp("127.0.0.1", acceptor.port) as bad:
            await bad.send(b"bad")
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await bad.receive()
        assert await _ask(acceptor.port) == b"fine"


async def test_a_silent_connection_is_closed_after_five_seconds() -> None:
    """One that was established is not."""
    established = anyio.Event()

    async def serve(arrival: Arrival) -> None:
        if await arrival.stream.receive(1) == b"e":
            arrival.established()
            established.set()
        await anyio.sleep_forever()

    async with accepting(serve) as acceptor:
        started = anyio.current_time()
        silent = await anyio.connect_tcp("127.0.0.1", acceptor.port)
        lasting = await anyio.connect_tcp("127.0.0.1", acceptor.port)
        async with silent, lasting:
            await lasting.send(b"e")
            await established.wait()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await silent.receive()
            assert 5 <= anyio.current_time() - started < 6
            with anyio.move_on_after(60) as scope:
                await lasting.receive()
            assert scope.cancelled_caught


async def test_a_flood_gives_way_and_everyone_gets_a_turn() -> None:
    """More silent connections than places: the newest are turned away, later the oldest evicted."""
    async with accepting(_silent) as acceptor:
        streams = [
            await anyio.connect_tcp("127.0.0.1", acceptor.port) for _ in range(MAX_UNAUTHENTICATED + 10)
        ]
        await anyio.sleep(0.01)
        assert acceptor.refused == 10
        await anyio.sleep(1)
        streams.append(await anyio.connect_tcp("127.0.0.1", acceptor.port))
        await anyio.sleep(0.01)
        assert acceptor.refused == 11
        with anyio.move_on_after(0.1) as scope:
            await streams[-1].receive()
        assert scope.cancelled_caught, "the newcomer was turned away"
        for stream in streams:
            await stream.aclose()


class Exhausted(socket.socket):
    """A listening socket for which there is at first no descriptor."""

    failures = 0

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE if self.failures % 2 else errno.ECONNABORTED, "not now")
        return super().accept()


async def test_an_exhausted_system_pauses_accepting_and_never_ends_it() -> None:
    """It tries again every 100 ms, for as long as it takes."""
    [bound] = bind((V4,))
    listening = Exhausted(fileno=bound.detach())
    listening.setblocking(False)
    listening.failures = 50
    acceptor = Acceptor([listening], _echo, clock=asyncio.get_running_loop().time)
    acceptor.start()
    started = anyio.current_time()
    assert await _ask(acceptor.port) == b"x"
    assert acceptor.pauses == 50
    assert 4.9 < anyio.current_time() - started < 5.2
    await acceptor.aclose()


async def test_it_can_be_ended_while_it_pauses() -> None:
    """It does not listen again on a socket that is closed."""
    [bound] = bind((V4,))
    listening = Exhausted(fileno=bound.detach())
    listening.setblocking(False)
    listening.failures = 50
    acceptor = Acceptor([listening], _echo, clock=asyncio.get_running_loop().time)
    acceptor.start()
    async with await anyio.connect_tcp("127.0.0.1", acceptor.port):
        await anyio.sleep(0.25)
        await acceptor.aclose()
    await anyio.sleep(1)
    assert acceptor.pauses in {2, 3}


async def test_after_a_stop_nobody_new_gets_in() -> None:
    """What is being served goes on until the end."""
    async with (
        accepting(_echo) as acceptor,
        await anyio.connect_tcp("127.0.0.1", acceptor.port) as stream,
    ):
        await anyio.sleep(0.01)
        acceptor.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", acceptor.port))
        await stream.send(b"x")
        assert await stream.receive() == b"x"


async def test_ending_it_ends_what_it_serves() -> None:
    """Connections are closed, sockets too."""
    async with accepting(_silent) as acceptor:
        stream = await anyio.connect_tcp("127.0.0.1", acceptor.port)
        await anyio.sleep(0.01)
    async with stream:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", acceptor.port))
