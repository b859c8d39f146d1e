"""The laboratory for tests that cross a network. Where none can be made they skip, and say why.

With ``PEERNET_REQUIRE_NETNS=1`` such a skip is a failure: CI must not pass without them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from peernet_core.testing.lab import Laboratory, why_not


@pytest.fixture(scope="session")
def namespaces_work() -> None:
    reason = why_not()
    if reason is None:
        return
    if os.environ.get("PEERNET_REQUIRE_NETNS") == "1":
        pytest.fail(f"PEERNET_REQUIRE_NETNS is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture
def lab(namespaces_work: None) -> Iterator[Laboratory]:  # noqa: ARG001 - asked for its skip
    with Laboratory() as laboratory:
        yield laboratory
        print(laboratory.report())  # noqa: T201 - pytest shows it when the test has failed
