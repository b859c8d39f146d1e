"""The ledger: sightings in, events out, rule by rule; test_ledger_model.py checks all rules together."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

import pytest

from peernet_core.addresses import Address, Interface, IPAddress, NetworkSnapshot, parse_ip
from peernet_core.contract import Sighting
from peernet_core.decisions.candidates import obstacle_to
from peernet_core.decisions.ledger import MAX_ADDRESSES, Heard, Kind, Ledger
from peernet_core.events import Event, PeerDiscovered, PeerLost
from peernet_core.keys import PeerKey
from peernet_core.records import Record, SignedRecord

KEY = PeerKey(bytes([3]) * 32)
OTHER = PeerKey(bytes([4]) * 32)
A, B, C = "10.0.0.1:7100", "10.0.0.2:7100", "10.0.0.3:7100"


def record(
    sequence: int, *addresses: str, key: PeerKey = KEY, port: int = 7100, name: str = ""
) -> SignedRecord:
    """A record whose signature counts as checked; its bytes only have to be its own."""
    made = Record(key, sequence, port, tuple(map(Address.parse, addresses)), name)
    return SignedRecord(made, repr(made).encode())


def stop(sequence: int) -> SignedRecord:
    """The last record of a peer."""
    made = Record(KEY, sequence, 7100, stopped=True)
    return SignedRecord(made, repr(made).encode())


def discovered(*addresses: str, source: str = "lan", key: PeerKey = KEY) -> list[Event]:
    return [PeerDiscovered(key, Address.parse(each, source=source)) for each in addresses]


def lost(*sources: str, key: PeerKey = KEY) -> list[Event]:
    return [PeerLost(key, source) for source in sources]


def heard_at(text: str, interface: str) -> Heard:
    return parse_ip(text), interface


class Bench:
    """A ledger, and a clock that a test steps."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.now = 1000.0

    def record(
        self,
        signed: SignedRecord,
        source: str = "lan",
        *,
        ttl_s: float | None = 60.0,
        renew: bool = True,
        heard: Heard | None = None,
        via_link: bool = False,
    ) -> tuple[Sighting | None, list[Event]]:
        return self.ledger.record_seen(
            source, signed, ttl_s=ttl_s, renew=renew, heard=heard, via_link=via_link, now=self.now
        )

    def hint(
        self,
        address: str,
        source: str = "lan",
        *,
        key: PeerKey = KEY,
        ttl_s: float | None = 60.0,
        configured: bool = False,
    ) -> tuple[Sighting, list[Event]]:
        return self.ledger.hint_seen(
            source, key, Address.parse(address), ttl_s=ttl_s, configured=configured, now=self.now
        )

    def withdraw(self, sighting: Sighting | None) -> list[Event]:
        assert sighting is not None
        return self.ledger.withdraw(sighting, now=self.now)

    def withdraw_address(
        self, source: str = "lan", ip: IPAddress | None = None, port: int | None = None
    ) -> list[Event]:
        return self.ledger.withdraw_address(source, KEY, ip, port, now=self.now)

    def wait(self, seconds: float) -> list[Event]:
        self.now += seconds
        return self.ledger.expire(now=self.now)

    def live(self) -> set[str]:
        return {f"{each.address} {each.address.source}" for each in self.ledger.candidates(KEY)}


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Records and sequences.


def test_each_address_is_discovered_once(bench: Bench) -> None:
    """With the source that gave it; never again on a refresh."""
    sighting, events = bench.record(record(1, A, B))
    assert events == discovered(A, B)
    assert sighting is not None
    assert [str(each) for each in sighting.addresses] == [A, B]
    assert {each.source for each in sighting.addresses} == {"lan"}
    bench.now += 30
    assert bench.record(record(1, A, B)) == (sighting, [])


def test_each_source_discovers_on_its_own(bench: Bench) -> None:
    """One address from two sources is two pieces of news, and ends twice."""
    first, events = bench.record(record(1, A), "lan")
    assert events == discovered(A, source="lan")
    second, events = bench.record(record(1, A), "dht")
    assert events == discovered(A, source="dht")
    assert bench.withdraw(first) == lost("lan")
    assert bench.withdraw(second) == lost("dht")


def test_a_lower_sequence_is_dropped(bench: Bench) -> None:
    """Whichever source brings it."""
    bench.record(record(5, A))
    for source in ("lan", "dht"):
        assert bench.record(record(4, B), source) == (None, [])
    assert bench.live() == {f"{A} lan"}
    assert bench.ledger.highest_sequence(KEY) == 5


