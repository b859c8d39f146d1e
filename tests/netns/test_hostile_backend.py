"""A backend that lies as fast as it can costs a node little, and keeps no genuine peer away.

Reduced here; the full form is `benchmarks/attack.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.attack import attack
from peernet_core.testing.lab import Laboratory

pytestmark = pytest.mark.netns

STRANGERS, ADDRESSES = 5000, 2000
# As stated in docs/security.md.
VERIFICATIONS_PER_S = 20
MAX_STRANGERS = 1024
MAX_ADDRESSES = 32
SOURCES = 3  # the liar, an honest one, and what the peer says over its link
PATIENCE = 10  # times what is aimed at: this machine has other things to do


def test_lies_neither_fill_memory_nor_keep_a_peer_away(
    lab: Laboratory, measured: Callable[[str], None]
) -> None:
    """Strangers, forged records, made up addresses, an old record from everywhere; then the genuine one."""
    outcome = attack(lab, strangers=STRANGERS, addresses=ADDRESSES)
    stall_s = max(stage.worst_stall_s for stage in outcome.stages)
    measured(
        f"a lying backend: the peer linked after {outcome.linked_s * 1000:.0f} ms (aim: 1000), "
        f"worst stall {stall_s * 1000:.0f} ms (aim: 50)"
    )
    assert outcome.linked_s < 1.0 * PATIENCE
    assert stall_s < 0.05 * PATIENCE
    assert outcome.held["strangers"] == MAX_STRANGERS
    assert outcome.held["ledger"] <= MAX_ADDRESSES * SOURCES
    assert sum(stage.grown_mib for stage in outcome.stages) < 16
    counts = outcome.counts
    seconds = sum(stage.took_s + 1 for stage in outcome.stages)
    assert counts["signatures_bad"] <= VERIFICATIONS_PER_S * (seconds + 1)
    assert counts["signatures_bad"] + counts["verifications_limited"] == ADDRESSES
    assert counts["strangers_dropped"] == STRANGERS
    assert counts["links"] == 1
    failed = sum(count for name, count in counts.items() if name.startswith("dial_failed_"))
    assert failed < 200, "made up addresses were dialed without end"
