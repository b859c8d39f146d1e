"""The control socket: bounded, private, and never in the node's way."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from peernet_core import control
from peernet_core.control import Answer, ControlServer, ask
from peernet_core.errors import NodeClosedError, PeerNetError


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Real time: the one that asks blocks in a thread."""
    return "asyncio"


async def echo(request: Mapping[str, object]) -> Answer:
    return {"heard": request.get("text")}


async def refuse(request: Mapping[str, object]) -> Answer:
    raise PeerNetError(f"not {request['what']}")


async def crash(_: Mapping[str, object]) -> Answer:
    raise ZeroDivisionError


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[None]:
    server = ControlServer(path, {"echo": echo, "refuse": refuse, "crash": crash})
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.serve)
            yield
            tasks.cancel_scope.cancel()


async def ask_it(path: Path, request: Mapping[str, object]) -> Answer:
    return await to_thread.run_sync(partial(ask, path, request))


async def talk(path: Path, data: bytes) -> bytes:
    """Send these bytes, and read until the other end closes."""
    received = b""
    async with await anyio.connect_unix(path) as stream:
        await stream.send(data)
        await stream.send_eof()
        async for chunk in stream:
            received += chunk
    return received


async def test_an_answer_comes_back(tmp_path: Path) -> None:
    """What a handler returns arrives, marked as ok; the socket is for the owner only, and gone afterwards."""
    path = tmp_path / "control"
    async with serving(path):
        answer = await ask_it(path, {"ask": "echo", "text": "häß\n"})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert answer == {"ok": True, "heard": "häß\n"}
    assert not path.exists()


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A node that was killed leaves its socket behind; the next one takes its place."""
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(path))
    with pytest.raises(NodeClosedError, match="no node is running"):
        await ask_it(path, {"ask": "echo"})
    path.chmod(0o777)
    async with serving(path):
        assert (await ask_it(path, {"ask": "echo"}))["ok"] is True


async def test_something_else_in_its_place_is_left_alone(tmp_path: Path) -> None:
    """Only a socket is removed; a file of that name is somebody's, and the server says that it cannot be."""
    path = tmp_path / "control"
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        await ControlServer(path, {}).serve()
    assert path.read_text() == "mine"


async def test_an_error_is_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal carries its reason, a crash is logged and told; the next request is served."""
    path = tmp_path / "control"
    async with serving(path):
        assert await ask_it(path, {"ask": "refuse", "what": "now"}) == {"ok": False, "error": "not now"}
        crashed = await ask_it(path, {"ask": "crash"})
        assert crashed["ok"] is False
        assert (await ask_it(path, {"ask": "echo"}))["ok"] is True
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello\n", "one JSON object"),
        (b"[1]\n", "one JSON object"),
        (b"\xff\n", "one JSON object"),
        (b"[" * 9000 + b"\n", "one JSON object"),
        (b'{"ask": "fly"}\n', "one of: crash, echo, refuse"),
        (b'{"ask": ["echo"]}\n', "one of: crash, echo, refuse"),
        (b"{}\n", "one of: crash, echo, refuse"),
        (b'{"ask": "' + b"e" * control.MAX_REQUEST_BYTES, "at most"),
    ],
)
async def test_a_bad_request_gets_a_reason(tmp_path: Path, line: bytes, error: str) -> None:
    """Nothing that is sent breaks the server; the sender reads what was wrong."""
    path = tmp_path / "control"
    async with serving(path):
        answer = json.loads(await talk(path, line))
        assert (await ask_it(path, {"ask": "echo"}))["ok"] is True
    assert answer["ok"] is False
    assert error in answer["error"]


async def test_several_requests_share_a_connection(tmp_path: Path) -> None:
    """Answers come in the order of the requests, one a line; half a line at the end is no request."""
    path = tmp_path / "control"
    async with serving(path):
        lines = await talk(path, b'{"ask": "echo", "text": 1}\n{"ask": "echo", "text": 2}\n{"ask":')
    assert [json.loads(line)["heard"] for line in lines.splitlines()] == [1, 2]


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """Whoever comes when all places are taken is told so; a place that is left can be taken again."""
    path = tmp_path / "control"
    async with serving(path):
        silent = [await anyio.connect_unix(path) for _ in range(control.MAX_CONNECTIONS)]
        refused = await ask_it(path, {"ask": "echo"})
        for stream in silent:
            await stream.aclose()
        while not (answer := await ask_it(path, {"ask": "echo"}))["ok"]:
            await anyio.lowlevel.checkpoint()
    assert "too many" in str(refused["error"])
    assert answer["ok"] is True


async def test_a_refusal_quicker_than_the_request_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that has answered and closed before the request was sent has answered all the same."""
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(os.fspath(path))
        node.listen()

        def refused_meanwhile(_: object) -> bytes:
            connection, _ = node.accept()
            with connection:
                connection.sendall(b'{"ok": false, "error": "too many"}\n')
            return b"{}\n"

        monkeypatch.setattr(control, "_encode", refused_meanwhile)
        assert await ask_it(path, {"ask": "echo"}) == {"ok": False, "error": "too many"}


async def test_an_asker_that_goes_away_disturbs_nobody(tmp_path: Path) -> None:
    """Connections that end at once, or before the answer was read, leave the server serving."""
    path = tmp_path / "control"
    async with serving(path):
        for data in (b"", b'{"ask": "echo"}\n' * 100):
            stream = await anyio.connect_unix(path)
            if data:
                await stream.send(data)
            await stream.aclose()
        assert (await ask_it(path, {"ask": "echo"}))["ok"] is True


async def test_silence_ends_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that asks nothing is closed after a while, so that it does not hold its place for ever."""
    monkeypatch.setattr(control, "IDLE_S", 0.01)
    path = tmp_path / "control"
    async with serving(path), await anyio.connect_unix(path) as stream:
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


def test_nobody_to_ask(tmp_path: Path) -> None:
    """No socket, no folder for one, and a path that cannot be one: each a reason that can be shown."""
    with pytest.raises(NodeClosedError, match="no node is running"):
        ask(tmp_path / "control", {"ask": "echo"})
    with pytest.raises(NodeClosedError, match="no node is running"):
        ask(None, {"ask": "echo"})
    with pytest.raises(NodeClosedError, match="cannot be asked"):
        ask(tmp_path / ("x" * 200), {"ask": "echo"})


def test_a_node_that_hangs(tmp_path: Path) -> None:
    """The one that asks does not wait longer than it said."""
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        with pytest.raises(NodeClosedError, match=r"within 0\.01 s"):
            ask(path, {"ask": "echo"}, timeout_s=0.01)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_no_message(line: bytes) -> None:
    """The decoder has two outcomes: an object, or none."""
    message = control._decode(line)
    assert message is None or isinstance(message, dict)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_a_message_is_one_line_and_comes_back(message: dict[str, object]) -> None:
    """Whatever is in it, a message takes one line, and decodes to itself."""
    line = control._encode(message)
    assert line.count(b"\n") == 1
    assert control._decode(line) == message
