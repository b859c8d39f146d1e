"""What may be dialed, who comes first, and how fast one after the other."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address, Interface, NetworkSnapshot, parse_ip
from peernet_core.decisions.candidates import (
    MAX_CANDIDATES,
    MAX_NOTES,
    AddressBook,
    Attempt,
    Obstacle,
    RaceSchedule,
    obstacle_to,
)
from peernet_core.decisions.ledger import Candidate, Kind
from peernet_core.events import UnreachableReason
from peernet_core.keys import PeerKey

KEY = PeerKey(bytes([3]) * 32)
OTHER = PeerKey(bytes([4]) * 32)
PORT = 7100
NETWORK = NetworkSnapshot(
    (
        Interface("lo", 1, (ip_interface("127.0.0.1/8"), ip_interface("::1/128"))),
        Interface(
            "eth0",
            2,
            (
                ip_interface("10.0.0.1/24"),
                ip_interface("169.254.7.1/16"),
                ip_interface("fd00::1/64"),
                ip_interface("fe80::1/64"),
            ),
        ),
        Interface("wlan0", 3, (ip_interface("192.168.1.1/24"), ip_interface("fe80::2/64"))),
    )
)
REFUSED, WRONG_KEY = UnreachableReason.REFUSED, UnreachableReason.WRONG_KEY


def candidate(
    text: str,
    kind: Kind = Kind.SIGNED,
    *,
    source: str = "lan",
    heard: tuple[str, str] | None = None,
) -> Candidate:
    place = None if heard is None else (parse_ip(heard[0]), heard[1])
    return Candidate(Address.parse(text, source=source), kind, None, place, None, 0.0)


def dialed(each: Candidate) -> bool:
    return obstacle_to(each, network=NETWORK, own_port=PORT) is None


ON_LINK = ["10.0.0.5:7200", "192.168.1.77:1024", "[fd00::5]:7200"]
ELSEWHERE = ["203.0.113.7:7200", "10.0.1.5:7200", "[2001:db8::5]:7200"]
PRIVILEGED = ["10.0.0.5:1023", "[fd00::5]:22"]
METADATA = ["169.254.169.254:7200", "100.100.100.200:7200", "168.63.129.16:7200", "[fd00:ec2::254]:7200"]
LOCAL = ["127.0.0.1:7200", "[::1]:7200", "169.254.7.5:7200", "[fe80::5%eth0]:7200"]
EMBEDDED = ["[64:ff9b::a9fe:a9fe]:7200", "[2002:7f00:1::]:7200", "[::7f00:1]:7200"]
OURS = ["10.0.0.1:7100", "[fd00::1]:7100", "[fe80::1%eth0]:7100", "127.0.0.1:7100", "127.9.9.9:7100"]


@pytest.mark.parametrize("text", ON_LINK + ELSEWHERE + PRIVILEGED + METADATA + LOCAL + EMBEDDED)
def test_configured_may_be_anything(text: str) -> None:
    """The operator's own word needs no second opinion."""
    assert dialed(candidate(text, Kind.CONFIGURED))


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("text", OURS)
def test_never_ourselves(text: str, kind: Kind) -> None:
    """Our port on any address of this host, whoever says so, wherever it was heard."""
    host = text.rpartition(":")[0].strip("[]")
    interface = "lo" if host.startswith("127") else "eth0"
    assert not dialed(candidate(text, kind))
    assert not dialed(candidate(text, kind, heard=(host, interface)))


@pytest.mark.parametrize("text", ["10.0.0.1:7200", "[fd00::1]:7200"])
def test_another_node_on_this_host(text: str) -> None:
    """Our address with another port is somebody else."""
    assert dialed(candidate(text, Kind.SIGNED))
    assert dialed(candidate(text, Kind.HINT))


@pytest.mark.parametrize("kind", [Kind.SIGNED, Kind.KNOWN])
@pytest.mark.parametrize("text", ON_LINK + ELSEWHERE + PRIVILEGED)
def test_signed_may_be_any_unicast_address(text: str, kind: Kind) -> None:
    """Also one on another network, and any port; so may one where the peer authenticated before."""
    assert dialed(candidate(text, kind))


@pytest.mark.parametrize("kind", [Kind.SIGNED, Kind.KNOWN, Kind.HINT])
@pytest.mark.parametrize("text", METADATA + LOCAL + EMBEDDED)
def test_only_the_operator_names_these(text: str, kind: Kind) -> None:
    """Metadata services, this host itself, link-local addresses, and IPv4 addresses in disguise."""
    assert not dialed(candidate(text, kind))


