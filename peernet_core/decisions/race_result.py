"""What came of a race between backends. All are frozen values; times are in seconds."""

from __future__ import annotations

import attrs

from peernet_core.addresses import Address
from peernet_core.keys import PeerKey

__all__ = ["Absence", "Claim", "Find", "Lapse", "PeerResult", "RaceResult", "Refusal", "SourceResult"]


@attrs.frozen
class Find:
    """A source found a peer.

    Attributes:
        at_s: Seconds after the node's start.
        behind_s: Seconds after the first that found it.
    """

    source: str
    at_s: float
    behind_s: float


@attrs.frozen
class Claim:
    """What a source said of a peer that was gone.

    Attributes:
        lost_after_s: When it said that the peer is lost, in seconds after the peer had gone, negative if
            before; None: it did not.
    """

    source: str
    lost_after_s: float | None


@attrs.frozen
class Absence:
    """A peer was gone.

    Attributes:
        at_s: Since when, in seconds after the node's start.
        reason: What says so.
        for_s: How long, until it was back, or else until the end.
        is_back: Whether it came back.
        claims: What each source said that had believed in it, the quickest first.
    """

    at_s: float
    reason: str
    for_s: float
    is_back: bool
    claims: tuple[Claim, ...]


@attrs.frozen
class Lapse:
    """A source lost a peer for a second or more, which was linked, and stayed so.

    Attributes:
        at_s: When, in seconds after the node's start.
        for_s: How long, until the source found it again, or else until its link or the race ended.
    """

    source: str
    at_s: float
    for_s: float


@attrs.frozen
class Refusal:
    """An address of a peer that was never linked led nowhere."""

    address: Address
    reason: str


@attrs.frozen
class PeerResult:
    """How it went with one trusted peer.

    Attributes:
        label: What the person calls it; may be empty.
        linked_s: When its first link was up, in seconds after the node's start; None: never.
        linked_through: The source of the address that this link has.
        finds: Who found it, the first one first.
        missed_by: Who did not, although somebody did, or it linked.
        lapses: Who lost it although it was linked.
        absences: When it was gone.
        claimed_by: Who believes in it at the end.
        refusals: Only of one that was never linked.
    """

    key: PeerKey
    label: str
    linked_s: float | None
    linked_through: str
    finds: tuple[Find, ...]
    missed_by: tuple[str, ...]
    lapses: tuple[Lapse, ...]
    absences: tuple[Absence, ...]
    claimed_by: tuple[str, ...]
    refusals: tuple[Refusal, ...]


@attrs.frozen
class SourceResult:
    """How it went for one source.

    Attributes:
        started_s: When it first listened, in seconds after the node's start; None: never.
        error: Its last failure; empty: none.
        found, first: How many trusted peers it found, and found before all others.
        strangers: How many others it saw.
    """

    source: str
    backend: str
    started_s: float | None
    error: str
    found: int
    first: int
    strangers: int


@attrs.frozen
class RaceResult:
    """How it all went.

    Attributes:
        for_s: How long it took, in seconds.
        sources: In the order of the configuration.
        peers: The first that was found first, those that were not found last.
        events_missed: How many events were not heard; more than 0: what else stands here may be wrong.
    """

    for_s: float
    sources: tuple[SourceResult, ...]
    peers: tuple[PeerResult, ...]
    events_missed: int
