"""What becomes of a report: verified into the ledger if its key is trusted, noted as a stranger's if not.

Pure. Everything that the network may have made up stops here: it is counted, logged at debug, and dropped.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from itertools import count
from typing import Final

import attrs

from peernet_core.addresses import Address, IPAddress
from peernet_core.contract import Sighting
from peernet_core.decisions.backoff import KeyedBuckets
from peernet_core.decisions.ledger import Heard, Ledger
from peernet_core.decisions.rates import PerMinute
from peernet_core.decisions.strangers import Strangers
from peernet_core.errors import BadSignatureError, MalformedRecordError
from peernet_core.events import Event, PeerDropped
from peernet_core.keys import PeerKey
from peernet_core.records import Record, SignedRecord, decode_record
from peernet_core.trust import TrustList
from peernet_core.values import frozen

__all__ = ["INBOUND_SOURCE", "LINK_TTL_S", "Report", "Sightings"]

_LOG: Final = logging.getLogger(__name__)
INBOUND_SOURCE: Final = "inbound"
"""The source of what a peer says of itself over a link."""
LINK_TTL_S: Final = 600.0
"""How long an address heard over a link is believed."""
_VERIFICATIONS_PER_S: Final = 20.0
_MAX_BUCKETS: Final = 4096


@frozen
class Report:
    """What one report changed.

    Attributes:
        sighting: The handle; None when the report was no record, our own, or outdated.
        events: For the application.
        renewed: It is a newer record than the one that was held: the peer changed or restarted.
    """

    sighting: Sighting | None
    events: list[Event] = attrs.Factory(list)
    renewed: bool = False


class Sightings:
    """The door between backends and the ledger.

    Args:
        me: Our own key: what is said of it is dropped.
        trust: Who is trusted.
        counts: Where drops are counted, by reason.

    Attributes:
        own_sequence: The highest sequence of ours in a verified record that somebody sent us; 0: none.
        rates: How often each source reports.
    """

    def __init__(self, *, me: PeerKey, trust: TrustList, counts: Counter[str]) -> None:
        numbers = count(1)
        self.ledger = Ledger(numbers)
        self.strangers = Strangers(numbers)
        self.own_sequence = 0
        self.rates: defaultdict[str, PerMinute] = defaultdict(PerMinute)
        self._me = me
        self._trust = trust
        self._counts = counts
        self._verifications = KeyedBuckets[tuple[str, PeerKey]](
            _VERIFICATIONS_PER_S, _VERIFICATIONS_PER_S, _MAX_BUCKETS
        )

    def record_received(
        self, source: str, data: bytes, *, ttl_s: float, renew: bool, heard: Heard | None, now: float
    ) -> Report:
        """Take the bytes of what may be a record."""
        self._count(source, now=now)
        try:
            signed = decode_record(data)
        except MalformedRecordError as error:
            self._drop("records_malformed", source, error)
            return Report(None)
        record = signed.record
        if record.key == self._me:
            self._note_own(source, signed, now=now)
            return Report(None)
        if record.key not in self._trust:
            sighting = self.strangers.record_seen(
                source, signed, ttl_s=ttl_s, renew=renew, heard=heard, now=now
            )
            return Report(sighting, self._dropped(sighting, now=now))
        held = self.ledger.highest_sequence(record.key)
        if record.sequence < held:
            self._drop("records_outdated", source, f"{record.key.short} at {record.sequence}, {held} is held")
            return Report(None)
        if not self.ledger.knows_bytes(source, data) and not self._verified(source, signed, now=now):
            return Report(None)
        found, events = self.ledger.record_seen(
            source, signed, ttl_s=ttl_s, renew=renew, heard=heard, now=now
        )
        return Report(found, events, renewed=record.sequence > held)

    def peer_discovered(
        self,
        source: str,
        key: PeerKey,
        address: Address,
        *,
        ttl_s: float | None,
        configured: bool,
        now: float,
    ) -> Report:
        """Take a key and an address without proof."""
        self._count(source, now=now)
        if key == self._me or key not in self._trust:
            sighting = self.strangers.hint_seen(
                source, key, address, ttl_s=ttl_s, configured=configured, now=now
            )
            return Report(sighting, [] if key == self._me else self._dropped(sighting, now=now))
        found, events = self.ledger.hint_seen(
            source, key, address, ttl_s=ttl_s, configured=configured, now=now
        )
        return Report(found, events)

    def peer_lost(self, sighting: Sighting, *, now: float) -> list[Event]:
        """End one sighting."""
        self.strangers.withdraw(sighting, now=now)
        return self.ledger.withdraw(sighting, now=now)

    def source_lost(
        self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None, *, now: float
    ) -> list[Event]:
        """End what a source said of a key, at one address or at all."""
        self.strangers.withdraw_address(source, key, ip, port, now=now)
        return self.ledger.withdraw_address(source, key, ip, port, now=now)

    def over_link(self, key: PeerKey, data: bytes, heard: Heard, *, now: float) -> tuple[Record, list[Event]]:
        """Take the record that an authenticated peer sent itself; it wins whatever its sequence.

        Returns:
            The record, and what changed.

        Raises:
            MalformedRecordError: it is none, somebody else's, or not signed by its key.
        """
        signed = decode_record(data)
        if signed.record.key != key:
            raise MalformedRecordError(f"{key.short} sent the record of {signed.record.key.short}")
        signed.verify()
        _, events = self.ledger.record_seen(
            INBOUND_SOURCE, signed, ttl_s=LINK_TTL_S, heard=heard, via_link=True, now=now
        )
        return signed.record, events

    def trusted(self, key: PeerKey, *, now: float) -> list[Event]:
        """A key became trusted: believe what was heard of it before, records only if they verify."""
        events: list[Event] = []
        for statement in self.strangers.take(key, now=now):
            if statement.signed is None or self._verified(
                statement.sighting.source, statement.signed, now=now
            ):
                events += self.ledger.admit(statement, now=now)
        return events

    def untrusted(self, key: PeerKey, *, now: float) -> None:
        """A key is not trusted any more: what is known of it becomes a stranger's."""
        for statement in self.ledger.forget(key):
            if statement.sighting.source != INBOUND_SOURCE:
                self.strangers.admit(statement, now=now)

    def expire(self, *, now: float) -> list[Event]:
        """End the leases that are over."""
        self.strangers.expire(now=now)
        return self.ledger.expire(now=now)

    def next_deadline(self) -> float | None:
        """When the next lease ends."""
        due = (self.ledger.next_deadline(), self.strangers.next_deadline())
        return min((at for at in due if at is not None), default=None)

    def _count(self, source: str, *, now: float) -> None:
        self._counts[f"sightings_{source}"] += 1
        self.rates[source].count(now=now)

    def _dropped(self, sighting: Sighting, *, now: float) -> list[Event]:
        """The event for a stranger, if it is time to mention it again."""
        self._counts["strangers_dropped"] += 1
        if not sighting.addresses or not self.strangers.should_report(sighting.key, sighting.source, now=now):
            return []
        return [PeerDropped(sighting.key, sighting.addresses[0], "not in the trust list")]

    def _verified(self, source: str, signed: SignedRecord, *, now: float) -> bool:
        if not self._verifications.take((source, signed.record.key), now=now):
            self._drop("verifications_limited", source, signed.record.key.short)
            return False
        try:
            signed.verify()
        except BadSignatureError as error:
            self._drop("signatures_bad", source, error)
            return False
        return True

    def _note_own(self, source: str, signed: SignedRecord, *, now: float) -> None:
        """Our own record, sent back; one that is newer than ours means that we come from a backup."""
        if signed.record.sequence > self.own_sequence and self._verified(source, signed, now=now):
            self.own_sequence = signed.record.sequence

    def _drop(self, count_as: str, source: str, what: object) -> None:
        self._counts[count_as] += 1
        _LOG.debug("[%s] dropped, %s: %s", source, count_as, ascii(str(what)))