@pytest.mark.parametrize("text", ON_LINK)
def test_hints_on_our_networks(text: str) -> None:
    """What anybody says may lead to where anybody could answer anyhow."""
    assert dialed(candidate(text, Kind.HINT))


@pytest.mark.parametrize("text", ELSEWHERE + PRIVILEGED)
def test_hints_lead_nowhere_else(text: str) -> None:
    """Else one packet would make every node that hears it knock on a stranger's door."""
    assert not dialed(candidate(text, Kind.HINT))


@pytest.mark.parametrize("text", METADATA)
def test_metadata_is_refused_wherever_it_was_heard(text: str) -> None:
    """A cloud's network is on link, and its metadata service might be heard there."""
    host = text.rpartition(":")[0].strip("[]")
    network = NetworkSnapshot((Interface("eth0", 2, (ip_interface(f"{host}/8"),)),))
    heard = candidate(text, Kind.HINT, heard=(host, "eth0"))
    assert obstacle_to(heard, network=network, own_port=PORT) is Obstacle.METADATA


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("127.0.0.1:7200", ("127.0.0.1", "lo")),
        ("[::1]:7200", ("::1", "lo")),
        ("169.254.7.5:7200", ("169.254.7.5", "eth0")),
        ("[fe80::5%eth0]:7200", ("fe80::5%eth0", "eth0")),
    ],
)
def test_local_addresses_that_were_heard(text: str, heard: tuple[str, str]) -> None:
    """The sender's own address, on the interface that leads to it."""
    assert dialed(candidate(text, Kind.HINT, heard=heard))


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("127.0.0.1:7200", ("127.0.0.1", "eth0")),  # forged: loopback is never heard on a network
        ("127.0.0.1:7200", ("127.0.0.2", "lo")),
        ("127.0.0.1:1023", ("127.0.0.1", "lo")),
        ("169.254.7.5:7200", ("169.254.7.5", "wlan0")),  # would leave by eth0
        ("169.254.7.5:7200", ("169.254.7.6", "eth0")),
        ("[fe80::5%eth0]:7200", ("fe80::5%eth0", "wlan0")),
        ("[fe80::5%eth0]:7200", ("fe80::5%wlan0", "wlan0")),
        ("[fe80::5%eth9]:7200", ("fe80::5%eth9", "eth9")),  # that interface is gone
        ("[fe80::5%eth0]:443", ("fe80::5%eth0", "eth0")),
        ("203.0.113.7:7200", ("203.0.113.7", "eth0")),  # heard, but not on our network
    ],
)
def test_heard_elsewhere_does_not_count(text: str, heard: tuple[str, str]) -> None:
    """Another address, another interface, or one that does not lead there."""
    assert not dialed(candidate(text, Kind.HINT, heard=heard))


@pytest.mark.parametrize(
    ("text", "kind", "obstacle"),
    [
        ("10.0.0.1:7100", Kind.CONFIGURED, Obstacle.OURSELVES),
        ("169.254.169.254:7200", Kind.SIGNED, Obstacle.METADATA),
        ("[::7f00:1]:7200", Kind.SIGNED, Obstacle.DISGUISE),
        ("10.0.0.5:1023", Kind.HINT, Obstacle.PRIVILEGED),
        ("127.0.0.1:7200", Kind.SIGNED, Obstacle.NOT_HEARD),
        ("203.0.113.7:7200", Kind.HINT, Obstacle.ELSEWHERE),
        ("203.0.113.7:7200", Kind.KNOWN, None),
    ],
)
def test_the_obstacle_is_named(text: str, kind: Kind, obstacle: Obstacle | None) -> None:
    """For `explain`, which says why an address is not dialed."""
    assert obstacle_to(candidate(text, kind), network=NETWORK, own_port=PORT) is obstacle


def test_hints_follow_the_network() -> None:
    """The same hint is judged by where we are now."""
    hint = candidate("10.9.9.9:7200", Kind.HINT)
    assert not dialed(hint)
    moved = NetworkSnapshot((Interface("eth0", 2, (ip_interface("10.9.9.1/24"),)),))
    assert obstacle_to(hint, network=moved, own_port=PORT) is None