def test_the_highest_sequence_outlives_the_lease(bench: Bench) -> None:
    """An old record that somebody kept does not come back when the new one has run out."""
    bench.record(record(5, A))
    assert bench.wait(60) == lost("lan")
    assert bench.record(record(4, B)) == (None, [])
    assert bench.record(record(5, A))[1] == discovered(A)


def test_one_sequence_from_two_sources_is_a_union(bench: Bench) -> None:
    """Each carries the addresses that fit its medium."""
    bench.record(record(1, A), "lan")
    bench.record(record(1, B), "bluetooth")
    assert bench.live() == {f"{A} lan", f"{B} bluetooth"}


def test_one_sequence_from_one_source_is_a_union_too(bench: Bench) -> None:
    """A medium may carry one record for each link."""
    _, events = bench.record(record(1, A))
    _, more = bench.record(record(1, A, B))
    assert events + more == discovered(A, B)
    assert bench.live() == {f"{A} lan", f"{B} lan"}


def test_a_higher_sequence_ends_what_was_signed_before(bench: Bench) -> None:
    """From every source: the others have lost the peer until they bring the new record."""
    bench.record(record(1, A), "lan")
    bench.record(record(1, B), "dht")
    _, events = bench.record(record(2, C), "lan")
    assert events == discovered(C) + lost("dht")
    assert bench.live() == {f"{C} lan"}
    assert bench.record(record(2, C), "dht")[1] == discovered(C, source="dht")


def test_a_restart_on_another_port_is_discovered_and_not_lost(bench: Bench) -> None:
    """In one call, and without a gap."""
    bench.record(record(1, "10.0.0.1:7100"))
    _, events = bench.record(record(2, "10.0.0.1:7200", port=7200))
    assert events == discovered("10.0.0.1:7200")
    assert bench.live() == {"10.0.0.1:7200 lan"}


def test_an_address_that_stays_is_not_discovered_again(bench: Bench) -> None:
    """A new record often says the same."""
    bench.record(record(1, A, B))
    assert bench.record(record(2, B, C))[1] == discovered(C)


def test_a_higher_sequence_leaves_hints_and_configuration(bench: Bench) -> None:
    """The peer cannot speak for others."""
    bench.record(record(1, A), "lan")
    bench.hint(B, "lan")
    bench.hint(C, "manual", configured=True)
    assert bench.record(record(2, A), "dht")[1] == discovered(A, source="dht")
    assert bench.live() == {f"{B} lan", f"{C} manual", f"{A} dht"}


def test_a_stop_record_ends_all_that_was_signed(bench: Bench) -> None:
    """From every source, at once, wherever its sender was heard; what others said stands."""
    bench.record(record(1, A), "lan")
    bench.record(record(1, B), "dht")
    bench.hint(C, "dht")
    sighting, events = bench.record(stop(2), "lan", heard=heard_at("10.0.0.1", "eth0"))
    assert events == lost("lan")
    assert sighting is not None
    assert sighting.addresses == ()
    assert bench.live() == {f"{C} dht"}
    assert bench.record(record(1, A), "dht") == (None, [])
    assert bench.withdraw(sighting) == []
    assert bench.record(record(3, A), "lan")[1] == discovered(A)


def test_a_stop_record_needs_no_higher_sequence(bench: Bench) -> None:
    """It contradicts what was signed with the same one, and stopping is the last thing that a peer does."""
    bench.record(record(2, A))
    bench.record(record(2, B), "dht")
    assert bench.record(stop(2))[1] == lost("lan", "dht")


def test_a_stop_record_of_somebody_unknown(bench: Bench) -> None:
    """Nothing is lost that was not there; the sequence is kept."""
    assert bench.record(stop(2), heard=heard_at("fe80::5", "eth0"))[1] == []
    assert bench.ledger.keys() == ()
    assert bench.ledger.highest_sequence(KEY) == 2


def test_a_stop_over_a_link_ends_all_that_was_signed(bench: Bench) -> None:
    """Whatever its sequence, and though the link shows where the peer is."""
    heard = heard_at("10.0.0.1", "eth0")
    bench.record(record(9, A), "lan")
    bench.record(record(9), "inbound", via_link=True, heard=heard)
    assert bench.record(stop(3), "inbound", via_link=True, heard=heard)[1] == lost("lan", "inbound")
    assert bench.live() == set()


