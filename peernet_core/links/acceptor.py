"""The acceptor: listening sockets, and the loop that nothing a stranger does can end."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from peernet_core.addresses import Address
from peernet_core.decisions.admission import Admission
from peernet_core.decisions.sightings import INBOUND_SOURCE
from peernet_core.links.sockets import far_end
from peernet_core.links.tcp import TcpStream
from peernet_core.values import frozen

__all__ = ["Acceptor", "Arrival"]

_LOG: Final = logging.getLogger(__name__)
_PAUSE_S: Final = 0.1
_AT_ONCE: Final = 64
_TIMEOUT_S: Final = 5.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@frozen(eq=False)
class Arrival:
    """One accepted connection, for the life of the task that serves it.

    Attributes:
        stream: The bytes; closed when its server returns, unless `detach` was called.
        remote: Where it comes from.
        authenticated: To be called when a trusted key has proved itself.
        established: To be called when OPEN, or a stream's first byte, is done: no deadline any more.
        detach: To be called when somebody else closes the stream.
    """

    stream: TcpStream
    remote: Address
    authenticated: Callable[[], None]
    established: Callable[[], None]
    detach: Callable[[], None]


Serve = Callable[[Arrival], Awaitable[None]]


class Acceptor:
    """Accepts on bound sockets and serves each connection in a task of its own.

    Args:
        sockets: Bound and listening; the acceptor closes them.
        serve: Called for each connection that gets a place.
        clock: Loop time.

    Attributes:
        port: The one port of all sockets.
        refused: How many connections lost, or never got, a place.
        pauses: How often the system could not accept.
    """

    def __init__(self, sockets: list[socket.socket], serve: Serve, *, clock: Callable[[], float]) -> None:
        self._sockets = list(sockets)
        self._serve = serve
        self._clock = clock
        self._admission = Admission()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)
        self._pausing: list[asyncio.TimerHandle] = []
        self.port: int = sockets[0].getsockname()[1]
        self.refused = 0
        self.pauses = 0

    def start(self) -> None:
        """Accept from now on."""
        for listening in self._sockets:
            self._listen(listening)

    def stop(self) -> None:
        """Accept no more; what is being served goes on."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
        for pause in self._pausing:
            pause.cancel()
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()

    async def aclose(self) -> None:
        """Stop accepting, and end every connection that is still being served."""
        self.stop()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self, listening: socket.socket) -> None:
        # Not `loop.sock_accept`: a connection that arrives as that is cancelled is lost, open.
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Accept what waits; a bounded number, so that a flood leaves the loop time for others."""
        for _ in range(_AT_ONCE):
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            accepted.setblocking(False)
            self._admit(accepted, far_end(peer, INBOUND_SOURCE))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        self.pauses += 1
        _LOG.debug("accepting paused: %s", error)
        if error.errno in _EXHAUSTED:
            for number in self._admission.exhausted(now=self._clock()):
                self._evict(number)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._pausing = [pause for pause in self._pausing if pause.when() > loop.time()]
        self._pausing.append(loop.call_later(_PAUSE_S, self._listen, listening))

    def _admit(self, accepted: socket.socket, remote: Address) -> None:
        number = next(self._numbers)
        verdict = self._admission.arrive(number, remote.ip, now=self._clock())
        self._evict(verdict.evicted)
        if not verdict.admitted:
            self.refused += 1
            accepted.close()
            return
        task = asyncio.create_task(self._run_one(number, accepted, remote), name=f"peernet-serve-{number}")
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def _evict(self, number: int | None) -> None:
        if number is not None and number in self._tasks:
            self.refused += 1
            self._tasks[number].cancel()

    async def _run_one(self, number: int, accepted: socket.socket, remote: Address) -> None:
        stream = TcpStream(accepted)
        detached = False

        def detach() -> None:
            nonlocal detached
            detached = True

        try:
            async with asyncio.timeout(_TIMEOUT_S) as deadline:
                await stream.readable()  # a stranger that says nothing costs none of TLS's buffers
                await self._serve(
                    Arrival(
                        stream,
                        remote,
                        authenticated=lambda: self._admission.authenticated(number, remote.ip),
                        established=lambda: deadline.reschedule(None),
                        detach=detach,
                    )
                )
        except TimeoutError:
            _LOG.debug("%s: no OPEN within %g s", remote, _TIMEOUT_S)
        except Exception:  # noqa: BLE001 - whatever a connection does stays with that connection
            _LOG.debug("%s: serving it failed", remote, exc_info=True)
        finally:
            self._admission.leave(number)
            if not detached:
                stream.close()