SIGNED = candidate("10.0.0.1:7001")
SIGNED_2 = candidate("10.0.0.2:7001")
CONFIGURED = candidate("10.0.0.3:7001", Kind.CONFIGURED, source="manual")
HINT = candidate("10.0.0.4:7001", Kind.HINT)
HINT_2 = candidate("10.0.0.5:7001", Kind.HINT)
KNOWN = candidate("10.0.0.6:7001", Kind.KNOWN, source="known")


def test_order_without_experience() -> None:
    """Signed, known, configured, hint; within a kind as given."""
    book = AddressBook()
    given_ = [HINT_2, HINT, CONFIGURED, KNOWN, SIGNED_2, SIGNED]
    assert book.order(KEY, given_, now=0.0) == [SIGNED_2, SIGNED, KNOWN, CONFIGURED, HINT_2, HINT]


@pytest.mark.parametrize("good", [SIGNED_2, CONFIGURED])
def test_where_it_worked_comes_first(good: Candidate) -> None:
    """The last known good address, if the peer or the operator stands by it still."""
    book = AddressBook()
    book.succeeded(KEY, good.address, now=5.0)
    assert book.order(KEY, [SIGNED, CONFIGURED, SIGNED_2, HINT], now=9.0)[0] is good


def test_the_newest_success_comes_first() -> None:
    """Of two that worked, the later."""
    book = AddressBook()
    book.succeeded(KEY, SIGNED_2.address, now=5.0)
    book.succeeded(KEY, CONFIGURED.address, now=6.0)
    assert book.order(KEY, [SIGNED, SIGNED_2, CONFIGURED], now=9.0) == [CONFIGURED, SIGNED_2, SIGNED]


@pytest.mark.parametrize("good", [HINT, KNOWN])
def test_a_hint_that_worked_never_outranks_what_is_signed(good: Candidate) -> None:
    """It may have been a relay; but it outranks what was never tried and nobody signed."""
    book = AddressBook()
    book.succeeded(KEY, good.address, now=5.0)
    book.failed(KEY, SIGNED.address, REFUSED, now=6.0)
    assert book.order(KEY, [HINT_2, good, CONFIGURED, SIGNED], now=9.0) == [SIGNED, good, CONFIGURED, HINT_2]


def test_failures_lower_and_never_exclude() -> None:
    """A thousand failures later the address is still tried, behind its equals."""
    book = AddressBook()
    book.succeeded(KEY, SIGNED.address, now=0.0)
    for tick in range(1000):
        book.failed(KEY, SIGNED.address, REFUSED, now=float(tick))
        book.failed(KEY, HINT.address, UnreachableReason.TIMEOUT, now=float(tick))
    ordered = book.order(KEY, [SIGNED, SIGNED_2, HINT, HINT_2], now=1000.0)
    assert ordered == [SIGNED_2, SIGNED, HINT_2, HINT]


def test_those_that_failed_take_turns() -> None:
    """The least recently failed is tried first, so that of many each has its turn."""
    book = AddressBook()
    book.failed(KEY, SIGNED.address, REFUSED, now=1.0)
    book.failed(KEY, SIGNED_2.address, REFUSED, now=2.0)
    assert book.order(KEY, [SIGNED, SIGNED_2], now=3.0) == [SIGNED, SIGNED_2]
    book.failed(KEY, SIGNED.address, REFUSED, now=3.0)
    assert book.order(KEY, [SIGNED, SIGNED_2], now=4.0) == [SIGNED_2, SIGNED]


def test_success_wipes_out_failure() -> None:
    """What works now is as good as what always did."""
    book = AddressBook()
    book.failed(KEY, SIGNED_2.address, REFUSED, now=1.0)
    book.succeeded(KEY, SIGNED_2.address, now=2.0)
    assert book.order(KEY, [SIGNED, SIGNED_2], now=3.0) == [SIGNED_2, SIGNED]


def test_a_wrong_key_penalises_the_address_for_a_minute() -> None:
    """Then it is tried again."""
    book = AddressBook()
    book.failed(KEY, HINT.address, WRONG_KEY, now=100.0)
    assert book.penalised(KEY, HINT.address, now=159.9)
    assert book.order(KEY, [HINT, HINT_2], now=159.9) == [HINT_2]
    assert book.next_release(KEY, now=159.9) == 160.0
    assert not book.penalised(KEY, HINT.address, now=160.0)
    assert book.order(KEY, [HINT, HINT_2], now=160.0) == [HINT_2, HINT]
    assert book.next_release(KEY, now=160.0) is None


