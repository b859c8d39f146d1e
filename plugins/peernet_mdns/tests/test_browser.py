"""Who is there, and whom to ask: what is decided of claims, goodbyes, wants and silence."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import attrs
import pytest

from peernet_mdns.answers import Claim
from peernet_mdns.browser import CROWD, Browser, Gone, Origin, Query, Seen
from peernet_mdns.quotas import Level

A, B = "a" * 26, "b" * 26
ETH = Origin(ip_address("10.0.0.1"), "eth0")
WLAN = Origin(ip_address("10.0.0.1"), "wlan0")
EVIL = Origin(ip_address("10.0.0.66"), "eth0")


@attrs.define(eq=False)
class Run:
    """A browser, stepped through time; what it sent and handed out is kept."""

    browser: Browser = attrs.Factory(lambda: Browser(now=0.0, jitter=Random(1)))
    now: float = 0.0
    sent: list[tuple[float, Query]] = attrs.Factory(list)
    changes: list[tuple[float, Seen | Gone]] = attrs.Factory(list)

    def hear(self, claim: Claim, origin: Origin = ETH) -> list[Seen | Gone]:
        self.browser.heard(claim, origin, now=self.now)
        return self.step()

    def step(self) -> list[Seen | Gone]:
        while (query := self.browser.take_query(now=self.now)) is not None:
            self.sent.append((round(self.now, 3), query))
        taken = self.browser.take_changes(100)
        self.changes += [(round(self.now, 3), each) for each in taken]
        return taken

    def until(self, end: float) -> None:
        while (due := self.browser.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.step()
        self.now = end

    def asked(self, alias: str = A) -> list[float]:
        return [when for when, query in self.sent if alias in query.names]

    def gone(self) -> list[float]:
        return [when for when, change in self.changes if isinstance(change, Gone)]


def live(record: bytes = b"r", *, alias: str = A, ttl_s: float = 120.0) -> Claim:
    return Claim(alias, record, ttl_s, complete=True)


def bye(record: bytes | None = None) -> Claim:
    return Claim(A, record, goodbye=True)


def seen(changes: list[Seen | Gone]) -> list[tuple[bytes, Origin]]:
    return [(each.record, each.heard) for each in changes if isinstance(each, Seen)]


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_claim_is_seen_once_and_again_after_half_its_lease(run: Run) -> None:
    """Nothing superfluous is reported."""
    assert seen(run.hear(live())) == [(b"r", ETH)]
    run.now = 59.0
    assert run.hear(live()) == []
    run.now = 61.0
    assert seen(run.hear(live())) == [(b"r", ETH)]


def test_another_origin_and_another_record_are_seen_at_once(run: Run) -> None:
    """Each is news."""
    run.hear(live())
    assert seen(run.hear(live(), WLAN)) == [(b"r", WLAN)]
    assert run.hear(live(), WLAN) == []
    assert seen(run.hear(live(b"s"), WLAN)) == [(b"s", WLAN)]


def test_origins_are_bounded(run: Run) -> None:
    """A replay from many addresses is reported four times, until half the lease has passed."""
    reported = [run.hear(live(), Origin(ip_address(f"10.0.0.{host}"), "eth0")) for host in range(1, 20)]
    assert len([each for each in reported if each]) == 4


@pytest.mark.parametrize(("ttl_s", "lease_s"), [(0.0, 1.0), (30.0, 30.0), (4500.0, 120.0)])
def test_leases_are_bounded(run: Run, ttl_s: float, lease_s: float) -> None:
    """Between 1 and 120 s, whatever was claimed; a silent peer is gone 1.5 s later at most."""
    run.hear(live(ttl_s=ttl_s))
    run.until(500)
    assert len(run.gone()) == 1
    assert lease_s + 1.0 <= run.gone()[0] <= lease_s + 1.5
    assert len(run.asked()) == 4


def test_our_own_are_ignored_and_counted() -> None:
    """Heard, wanted or said goodbye to."""
    run = Run(Browser(now=0.0, jitter=Random(1), own=lambda alias: alias == A))
    assert run.hear(live()) == run.hear(bye()) == []
    run.browser.want(A, now=0.0)
    assert run.browser.next_deadline() is None
    assert run.browser.counts.own == 2


def test_a_lost_record_is_asked_for_three_times(run: Run) -> None:
    """Soon, but not at once; then the alias is forgotten, without a word."""
    run.hear(Claim(A, None, 4500))
    run.until(100)
    asked = run.asked()
    assert len(asked) == 3
    assert 0.02 <= asked[0] <= 0.1
    assert run.changes == []
    assert len(run.browser) == 0


def test_many_lost_records_are_asked_for_at_a_bounded_rate(run: Run) -> None:
    """64 names a query, four queries a second."""
    for number in range(1000):
        run.browser.heard(Claim(str(number)), Origin(ip_address(0x0A000000 + number % 9), "eth0"), now=0.0)
    run.until(0.99)
    assert len(run.sent) == 4
    assert max(len(query.names) for _, query in run.sent) == 64


def test_a_goodbye_is_verified_and_then_believed(run: Run) -> None:
    """Asked at once, and after 0.1, 0.25 and 0.5 s; gone after one second."""
    run.hear(live())
    run.now = 10.0
    run.hear(bye())
    run.until(20)
    assert run.asked() == [10.0, 10.1, 10.25, 10.5]
    assert run.gone() == [11.0]
    assert all(query.unicast for _, query in run.sent)


def test_a_goodbye_is_answered_by_who_is_alive(run: Run) -> None:
    """A forged one costs one question, and nothing is reported."""
    run.hear(live())
    run.now = 10.0
    run.hear(bye(), EVIL)
    run.now = 10.05
    assert run.hear(live()) == []
    run.until(90)
    assert run.asked() == [10.0]


def test_a_flood_of_goodbyes_neither_multiplies_nor_hastens(run: Run) -> None:
    """One round at a time; after one that was answered, the next two seconds later at the earliest."""
    run.hear(live())
    for tick in range(1000):
        run.until(10 + tick / 100)
        run.hear(bye(), EVIL)
        if run.asked() and run.now - run.asked()[-1] >= 0.05:
            run.hear(live())
    assert 4 <= len(run.asked()) <= 6
    assert run.gone() == []


def test_a_goodbye_for_nobody_is_ignored(run: Run) -> None:
    """And for an alias whose record is not known."""
    run.hear(bye(b"stop"))
    run.hear(Claim(A, None, 120))
    run.hear(bye(b"stop"))
    assert run.changes == []
    assert run.browser.counts.goodbyes_ignored == 2


def test_the_record_of_a_goodbye_is_seen_before_it_is_verified(run: Run) -> None:
    """A signed word that it stopped proves itself; the rest goes as for any goodbye."""
    run.hear(live())
    assert seen(run.hear(bye(b"stop"))) == [(b"stop", ETH)]
    assert run.hear(bye(b"stop")) == []
    run.until(5)
    assert run.gone() == [1.0]


def test_what_is_refused_gives_way_to_what_was_accepted(run: Run) -> None:
    """And is not reported again."""
    run.hear(live())
    assert seen(run.hear(live(b"junk"), EVIL)) == [(b"junk", EVIL)]
    run.browser.refused(A)
    assert run.hear(live(b"junk"), EVIL) == run.hear(live()) == []
    run.until(119)
    assert run.gone() == []
    run.until(122)
    assert len(run.gone()) == 1


def test_what_was_never_accepted_is_never_gone(run: Run) -> None:
    """A forged alias ends in silence, unasked."""
    run.hear(live(b"junk"))
    run.browser.refused(A)
    run.until(500)
    assert run.asked() == run.gone() == []
    assert len(run.browser) == 0


def test_a_claim_that_junk_overtook_is_asked_for_again(run: Run) -> None:
    """Coalescing hands out the newest; if that is refused, the one before may have been true."""
    run.browser.heard(live(), ETH, now=0.0)
    run.hear(live(b"junk"), EVIL)
    run.browser.refused(A)
    run.until(0.2)
    assert len(run.asked()) == 1
    assert seen(run.hear(live())) == [(b"r", ETH)]


def test_the_wanted_are_asked_for_by_name_until_they_claim(run: Run) -> None:
    """All that are due together, in one query, by unicast."""
    run.browser.want(A, now=0.0)
    run.browser.want(B, now=0.0)
    run.until(0.5)
    assert [query for _, query in run.sent] == [Query((A, B), unicast=True)] * 3
    run.hear(live())
    run.until(60)
    assert run.asked() == [0.0, 0.1, 0.3]
    assert len(run.asked(B)) > 10


def test_the_wanted_go_on_being_asked_for_when_a_claim_is_refused(run: Run) -> None:
    """A liar cannot silence the question."""
    run.browser.want(A, now=0.0)
    run.until(0.2)
    run.hear(live(b"junk"), EVIL)
    run.browser.refused(A)
    run.until(1)
    assert run.asked() == [0.0, 0.1, 0.3, 0.7]


def test_a_question_for_everybody_just_before_is_enough(run: Run) -> None:
    """The first question by name is left out then."""
    run.browser.search(now=0.0)
    run.browser.want(A, now=0.0)
    run.until(0.2)
    assert run.asked() == [0.1]


def test_wanting_who_is_there_finds_out_whether_it_is(run: Run) -> None:
    """Gone after one second; and then it is still wanted."""
    run.hear(live())
    run.now = 10.0
    run.browser.want(A, now=10.0)
    run.step()
    run.until(14)
    assert run.gone() == [11.0]
    assert run.asked() == [10.0, 10.1, 10.25, 10.5, 11.5, 13.0]


def test_who_is_wanted_and_answers_stays(run: Run) -> None:
    """And is wanted no more."""
    run.hear(live())
    run.now = 10.0
    run.browser.want(A, now=10.0)
    run.step()
    run.now = 10.05
    run.hear(live())
    run.until(90)
    assert run.asked() == [10.0]
    assert run.gone() == []


def test_known_answers_are_those_whose_lease_is_young() -> None:
    """So that the others are renewed by the way."""
    run = Run()
    run.hear(live())
    run.now = 50.0
    run.hear(live(alias=B))
    run.now = 70.0
    run.browser.search(now=70.0)
    run.step()
    assert [query.known for _, query in run.sent] == [((B, 4480.0),)] * 2
    assert [query.unicast for _, query in run.sent] == [True, False]


@pytest.mark.parametrize(
    ("known", "spared"), [((), True), ((A,), True), ((A, "me"), True), ((A, B), False), ((B,), False)]
)
def test_somebody_else_s_question_counts_if_it_left_out_nobody_whom_we_lack(
    known: tuple[str, ...], spared: bool
) -> None:
    """Us it may leave out."""
    run = Run(Browser(now=0.0, jitter=Random(1), own=lambda alias: alias == "me"))
    run.browser.search(now=0.0)
    run.until(70)
    run.hear(live())
    run.now = 80.0
    run.sent.clear()
    run.browser.overheard(frozenset(known), now=80.0)
    run.until(100)
    assert any(query.everybody for _, query in run.sent) is not spared


@pytest.mark.parametrize("refuse", [True, False])
def test_a_crowd_is_counted_by_what_was_accepted(refuse: bool) -> None:
    """A flood of fakes does not thin out the questions; many real peers do, and then none is named."""
    run = Run()
    for number in range(CROWD + 1):
        for each in run.hear(live(alias=str(number)), Origin(ip_address(0x0A000000 + number), "eth0")):
            if refuse:
                run.browser.refused(each.alias)
    run.hear(live())
    run.browser.search(now=0.0)
    run.until(60)
    everybody = [query for _, query in run.sent if query.everybody]
    assert len(everybody) == (6 if refuse else 8)
    assert bool(everybody[0].known) is refuse


def test_who_could_not_be_asked_in_time_has_its_lease_extended() -> None:
    """Where a crowd's short leases end at once, questions wait; nobody is given up unasked."""
    run = Run(Browser(now=0.0, jitter=Random(1), quota=16_384))
    for number in range(8000):
        run.browser.heard(live(alias=str(number), ttl_s=1.0), ETH, now=0.0)
    while run.browser.pending():
        run.step()
    run.until(6.0)
    asked = {alias for _, query in run.sent for alias in query.names}
    assert {change.alias for _, change in run.changes if isinstance(change, Gone)} <= asked
    assert run.browser.counts.extended > 1000
    run.until(60.0)
    assert len(run.gone()) == 8000
    assert max(sum(1 for at, _ in run.sent if start <= at < start + 1) for start in range(60)) <= 42


