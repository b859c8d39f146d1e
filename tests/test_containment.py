"""Nothing that a contained coroutine does gets out of its task, and every one of them ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from peernet_core.backends.containment import GRACE_S, ContainedTask, Ending, Outcome, describe, outlast
from peernet_core.testing import JumpingEventLoop

ANYTHING = [
    ValueError("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError("spontaneous"),
    ExceptionGroup("both", [ValueError("a"), OSError("b")]),
    BaseExceptionGroup("both", [SystemExit(1)]),
    RecursionError("deep"),
    MemoryError(),
    StopAsyncIteration(),
]


class Unspeakable(Exception):  # noqa: N818 - the name says it
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
async def test_whatever_is_raised_becomes_the_outcome(error: BaseException) -> None:
    """The loop goes on, asyncio warns of nothing, and the very exception is kept."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise error

    task = ContainedTask(fail(), name="failing")
    await task.wait()
    assert task.outcome == Outcome(error=error)
    assert not task.was_cancelled
    del task
    gc.collect()


async def test_the_value_is_kept_and_the_end_is_told() -> None:
    """A coroutine that simply returns is not disturbed."""
    told = list[ContainedTask]()

    async def answer() -> int:
        await asyncio.sleep(1)
        return 42

    task = ContainedTask(answer(), name="answering", on_end=told.append)
    await task.wait(0.5)
    assert not told
    await task.wait()
    await asyncio.sleep(0)
    assert task.outcome == Outcome(42)
    assert told == [task]
    assert await task.end() is Ending.WILLING
    assert not task.was_cancelled


async def test_waiting_ends_when_something_else_happens() -> None:
    """A caller that has lost interest need not wait for the time-out."""
    loop = asyncio.get_running_loop()
    enough: asyncio.Future[None] = loop.create_future()
    loop.call_later(3.0, enough.set_result, None)
    task, began = ContainedTask(asyncio.sleep(600), name="sleeping"), loop.time()
    await task.wait(60.0, unless=[enough])
    assert loop.time() - began == pytest.approx(3.0)
    assert await task.end() is Ending.WILLING


async def test_a_task_cancelled_before_its_first_step_warns_of_nothing() -> None:
    """Its coroutine never runs, and is closed."""
    ran = list[int]()

    async def never() -> None:
        ran.append(1)

    task = ContainedTask(never(), name="early")
    assert await task.end() is Ending.WILLING
    assert isinstance(task.outcome and task.outcome.error, asyncio.CancelledError)
    assert ran == []


async def once() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(3600)


async def always() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


async def cleaning_up() -> None:
    try:
        await always()
    finally:
        await asyncio.sleep(3600)


async def deaf() -> None:
    for _ in range(2):
        try:
            await asyncio.sleep(3600)
        except BaseException:  # noqa: BLE001 - that is its fault
            continue
    await always()


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(3600))
        await always()


async def scoped() -> None:
    with anyio.CancelScope(shield=True):
        await always()


@pytest.mark.parametrize("stubborn", [once, always, cleaning_up, deaf, grouped, scoped])
async def test_a_task_that_swallows_cancellation_is_ended_by_force(
    stubborn: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """After its second of grace it is over, and no task is left."""
    loop = asyncio.get_running_loop()
    task = ContainedTask(stubborn(), name="stubborn")
    await asyncio.sleep(1)
    began = loop.time()
    assert await task.end() is Ending.FORCED
    assert GRACE_S <= loop.time() - began < GRACE_S + 0.5
    assert task.was_cancelled
    assert task.outcome is not None


def test_a_task_ended_by_force_is_no_complaint_of_the_loop_s() -> None:
    """Its task fails because its coroutine is gone; that is known, and nobody need read of it."""
    complaints = list[object]()

    async def run() -> None:
        task = ContainedTask(always(), name="stubborn")
        await asyncio.sleep(1)
        assert await task.end() is Ending.FORCED

    with asyncio.Runner(loop_factory=JumpingEventLoop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        runner.run(run())
        gc.collect()
    assert complaints == []


async def test_a_task_cancelled_by_somebody_else_counts_as_cancelled() -> None:
    """As when the loop shuts down; one that raises CancelledError of its own accord does not."""
    task = ContainedTask(asyncio.sleep(600), name="sleeping")
    await asyncio.sleep(1)
    for each in asyncio.all_tasks():
        if each.get_name() == "sleeping":
            each.cancel()
    await task.wait()
    assert task.was_cancelled


async def test_a_task_that_waits_for_another_stubborn_one_may_never_end() -> None:
    """What the coroutine started behind our back is not ours to close; that it goes on is said."""
    inner = list[asyncio.Task[None]]()
    release = asyncio.Event()

    async def swallow() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def delegating() -> None:
        inner.append(asyncio.create_task(swallow()))
        await inner[0]

    task = ContainedTask(delegating(), name="delegating")
    await asyncio.sleep(1)
    assert await task.end() is Ending.NEVER
    release.set()
    await task.wait()
    await asyncio.wait(inner)


async def test_a_task_may_use_its_grace() -> None:
    """Half a second of cleaning up is not cut short."""
    done = list[int]()

    async def tidy() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(GRACE_S / 2)
            done.append(1)

    task = ContainedTask(tidy(), name="tidy")
    await asyncio.sleep(1)
    assert await task.end() is Ending.WILLING
    assert done == [1]


@pytest.mark.parametrize("with_anyio", [False, True])
async def test_outlast_lets_a_cancellation_through_only_afterwards(with_anyio: bool) -> None:
    """Whoever cancels waits until the work is done, and is then obeyed."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(asyncio.sleep(10))
    began, reached = loop.time(), False
    if with_anyio:
        with anyio.move_on_after(1):
            await outlast([work])
            await anyio.lowlevel.checkpoint()
            reached = True
    else:
        waiting = asyncio.create_task(outlast([work]))
        for _ in range(3):
            await asyncio.sleep(1)
            waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
    assert not reached
    assert work.done()
    assert loop.time() - began == pytest.approx(10.0)


async def test_outlast_returns_at_once_when_all_is_done() -> None:
    """Nothing to wait for is no reason to wait."""
    work = asyncio.create_task(asyncio.sleep(0))
    await asyncio.sleep(1)
    await outlast([work])
    await outlast([])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no\nsuch\x1b[31m thing"), r"ValueError: no\nsuch\x1b[31m thing"),
        (KeyError("x"), "KeyError: 'x'"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("Grüße"), "ValueError: Grüße"),
        (Unspeakable(), "Unspeakable: (it cannot be shown)"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 500),
    ],
)
def test_an_exception_is_described_on_one_printable_line(error: BaseException, text: str) -> None:
    """Nothing from outside reaches a log unescaped, and no exception can break the report of it."""
    assert describe(error) == text