def test_a_record_without_addresses_is_no_stop(bench: Bench) -> None:
    """Unheard it adds nothing; it ends what was signed before, and nothing of its own sequence."""
    bench.record(record(1, A), "lan")
    bench.record(record(2, B), "dht")
    sighting, events = bench.record(record(2), "lan")
    assert sighting is not None
    assert (sighting.addresses, events) == ((), [])
    assert bench.live() == {f"{B} dht"}
    assert bench.record(record(3), "lan")[1] == lost("dht")
    assert bench.ledger.highest_sequence(KEY) == 3


def test_over_a_link_a_lower_sequence_wins(bench: Bench) -> None:
    """The peer was restored from a backup: it is right, and its sequence is the highest from now on."""
    bench.record(record(9, A), "lan")
    bench.record(record(9, A), "dht")
    _, events = bench.record(record(3, B), "inbound", via_link=True)
    assert events == discovered(B, source="inbound") + lost("lan", "dht")
    assert bench.ledger.highest_sequence(KEY) == 3
    assert bench.record(record(2, A), "lan") == (None, [])
    assert bench.record(record(4, C), "lan")[1] == discovered(C) + lost("inbound")


def test_over_a_link_the_same_record_is_one_more_source(bench: Bench) -> None:
    """Nothing is voided by what it says itself."""
    bench.record(record(3, A), "lan")
    assert bench.record(record(3, A), "inbound", via_link=True)[1] == discovered(A, source="inbound")
    assert bench.live() == {f"{A} lan", f"{A} inbound"}


def test_peers_do_not_mix(bench: Bench) -> None:
    """A sequence counts for its own key only."""
    bench.record(record(9, A))
    assert bench.record(record(1, A, key=OTHER))[1] == discovered(A, key=OTHER)
    assert set(bench.ledger.keys()) == {KEY, OTHER}
    assert bench.ledger.highest_sequence(OTHER) == 1


def test_bytes_are_known_while_held(bench: Bench) -> None:
    """A refresh needs no verification; after the lease, or from another source, it is checked again."""
    signed = record(1, A)
    assert not bench.ledger.knows_bytes("lan", signed.data)
    bench.record(signed, "lan")
    assert bench.ledger.knows_bytes("lan", signed.data)
    assert not bench.ledger.knows_bytes("dht", signed.data)
    assert not bench.ledger.knows_bytes("lan", signed.data + b"!")
    bench.wait(60)
    assert not bench.ledger.knows_bytes("lan", signed.data)


# Leases.


def test_a_lease_ends_on_time(bench: Bench) -> None:
    """At its deadline, which is known before; once."""
    bench.record(record(1, A), ttl_s=60)
    assert bench.ledger.next_deadline() == 1060.0
    assert bench.wait(59.9) == []
    assert bench.wait(0.1) == lost("lan")
    assert bench.wait(1) == []
    assert bench.ledger.next_deadline() is None


def test_a_refresh_extends_the_lease(bench: Bench) -> None:
    """From its receipt, also to a shorter one."""
    bench.record(record(1, A), ttl_s=60)
    bench.now += 30
    bench.record(record(1, A), ttl_s=60)
    assert bench.ledger.next_deadline() == 1090.0
    assert bench.wait(59) == []
    bench.record(record(1, A), ttl_s=5)
    assert bench.wait(5) == lost("lan")


def test_a_lease_without_end(bench: Bench) -> None:
    """It holds until it is withdrawn, or gets an end."""
    sighting, _ = bench.hint(A, "manual", ttl_s=None, configured=True)
    assert bench.ledger.next_deadline() is None
    assert bench.wait(1e9) == []
    bench.hint(A, "manual", ttl_s=10, configured=True)
    assert bench.wait(10) == lost("manual")
    assert bench.withdraw(sighting) == []


def test_a_refresh_before_anybody_noticed(bench: Bench) -> None:
    """Whoever comes back before the timer fired was never away."""
    bench.record(record(1, A), ttl_s=60)
    bench.now += 61
    assert bench.record(record(1, A), ttl_s=60)[1] == []
    assert bench.wait(0) == []


def test_the_last_lease_of_a_source_ends_it(bench: Bench) -> None:
    """Not the first of two."""
    bench.record(record(1, A), ttl_s=60)
    bench.hint(B, ttl_s=90)
    assert bench.wait(60) == []
    assert bench.wait(30) == lost("lan")


