"""Places for strangers: few, given back soon, and taken from who holds most."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from peernet_core.decisions.admission import GRACE_S, MAX_UNAUTHENTICATED, SCARCE_S, Admission, source_of

FLOOD = ip_address("10.0.0.66")
OTHER = ip_address("10.0.0.7")


def _full(ip: str = "10.0.0.66", *, now: float = 0.0) -> Admission:
    admission = Admission()
    for connection in range(MAX_UNAUTHENTICATED):
        assert admission.arrive(connection, ip_address(ip), now=now).admitted
    return admission


def test_the_source_that_holds_most_gives_way_to_another() -> None:
    """After its grace the flooder's oldest connection goes; the newcomer gets the place."""
    admission = _full()
    verdict = admission.arrive(100, OTHER, now=GRACE_S)
    assert (verdict.admitted, verdict.evicted) == (True, 0)


def test_within_the_grace_a_newcomer_waits_outside() -> None:
    """A handshake under way is not disturbed."""
    admission = _full()
    assert not admission.arrive(100, OTHER, now=GRACE_S / 2).admitted
    assert len(admission) == MAX_UNAUTHENTICATED


def test_a_lone_connection_outlives_a_flood_from_elsewhere() -> None:
    """However long the flood lasts, it evicts its own."""
    admission = Admission()
    admission.arrive(1, OTHER, now=0.0)
    evicted = set()
    for connection in range(2, 2000):
        verdict = admission.arrive(connection, FLOOD, now=connection * 0.1)
        if verdict.evicted is not None:
            evicted.add(verdict.evicted)
    assert evicted
    assert 1 not in evicted


def test_where_a_trusted_key_has_been_gives_way_last() -> None:
    """Even when that source holds more than the others."""
    admission = Admission(places=4)
    admission.arrive(1, OTHER, now=0.0)
    admission.authenticated(1, OTHER)
    for connection in (2, 3, 4):
        admission.arrive(connection, OTHER, now=0.0)
    admission.arrive(5, FLOOD, now=0.0)
    assert admission.arrive(6, OTHER, now=1.0).evicted == 5


def test_whoever_leaves_frees_the_place() -> None:
    """Leaving twice is no error."""
    admission = _full()
    admission.leave(3)
    admission.leave(3)
    assert admission.arrive(100, OTHER, now=0.1).admitted


def test_without_descriptors_there_are_fewer_places_for_a_minute() -> None:
    """Room is made as soon as the grace allows, newcomers are turned away at once, and it passes."""
    admission = _full()
    assert admission.exhausted(now=GRACE_S / 2) == []
    evicted = admission.exhausted(now=GRACE_S)
    assert len(evicted) == len(set(evicted)) == MAX_UNAUTHENTICATED // 4
    assert len(admission) == MAX_UNAUTHENTICATED * 3 // 4
    for _ in range(50):
        admission.exhausted(now=GRACE_S)
    assert len(admission) == 8
    for connection in range(100, 110):
        admission.arrive(connection, OTHER, now=SCARCE_S + GRACE_S)
    assert len(admission) == 18


def test_an_ipv6_site_is_one_source() -> None:
    """Whoever has a /64 has 2**64 addresses, and one share."""
    assert source_of(ip_address("2001:db8::1")) == source_of(ip_address("2001:db8::ffff:2"))
    assert source_of(ip_address("2001:db8::1")) != source_of(ip_address("2001:db8:0:1::1"))
    assert source_of(ip_address("fe80::1%a")) != source_of(ip_address("fe80::1%b"))


arrivals = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 0.4)), max_size=300)


@given(arrivals)
def test_places_never_run_over(steps: list[tuple[int, bool, float]]) -> None:
    """Whatever comes and goes, at most the places are held, and each eviction makes room for one."""
    admission = Admission(places=8)
    held: set[int] = set()
    now = 0.0
    for connection, (host, leaves, later) in enumerate(steps):
        now += later
        verdict = admission.arrive(connection, ip_address(f"10.0.0.{host}"), now=now)
        if verdict.evicted is not None:
            held.remove(verdict.evicted)
        if verdict.admitted:
            held.add(connection)
        if leaves and held:
            admission.leave(held.pop())
        assert len(admission) == len(held) <= 8
