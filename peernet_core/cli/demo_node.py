"""One side of the demo: a `peernet run` process with an identity, a trust list and a configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from peernet_core.cli.timeline import Step, Timeline
from peernet_core.control import Answer, ask
from peernet_core.errors import NodeClosedError
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.storage.identity_file import load_or_create
from peernet_core.storage.trust_file import TrustFile

__all__ = ["DemoFailedError", "DemoNode"]

_STOP_S: Final = 5.0
_MAX_LINE_BYTES: Final = 64 * 1024
_LAST_LINES: Final = 5
_ASK_AGAIN_S: Final = 0.02
_STEPS: Final = {
    "node_started": Step.LISTENING,
    "peer_discovered": Step.DISCOVERED,
    "peer_connected": Step.CONNECTED,
}
_TROUBLE: Final = {
    "backend_failed": "discovery failed: {error}",
    "peer_unreachable": "could not reach the other at {ip}:{port}: {reason}",
    "peer_disconnected": "lost the link: {reason}",
}


class DemoFailedError(Exception):
    """The demo did not get to its end.

    Args:
        reasons: A line each.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n".join(self.reasons))


class DemoNode:
    """A process to be.

    Args:
        name: What it calls itself.
        folder: An empty folder for its files.
        loopback: The name of the loopback interface.
        timeline: Where it marks its steps.
    """

    def __init__(self, name: str, folder: Path, *, loopback: str, timeline: Timeline) -> None:
        self.name = name
        self.connected = anyio.Event()
        self.trouble = "nothing has happened yet"
        self._loopback = loopback
        self._timeline = timeline
        self._config = folder / "peernet.toml"
        self._directory = DataDirectory.open(folder / "data", lock=False)
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.key = load_or_create(self._directory.identity_path).key

    def meet(self, other: DemoNode) -> None:
        """Trust the other; where it is has to be found out."""
        TrustFile(self._directory.trust_path).add(other.key, other.name)
        self._config.write_text(
            f"""\
[node]
name = "{self.name}"
listen = ["127.0.0.1:0"]

[discovery.mdns]
interfaces = ["{self._loopback}"]
""",
            encoding="utf-8",
        )

    async def run(self) -> None:
        """Run the process until cancelled; then it has ended.

        Raises:
            DemoFailedError: it ended by itself.
        """
        process = await anyio.open_process(
            self._command(),
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("PEERNET_")},
            start_new_session=True,  # Ctrl-C is for us; we end it in good order
        )
        try:
            self._timeline.mark(self.name, Step.STARTED, time.time())
            assert process.stdout is not None
            assert process.stderr is not None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow_events, process.stdout)
                tasks.start_soon(self._follow_log, process.stderr)
            status = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
        said = [f"  {line}" for line in self._last_lines] or ["  (it said nothing)"]
        raise DemoFailedError([f"{self.name} ended with status {status}:", *said])

    async def greet(self, other: DemoNode) -> str:
        """Let this node greet the other over a stream.

        Returns:
            The other's answer.

        Raises:
            DemoFailedError: no answer.
        """
        request = {"ask": "greet", "key": str(other.key), "text": f"hello from {self.name}"}
        answer = await self._ask(request)
        if answer.get("ok") is not True:
            raise DemoFailedError([f"{self.name} could not greet {other.name}: {answer.get('error')}"])
        self._timeline.mark(self.name, Step.GREETED, time.time())
        return str(answer.get("answer"))

    def _command(self) -> list[str]:
        # -P: a module of the same name in the current folder is none of ours.
        run = [sys.executable, "-P", "-m", "peernet_core.cli"]
        return [*run, "--config", str(self._config), "--data-dir", str(self._directory.path), "run", "--json"]

    async def _ask(self, request: Mapping[str, object]) -> Answer:
        # The link may be there a little before the control socket is.
        while True:
            try:
                return await to_thread.run_sync(
                    partial(ask, self._directory.socket_path(), request, timeout_s=15), abandon_on_cancel=True
                )
            except NodeClosedError as error:
                self.trouble = str(error)
                await anyio.sleep(_ASK_AGAIN_S)

    async def _follow_events(self, stream: ByteReceiveStream) -> None:
        async for line in _lines(stream):
            try:
                event = json.loads(line)
                name = event["event"]
            except (ValueError, TypeError, KeyError):  # somebody else printed it
                self._last_lines.append(line.decode("utf-8", "replace"))
                continue
            if name in _STEPS:
                self._timeline.mark(self.name, _STEPS[name], event["t"])
            if name in _TROUBLE:
                self.trouble = _TROUBLE[name].format(**event)
            if name == "peer_connected":
                self.connected.set()

    async def _follow_log(self, stream: ByteReceiveStream) -> None:
        async for line in _lines(stream):
            self._last_lines.append(line.decode("utf-8", "replace"))


async def _lines(stream: ByteReceiveStream) -> AsyncIterator[bytes]:
    reader = BufferedByteReceiveStream(stream)
    while True:
        try:
            yield await reader.receive_until(b"\n", _MAX_LINE_BYTES)
        except anyio.IncompleteRead:
            return


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(_STOP_S):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
