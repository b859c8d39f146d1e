"""A crowd of trusted peers appears, vanishes, and comes back; the full form is `benchmarks/crowd.py`."""

from __future__ import annotations

import pytest

from benchmarks.crowd import measure

PEERS = 40


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the crowd is another process


async def test_everybody_in_a_crowd_is_linked_and_again_when_it_comes_back() -> None:
    """All of them, each time; and all are known to be gone when their process is killed."""
    occasions = await measure(PEERS)
    assert [each.name for each in occasions] == ["appear", "vanish", "come back", "vanish"]
    assert [each.linked for each in occasions] == [PEERS, 0, PEERS, 0]
