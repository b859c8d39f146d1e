"""The laboratory for tests that cross a network. Where none can be made they skip, and say why.

With ``PEERNET_REQUIRE_NETNS=1`` such a skip is a failure: CI must not pass without them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

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


_MEASURED = pytest.StashKey[list[str]]()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a line with a measured figure for the end of the run: information, never a condition."""
    return request.config.stash.setdefault(_MEASURED, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_MEASURED, [])
    if lines:
        terminalreporter.section("measured between network namespaces (aims are no conditions here)")
        terminalreporter.write("".join(f"{line}\n" for line in sorted(lines)))


@pytest.fixture
def lab(namespaces_work: None) -> Iterator[Laboratory]:  # noqa: ARG001 - asked for its skip
    with Laboratory() as laboratory:
        yield laboratory
        print(laboratory.report())  # noqa: T201 - pytest shows it when the test has failed
