"""When a node looks at its trust file."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from peernet_core.keys import Identity
from peernet_core.storage.trust_file import TrustFile, TrustWatcher
from peernet_core.trust import TrustList
from peernet_core.trust_follower import TrustFollower

ALICE, BOB = Identity.generate().key, Identity.generate().key


@attrs.define
class FakeMessages:
    """Messages that a test sends."""

    closed: bool = False
    over: bool = False
    _there: asyncio.Event = attrs.field(factory=asyncio.Event)

    def send(self) -> None:
        self._there.set()

    def end(self) -> None:
        self.over = True
        self._there.set()

    async def wait(self) -> None:
        if not self.over:
            await self._there.wait()
        if self.over:
            raise OSError(errno.EBADF, "it is gone")

    def clear(self) -> None:
        self._there.clear()

    def close(self) -> None:
        self.closed = True


@attrs.define
class Steps(Coroutine[Any, Any, None]):
    """A coroutine, and how often it was resumed."""

    inner: Coroutine[Any, Any, None]
    taken: int = 0

    def send(self, value: object) -> Any:
        self.taken += 1
        return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        self.taken += 1
        return self.inner.throw(*error)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self.inner.__await__()


class Followed:
    """A trust file that is followed, and when it was looked at."""

    def __init__(self, path: Path, *, told: bool) -> None:
        self.file = TrustFile(path)
        self.file.add(ALICE)
        self.trust = TrustList([*self.file.load().peers])
        self.messages = FakeMessages() if told else None
        self.looks: list[float] = []
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    @property
    def now(self) -> float:
        return round(self._clock() - self._began, 3)

    @property
    def wakings(self) -> int:
        """How often the follower woke up, for whatever."""
        return self._steps.taken

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run, from a moment on when the file has settled and a second has begun."""
        watcher = TrustWatcher(self.file, self.trust, self.file.load())
        poll = watcher.poll

        def look(*, now: float) -> tuple[str, ...]:
            self.looks.append(self.now)
            return poll(now=now)

        watcher.poll = look  # type: ignore[method-assign]  # to see when
        self._steps = Steps(TrustFollower(watcher, listen=self._listen).run())
        running = asyncio.create_task(self._steps)
        while not watcher.settled:  # noqa: ASYNC110 - the time jumps
            await asyncio.sleep(0.01)
        self._began, self.looks, self._steps.taken = self._clock(), [], 0
        yield
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        assert self.messages is None or self.messages.closed

    def _listen(self, folder: Path) -> FakeMessages | None:
        assert folder == self.file.path.parent
        return self.messages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trusted_peers"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _move_and_link(path: Path, target: Path) -> None:
    target.parent.mkdir()
    path.rename(target)
    path.symlink_to(target)


async def test_where_nothing_tells_it_looks_every_second(path: Path) -> None:
    """And more often once something is new: an addition counts a second and a half later at most."""
    followed = Followed(path, told=False)
    async with followed.running():
        await asyncio.sleep(3.5)
        assert followed.looks == pytest.approx([1.0, 2.0, 3.0], abs=0.02)
        assert followed.wakings == 3, "it wakes up to look, and for nothing else"
        followed.file.add(BOB)
        await asyncio.sleep(1.0)
        assert BOB in followed.trust
        assert followed.looks[3:] == pytest.approx([4.0, 4.25], abs=0.02)


async def test_where_the_system_tells_it_looks_when_told(path: Path) -> None:
    """An idle node is not woken but once a minute; an edit counts half a second later at most."""
    followed = Followed(path, told=True)
    assert followed.messages is not None
    async with followed.running():
        await asyncio.sleep(59)
        assert followed.looks == []
        await asyncio.sleep(2)
        assert followed.looks == pytest.approx([60.25], abs=0.02)
        followed.file.add(BOB)
        followed.messages.send()
        await asyncio.sleep(0.51)
        assert BOB in followed.trust
        followed.looks.clear()
        await asyncio.sleep(59)
        assert followed.looks == []


async def test_an_edit_that_goes_on_is_looked_at_until_it_settles(path: Path) -> None:
    """Messages that come while it looks are not lost."""
    followed = Followed(path, told=True)
    assert followed.messages is not None
    async with followed.running():
        await asyncio.sleep(10)
        _write(path, f"{ALICE}\n# {'x' * 100}\n")
        followed.messages.send()
        await asyncio.sleep(0.1)
        _write(path, f"{ALICE}\n{BOB}\n")
        followed.messages.send()
        await asyncio.sleep(0.7)
        assert BOB in followed.trust


async def test_a_busy_folder_is_looked_at_four_times_a_second(path: Path) -> None:
    """Somebody may keep a log there."""
    followed = Followed(path, told=True)
    assert followed.messages is not None
    async with followed.running():
        for _ in range(500):
            followed.messages.send()
            await asyncio.sleep(0.01)
        assert 18 <= len(followed.looks) <= 21


async def test_when_messages_end_it_looks_every_second_again(path: Path) -> None:
    """The folder was renamed, and another one may be in its place."""
    followed = Followed(path, told=True)
    assert followed.messages is not None
    async with followed.running():
        await asyncio.sleep(10)
        followed.messages.end()
        await asyncio.sleep(3)
        assert followed.looks == pytest.approx([10.75, 11.75, 12.75], abs=0.02)


async def test_a_symbolic_link_is_looked_at_every_second(path: Path, tmp_path: Path) -> None:
    """What happens to its target is not told here; the file may become one while the node runs."""
    followed = Followed(path, told=True)
    assert followed.messages is not None
    async with followed.running():
        target = tmp_path / "elsewhere" / "list"
        _move_and_link(path, target)
        followed.messages.send()
        await asyncio.sleep(5)
        followed.looks.clear()
        _write(target, f"{ALICE}\n{BOB}\n")
        await asyncio.sleep(1.5)
        assert BOB in followed.trust
        shutil.move(target, path)
        followed.messages.send()
        await asyncio.sleep(5)
        followed.looks.clear()
        await asyncio.sleep(30)
        assert len(followed.looks) <= 1