def test_two_leases_that_end_together_lose_the_source_once(bench: Bench) -> None:
    """Each source and key is lost once, in one call too."""
    bench.record(record(1, A))
    bench.hint(B)
    bench.hint(C, "dht")
    assert sorted(map(repr, bench.wait(60))) == sorted(map(repr, lost("lan", "dht")))


@pytest.mark.parametrize("ttl_s", [0.0, -5.0, float("nan")])
def test_a_lease_of_no_time_adds_nothing(bench: Bench, ttl_s: float) -> None:
    """And ends what it repeats, as a goodbye does."""
    assert bench.record(record(1, A), ttl_s=ttl_s)[1] == []
    assert bench.hint(B, ttl_s=ttl_s)[1] == []
    assert len(bench.ledger) == 0
    bench.record(record(1, A))
    assert bench.record(record(1, A), ttl_s=ttl_s)[1] == lost("lan")


def test_media_that_never_forget_do_not_renew(bench: Bench) -> None:
    """Reading the same again extends nothing, and brings nothing back when the lease is over."""
    signed = record(1, A)
    first, events = bench.record(signed, "folder", renew=False)
    assert events == discovered(A, source="folder")
    for _ in range(5):
        bench.now += 10
        assert bench.record(signed, "folder", renew=False) == (first, [])
    assert bench.wait(10) == lost("folder")
    for _ in range(3):
        bench.now += 10
        again, events = bench.record(signed, "folder", renew=False)
        assert (again is not None, events) == (True, [])
    assert bench.ledger.candidates(KEY) == []


def test_media_that_never_forget_are_read_again_without_verification(bench: Bench) -> None:
    """A dead peer's entry would else cost a verification at each reading."""
    signed = record(1, A)
    bench.record(signed, "folder", renew=False)
    bench.wait(60)
    assert bench.ledger.knows_bytes("folder", signed.data)
    newer = record(2, A)
    bench.record(newer, "folder", renew=False)
    assert not bench.ledger.knows_bytes("folder", signed.data)


def test_signing_anew_is_a_new_lease(bench: Bench) -> None:
    """On a medium that never forgets as on any other."""
    bench.record(record(1, A), "folder", renew=False)
    bench.now += 50
    assert bench.record(record(2, A), "folder", renew=False)[1] == []
    assert bench.wait(59) == []
    assert bench.wait(1) == lost("folder")
    assert bench.record(record(3, A), "folder", renew=False)[1] == discovered(A, source="folder")


def test_a_withdrawn_entry_that_is_read_again_has_its_first_lease(bench: Bench) -> None:
    """A file that was moved away and back is no new evidence."""
    sighting, _ = bench.record(record(1, A), "folder", renew=False)
    bench.now += 20
    assert bench.withdraw(sighting) == lost("folder")
    assert bench.record(record(1, A), "folder", renew=False)[1] == discovered(A, source="folder")
    assert bench.ledger.next_deadline() == 1060.0


def test_two_records_of_one_sequence_share_the_lease_of_a_medium_that_never_forgets(bench: Bench) -> None:
    """An unchanged sequence is no new evidence, whatever else changed."""
    bench.record(record(1, A), "folder", renew=False)
    bench.now += 20
    assert bench.record(record(1, B), "folder", renew=False)[1] == discovered(B, source="folder")
    assert bench.wait(40) == lost("folder")


def test_other_sources_renew_what_a_folder_does_not(bench: Bench) -> None:
    """What a live medium says counts for its own lease."""
    bench.record(record(1, A), "folder", renew=False)
    bench.wait(60)
    assert bench.record(record(1, A), "lan")[1] == discovered(A)


def test_a_dead_entry_does_not_undo_what_the_peer_said_over_a_link(bench: Bench) -> None:
    """The folder still holds the sequence from before the peer was restored from a backup."""
    bench.record(record(9, A), "folder", renew=False)
    bench.wait(60)
    bench.record(record(3, B), "inbound", via_link=True)
    assert bench.record(record(9, A), "folder", renew=False)[1] == []
    assert bench.live() == {f"{B} inbound"}
    assert bench.ledger.highest_sequence(KEY) == 3


# Hints, and withdrawing.


def test_the_same_hint_is_a_refresh(bench: Bench) -> None:
    """One sighting, one event, the later lease."""
    first, events = bench.hint(A)
    assert events == discovered(A)
    bench.now += 30
    assert bench.hint(A) == (first, [])
    assert bench.wait(59) == []
    assert bench.wait(1) == lost("lan")


