"""Two processes with one identity are told from one that restarts, and from a connection that came late."""

from __future__ import annotations

from peernet_core.decisions.boot_ids import CONFLICT_S, BootIds, Verdict

A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))
WELCOME, STALE, CONFLICT = Verdict.WELCOME, Verdict.STALE, Verdict.CONFLICT


def heard(*boot_ids: bytes, gap_s: float = 1.0, linked: bool = False) -> list[Verdict]:
    ids, now, told = BootIds(), 0.0, []
    for boot_id in boot_ids:
        told.append(ids.heard(boot_id, linked=linked, now=now))
        now += gap_s
    return told


def test_connections_of_one_process_are_no_conflict() -> None:
    """However many."""
    assert heard(*[A] * 100) == [WELCOME] * 100


def test_a_restart_is_no_conflict() -> None:
    """Nor are many: each draws a new id, and none comes back."""
    assert heard(A, A, B, B, C, C) == [WELCOME] * 6
    assert heard(*[bytes([number]) * 16 for number in range(200)], linked=True) == [WELCOME] * 200


def test_two_that_alternate_are_a_conflict() -> None:
    """Whoever comes back does not take the link over, and not for ever."""
    assert heard(A, B, A, A, A, linked=True) == [WELCOME, WELCOME, STALE, STALE, CONFLICT]
    assert heard(A, B, A, B, A) == [WELCOME] * 4 + [CONFLICT]


def test_a_connection_that_comes_late_ends_nothing() -> None:
    """Of a process that was followed: it is refused while there is a link, and the link is left alone."""
    assert heard(A, B, A, B, linked=True) == [WELCOME, WELCOME, STALE, WELCOME]
    assert heard(A, B, A, C, linked=True) == [WELCOME, WELCOME, STALE, WELCOME]


def test_a_link_that_lasted_long_is_followed_as_any_other() -> None:
    """What counts is when the next one came, not when the first one did."""
    ids = BootIds()
    assert ids.heard(A, linked=False, now=0.0) is WELCOME
    assert ids.heard(B, linked=True, now=5000.0) is WELCOME
    assert ids.heard(A, linked=True, now=5001.0) is STALE


def test_what_was_heard_long_ago_is_no_witness() -> None:
    """A minute is what the page says."""
    assert CONFLICT not in heard(*(A, B) * 20, gap_s=CONFLICT_S / 2)
    assert CONFLICT in heard(*(A, B) * 20, gap_s=CONFLICT_S / 4)
    ids = BootIds()
    ids.heard(A, linked=True, now=0.0)
    ids.heard(B, linked=True, now=1.0)
    assert ids.heard(A, linked=True, now=1.0 + CONFLICT_S) is WELCOME


def test_after_a_conflict_the_key_is_refused_for_a_minute_and_then_welcome() -> None:
    """What was heard before counts no more: it takes another round to find out."""
    ids = BootIds()
    verdicts = [ids.heard(each, linked=True, now=2.0) for each in (A, B, A, A, A)]
    assert verdicts[-1] is CONFLICT
    assert ids.refused_until(now=2.0) == 2.0 + CONFLICT_S
    assert ids.refused_until(now=2.0 + CONFLICT_S) is None
    assert [ids.heard(each, linked=True, now=70.0) for each in (A, B, A)] == [WELCOME, WELCOME, STALE]
