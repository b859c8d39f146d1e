"""Who found whom first, who missed it, and who believes in a peer that is gone: from events alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address
from peernet_core.decisions.race import Race
from peernet_core.decisions.race_result import (
    Absence,
    Claim,
    Find,
    Lapse,
    PeerResult,
    RaceResult,
    Refusal,
    SourceResult,
)
from peernet_core.events import (
    BackendFailed,
    BackendStarted,
    Event,
    IdentityConflict,
    Lagged,
    NodeStarted,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PeerDropped,
    PeerLost,
    PeerState,
    PeerStatus,
    PeerUnreachable,
    Snapshot,
    UnreachableReason,
)
from peernet_core.keys import Identity, PeerKey

US, KITCHEN, GARDEN, STRANGER = (Identity.generate().key for _ in range(4))
Script = list[tuple[float, Event]]
SOURCES = {"lan": "mdns", "fixed": "manual", "radio": "radio"}


def at(source: str, port: int = 7100) -> Address:
    return Address.parse(f"10.0.0.5:{port}", source=source)


def status(key: PeerKey, label: str) -> PeerStatus:
    return PeerStatus(key, label, PeerState.UNSEEN, None, 0.0)


TRUSTED = Snapshot((status(KITCHEN, "kitchen"), status(GARDEN, "garden")))


def race(*events: tuple[float, Event], until: float = 30.0) -> RaceResult:
    """A race that begins at 0, with all backends up at once and two trusted peers."""
    course = Race(SOURCES)
    course.take(NodeStarted(US, 7100, ()), now=0.0)
    course.take(TRUSTED, now=0.0)
    for source, backend in SOURCES.items():
        course.take(BackendStarted(source, backend), now=0.0)
    for after_s, event in events:
        course.take(event, now=after_s)
    return course.result(now=until)


def kitchen(*events: tuple[float, Event], until: float = 30.0) -> PeerResult:
    return next(peer for peer in race(*events, until=until).peers if peer.key == KITCHEN)


def found(source: str, key: PeerKey = KITCHEN, port: int = 7100) -> PeerDiscovered:
    return PeerDiscovered(key, at(source, port))


def lost(source: str) -> PeerLost:
    return PeerLost(KITCHEN, source)


CONNECTED = PeerConnected(KITCHEN, at("fixed"), "kitchen")
KILLED = PeerDisconnected(KITCHEN, "lost")
WHY = "the link ended: lost"


def test_who_was_first_and_by_how_much() -> None:
    """In seconds after the node's start, and after the first; a second address is no second find."""
    peer = kitchen(
        (0.5, found("fixed")), (2.0, found("lan")), (2.5, found("lan", port=7200)), (3.0, found("fixed"))
    )
    assert peer.finds == (Find("fixed", 0.5, 0.0), Find("lan", 2.0, 1.5))
    assert peer.label == "kitchen"


def test_who_missed_it() -> None:
    """Only what somebody found, or what linked, can be missed; and only by a backend that ran."""
    result = race((1.0, found("lan")), (1.5, BackendFailed("radio", "no radio")))
    assert [(peer.key, peer.missed_by) for peer in result.peers] == [
        (KITCHEN, ("fixed", "radio")),
        (GARDEN, ()),
    ]
    course = Race(SOURCES)
    course.take(NodeStarted(US, 7100, ()), now=1000.0)
    course.take(BackendStarted("lan", "mdns"), now=1000.5)
    course.take(BackendFailed("radio", "no radio"), now=1000.5)
    course.take(PeerConnected(KITCHEN, at("inbound"), "kitchen"), now=1001.0)
    result = course.result(now=1002.0)
    assert result.peers[0].missed_by == ("lan",)
    assert result.sources == (
        SourceResult("lan", "mdns", 0.5, "", 0, 0, 0),
        SourceResult("fixed", "manual", None, "", 0, 0, 0),
        SourceResult("radio", "radio", None, "no radio", 0, 0, 0),
    )