def test_penalties_double_up_to_an_hour() -> None:
    """60 s, 120 s, … 3600 s, and it stays there."""
    book, now, penalties = AddressBook(), 0.0, []
    for _ in range(9):
        book.failed(KEY, HINT.address, WRONG_KEY, now=now)
        release = book.next_release(KEY, now=now)
        assert release is not None
        penalties.append(release - now)
        now = release
    assert penalties == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_second_wrong_key_during_the_penalty_does_not_count() -> None:
    """Two dials that were under way at once are one piece of evidence."""
    book = AddressBook()
    book.failed(KEY, HINT.address, WRONG_KEY, now=0.0)
    book.failed(KEY, HINT.address, WRONG_KEY, now=1.0)
    assert book.next_release(KEY, now=1.0) == 60.0


def test_success_ends_a_penalty() -> None:
    """The right peer answered after all; the next penalty is short again."""
    book = AddressBook()
    book.failed(KEY, HINT.address, WRONG_KEY, now=0.0)
    book.succeeded(KEY, HINT.address, now=1.0)
    assert not book.penalised(KEY, HINT.address, now=1.0)
    book.failed(KEY, HINT.address, WRONG_KEY, now=2.0)
    assert book.next_release(KEY, now=2.0) == 62.0


def test_a_penalty_is_for_one_source_and_one_peer() -> None:
    """A liar on one network cannot make an address unusable that the peer itself signed elsewhere."""
    book = AddressBook()
    liar = candidate("10.0.0.1:7001", Kind.HINT, source="liar")
    book.failed(KEY, liar.address, WRONG_KEY, now=0.0)
    assert book.order(KEY, [liar, SIGNED], now=1.0) == [SIGNED]
    assert not book.penalised(OTHER, liar.address, now=1.0)
    assert book.next_release(OTHER, now=1.0) is None


def test_only_a_wrong_key_is_penalised() -> None:
    """Every other reason may be over in a second."""
    book = AddressBook()
    for reason in set(UnreachableReason) - {WRONG_KEY}:
        book.failed(KEY, HINT.address, reason, now=0.0)
    assert not book.penalised(KEY, HINT.address, now=0.0)


def test_one_endpoint_is_dialed_once() -> None:
    """On the best word that there is for it."""
    book = AddressBook()
    same = candidate("10.0.0.1:7001", Kind.HINT, source="dht")
    assert book.order(KEY, [same, HINT, SIGNED], now=0.0) == [SIGNED, HINT]
    assert book.ranked(KEY, [same, HINT, SIGNED]) == [SIGNED, HINT]


def test_ranked_shows_everything() -> None:
    """For display: more than a race holds, and what is under a penalty too."""
    book = AddressBook()
    book.failed(KEY, SIGNED.address, WRONG_KEY, now=0.0)
    many = [candidate(f"10.0.0.{last}:7001") for last in range(1, 31)]
    assert [each.address for each in book.ranked(KEY, many)] == [each.address for each in many[1:] + many[:1]]


def test_a_race_has_at_most_sixteen() -> None:
    """The best sixteen."""
    many = [candidate(f"10.0.0.{last}:7001") for last in range(1, 31)]
    assert AddressBook().order(KEY, many, now=0.0) == many[:MAX_CANDIDATES]


def test_a_flood_crowds_out_nobody() -> None:
    """Whoever names many addresses, each kind and source keeps its part of the race."""
    book = AddressBook()
    signed = [candidate(f"10.0.3.{last}:7001") for last in range(1, 31)]
    lies = [candidate(f"10.0.1.{last}:7001", Kind.HINT) for last in range(1, 31)]
    hint = candidate("10.0.2.1:7001", Kind.HINT, source="bluetooth")
    for each in (CONFIGURED, hint, signed[0]):
        book.failed(KEY, each.address, REFUSED, now=0.0)
    race = book.order(KEY, [*lies, hint, CONFIGURED, *signed], now=1.0)
    assert len(race) == MAX_CANDIDATES
    assert CONFIGURED in race
    assert hint in race
    assert sum(each in signed for each in race) == 7
    assert race == sorted(race, key=[*signed[1:], signed[0], CONFIGURED, *lies, hint].index)


def test_every_address_has_its_turn_in_repeated_races() -> None:
    """Those that did not fit into one race are in the next."""
    book = AddressBook()
    many = [candidate(f"10.0.0.{last}:7001") for last in range(1, 33)]
    tried = set()
    for tick in range(2):
        for each in book.order(KEY, many, now=float(tick)):
            tried.add(each)
            book.failed(KEY, each.address, REFUSED, now=float(tick))
    assert tried == set(many)


