"""What becomes of a report: believed, noted, or counted and dropped."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address
from peernet_core.decisions.sightings import Sightings
from peernet_core.errors import MalformedRecordError
from peernet_core.events import PeerDiscovered, PeerDropped, PeerLost
from peernet_core.keys import Identity
from peernet_core.records import Record, encode_record
from peernet_core.trust import TrustedPeer, TrustList

ME, FRIEND, STRANGER = (Identity.generate() for _ in range(3))
IP = ip_address("10.0.0.2")
HERE = Address(IP, 7100, "lan")


@pytest.fixture
def trust() -> TrustList:
    return TrustList([TrustedPeer(FRIEND.key, "friend")])


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
def sightings(trust: TrustList, counts: Counter[str]) -> Sightings:
    return Sightings(me=ME.key, trust=trust, counts=counts)


def record_of(identity: Identity, sequence: int = 1, *ports: int) -> bytes:
    addresses = tuple(Address(IP, port) for port in ports or (7100,))
    return encode_record(Record(identity.key, sequence, 7100, addresses), identity)


def forged(sequence: int = 1) -> bytes:
    """A record in a friend's name with a signature that is not its."""
    data = bytearray(record_of(FRIEND, sequence))
    data[-1] ^= 1
    return bytes(data)


def receive(sightings: Sightings, data: bytes, *, now: float = 0.0, source: str = "lan") -> list[object]:
    report = sightings.record_received(source, data, ttl_s=60, renew=True, heard=None, now=now)
    return list(report.events)


def test_a_trusted_record_is_believed(sightings: Sightings) -> None:
    """Its addresses become live, under the source that brought it."""
    assert receive(sightings, record_of(FRIEND)) == [PeerDiscovered(FRIEND.key, HERE)]
    assert receive(sightings, record_of(FRIEND)) == []


def test_a_forged_record_changes_nothing(sightings: Sightings, counts: Counter[str]) -> None:
    """Not even when its sequence is higher: the true one stays."""
    receive(sightings, record_of(FRIEND, 5))
    assert receive(sightings, forged(6)) == []
    assert counts["signatures_bad"] == 1
    assert sightings.ledger.highest_sequence(FRIEND.key) == 5


def test_forgeries_cost_twenty_verifications_a_second(sightings: Sightings, counts: Counter[str]) -> None:
    """The flood is dropped unverified; another source can still bring the true one."""
    for sequence in range(1, 200):
        receive(sightings, forged(sequence))
    assert counts["signatures_bad"] == 20
    assert counts["verifications_limited"] == 179
    assert receive(sightings, record_of(FRIEND), source="other") != []


def test_an_older_record_is_dropped_before_it_is_verified(sightings: Sightings, counts: Counter[str]) -> None:
    """A replay costs nothing."""
    receive(sightings, record_of(FRIEND, 5))
    assert receive(sightings, forged(4)) == []
    assert (counts["records_outdated"], counts["signatures_bad"]) == (1, 0)


@given(st.binary(max_size=240))
def test_garbage_is_counted_and_dropped(data: bytes) -> None:
    """Whatever the bytes are, nothing is raised and there is no sighting."""
    counts = Counter[str]()
    sightings = Sightings(me=ME.key, trust=TrustList(), counts=counts)
    report = sightings.record_received("lan", data, ttl_s=60, renew=True, heard=None, now=0.0)
    assert report.sighting is None
    assert counts["records_malformed"] == 1


def test_a_stranger_is_mentioned_once_in_ten_minutes(sightings: Sightings) -> None:
    """For each source; it gets a sighting all the same."""
    report = sightings.record_received("lan", record_of(STRANGER), ttl_s=60, renew=True, heard=None, now=0.0)
    assert report.sighting is not None
    assert report.events == [PeerDropped(STRANGER.key, HERE, "not in the trust list")]
    assert receive(sightings, record_of(STRANGER, 2), now=599) == []
    assert receive(sightings, record_of(STRANGER, 3), now=601) != []


def test_what_was_heard_of_a_stranger_counts_when_it_is_trusted(
    sightings: Sightings, trust: TrustList
) -> None:
    """Records only if they verify; what is known comes back as a stranger's when trust ends."""
    receive(sightings, record_of(STRANGER))
    sightings.peer_discovered("lan", STRANGER.key, Address(IP, 9000), ttl_s=None, configured=True, now=0.0)
    trust.add(STRANGER.key)
    found = sightings.trusted(STRANGER.key, now=1.0)
    assert found == [
        PeerDiscovered(STRANGER.key, HERE),
        PeerDiscovered(STRANGER.key, Address(IP, 9000, "lan")),
    ]
    trust.remove(STRANGER.key)
    sightings.untrusted(STRANGER.key, now=2.0)
    assert sightings.ledger.candidates(STRANGER.key) == []
    trust.add(STRANGER.key)
    assert len(sightings.trusted(STRANGER.key, now=3.0)) == 2