def test_how_each_source_did() -> None:
    """What it found, what it found first, and how many strangers it saw."""
    dropped = PeerDropped(STRANGER, at("lan"), "not in the trust list")
    result = race(
        (1.0, found("lan")),
        (1.2, found("radio")),
        (2.0, found("radio", GARDEN)),
        (3.0, dropped),
        (4.0, dropped),
        (5.0, PeerDropped(US, at("inbound"), "not in the trust list")),
    )
    assert [(each.source, each.found, each.first, each.strangers) for each in result.sources] == [
        ("lan", 1, 1, 1),
        ("fixed", 0, 0, 0),
        ("radio", 2, 1, 0),
    ]
    assert [peer.key for peer in result.peers] == [KITCHEN, GARDEN]


def test_who_was_found_first_stands_first() -> None:
    """Those that nobody found stand last, and are there."""
    result = race((2.0, found("lan", GARDEN)))
    assert [(peer.key, bool(peer.finds)) for peer in result.peers] == [(GARDEN, True), (KITCHEN, False)]


def test_what_is_remembered_or_heard_over_a_link_takes_no_part() -> None:
    """Nobody configured those sources."""
    peer = kitchen((0.0, found("known")), (0.1, CONNECTED), (0.2, found("inbound")), (9.0, lost("inbound")))
    assert (peer.finds, peer.claimed_by, peer.lapses) == ((), (), ())
    assert (peer.linked_s, peer.linked_through) == (0.1, "fixed")
    assert peer.missed_by == ("lan", "fixed", "radio")


def test_what_is_stale_after_a_kill() -> None:
    """The link ends; each source that believed in the peer says so sooner, later, or never."""
    peer = kitchen(
        (0.5, found("fixed")),
        (0.6, found("lan")),
        (0.7, found("radio")),
        (1.0, CONNECTED),
        (10.0, KILLED),
        (12.0, lost("lan")),
        (25.0, lost("radio")),
    )
    claims = (Claim("lan", 2.0), Claim("radio", 15.0), Claim("fixed", None))
    assert peer.absences == (Absence(10.0, WHY, 20.0, False, claims),)
    assert peer.claimed_by == ("fixed",)
    assert peer.lapses == ()


def test_a_source_that_knew_before_the_link() -> None:
    """A goodbye may be quicker than the end of the link: less than no time. Long before, it was a mistake."""
    peer = kitchen(
        (0.5, found("lan")),
        (0.5, found("radio")),
        (1.0, CONNECTED),
        (4.0, lost("radio")),
        (9.8, lost("lan")),
        (10.0, KILLED),
    )
    assert peer.absences == (Absence(10.0, WHY, 20.0, False, (Claim("lan", 9.8 - 10.0),)),)
    assert peer.lapses == (Lapse("radio", 4.0, 6.0),)


def test_only_the_first_loss_after_the_end_counts() -> None:
    """Something old may come up again while a peer is gone, through anybody."""
    peer = kitchen(
        (0.5, found("lan")),
        (1.0, CONNECTED),
        (10.0, KILLED),
        (12.0, lost("lan")),
        (13.0, found("lan")),
        (14.0, found("radio")),
        (15.0, lost("lan")),
        (16.0, lost("radio")),
    )
    assert peer.absences == (Absence(10.0, WHY, 20.0, False, (Claim("lan", 2.0),)),)


def test_a_peer_that_comes_back() -> None:
    """Then the absence is over, and what its sources say later has to do with something else."""
    peer = kitchen(
        (0.5, found("lan")),
        (0.5, found("fixed")),
        (1.0, CONNECTED),
        (10.0, KILLED),
        (11.0, lost("lan")),
        (13.0, found("lan", port=7200)),
        (13.5, CONNECTED),
        (20.0, KILLED),
    )
    assert peer.absences == (
        Absence(10.0, WHY, 3.5, True, (Claim("lan", 1.0), Claim("fixed", None))),
        Absence(20.0, WHY, 10.0, False, (Claim("fixed", None), Claim("lan", None))),
    )
    assert peer.linked_s == 1.0


def test_a_source_that_loses_a_peer_which_lives() -> None:
    """The link says that it lives. For less than a second it is none: a newer record is on its way."""
    peer = kitchen(
        (0.5, found("lan")),
        (0.5, found("radio")),
        (1.0, CONNECTED),
        (2.0, lost("radio")),
        (2.9, found("radio")),
        (5.0, lost("lan")),
        (8.0, found("lan")),
        (25.0, lost("radio")),
    )
    assert peer.lapses == (Lapse("lan", 5.0, 3.0), Lapse("radio", 25.0, 5.0))
    assert peer.absences == ()