KINDS = st.sampled_from(Kind)
CANDIDATES = st.builds(
    lambda last, kind, source: candidate(f"10.0.0.{last}:7001", kind, source=source),
    st.integers(1, 40),
    KINDS,
    st.sampled_from(["lan", "dht", "manual"]),
)
OUTCOMES = st.lists(st.tuples(CANDIDATES, st.sampled_from([None, *UnreachableReason])), max_size=40)


@given(st.lists(CANDIDATES, max_size=80), OUTCOMES)
def test_whatever_happened_before(
    candidates: list[Candidate], outcomes: list[tuple[Candidate, UnreachableReason | None]]
) -> None:
    """A race holds each endpoint once, nothing penalised, nothing that was not given, best first."""
    book = AddressBook()
    for tick, (each, reason) in enumerate(outcomes):
        if reason is None:
            book.succeeded(KEY, each.address, now=float(tick))
        else:
            book.failed(KEY, each.address, reason, now=float(tick))
    race = book.order(KEY, candidates, now=50.0)
    free = [each for each in candidates if not book.penalised(KEY, each.address, now=50.0)]
    endpoints = {each.address.endpoint for each in free}
    assert len(race) == len({each.address.endpoint for each in race}) == min(MAX_CANDIDATES, len(endpoints))
    assert set(race) <= set(free)
    assert [each for each in book.ranked(KEY, free) if each in race] == race


def test_memory_is_bounded_under_a_flood_of_places() -> None:
    """What worked outlives any number of places that did not."""
    book = AddressBook()
    book.succeeded(KEY, SIGNED.address, now=0.0)
    for number in range(5000):
        address = Address(ip_address(0x0B000000 + number), 7001, "lan")
        book.failed(KEY, address, WRONG_KEY if number % 2 else REFUSED, now=float(number))
        assert len(book) <= MAX_NOTES
    assert book.order(KEY, [SIGNED_2, SIGNED], now=6000.0) == [SIGNED, SIGNED_2]
    book.forget(KEY)
    assert len(book) == 0
    assert book.order(KEY, [SIGNED_2, SIGNED], now=6000.0) == [SIGNED_2, SIGNED]


def test_gaps_halve() -> None:
    """250 ms, then half as long each time, down to 10 ms."""
    schedule, now, gaps = RaceSchedule(), 10.0, []
    assert schedule.next_start(now=now) == now
    for _ in range(8):
        schedule.started(now=now)
        gaps.append(schedule.next_start(now=now) - now)
        now = schedule.next_start(now=now)
    assert gaps == pytest.approx([0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.01, 0.01, 0.01])


def test_a_failure_starts_the_next_at_once() -> None:
    """And the gap after that one is the next shorter."""
    schedule = RaceSchedule()
    schedule.started(now=0.0)
    schedule.failed()
    assert schedule.next_start(now=0.02) == 0.02
    schedule.started(now=0.02)
    assert schedule.next_start(now=0.02) == pytest.approx(0.02 + 0.125)


def test_a_late_start_does_not_pull_the_next_forward() -> None:
    """The gap counts from when one really started."""
    schedule = RaceSchedule()
    schedule.started(now=0.0)
    schedule.started(now=3.0)
    assert schedule.next_start(now=3.0) == pytest.approx(3.125)


def test_the_last_attempt_is_remembered() -> None:
    """The latest counts, and a wrong key says until when the address is left alone."""
    book, address = AddressBook(), SIGNED.address
    assert book.last_attempt(KEY, address, now=1.0) is None
    book.succeeded(KEY, address, now=2.0)
    assert book.last_attempt(KEY, address, now=3.0) == Attempt(2.0, None, None)
    book.failed(KEY, address, REFUSED, now=4.0)
    assert book.last_attempt(KEY, address, now=5.0) == Attempt(4.0, REFUSED, None)
    book.failed(KEY, address, WRONG_KEY, now=6.0)
    assert book.last_attempt(KEY, address, now=7.0) == Attempt(6.0, WRONG_KEY, 66.0)
    assert book.last_attempt(KEY, address, now=66.0) == Attempt(6.0, WRONG_KEY, None)
    book.succeeded(KEY, address, now=70.0)
    assert book.last_attempt(KEY, address, now=70.0) == Attempt(70.0, None, None)
