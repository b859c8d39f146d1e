"""The mDNS backend's tests run on the loop whose time jumps."""

from __future__ import annotations

import pytest

from peernet_core.testing import JumpingEventLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": JumpingEventLoop}