def test_a_hint_carries_its_own_source(bench: Bench) -> None:
    """Whatever the address said before."""
    address = Address.parse(A, source="elsewhere")
    sighting, events = bench.ledger.hint_seen("lan", KEY, address, ttl_s=1, configured=False, now=0.0)
    assert events == discovered(A)
    assert sighting.addresses[0].source == "lan"


def test_kinds(bench: Bench) -> None:
    """On whose word each address stands."""
    bench.record(record(4, A), "lan")
    bench.hint(B, "lan")
    bench.hint(C, "manual", configured=True)
    bench.hint(A, "known")
    kinds = {(str(each.address), each.kind, each.sequence) for each in bench.ledger.candidates(KEY)}
    assert kinds == {
        (A, Kind.SIGNED, 4),
        (B, Kind.HINT, None),
        (C, Kind.CONFIGURED, None),
        (A, Kind.KNOWN, None),
    }


def test_candidates_tell_when(bench: Bench) -> None:
    """When last reported, and until when it holds."""
    bench.hint(A, ttl_s=60)
    bench.now += 7
    bench.hint(A, ttl_s=10)
    (candidate,) = bench.ledger.candidates(KEY)
    assert (candidate.seen_at, candidate.expires_at) == (1007.0, 1017.0)


def test_candidates_of_one_report_keep_its_order(bench: Bench) -> None:
    """It is the signer's preference; the newest report comes first."""
    bench.hint("10.0.0.9:7100")
    bench.now += 1
    bench.record(record(1, C, A, B))
    assert [str(each.address) for each in bench.ledger.candidates(KEY)] == [C, A, B, "10.0.0.9:7100"]


def test_what_two_reports_say_is_one_candidate(bench: Bench) -> None:
    """For each source and kind, with the longer lease."""
    bench.record(record(1, A), ttl_s=60)
    bench.record(record(1, A, name="x"), ttl_s=90)
    bench.record(record(1, A, name="y"), ttl_s=30)
    (candidate,) = bench.ledger.candidates(KEY)
    assert candidate.expires_at == 1090.0
    bench.record(record(1, A, name="z"), ttl_s=None)
    (candidate,) = bench.ledger.candidates(KEY)
    assert candidate.expires_at is None


def test_withdrawing_one_sighting_leaves_the_other(bench: Bench) -> None:
    """Two of one source may cover the same address."""
    first, _ = bench.record(record(1, A))
    second, events = bench.hint(A)
    assert events == []
    assert bench.withdraw(first) == []
    assert bench.live() == {f"{A} lan"}
    assert bench.withdraw(second) == lost("lan")


def test_withdrawing_what_has_ended_does_nothing(bench: Bench) -> None:
    """Voided, expired, withdrawn before: the goodbye comes late, and what came since stands."""
    voided, _ = bench.record(record(1, A))
    bench.record(record(2, A))
    assert bench.withdraw(voided) == []
    expired, _ = bench.hint(B, ttl_s=1)
    bench.wait(1)
    again, _ = bench.hint(B)
    assert bench.withdraw(expired) == []
    assert bench.live() == {f"{A} lan", f"{B} lan"}
    assert bench.withdraw(again) == []
    assert bench.withdraw(again) == []
    assert bench.live() == {f"{A} lan"}


def test_a_source_withdraws_its_own_sightings_only(bench: Bench) -> None:
    """A handle that somebody made up ends nothing of others."""
    sighting, _ = bench.hint(A, "lan")
    forged = Sighting(sighting.id, KEY, "dht", sighting.addresses)
    assert bench.withdraw(forged) == []
    assert bench.live() == {f"{A} lan"}


def test_withdrawing_an_address(bench: Bench) -> None:
    """Every sighting of the source that names it, and no other source's."""
    bench.record(record(1, A, B))
    bench.hint(A)
    bench.hint(C)
    bench.hint(A, "dht")
    assert bench.withdraw_address(ip=ip_address("10.0.0.1"), port=7101) == []
    assert bench.withdraw_address(ip=ip_address("10.0.0.1"), port=7100) == []
    assert bench.live() == {f"{C} lan", f"{A} dht"}
    assert bench.withdraw_address(ip=IPv6Address("::ffff:10.0.0.3")) == lost("lan")