def test_an_answer_counts_from_an_origin_that_was_reported_just_before(run: Run) -> None:
    """A short claim that came by the other interface does not make the answer old news."""
    run.hear(live())
    run.until(100)
    run.hear(live(ttl_s=1.0), WLAN)
    run.until(120.2)
    assert seen(run.hear(live(), WLAN)) == [(b"r", WLAN)]
    run.until(180)
    assert run.gone() == []


def test_a_forger_cannot_take_an_alias_into_his_own_quota() -> None:
    """He would push it out with his next claim."""
    run = Run(Browser(now=0.0, jitter=Random(1), quota=1))
    run.browser.heard(live(), ETH, now=0.0)
    run.browser.heard(live(b"junk"), EVIL, now=0.0)
    run.browser.heard(live(alias=B), EVIL, now=0.0)
    assert len(run.browser) == 2


def test_who_answered_a_question_by_name_stands_more_firmly(run: Run) -> None:
    """Wanted or refreshed: it makes room later than those that only claimed."""
    run.browser.want(A, now=0.0)
    run.step()
    run.hear(live())
    run.hear(live(alias=B))
    run.until(0.2)
    run.hear(live())
    run.hear(live(alias=B))
    levels = [entry.level for alias in (A, B) if (entry := run.browser._table.get(alias)) is not None]
    assert levels == [Level.ANSWERED, Level.PLAIN]
    while not run.asked(B):
        run.until(run.now + 0.5)
    run.hear(live(alias=B))
    entry = run.browser._table.get(B)
    assert entry is not None
    assert entry.level is Level.ANSWERED
