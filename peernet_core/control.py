"""The control socket: how a command talks to the node that runs on the same data directory.

A Unix socket in a folder of our own; one JSON object a line each way. A request says what it asks for
(``{"ask": "strangers"}``); the answer is ``{"ok": true, …}`` or ``{"ok": false, "error": "…"}``. Whoever may
open the socket may read the identity as well, so there is no further permission to check.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import SocketStream, TaskStatus

from peernet_core.errors import NodeClosedError, PeerNetError

__all__ = ["Answer", "ControlServer", "Handler", "ask"]

Answer = Mapping[str, object]
Handler = Callable[[Mapping[str, object]], Awaitable[Answer]]

MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
MAX_CONNECTIONS: Final = 16
IDLE_S: Final = 30.0
PAUSE_S: Final = 0.1
SOCKET_MODE: Final = 0o600

_log = logging.getLogger(__name__)


class ControlServer:
    """Answers the requests of commands on this machine.

    Args:
        path: Where the socket is made. One that is left there is removed: hold the data directory's lock.
        handlers: What can be asked for. A handler's `PeerNetError` becomes the answer's error; what else it
            raises is logged, and the asker told that it failed.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._connections = 0

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then the socket is gone.

        Raises:
            OSError: the socket cannot be made; nothing else escapes.
        """
        _remove_socket(self._path)
        listener = await anyio.create_unix_listener(self._path, mode=SOCKET_MODE)
        task_status.started()
        try:
            async with listener, anyio.create_task_group() as connections:
                while True:
                    try:
                        stream = await listener.accept()
                    except anyio.BrokenResourceError:  # out of descriptors, most probably: they come back
                        await anyio.sleep(PAUSE_S)
                    else:
                        connections.start_soon(self._serve_one, stream)
        finally:
            _remove_socket(self._path)

    async def _serve_one(self, stream: SocketStream) -> None:
        self._connections += 1
        try:
            # Whatever happens to one asker (gone, silent, too long a line) is its own affair.
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
                async with stream:
                    await self._converse(stream)
        finally:
            self._connections -= 1

    async def _converse(self, stream: SocketStream) -> None:
        if self._connections > MAX_CONNECTIONS:
            await _send(stream, _failure("too many commands are asking at once; try again"))
            return
        from anyio.streams.buffered import BufferedByteReceiveStream  # noqa: PLC0415 - no start waits for it

        reader = BufferedByteReceiveStream(stream)
        while True:
            try:
                with anyio.fail_after(IDLE_S):
                    line = await reader.receive_until(b"\n", MAX_REQUEST_BYTES)
            except anyio.IncompleteRead:
                return
            except anyio.DelimiterNotFound:
                await _send(stream, _failure(f"a request is one line of at most {MAX_REQUEST_BYTES} bytes"))
                return
            await _send(stream, await self._answer(line))

    async def _answer(self, line: bytes) -> Answer:
        request = _decode(line)
        if request is None:
            return _failure("a request is one JSON object")
        asked = request.get("ask")
        handler = self._handlers.get(asked) if isinstance(asked, str) else None
        if handler is None:
            return _failure(f'"ask" is one of: {", ".join(sorted(self._handlers))}')
        try:
            return {"ok": True, **await handler(request)}
        except PeerNetError as error:
            return _failure(str(error))
        except Exception:  # noqa: BLE001 - a mistake in one handler ends neither the socket nor the node
            _log.exception("the control request %a failed", asked)
            return _failure("the node failed to answer; its log says why")


def ask(path: Path | None, request: Mapping[str, object], *, timeout_s: float = 5.0) -> Answer:
    """Ask the running node, and wait for its answer; blocks.

    Args:
        path: The control socket; None: there is none.
        request: What is asked for, with its arguments.
        timeout_s: For each step: to connect, to send, and every wait for more of the answer.

    Returns:
        The answer as it came: look at ``ok``, and at ``error`` when that is not true.

    Raises:
        NodeClosedError: no node answers at that socket.
    """
    if path is None:
        raise NodeClosedError("no node is running on this data directory")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(os.fspath(path))
            with suppress(BrokenPipeError, ConnectionResetError):  # refused already: the reason can be read
                connection.sendall(_encode(request))
            with connection.makefile("rb") as reader:
                line = reader.readline(MAX_ANSWER_BYTES)
    except TimeoutError as error:
        raise NodeClosedError(f"the running node did not answer within {timeout_s:g} s") from error
    except (FileNotFoundError, ConnectionError) as error:
        raise NodeClosedError("no node is running on this data directory") from error
    except OSError as error:
        raise NodeClosedError(f"the running node cannot be asked: {error.strerror or error}") from error
    answer = _decode(line)
    if answer is None:
        raise NodeClosedError("the running node ended before it answered")
    return answer


def _failure(error: str) -> Answer:
    return {"ok": False, "error": error}


def _encode(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _decode(line: bytes) -> dict[str, object] | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):  # not UTF-8 and not JSON are ValueErrors
        return None
    return message if isinstance(message, dict) else None


async def _send(stream: SocketStream, answer: Answer) -> None:
    with anyio.fail_after(IDLE_S):
        await stream.send(_encode(answer))


def _remove_socket(path: Path) -> None:
    with suppress(OSError):  # not there, or not removable: then making one says why
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