def test_withdrawing_a_key(bench: Bench) -> None:
    """Without an address: all that this source said of it."""
    bench.record(record(1, A))
    bench.hint(B)
    bench.hint(C, key=OTHER)
    assert bench.withdraw_address() == lost("lan")
    assert bench.withdraw_address() == []
    assert bench.ledger.keys() == (OTHER,)


# Where a sender was heard.


def test_a_sender_that_was_heard_is_one_more_address(bench: Bench) -> None:
    """With the record's port: the way to loopback and link-local addresses, which no record holds."""
    signed = record(1, A)
    sighting, events = bench.record(signed, heard=heard_at("fe80::5", "eth0"))
    assert events == discovered(A, "[fe80::5%eth0]:7100")
    assert sighting is not None
    assert len(sighting.addresses) == 2
    first, second = bench.ledger.candidates(KEY)
    assert (first.kind, first.heard) == (Kind.SIGNED, None)
    assert (second.kind, second.heard) == (Kind.HINT, (IPv6Address("fe80::5%eth0"), "eth0"))
    assert second.sequence == 1


def test_a_sender_heard_at_a_signed_address_is_none(bench: Bench) -> None:
    """It is signed, which counts for more."""
    bench.record(record(1, A), heard=heard_at("10.0.0.1", "eth0"))
    (candidate,) = bench.ledger.candidates(KEY)
    assert candidate.kind is Kind.SIGNED
    assert candidate.heard is None


def test_a_sender_heard_on_two_interfaces(bench: Bench) -> None:
    """Each is a sighting with its own lease."""
    signed = record(1, A)
    first, _ = bench.record(signed, heard=heard_at("fe80::5", "eth0"))
    second, events = bench.record(signed, heard=heard_at("fe80::5", "wlan0"))
    assert events == discovered("[fe80::5%wlan0]:7100")
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert bench.withdraw(first) == []
    assert bench.live() == {f"{A} lan", "[fe80::5%wlan0]:7100 lan"}
    assert bench.withdraw(second) == lost("lan")


def test_a_higher_sequence_ends_where_the_sender_was_heard(bench: Bench) -> None:
    """Its port was the old record's."""
    bench.record(record(1, A), heard=heard_at("fe80::5", "eth0"))
    bench.record(record(2, A, port=7200), heard=heard_at("fe80::5", "eth0"))
    assert bench.live() == {f"{A} lan", "[fe80::5%eth0]:7200 lan"}


@pytest.mark.parametrize(
    ("ip", "interface", "own", "dialed"),
    [
        ("fe80::5", "eth0", "fe80::1/64", "[fe80::5%eth0]:7100"),
        ("127.0.0.1", "lo", "127.0.0.1/8", "127.0.0.1:7100"),
    ],
)
def test_a_peer_without_addresses_is_where_it_is_heard(
    bench: Bench, ip: str, interface: str, own: str, dialed: str
) -> None:
    """A host that has only link-local addresses runs all the same; its word for the place is no signature."""
    heard = heard_at(ip, interface)
    bench.record(record(1, A), "dht")
    sighting, events = bench.record(record(2), heard=heard)
    assert events == discovered(dialed) + lost("dht")
    assert bench.record(record(2), heard=heard) == (sighting, [])
    (candidate,) = bench.ledger.candidates(KEY)
    assert (str(candidate.address), candidate.kind, candidate.sequence) == (dialed, Kind.HINT, 2)
    assert candidate.heard == (candidate.address.ip, interface)
    for name, dials in ((interface, True), ("wlan0", False)):
        network = NetworkSnapshot((Interface(name, 1, (ip_interface(own),)),))
        assert (obstacle_to(candidate, network=network, own_port=7200) is None) is dials
    assert bench.record(record(3, B))[1] == discovered(B)
    assert bench.live() == {f"{B} lan"}


def test_a_peer_without_addresses_is_where_its_link_comes_from(bench: Bench) -> None:
    """Over a link it is as on a medium that shows the sender."""
    bench.record(record(9, A), "lan")
    _, events = bench.record(record(2), "inbound", via_link=True, heard=heard_at("fe80::5", "eth0"))
    assert events == discovered("[fe80::5%eth0]:7100", source="inbound") + lost("lan")
    (candidate,) = bench.ledger.candidates(KEY)
    assert candidate.kind is Kind.HINT


