"""What every test runs under: one asyncio loop whose time jumps, Hypothesis profiles, and guards.

A test that needs real time (another process, the network between namespaces) overrides `anyio_backend` in its
module: ``return "asyncio"``.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from peernet_core.testing import JumpingEventLoop, open_sockets, running_threads, unfinished_tasks

# A busy machine is no fault of the test, so nothing here measures time.
_PATIENT = (HealthCheck.too_slow,)
settings.register_profile(
    "ci", max_examples=60, derandomize=True, deadline=None, suppress_health_check=_PATIENT
)
settings.register_profile("soak", max_examples=2000, deadline=None, suppress_health_check=_PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# `nohup` and a script's `&` have signals ignored, and every process that a test starts would inherit that.
for _each, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_each) is signal.SIG_IGN:
        signal.signal(_each, _handler)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": JumpingEventLoop}


@pytest.fixture(autouse=True)
def no_leaked_threads_or_sockets() -> Iterator[None]:
    threads, sockets = running_threads(), open_sockets()
    yield
    left = running_threads(but=threads, within_s=2.0)
    assert not left, f"threads left running: {sorted(thread.name for thread in left)}"
    if not open_sockets() <= sockets:
        gc.collect()  # a socket in a reference cycle is found here, and warns, which is an error as well
    assert open_sockets() <= sockets, "sockets left open"


@pytest.fixture
async def no_leaked_tasks_in_loop() -> AsyncIterator[None]:
    before = await unfinished_tasks()
    yield
    left = await unfinished_tasks(but=before)
    assert not left, f"tasks left running: {sorted(str(task) for task in left)}"


@pytest.fixture(autouse=True)
def no_leaked_tasks(no_leaked_threads_or_sockets: None, request: pytest.FixtureRequest) -> None:  # noqa: ARG001 - its order
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("no_leaked_tasks_in_loop")
