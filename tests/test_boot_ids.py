"""Two processes with one identity are told from one that restarts."""

from __future__ import annotations

from peernet_core.decisions.boot_ids import CONFLICT_S, BootIds

A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))


def heard(*boot_ids: bytes, gap_s: float = 1.0) -> list[bool]:
    ids, now, told = BootIds(), 0.0, []
    for boot_id in boot_ids:
        told.append(ids.heard(boot_id, now=now))
        now += gap_s
    return told


def test_connections_of_one_process_are_no_conflict() -> None:
    """However many."""
    assert heard(*[A] * 100) == [False] * 100


def test_a_restart_is_no_conflict() -> None:
    """Nor are many: each draws a new id, and none comes back."""
    assert not any(heard(A, A, B, B, C, C))
    assert not any(heard(*[bytes([number]) * 16 for number in range(200)]))


def test_two_that_alternate_are_a_conflict() -> None:
    """With the first that is heard again."""
    assert heard(A, B, A) == [False, False, True]
    assert heard(A, B, C, B) == [False, False, False, True]


def test_what_was_heard_long_ago_is_no_witness() -> None:
    """A minute is what the page says."""
    assert not any(heard(A, B, A, gap_s=CONFLICT_S / 2))
    assert any(heard(A, B, A, gap_s=CONFLICT_S / 2 - 0.1))


def test_after_a_conflict_the_key_is_refused_for_a_minute_and_then_welcome() -> None:
    """What was heard before counts no more: it takes another round to find out."""
    ids = BootIds()
    for now, boot_id in enumerate((A, B, A)):
        ids.heard(boot_id, now=float(now))
    assert ids.refused_until(now=2.0) == 2.0 + CONFLICT_S
    assert ids.refused_until(now=2.0 + CONFLICT_S) is None
    assert not ids.heard(B, now=3.0 + CONFLICT_S)
    assert not ids.heard(A, now=4.0 + CONFLICT_S)
    assert ids.heard(B, now=5.0 + CONFLICT_S)
