"""What is asked when: lanes that bound the rate, the schedule of the type, and wants."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from peernet_mdns.questions import DOUBT, MAX_NAMES, Lane, Lanes, TypeSchedule
from peernet_mdns.timers import Timers
from peernet_mdns.wants import MAX_WANTS, Wants


class Middle(Random):
    """No jitter."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def moments(schedule: TypeSchedule, *, until: float, crowded: bool = False) -> list[tuple[float, bool]]:
    found: list[tuple[float, bool]] = []
    while (now := schedule.next_deadline()) is not None and now <= until:
        while (unicast := schedule.take(now=now, crowded=crowded)) is not None:
            found.append((round(now, 3), unicast))
    return found


def test_everybody_is_asked_both_ways_then_ever_more_rarely() -> None:
    """The burst of a start, then every 60 s, doubling to 300 s."""
    schedule = TypeSchedule(Middle())
    schedule.search(now=0.0, delay_s=0.5)
    found = moments(schedule, until=1200.5)
    assert found[:2] == [(0.5, True), (0.5, False)]
    assert [at - 0.5 for at, _ in found[2:]] == [1, 3, 9, 30, 90, 210, 450, 750, 1050]
    assert not any(unicast for _, unicast in found[2:])


def test_where_it_is_crowded_only_the_burst_stays_both_ways() -> None:
    """Then one query every 300 s."""
    schedule = TypeSchedule(Middle())
    schedule.search(now=0.0, delay_s=0.0)
    assert [at for at, _ in moments(schedule, until=700, crowded=True)] == [
        *(0, 0, 1, 1, 3, 3, 9, 9),
        *(309, 609),
    ]


def test_a_crowd_that_comes_later_thins_out_what_was_planned() -> None:
    """And when it has gone, the schedule goes on."""
    schedule = TypeSchedule(Middle())
    schedule.search(now=0.0, delay_s=0.0)
    moments(schedule, until=30)
    assert [at for at, _ in moments(schedule, until=330, crowded=True)] == [330]


def test_what_somebody_else_asked_is_not_asked_again() -> None:
    """After the start; and it is not put off twice by one question that is heard twice."""
    schedule = TypeSchedule(Middle())
    schedule.search(now=0.0, delay_s=0.0)
    moments(schedule, until=30)
    schedule.overheard(now=30.0001, crowded=False)  # our own
    assert schedule.next_deadline() == 90.0
    schedule.overheard(now=80.0, crowded=False)
    schedule.overheard(now=80.1, crowded=False)
    assert [at for at, _ in moments(schedule, until=500)] == [200, 440]


def test_what_somebody_else_asked_leaves_the_start_as_it_is() -> None:
    """Whoever has just come, or woken up, asks for itself; so does who joins a crowd, at 0, 1, 3 and 9 s."""
    for crowded, until, expected in ((False, 40.0, 6), (True, 10.0, 8)):
        schedule = TypeSchedule(Middle())
        schedule.search(now=0.0, delay_s=0.0)
        found = []
        for tenth in range(int(until * 10)):
            schedule.overheard(now=tenth / 10, crowded=crowded)
            found += moments(schedule, until=tenth / 10, crowded=crowded)
        assert len(found) == expected


def test_in_a_crowd_one_asks_for_all() -> None:
    """The next 300 s later."""
    schedule = TypeSchedule(Middle())
    schedule.search(now=0.0, delay_s=0.0)
    moments(schedule, until=10, crowded=True)
    schedule.overheard(now=200.0, crowded=True)
    assert [at for at, _ in moments(schedule, until=700, crowded=True)] == [500]


def test_a_start_that_is_to_come_is_not_put_off() -> None:
    """However often the network changes, the question is asked."""
    schedule = TypeSchedule(Middle())
    for tick in range(10):
        schedule.search(now=tick / 100, delay_s=0.1)
    assert schedule.next_deadline() == 0.1