def test_a_heard_peer_that_stops_is_lost(bench: Bench) -> None:
    """Its last record is heard from the same place, which is no sign of life."""
    heard = heard_at("fe80::5", "eth0")
    bench.record(record(1), heard=heard)
    sighting, events = bench.record(stop(2), heard=heard)
    assert events == lost("lan")
    assert sighting is not None
    assert sighting.addresses == ()
    assert bench.live() == set()


@pytest.mark.parametrize(
    "heard",
    [
        (IPv4Address("0.0.0.0"), "eth0"),
        (IPv4Address("224.0.0.251"), "eth0"),
        (IPv6Address("64:ff9b::a9fe:a9fe"), "eth0"),
        (IPv6Address("fe80::5"), ""),
        (IPv6Address("fe80::5"), "eth%0"),
    ],
)
def test_a_sender_that_can_be_nobodys(bench: Bench, heard: Heard) -> None:
    """What the network made up is left out; the record counts."""
    assert bench.record(record(1), heard=heard)[1] == []
    assert bench.record(record(1, A), heard=heard)[1] == discovered(A)


def test_a_mapped_sender_is_its_ipv4_address(bench: Bench) -> None:
    """A dual-stack socket shows it so."""
    _, events = bench.record(record(1, A), heard=(IPv6Address("::ffff:10.0.0.9"), "eth0"))
    assert events == discovered(A, "10.0.0.9:7100")


# Quotas.


def test_the_oldest_hint_gives_way(bench: Bench) -> None:
    """Of the 33rd and the others the one that was reported longest ago; that is no loss."""
    for last in range(1, MAX_ADDRESSES + 1):
        bench.hint(f"10.0.1.{last}:7100")
        bench.now += 0.1
    bench.hint("10.0.1.1:7100")
    assert bench.hint("10.0.2.1:7100")[1] == discovered("10.0.2.1:7100")
    live = bench.live()
    assert len(live) == MAX_ADDRESSES
    assert "10.0.1.1:7100 lan" in live
    assert "10.0.1.2:7100 lan" not in live


def test_configured_addresses_never_give_way(bench: Bench) -> None:
    """However many there are, and whatever is said besides."""
    for last in range(1, 41):
        bench.hint(f"10.0.1.{last}:7100", configured=True)
    sighting, events = bench.hint("10.0.2.1:7100")
    assert events == []
    assert bench.withdraw(sighting) == []
    assert len(bench.live()) == 40


def test_hints_do_not_push_out_what_is_signed(bench: Bench) -> None:
    """Anybody can make hints."""
    bench.record(record(1, A, B))
    bench.now += 1
    for number in range(1000):
        bench.hint(str(Address(ip_address(0x0B000000 + number), 7100)))
    assert {f"{A} lan", f"{B} lan"} <= bench.live()
    assert len(bench.live()) == MAX_ADDRESSES


def test_quotas_are_for_each_key_and_source(bench: Bench) -> None:
    """One source's flood takes nothing from another's, nor one key's from another's."""
    bench.hint(A, "quiet")
    bench.hint(A, "lan", key=OTHER)
    for number in range(100):
        bench.hint(str(Address(ip_address(0x0B000000 + number), 7100)), "lan")
    assert f"{A} quiet" in bench.live()
    assert len(bench.ledger.candidates(OTHER)) == 1


def test_memory_is_bounded_under_floods(bench: Bench) -> None:
    """Of spoofed senders, of variants of one record, of hints, of comings and goings."""
    for number in range(3000):
        bench.now += 0.01
        bench.record(record(1, A), heard=(ip_address(0x0A000100 + number), "eth0"))
        bench.record(record(1, A, name=str(number)), "dht")
        bench.hint(str(Address(ip_address(0x0B000000 + number), 7100)), "manual")
        bench.withdraw(bench.hint(B, "folder")[0])
        bench.record(record(number + 2, B, key=OTHER), "folder", renew=False)
    ledger = bench.ledger
    assert len(ledger) <= 3 * MAX_ADDRESSES + 1
    assert len(ledger.candidates(KEY)) <= 3 * MAX_ADDRESSES
    assert len(ledger._verified) <= 2 * MAX_ADDRESSES + 2
    assert len(ledger._deadlines) == len(ledger)
    assert len(ledger._deadlines._heap) <= 2 * len(ledger) + 64
    assert bench.live() >= {f"{A} lan", f"{A} dht"}
    bench.wait(1e6)
    assert len(ledger) == len(ledger._deadlines) == 0
    assert ledger._verified.keys() == {("folder", record(3001, B, key=OTHER).data)}