def test_a_forged_record_of_a_stranger_is_found_out_when_it_is_trusted(
    sightings: Sightings, trust: TrustList, counts: Counter[str]
) -> None:
    """It was never verified before, so it is then."""
    trust.remove(FRIEND.key)
    receive(sightings, forged())
    trust.add(FRIEND.key)
    assert sightings.trusted(FRIEND.key, now=1.0) == []
    assert counts["signatures_bad"] == 1


def test_our_own_record_is_no_sighting(sightings: Sightings) -> None:
    """A newer one than ours is remembered, if we did sign it."""
    assert receive(sightings, record_of(ME, 9)) == []
    assert sightings.own_sequence == 9
    data = bytearray(record_of(ME, 50))
    data[-1] ^= 1
    receive(sightings, bytes(data))
    assert sightings.own_sequence == 9


def test_over_a_link_only_the_peers_own_record_passes(sightings: Sightings) -> None:
    """Somebody else's, a forged one and garbage are refused."""
    for data in (record_of(STRANGER), forged(), b"garbage"):
        with pytest.raises(MalformedRecordError):
            sightings.over_link(FRIEND.key, data, (IP, "eth0"), now=0.0)
    record, events = sightings.over_link(FRIEND.key, record_of(FRIEND, 3), (IP, "eth0"), now=0.0)
    assert record.sequence == 3
    assert events == [PeerDiscovered(FRIEND.key, Address(IP, 7100, "inbound"))]


def test_a_peer_without_addresses_is_told_from_one_that_stopped(sightings: Sightings) -> None:
    """On a medium and over a link: the first is where it is heard, the second nowhere."""
    heard = (ip_address("fe80::2"), "eth0")
    there = Address.parse("[fe80::2%eth0]:7100")
    for sequence, source in ((1, "lan"), (3, "inbound")):
        events = []
        for each in (
            Record(FRIEND.key, sequence, 7100),
            Record(FRIEND.key, sequence + 1, 7100, stopped=True),
        ):
            data = encode_record(each, FRIEND)
            if source == "lan":
                report = sightings.record_received(source, data, ttl_s=60, renew=True, heard=heard, now=0.0)
                events += report.events
            else:
                events += sightings.over_link(FRIEND.key, data, heard, now=0.0)[1]
        assert events == [
            PeerDiscovered(FRIEND.key, there.with_source(source)),
            PeerLost(FRIEND.key, source),
        ]


def test_a_stranger_that_stopped_is_not_mentioned(sightings: Sightings) -> None:
    """There is nowhere to say that it is; one that has no addresses to tell is where it was heard."""
    heard = (ip_address("fe80::2"), "eth0")
    told = []
    for record in (Record(STRANGER.key, 2, 7100, stopped=True), Record(STRANGER.key, 1, 7100)):
        data = encode_record(record, STRANGER)
        told.append(sightings.record_received("lan", data, ttl_s=60, renew=True, heard=heard, now=0.0).events)
    there = Address.parse("[fe80::2%eth0]:7100", source="lan")
    assert told == [[], [PeerDropped(STRANGER.key, there, "not in the trust list")]]


def test_a_lease_ends_unless_it_is_refreshed(sightings: Sightings) -> None:
    """The loss names the source."""
    receive(sightings, record_of(FRIEND), now=0.0)
    receive(sightings, record_of(FRIEND), now=40.0)
    assert sightings.expire(now=70.0) == []
    assert sightings.next_deadline() == 100.0
    assert sightings.expire(now=100.0) == [PeerLost(FRIEND.key, "lan")]
    assert sightings.next_deadline() is None


def test_withdrawing_ends_one_sighting(sightings: Sightings) -> None:
    """Of a friend or of a stranger alike."""
    for key in (FRIEND.key, STRANGER.key):
        report = sightings.peer_discovered(
            "lan", key, Address(IP, 7100), ttl_s=None, configured=False, now=0.0
        )
        assert report.sighting is not None
        events = sightings.peer_lost(report.sighting, now=1.0)
        assert events == ([PeerLost(key, "lan")] if key == FRIEND.key else [])
    assert sightings.strangers.listing() == ()