def test_a_lane_sends_at_a_bounded_rate() -> None:
    """A thousand that are due at once go in full queries, one each 50 ms."""
    lanes = Lanes()
    for number in range(1000):
        lanes.set(Lane.VERIFY, str(number), 0.0)
    sent = []
    while (now := lanes.next_deadline()) is not None:
        taken = lanes.take(now=now)
        assert taken is not None
        assert lanes.take(now=now) is None
        sent.append((round(now, 2), len(taken[0])))
    assert sent[:2] == [(0.0, MAX_NAMES), (0.05, MAX_NAMES)]
    assert len(sent) == 16


def test_lanes_differ_in_pace_and_way() -> None:
    """To complete is asked four times a second; to refresh, so that everybody hears the answer."""
    lanes = Lanes()
    for number in range(100):
        lanes.set(Lane.COMPLETE, str(number), 0.0)
    lanes.set(Lane.REFRESH, "now", 0.0)
    lanes.set(Lane.REFRESH, "soon", 0.2)
    assert lanes.take(now=0.0) == (["now", "soon"], False)
    first = lanes.take(now=0.0)
    assert first is not None
    assert first[1] is True
    assert lanes.next_deadline() == 0.25


def test_urgent_ones_wait_for_nobody() -> None:
    """Only for their time."""
    lanes = Lanes()
    lanes.set(Lane.URGENT, "a", 1.0)
    assert lanes.take_urgent(9, now=0.9) == []
    assert lanes.take_urgent(9, now=1.0) == ["a"]


def test_a_want_is_asked_fast_then_slower_then_forgotten() -> None:
    """0, 0.1, 0.3, 0.7, 1.5, 3, 4.5 s, then every 2 s until 30 s."""
    wants = Wants()
    assert wants.add("a", now=10.0)
    found, ended = [], None
    while (now := wants.next_deadline()) is not None:
        taken = wants.take(now=now)
        assert taken is not None
        if taken[1] is None:
            ended = now
        else:
            found.append(round(now - 10, 3))
    assert found[:9] == [0, 0.1, 0.3, 0.7, 1.5, 3, 4.5, 6.5, 8.5]
    assert found[-1] == 28.5
    assert ended == 40.0


def test_wanting_again_only_extends() -> None:
    """The schedule does not start anew."""
    wants = Wants()
    wants.add("a", now=0.0)
    wants.take(now=0.0)
    wants.add("a", now=0.05)
    assert wants.next_deadline() == 0.1


def test_a_refused_claim_lets_the_want_go_on() -> None:
    """An answer that is worth nothing does not silence the question."""
    wants = Wants()
    wants.add("a", now=0.0)
    wants.take(now=0.0)
    wants.met("a", now=0.01)
    wants.refused("a")
    assert wants.next_deadline() == 0.1
    wants.met("a", now=0.2)
    assert wants.take(now=1.2) == ("a", None)
    assert "a" not in wants


def test_wants_are_bounded() -> None:
    """The first ones stay."""
    wants = Wants()
    assert all(wants.add(str(number), now=0.0) for number in range(MAX_WANTS))
    assert not wants.add("more", now=0.0)
    assert len(wants) == MAX_WANTS


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 100)), max_size=300))
def test_timers_agree_with_a_sorted_list(acts: list[tuple[int, float | None]]) -> None:
    """Set, set anew and discarded in any order, they come out in order of time, and the heap stays small."""
    timers, model = Timers(), dict[str, float]()
    for number, due in acts:
        if due is None:
            timers.discard(str(number))
            model.pop(str(number), None)
        else:
            timers.set(str(number), due)
            model[str(number)] = due
        assert timers.next() == min(model.values(), default=None)
        assert len(timers._heap) <= 2 * len(timers) + 64
    found = []
    while (name := timers.pop(until=1000)) is not None:
        found.append(model.pop(name))
    assert found == sorted(found)
    assert not model


def test_a_step_that_was_late_does_not_crowd_the_next() -> None:
    """Its gap is counted from when the one before was sent, and so is the failure of the whole."""
    late = 50.0
    assert DOUBT.steps[1].due(0.0, 120.0, late, Middle()) == late + 0.1
    assert DOUBT.fails(0.0, 120.0, late) == late + 0.5