def test_a_key_of_which_only_hints_were_known_leaves_nothing(bench: Bench) -> None:
    """There is no sequence to remember."""
    bench.hint(A)
    bench.wait(60)
    assert not bench.ledger._peers


# Trust that comes and goes.


def test_forgetting_hands_over_what_was_said(bench: Bench) -> None:
    """Without events: no lease has ended. Nothing of the key is left."""
    bench.record(record(5, A), "lan")
    bench.hint(B, "dht", ttl_s=None)
    bench.record(record(6, C), "folder", renew=False)
    statements = bench.ledger.forget(KEY)
    assert {each.sighting.source for each in statements} == {"dht", "folder"}
    assert (len(bench.ledger), bench.ledger.highest_sequence(KEY)) == (0, 0)
    assert not bench.ledger._verified
    assert bench.ledger.next_deadline() is None
    assert bench.ledger.forget(KEY) == ()


def test_what_was_handed_over_can_be_admitted(bench: Bench) -> None:
    """With the same sighting, so that the backend's handle still ends it, and what is left of the lease."""
    sighting, _ = bench.record(record(5, A), ttl_s=60, heard=heard_at("fe80::5", "eth0"))
    (statement,) = bench.ledger.forget(KEY)
    bench.now += 20
    assert bench.ledger.admit(statement, now=bench.now) == discovered(A, "[fe80::5%eth0]:7100")
    assert bench.ledger.next_deadline() == 1060.0
    assert bench.ledger.highest_sequence(KEY) == 5
    assert bench.withdraw(sighting) == lost("lan")


def test_what_ran_out_or_is_outdated_is_not_admitted(bench: Bench) -> None:
    """It is told to nobody, and a newer record stands."""
    bench.record(record(5, A), ttl_s=60)
    (old,) = bench.ledger.forget(KEY)
    bench.record(record(6, B), ttl_s=600)
    assert bench.ledger.admit(old, now=bench.now) == []
    bench.hint(C, ttl_s=10)
    hint = next(each for each in bench.ledger.forget(KEY) if each.kind is Kind.HINT)
    bench.now += 10
    assert bench.ledger.admit(hint, now=bench.now) == []
    assert len(bench.ledger) == 0


def test_what_is_there_already_is_not_admitted_twice(bench: Bench) -> None:
    """The report that came in meanwhile counts."""
    bench.hint(A)
    (statement,) = bench.ledger.forget(KEY)
    bench.now += 5
    bench.hint(A)
    assert bench.ledger.admit(statement, now=bench.now) == []
    assert len(bench.ledger) == 1
    assert bench.ledger.next_deadline() == 1065.0


def test_a_fixed_lease_stays_fixed_after_admission(bench: Bench) -> None:
    """A folder's reading does not become fresh by a change of trust."""
    bench.record(record(5, A), "folder", renew=False)
    (statement,) = bench.ledger.forget(KEY)
    bench.ledger.admit(statement, now=bench.now)
    assert bench.wait(60) == lost("folder")
    assert bench.record(record(5, A), "folder", renew=False)[1] == []


def test_sighting_numbers_are_never_used_twice(bench: Bench) -> None:
    """Whatever ended in between."""
    ids = set()
    for number in range(50):
        sighting, _ = bench.hint(A, ttl_s=1)
        ids.add(sighting.id)
        stopped, _ = bench.record(stop(number + 1))
        assert stopped is not None
        ids.add(stopped.id)
        bench.wait(1)
    assert len(ids) == 100


@pytest.mark.parametrize("peers", [10_000])
def test_ten_thousand_peers(bench: Bench, peers: int) -> None:
    """They come, are refreshed, and go; each makes its two events, and nothing is left over."""
    ledger, signed = bench.ledger, []
    for number in range(peers):
        key = PeerKey(number.to_bytes(4, "big") + bytes([7]) * 28)
        made = Record(key, 1, 7100, (Address(ip_address(0x0B000000 + number), 7100),))
        signed.append(SignedRecord(made, number.to_bytes(4, "big")))
    events = [event for each in signed for event in bench.record(each)[1]]
    bench.now += 30
    refreshed = [event for each in signed for event in bench.record(each)[1]]
    assert (len(events), refreshed) == (peers, [])
    assert len(ledger._deadlines._heap) == peers
    assert bench.wait(59) == []
    assert len(bench.wait(1)) == peers
    assert len(ledger) == 0
