"""The ledger against a naive model: any sequence of reports gives the same events and the same state.

The model is a list of leases. It knows no heap, no counters and no indices: what changed is the difference
between what was live before and what is live after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peernet_core.addresses import Address
from peernet_core.contract import Sighting
from peernet_core.decisions.ledger import Heard, Kind, Ledger, Statement
from peernet_core.events import Event, PeerDiscovered, PeerLost
from peernet_core.keys import PeerKey
from peernet_core.records import Record, SignedRecord

T = TypeVar("T")
Place = tuple[str, int]
KeyAndSource = tuple[PeerKey, str]

KEYS = [PeerKey(bytes([each]) * 32) for each in (3, 4)]
SOURCES = ["lan", "folder", "known"]
PORTS = [7100, 7200]
SENDERS: dict[str, tuple[Heard | None, str]] = {
    "nowhere": (None, ""),
    "link-local": ((ip_address("fe80::9"), "eth0"), "fe80::9%eth0"),
    "other interface": ((ip_address("fe80::9"), "wlan0"), "fe80::9%wlan0"),
    "signed or not": ((ip_address("10.0.0.1"), "eth0"), "10.0.0.1"),
    "nobody": ((ip_address("224.0.0.1"), "eth0"), ""),
}


@attrs.define(eq=False)
class Lease:
    """One thing that one source said."""

    number: int
    key: PeerKey
    source: str
    places: list[Place]
    seen: float
    end: float
    data: bytes = b""
    sequence: int = 0
    sender: str = "nowhere"
    kind: Kind = Kind.SIGNED
    renew: bool = True
    heard: Place | None = None
    stopped: bool = False


@attrs.define(eq=False)
class Model:
    """What the ledger should do, in as few words as possible."""

    leases: list[Lease] = attrs.Factory(list)
    highest: dict[PeerKey, int] = attrs.Factory(dict)
    fixed: dict[tuple[PeerKey, str], tuple[int, float, bytes]] = attrs.Factory(dict)

    def live(self) -> set[tuple[PeerKey, str, Place]]:
        return {(each.key, each.source, place) for each in self.leases for place in each.places}

    def events(self, act: Callable[[], T]) -> tuple[T, Counter[Event]]:
        """Do something, and say what is different afterwards."""
        before = self.live()
        result = act()
        after = self.live()
        events: Counter[Event] = Counter()
        for key, source, (ip, port) in after - before:
            events[PeerDiscovered(key, Address(ip_address(ip), port, source))] += 1
        for key, source in {each[:2] for each in before} - {each[:2] for each in after}:
            events[PeerLost(key, source)] += 1
        return result, events

    def end(self, leases: Iterable[Lease]) -> None:
        ended = list(leases)
        self.leases = [each for each in self.leases if each not in ended]

    def refresh(self, lease: Lease, end: float, now: float) -> int:
        lease.seen, lease.end = now, end
        if end <= now:
            self.end([lease])
        return lease.number

    def add(self, lease: Lease, now: float) -> int:
        if lease.sequence:
            if not lease.renew:
                self.fixed[lease.key, lease.source] = (lease.sequence, lease.end, lease.data)
            self.highest[lease.key] = lease.sequence
            self.end(
                each
                for each in self.leases
                if each.key == lease.key
                and each.sequence
                and (each.sequence != lease.sequence or lease.stopped)
            )
        if lease.places and lease.end > now:
            self.leases.append(lease)
            self.shrink(lease.key, lease.source)
        return lease.number

    def shrink(self, key: PeerKey, source: str) -> None:
        while True:
            mine = [each for each in self.leases if (each.key, each.source) == (key, source)]
            if len(mine) <= 32 and len({place for each in mine for place in each.places}) <= 32:
                return
            weak = [each for each in mine if each.kind in {Kind.HINT, Kind.KNOWN}]
            signed = [each for each in mine if each.kind is Kind.SIGNED]
            if not weak + signed:
                return
            oldest = min(each.seen for each in weak or signed)
            self.end(next([each] for each in weak or signed if each.seen == oldest))

    def record(self, new: Lease, *, via_link: bool, now: float) -> int | None:
        for each in self.leases:
            if (each.key, each.source, each.data, each.sender) == (new.key, new.source, new.data, new.sender):
                return self.refresh(each, new.end if new.renew else each.end, now)
        if new.sequence < self.highest.get(new.key, 0) and not via_link:
            return None
        if not new.renew:
            sequence, end, _ = self.fixed.get((new.key, new.source), (0, 0.0, b""))
            if sequence == new.sequence:
                new.end = end
                if end <= now:
                    return new.number
        return self.add(new, now)

    def hint(self, new: Lease, *, now: float) -> int:
        for each in self.leases:
            same = (each.key, each.source, each.kind, each.places)
            if same == (new.key, new.source, new.kind, new.places):
                return self.refresh(each, new.end, now)
        return self.add(new, now)

    def admit(self, lease: Lease, *, now: float) -> None:
        for each in self.leases:
            twin = (each.key, each.source, each.kind, each.data, each.sender)
            if twin == (lease.key, lease.source, lease.kind, lease.data, lease.sender) and (
                lease.kind is Kind.SIGNED or each.places == lease.places
            ):
                return
        if lease.sequence and lease.sequence < self.highest.get(lease.key, 0):
            return
        self.add(lease, now)

    def forget(self, key: PeerKey) -> list[Lease]:
        gone = [each for each in self.leases if each.key == key]
        self.end(gone)
        self.highest.pop(key, None)
        self.fixed = {each: fixed for each, fixed in self.fixed.items() if each[0] != key}
        return gone


SIGNED_PLACES = st.lists(
    st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]), st.sampled_from(PORTS)),
    max_size=3,
    unique=True,
)
TTLS = st.sampled_from([0.0, 5.0, 10.0, 30.0, float("inf")])


class LedgerMachine(RuleBasedStateMachine):
    """Does everything to both."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.model = Model()
        self.now = 0.0
        self.numbers: dict[int, int] = {}  # from the ledger's sightings to the model's
        self.sightings: list[tuple[Sighting, int]] = []
        self.forgotten: list[tuple[tuple[Statement, ...], list[Lease]]] = []
        self.next_number = 0
        self.records: list[tuple[KeyAndSource, int, list[Place] | None]] = []

    def lease(self, **what: object) -> Lease:
        self.next_number += 1
        return Lease(self.next_number, seen=self.now, **what)  # type: ignore[arg-type]  # as the rules say

    def check_sighting(self, sighting: Sighting | None, number: int | None) -> None:
        """The same report has the same sighting on both sides, and another one another."""
        assert (sighting is None) == (number is None)
        if sighting is not None and number is not None:
            assert self.numbers.setdefault(sighting.id, number) == number
            self.sightings.append((sighting, number))

    @rule(
        key=st.sampled_from(KEYS),
        source=st.sampled_from(SOURCES),
        sequence=st.integers(1, 4),
        places=SIGNED_PLACES | st.none(),
        ttl_s=TTLS,
        renew=st.booleans(),
        sender=st.sampled_from(list(SENDERS)),
        via_link=st.sampled_from([False, False, False, True]),
    )
    def see_record(
        self,
        key: PeerKey,
        source: str,
        sequence: int,
        places: list[Place] | None,
        ttl_s: float,
        renew: bool,
        sender: str,
        via_link: bool,
    ) -> None:
        """See where a peer is, or, without a list of places, that it has stopped."""
        self.records.append(((key, source), sequence, places))
        stopped, places = places is None, places or []
        addresses = tuple(Address(ip_address(ip), port) for ip, port in places)
        record = Record(key, sequence, PORTS[0], addresses, stopped=stopped)
        data = repr(record).encode()
        heard, heard_ip = SENDERS[sender]
        heard_place = (heard_ip, PORTS[0]) if heard_ip and not stopped else None
        if heard_place in places:
            heard_place = None
        new = self.lease(
            key=key,
            source=source,
            places=[*places, heard_place] if heard_place else places,
            heard=heard_place,
            end=self.now + ttl_s,
            data=data,
            sequence=sequence,
            sender=sender,
            renew=renew,
            stopped=stopped,
        )
        number, expected = self.model.events(lambda: self.model.record(new, via_link=via_link, now=self.now))
        sighting, events = self.ledger.record_seen(
            source,
            SignedRecord(record, data),
            ttl_s=None if ttl_s == float("inf") else ttl_s,
            renew=renew,
            heard=heard,
            via_link=via_link,
            now=self.now,
        )
        assert Counter(events) == expected
        self.check_sighting(sighting, number)

    @precondition(lambda self: self.records)
    @rule(data=st.data(), ttl_s=TTLS, renew=st.booleans(), sender=st.sampled_from(list(SENDERS)))
    def see_record_again(self, data: st.DataObject, ttl_s: float, renew: bool, sender: str) -> None:
        (key, source), sequence, places = data.draw(st.sampled_from(self.records[-10:]))
        self.see_record(key, source, sequence, places, ttl_s, renew, sender, via_link=False)

    def see_hint(self, key: PeerKey, source: str, place: Place, ttl_s: float, *, configured: bool) -> None:
        kind = Kind.CONFIGURED if configured else Kind.KNOWN if source == "known" else Kind.HINT
        new = self.lease(key=key, source=source, places=[place], end=self.now + ttl_s, kind=kind)
        number, expected = self.model.events(lambda: self.model.hint(new, now=self.now))
        address = Address(ip_address(place[0]), place[1])
        sighting, events = self.ledger.hint_seen(
            source, key, address, ttl_s=ttl_s, configured=configured, now=self.now
        )
        assert Counter(events) == expected
        self.check_sighting(sighting, number)

    @rule(
        key=st.sampled_from(KEYS),
        source=st.sampled_from(SOURCES),
        place=st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.9"]), st.sampled_from(PORTS)),
        ttl_s=TTLS,
        configured=st.booleans(),
    )
    def see_one_hint(self, key: PeerKey, source: str, place: Place, ttl_s: float, configured: bool) -> None:
        self.see_hint(key, source, place, ttl_s, configured=configured)

    @rule(
        key=st.sampled_from(KEYS),
        source=st.sampled_from(SOURCES),
        first=st.integers(0, 60),
        number=st.integers(20, 40),
        configured=st.sampled_from([False, False, True]),
    )
    def flood(self, key: PeerKey, source: str, first: int, number: int, configured: bool) -> None:
        for last in range(first, first + number):
            self.see_hint(key, source, (f"10.0.1.{last}", 7100), 20.0, configured=configured)

    @precondition(lambda self: self.sightings)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        sighting, number = data.draw(st.sampled_from(self.sightings[-40:]))
        _, expected = self.model.events(
            lambda: self.model.end([each for each in self.model.leases if each.number == number])
        )
        assert Counter(self.ledger.withdraw(sighting, now=self.now)) == expected

    @rule(
        key=st.sampled_from(KEYS),
        source=st.sampled_from(SOURCES),
        ip=st.sampled_from([None, "10.0.0.1", "10.0.0.9", "fe80::9%eth0"]),
        port=st.sampled_from([None, *PORTS]),
    )
    def withdraw_address(self, key: PeerKey, source: str, ip: str | None, port: int | None) -> None:
        named = [
            each
            for each in self.model.leases
            if (each.key, each.source) == (key, source)
            and any(ip in {None, its_ip} and port in {None, its_port} for its_ip, its_port in each.places)
        ]
        _, expected = self.model.events(lambda: self.model.end(named))
        parsed = None if ip is None else ip_address(ip)
        events = self.ledger.withdraw_address(source, key, parsed, port, now=self.now)
        assert Counter(events) == expected

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 10.0, 25.0]), timer_fires=st.booleans())
    def wait(self, seconds: float, timer_fires: bool) -> None:
        self.now += seconds
        if timer_fires:
            due = [each for each in self.model.leases if each.end <= self.now]
            _, expected = self.model.events(lambda: self.model.end(due))
            assert Counter(self.ledger.expire(now=self.now)) == expected

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: PeerKey) -> None:
        statements, leases = self.ledger.forget(key), self.model.forget(key)
        told = {self.numbers[each.sighting.id]: each for each in statements}
        assert len(told) == len(statements)
        assert {each: told[each].expires_at or float("inf") for each in told} == {
            each.number: each.end for each in leases
        }
        self.forgotten.append((tuple(told[each.number] for each in leases), leases))

    @precondition(lambda self: self.forgotten)
    @rule()
    def admit(self) -> None:
        for statement, lease in zip(*self.forgotten.pop(0), strict=True):
            _, expected = self.model.events(partial(self.model.admit, lease, now=self.now))
            assert Counter(self.ledger.admit(statement, now=self.now)) == expected

    @invariant()
    def same_candidates(self) -> None:
        for key in KEYS:
            expected: dict[tuple[str, Place, Kind, str], float] = {}
            for each in self.model.leases:
                for place in each.places if each.key == key else []:
                    heard = place == each.heard
                    kind = Kind.HINT if heard else each.kind
                    told = (each.source, place, kind, each.sender if heard else "nowhere")
                    expected[told] = max(each.end, expected.get(told, 0.0))
            senders = {str(ip): name for name, (_, ip) in SENDERS.items() if ip}
            found = {
                (
                    each.address.source,
                    (each.address.host, each.address.port),
                    each.kind,
                    "nowhere" if each.heard is None else senders[str(each.heard[0])],
                ): float("inf") if each.expires_at is None else each.expires_at
                for each in self.ledger.candidates(key)
            }
            assert found == expected
            assert len(self.ledger.candidates(key)) == len(found)

    @invariant()
    def same_everything_else(self) -> None:
        ends = [each.end for each in self.model.leases if each.end != float("inf")]
        assert self.ledger.next_deadline() == min(ends, default=None)
        assert len(self.ledger) == len(self.model.leases)
        assert set(self.ledger.keys()) == {each.key for each in self.model.leases}
        for key in KEYS:
            assert self.ledger.highest_sequence(key) == self.model.highest.get(key, 0)

    @invariant()
    def same_bytes_known(self) -> None:
        known = {(each.source, each.data) for each in self.model.leases if each.data}
        known |= {(source, data) for (_, source), (_, _, data) in self.model.fixed.items()}
        assert all(self.ledger.knows_bytes(*each) for each in known)
        assert len(self.ledger._verified) == len(known)

    @invariant()
    def bounded(self) -> None:
        assert len(self.ledger._deadlines._heap) <= 2 * len(self.ledger) + 64


class LongLedgerMachine(LedgerMachine):
    """The same, for longer."""


LedgerMachine.TestCase.settings = settings(stateful_step_count=40)
LongLedgerMachine.TestCase.settings = settings(max_examples=2000, stateful_step_count=80, derandomize=False)
TestLedger = LedgerMachine.TestCase
TestLedgerForLong = pytest.mark.soak(pytest.mark.timeout(1800)(LongLedgerMachine.TestCase))