def test_sources_that_do_not_agree_about_a_peer_without_a_link() -> None:
    """One has lost it, others have not; until that one finds it again."""
    events: Script = [(0.5, found("lan")), (0.6, found("fixed")), (5.0, lost("lan"))]
    claims = (Claim("lan", 0.0), Claim("fixed", None))
    assert kitchen(*events).absences == (Absence(5.0, "lan lost it", 25.0, False, claims),)
    assert kitchen(*events, (9.0, found("lan"))).absences == (Absence(5.0, "lan lost it", 4.0, True, claims),)
    assert kitchen((0.5, found("lan")), (5.0, lost("lan"))).absences == ()


def test_a_peer_that_was_never_linked() -> None:
    """Where its addresses led; of one that is linked that is no news."""
    refused = PeerUnreachable(KITCHEN, at("fixed"), UnreachableReason.REFUSED)
    events: Script = [(0.5, found("fixed")), (0.6, refused)]
    assert kitchen(*events).refusals == (Refusal(at("fixed"), "refused"),)
    assert kitchen(*events).claimed_by == ("fixed",)
    assert kitchen(*events, (1.0, CONNECTED)).refusals == ()


def test_a_race_in_which_nothing_happens() -> None:
    """Nobody is trusted, nothing starts, or it ends before it began."""
    assert Race({}).result(now=1000.0) == RaceResult(0.0, (), (), 0)
    course = Race({"lan": "mdns"})
    course.take(Snapshot(()), now=1000.0)
    assert course.result(now=1003.0) == RaceResult(
        0.0, (SourceResult("lan", "mdns", None, "", 0, 0, 0),), (), 0
    )
    course.take(NodeStarted(US, 7100, ()), now=1003.0)
    assert course.result(now=1004.0).for_s == 1.0


def test_events_that_were_not_heard_are_counted() -> None:
    """The rest may be wrong then."""
    assert race((1.0, Lagged(7)), (2.0, Lagged(3))).events_missed == 10


def test_a_backend_that_is_started_again() -> None:
    """When it first listened counts; the last failure stays."""
    result = race((5.0, BackendFailed("lan", "gone")), (7.0, BackendStarted("lan", "mdns")))
    assert result.sources[0] == SourceResult("lan", "mdns", 0.0, "gone", 0, 0, 0)


keys = st.sampled_from([KITCHEN, GARDEN])
places = st.sampled_from([at(source) for source in ("lan", "fixed", "inbound")])
names = st.sampled_from(["lan", "fixed", "radio", "inbound"])
happenings = st.one_of(
    st.builds(PeerDiscovered, keys, places),
    st.builds(PeerLost, keys, names),
    st.builds(PeerConnected, keys, places, st.just("")),
    st.builds(PeerDisconnected, keys, st.just("lost")),
    st.builds(PeerUnreachable, keys, places, st.sampled_from(UnreachableReason)),
    st.builds(BackendStarted, names, st.just("x")),
    st.builds(BackendFailed, names, st.just("x")),
    st.builds(IdentityConflict, keys),
    st.just(TRUSTED),
)


@given(st.lists(st.tuples(st.floats(0, 10), happenings), max_size=40))
def test_whatever_happens_the_result_makes_sense(steps: Script) -> None:
    """Nobody is behind by less than nothing, nothing outlasts the race, and each source is in once."""
    now, events = 0.0, Script()
    for wait_s, event in steps:
        now += wait_s
        events.append((now, event))
    result = race(*events, until=now)
    assert sum(each.first for each in result.sources) == sum(bool(peer.finds) for peer in result.peers)
    for peer in result.peers:
        assert [each.behind_s for each in peer.finds] == sorted(each.behind_s for each in peer.finds)
        assert not {each.source for each in peer.finds} & set(peer.missed_by)
        assert {*peer.claimed_by, *(each.source for each in peer.finds)} <= set(SOURCES)
        for absence in peer.absences:
            assert 0 <= absence.at_s <= absence.at_s + absence.for_s <= now + 1e-6
            assert len({each.source for each in absence.claims}) == len(absence.claims)
        assert [each.is_back for each in peer.absences[:-1]] == [True] * (len(peer.absences) - 1)
