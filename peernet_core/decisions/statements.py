"""Statements: what one source reported of one key, whoever holds it, and the candidates that come of it.

Pure. A report that repeats another of the same source and key refreshes it; `Statement.report` tells.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Iterator
from ipaddress import IPv6Address
from typing import Final

import attrs

from peernet_core.addresses import Address, IPAddress, normalize_ip, with_zone
from peernet_core.contract import Sighting
from peernet_core.keys import PeerKey
from peernet_core.records import SignedRecord
from peernet_core.values import define, frozen

__all__ = [
    "KNOWN_SOURCE",
    "Candidate",
    "Heard",
    "Kind",
    "Statement",
    "hint_kind",
    "hint_report",
    "hint_statement",
    "is_over",
    "lease_end",
    "merged",
    "record_report",
    "record_statement",
]

KNOWN_SOURCE: Final = "known"
"""The source of addresses at which a peer authenticated some time before."""

Heard = tuple[IPAddress, str]
"""A sender's address, and the name of the interface on which it was heard."""


class Kind(enum.Enum):
    """On whose word an address stands."""

    CONFIGURED = "configured"
    """The operator's own."""
    SIGNED = "signed"
    """The peer's own, in its record."""
    HINT = "hint"
    """Anybody's on the network."""
    KNOWN = "known"
    """Ours: we reached the peer there before. Whether it came from a hint then is not told apart."""


@frozen
class Candidate:
    """An address that may be dialed, with all that decides whether and when.

    Attributes:
        address: Where, and who said so.
        kind: On whose word.
        sequence: Of the record that it stands in or came with.
        heard: Set when this is the sender's own address as the medium showed it; only then may it be a
            loopback or link-local one without being configured.
        expires_at: When the lease ends; None: never.
        seen_at: When it was last reported.
    """

    address: Address
    kind: Kind
    sequence: int | None
    heard: Heard | None
    expires_at: float | None
    seen_at: float


@define(eq=False)
class Statement:
    """One report as a table holds it; it moves between tables, with its sighting, as trust comes and goes.

    Attributes:
        sighting: What the backend got for it.
        kind: SIGNED for a record.
        report: Equal for reports that refresh each other within one source and key.
        signed: The record; in the ledger its signature was checked.
        heard: The last of the sighting's addresses is the sender's, heard there.
        renew: Whether the same bytes extend the lease.
        expires_at: When the lease ends; None: never.
        seen_at: When it was last reported.
    """

    sighting: Sighting
    kind: Kind
    report: Hashable
    signed: SignedRecord | None
    heard: Heard | None
    renew: bool
    expires_at: float | None
    seen_at: float

    def names(self, ip: IPAddress | None, port: int | None) -> bool:
        """Whether an address of it has this ip and this port; None stands for any."""
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(
            (ip is None or address.ip == ip) and (port is None or address.port == port)
            for address in self.sighting.addresses
        )

    def candidates(self) -> Iterator[Candidate]:
        """Each address as a candidate, in the order of the report."""
        sequence = self.signed.record.sequence if self.signed else None
        addresses = self.sighting.addresses
        signed = addresses[:-1] if self.heard else addresses
        for address in signed:
            yield Candidate(address, self.kind, sequence, None, self.expires_at, self.seen_at)
        if self.heard:
            yield Candidate(addresses[-1], Kind.HINT, sequence, self.heard, self.expires_at, self.seen_at)


def lease_end(ttl_s: float | None, *, now: float) -> float | None:
    """When a lease ends; None: never. What is no positive number of seconds has ended at once."""
    if ttl_s is None or ttl_s == float("inf"):
        return None
    return now + ttl_s if ttl_s > 0 else now


def is_over(expires_at: float | None, *, now: float) -> bool:
    """Whether a lease has ended."""
    return expires_at is not None and expires_at <= now


def record_report(data: bytes, heard: Heard | None) -> Hashable:
    """What makes two reports of a record the same: its bytes, heard from the same place."""
    return data, heard


def hint_report(address: Address, kind: Kind) -> Hashable:
    """What makes two reports of a bare address the same."""
    return address.ip, address.port, kind


def hint_kind(source: str, *, configured: bool) -> Kind:
    """On whose word a bare address stands."""
    if configured:
        return Kind.CONFIGURED
    return Kind.KNOWN if source == KNOWN_SOURCE else Kind.HINT


def record_statement(
    sighting_id: int,
    source: str,
    signed: SignedRecord,
    *,
    expires_at: float | None,
    renew: bool,
    heard: Heard | None,
    now: float,
) -> Statement:
    """Build the statement for a record.

    That of a peer that has stopped gives a statement without addresses, wherever it was heard. Any other has
    the sender's address, if it was heard, also where the record names none: a host that has only loopback and
    link-local addresses can sign none of them.
    """
    record = signed.record
    addresses = dict.fromkeys(address.with_source(source) for address in record.addresses)
    sender = None if record.stopped else _sender(heard, record.port, source)
    if sender is None or sender in addresses:
        place = None
    else:
        addresses[sender] = None
        place = heard and (sender.ip, heard[1])
    sighting = Sighting(sighting_id, record.key, source, tuple(addresses))
    report = record_report(signed.data, heard)
    return Statement(sighting, Kind.SIGNED, report, signed, place, renew, expires_at, now)


def _sender(heard: Heard | None, port: int, source: str) -> Address | None:
    """Where the sender of a record can be reached, if the address that was heard can be anybody's."""
    if heard is None:
        return None
    ip, interface = heard
    try:
        address = Address(with_zone(normalize_ip(ip), interface), port, source)
    except ValueError:  # of ours for the address, of the standard library for a zone that is no name
        return None
    if isinstance(address.ip, IPv6Address) and address.ip.is_link_local and not address.ip.scope_id:
        return None
    return address


def hint_statement(
    sighting_id: int,
    source: str,
    key: PeerKey,
    address: Address,
    *,
    expires_at: float | None,
    kind: Kind,
    now: float,
) -> Statement:
    """Build the statement for a bare address."""
    sighting = Sighting(sighting_id, key, source, (address.with_source(source),))
    return Statement(sighting, kind, hint_report(address, kind), None, None, True, expires_at, now)


def merged(statements: Iterable[Statement]) -> list[Candidate]:
    """Every address in them, once for each source, kind and place where it was heard.

    The most recently reported come first, those of one report in its order; of several leases the longest
    counts.
    """
    found: dict[Hashable, Candidate] = {}
    for statement in sorted(statements, key=lambda each: -each.seen_at):
        for candidate in statement.candidates():
            same = found.setdefault((candidate.address, candidate.kind, candidate.heard), candidate)
            if _outlasts(candidate, same):
                found[same.address, same.kind, same.heard] = attrs.evolve(
                    same, expires_at=candidate.expires_at
                )
    return list(found.values())


def _outlasts(one: Candidate, other: Candidate) -> bool:
    if other.expires_at is None:
        return False
    return one.expires_at is None or one.expires_at > other.expires_at
