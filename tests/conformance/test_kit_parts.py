"""What the kit is made of: the simulated medium, cancelling at a step, and noticing calls that block."""

from __future__ import annotations

import asyncio
import importlib
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from peernet_core.testing import BroadcastMedium
from peernet_core.testing.blocking import before_access, blocking_calls
from peernet_core.testing.cancelling import CancelledAt
from peernet_core.testing.standstill import LoopStoodStillError, Watchman


async def test_what_one_says_all_hear_in_order_itself_included() -> None:
    """As with a radio; and not before the loop's next turn."""
    medium, heard = BroadcastMedium(), dict[str, list[bytes]](a=[], b=[])
    a, b = (medium.join(heard[name].append) for name in "ab")
    a.say(b"1")
    b.say(b"2")
    assert heard == {"a": [], "b": []}
    await asyncio.sleep(0)
    assert heard == {"a": [b"1", b"2"], "b": [b"1", b"2"]}


async def test_who_has_left_hears_nothing_more() -> None:
    """Not even what was said before and is on its way; leaving twice is nothing."""
    medium, heard = BroadcastMedium(), list[bytes]()
    member = medium.join(heard.append)
    medium.say(b"1")
    member.leave()
    member.leave()
    await asyncio.sleep(0)
    assert heard == []
    with pytest.raises(OSError, match="no longer a member"):
        member.say(b"2")


async def test_a_medium_that_vanished_is_joined_anew() -> None:
    """Who was a member before is none after."""
    medium, heard = BroadcastMedium(), list[bytes]()
    before = medium.join(heard.append)
    medium.vanish()
    for call in (lambda: medium.join(heard.append), lambda: medium.say(b"1"), lambda: before.say(b"2")):
        with pytest.raises(OSError, match=medium.name):
            call()
    medium.come_back()
    medium.say(b"3")
    await asyncio.sleep(0)
    assert heard == []


def test_a_medium_is_found_by_its_name() -> None:
    """While somebody holds it."""
    medium = BroadcastMedium()
    name = medium.name
    assert BroadcastMedium.named(name) is medium
    del medium
    with pytest.raises(OSError, match="no such medium"):
        BroadcastMedium.named(name)


async def _three_waits(log: list[str]) -> str:
    try:
        await asyncio.sleep(0)
        log.append("one")
        await asyncio.sleep(5)
        log.append("two")
        await asyncio.sleep(0)
    finally:
        log.append("end")
    return "done"


@pytest.mark.parametrize(
    ("step", "log"),
    [(1, ["end"]), (2, ["one", "end"]), (3, ["one", "two", "end"]), (4, ["one", "two", "end"])],
)
async def test_a_coroutine_is_cancelled_at_the_step_that_was_asked_for(step: int, log: list[str]) -> None:
    """Where it waits for that time; one that does not wait so often runs to its end."""
    found: list[str] = []
    cancelled = CancelledAt(_three_waits(found), step)

    async def run() -> str:
        return await cancelled  # type: ignore[no-any-return]  # whatever the coroutine returns

    task = asyncio.create_task(run())
    await asyncio.wait({task})
    assert found == log
    assert cancelled.reached == task.cancelled() == (step < 4)
    if step == 4:
        assert task.result() == "done"


def _refuse(address: tuple[str, int]) -> None:
    with socket.socket() as client, pytest.raises(OSError, match="refused"):
        client.connect(address)


def test_each_call_that_blocks_is_told_with_its_line(tmp_path: Path) -> None:
    """Files, folders, processes, names, connections and sleep."""
    with blocking_calls() as calls:
        time.sleep(1e-6)
        (tmp_path / "file").write_text("x")
        os.listdir(tmp_path)  # noqa: PTH208 - which of two calls pathlib makes depends on its version
        subprocess.run(["true"], check=True)
        socket.getaddrinfo("127.0.0.1", 1)
        _refuse(("127.0.0.1", 1))
    kinds = {call.partition(" ")[0] for call in calls}
    assert kinds >= {
        "time.sleep",
        "open",
        "os.listdir",
        "subprocess.Popen",
        "socket.getaddrinfo",
        "socket.connect",
    }
    assert all(Path(__file__).name in call for call in calls), calls


def test_what_does_not_block_is_not_told(tmp_path: Path) -> None:
    """Sockets that do not block, what other threads do, imports, /proc, and anything afterwards."""
    with blocking_calls() as calls:
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.connect(("127.0.0.1", 1))
        thread = threading.Thread(target=(tmp_path / "file").write_text, args=("x",))
        thread.start()
        while thread.is_alive():
            pass
        with open("/proc/self/stat", "rb"):  # noqa: PTH123 - as others write it
            os.getpid()
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_such_module_anywhere")
    time.sleep(0)
    assert calls == []


def test_waits_for_a_thread_an_event_a_queue_or_a_socket_are_told() -> None:
    """Each with its line; not those that do not wait, and not those in other threads."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    unread, other = socket.socketpair()
    with unread, other, blocking_calls() as calls:
        thread.start()
        thread.join(1e-6)
        release.set()
        while thread.is_alive():
            pass
        thread.join()
        threading.Event().wait(1e-6)
        with pytest.raises(queue.Empty):
            queue.Queue[int]().get(timeout=0.1)
        unread.settimeout(1e-6)
        with pytest.raises(TimeoutError):
            unread.recv(1)
        unread.setblocking(False)
        with pytest.raises(BlockingIOError):
            unread.recv(1)
    assert [call.partition(" ")[0] for call in calls] == ["wait", "wait", "wait", "recv"]
    assert all(Path(__file__).name in call for call in calls), calls
    assert "recv" not in vars(socket.socket)
    assert threading.Condition.wait.__code__.co_filename == threading.__file__


def test_something_is_done_right_before_an_access_in_any_thread(tmp_path: Path) -> None:
    """Before the one that was asked for, and once."""
    seen: list[bool] = []

    def work() -> None:
        for name in "abc":
            (tmp_path / name).write_text("x")

    with before_access(2, lambda: seen.extend((tmp_path / name).exists() for name in "abc")) as moment:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [True, False, False]
    assert moment.where is not None
    assert moment.where.startswith(f"open in {__file__}:")


def test_a_loop_that_stands_still_is_broken_off_where_it_does() -> None:
    """What blocks raises; the handler of the signal is as it was."""

    async def stand_still(watchman: Watchman) -> None:
        watchman.watch(asyncio.get_running_loop())
        threading.Event().wait()

    before = signal.getsignal(signal.SIGUSR2)
    with (
        Watchman(0.05) as watchman,
        pytest.raises(LoopStoodStillError, match=r"stood still for 0\.05 s here") as caught,
    ):
        asyncio.run(stand_still(watchman))
    assert any(entry.name == "stand_still" for entry in caught.traceback)
    assert signal.getsignal(signal.SIGUSR2) is before


def test_a_loop_that_turns_is_left_alone() -> None:
    """Also one that waits for longer than it may stand still, and one that nobody watches."""

    async def wait(watchman: Watchman) -> None:
        watchman.watch(asyncio.get_running_loop())
        await asyncio.sleep(0.05)

    with Watchman(0.01) as watchman:
        asyncio.run(wait(watchman))
    with Watchman(1e-3):
        threading.Event().wait(0.02)
