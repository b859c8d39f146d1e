"""What Linux tells about a folder and the clock, from the real kernel."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peernet_core.kernel_messages import (
    ClockMessages,
    FolderMessages,
    Messages,
    open_clock_messages,
    open_folder_messages,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify and timerfd are Linux's")


@asynccontextmanager
async def listening(messages: Messages) -> AsyncIterator[Messages]:
    try:
        yield messages
    finally:
        messages.close()


async def is_told(messages: Messages) -> bool:
    try:
        async with asyncio.timeout(1.0):
            await messages.wait()
    except TimeoutError:
        return False
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    (path / "one").write_text("1", encoding="ascii")
    try:
        FolderMessages(path).close()
    except OSError as error:
        pytest.skip(f"the temporary folder's file system: {error}")
    return path


def _replace(path: Path) -> None:
    path.with_name("two").write_text("2", encoding="ascii")
    path.with_name("two").replace(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_text("2", encoding="ascii"), id="written"),
        pytest.param(lambda path: os.utime(path, (1, 1)), id="its times"),
        pytest.param(lambda path: path.chmod(0o400), id="its rights"),
        pytest.param(lambda path: path.unlink(), id="removed"),
        pytest.param(lambda path: path.rename(path.with_name("two")), id="renamed"),
        pytest.param(lambda path: path.with_name("two").touch(), id="made"),
        pytest.param(_replace, id="replaced"),
    ],
)
async def test_whatever_happens_to_a_file_is_told(change: Callable[[Path], object], folder: Path) -> None:
    """Once: what was told and cleared is no news, and what happens after is."""
    async with listening(FolderMessages(folder)) as messages:
        assert not await is_told(messages)
        change(folder / "one")
        assert await is_told(messages)
        assert await is_told(messages)
        messages.clear()
        assert not await is_told(messages)
        (folder / "three").touch()
        assert await is_told(messages)


async def test_a_write_is_told_while_the_file_is_open(folder: Path) -> None:
    """An editor may never close it."""
    with (folder / "one").open("w", encoding="ascii") as file:
        async with listening(FolderMessages(folder)) as messages:
            file.write("2")
            file.flush()
            assert await is_told(messages)


@pytest.mark.parametrize("removed", [False, True])
async def test_messages_end_with_the_folder(removed: bool, folder: Path) -> None:
    """When it is renamed or removed, its path may lead to another one: that is told, and nothing after it."""
    async with listening(FolderMessages(folder)) as messages:
        if removed:
            shutil.rmtree(folder)
        else:
            shutil.move(folder, folder.with_name("other"))
        assert await is_told(messages)
        messages.clear()
        with pytest.raises(OSError, match="descriptor"):
            await is_told(messages)


def _most_queued() -> int:
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))


async def test_messages_that_overflow_are_a_message(folder: Path) -> None:
    """The kernel keeps a number of them only; reading what it kept ends."""
    most = _most_queued()
    if most > 100_000:
        pytest.skip("this system keeps more messages than a test should make")
    async with listening(FolderMessages(folder)) as messages:
        for place in range(most + 10):
            os.utime(folder / ("one" if place % 2 else "."))
        assert await is_told(messages)
        for _ in range(100):
            messages.clear()
        assert not await is_told(messages)


def test_where_others_can_change_files_nothing_is_told() -> None:
    """A file system that may not be this host's alone is not listened to, nor is what is no folder."""
    with pytest.raises(OSError, match="file system of kind 0x9fa0"):
        FolderMessages(Path("/proc/self"))
    assert open_folder_messages(Path("/proc/self")) is None
    assert open_folder_messages(Path("/proc/self/none")) is None


def test_a_file_is_no_folder(folder: Path) -> None:
    """Nothing is left open by a listener that could not be made."""
    before = len([*Path("/proc/self/fd").iterdir()])
    assert open_folder_messages(folder / "one") is None
    assert len([*Path("/proc/self/fd").iterdir()]) == before


async def test_a_clock_that_does_not_jump_says_nothing() -> None:
    """The kernel takes the timer, and it waits; once closed there will be no more."""
    async with listening(ClockMessages()) as messages:
        assert not await is_told(messages)
        messages.clear()
        assert not await is_told(messages)
    messages.clear()
    with pytest.raises(OSError, match="descriptor"):
        await messages.wait()


def test_elsewhere_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On other systems those who asked look by themselves."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert open_folder_messages(tmp_path) is None
    assert open_clock_messages() is None
