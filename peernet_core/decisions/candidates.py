"""Candidates: which addresses of a peer may be dialed, in what order, and how fast one after the other.

Pure: `now` is the loop's time in seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot, is_metadata, normalize_ip
from peernet_core.decisions.ledger import Candidate, Kind
from peernet_core.errors import MalformedAddressError
from peernet_core.events import UnreachableReason
from peernet_core.keys import PeerKey
from peernet_core.values import define, frozen

__all__ = ["MAX_CANDIDATES", "AddressBook", "Attempt", "Obstacle", "RaceSchedule", "obstacle_to"]

MAX_CANDIDATES: Final = 16
"""Of one race."""
FIRST_GAP_S: Final = 0.25
SHORTEST_GAP_S: Final = 0.01
FIRST_PENALTY_S: Final = 60.0
LONGEST_PENALTY_S: Final = 3600.0
MAX_NOTES: Final = 64
"""Places that are remembered for each key: some more than can be in a race at once."""

_FIRST_UNPRIVILEGED_PORT: Final = 1024
_Place = tuple[IPAddress, int, str]


class Obstacle(enum.StrEnum):
    """Why an address is not dialed, in words for people."""

    OURSELVES = "that is this node itself"
    METADATA = "a cloud's metadata service answers there"
    DISGUISE = "it stands for another address"
    PRIVILEGED = "nobody vouches for it, and its port is below 1024"
    NOT_HEARD = "it means something only on the link where it is used, and was not heard there"
    ELSEWHERE = "nobody vouches for it, and it is on none of our networks"


def obstacle_to(candidate: Candidate, *, network: NetworkSnapshot, own_port: int) -> Obstacle | None:
    """Why the candidate is not dialed from this host, as it is connected now; None: it may be.

    What the operator configured may be anything but ourselves. What a peer signed, or where we reached it
    before, may be any unicast address but a cloud's metadata service. What is neither must be on a network
    that we are on, and have a port that takes no privilege. Loopback and link-local addresses are left to the
    operator, and to senders that were heard on the very interface that leads there.

    Source: docs/protocol.md, "What may be dialed".
    """
    ip, port = candidate.address.endpoint
    if port == own_port and network.is_own(ip):
        return Obstacle.OURSELVES
    if candidate.kind is Kind.CONFIGURED:
        return None
    if is_metadata(ip):
        return Obstacle.METADATA
    if _stands_for_another(ip):
        return Obstacle.DISGUISE
    if candidate.kind is Kind.HINT and port < _FIRST_UNPRIVILEGED_PORT:
        return Obstacle.PRIVILEGED
    if ip.is_loopback or ip.is_link_local:
        return None if _was_heard_there(candidate, network) else Obstacle.NOT_HEARD
    if candidate.kind is Kind.HINT and not network.is_on_link(ip):
        return Obstacle.ELSEWHERE
    return None


def _stands_for_another(ip: IPAddress) -> bool:
    try:
        normalize_ip(ip)
    except MalformedAddressError:
        return True
    return False


def _was_heard_there(candidate: Candidate, network: NetworkSnapshot) -> bool:
    """Whether the sender's address was heard on an interface of ours through which it would be dialed."""
    if candidate.heard is None:
        return False
    ip, name = candidate.heard
    if ip != candidate.address.ip:
        return False
    for interface in network.interfaces:
        if interface.name == name:
            if ip.is_loopback:
                return interface.is_loopback
            return NetworkSnapshot((interface,)).is_on_link(ip)
    return False


@frozen
class Attempt:
    """How the last dial to an address, on the word of its source, ended.

    Attributes:
        ended_at: When, in loop time.
        failure: Why it failed; None: the peer authenticated there.
        barred_until: It is left alone until then, as somebody else answered; None: it is not.
    """

    ended_at: float
    failure: UnreachableReason | None
    barred_until: float | None


@define(eq=False)
class _Note:
    """How dials to one place, on one source's word, ended."""

    noted_at: float
    worked_at: float | None = None
    failed_at: float | None = None
    failure: UnreachableReason | None = None
    penalty_s: float = FIRST_PENALTY_S
    penalty_ends_at: float | None = None

    def is_penalised(self, now: float) -> bool:
        return self.penalty_ends_at is not None and now < self.penalty_ends_at

    def worth(self, now: float) -> tuple[bool, bool, float]:
        """The least is forgotten first: what worked is worth most, and a penalty forgotten is one lifted."""
        return self.failed_at is None, self.is_penalised(now), self.noted_at


_UNKNOWN: Final = _Note(0.0)


class AddressBook:
    """What worked and what failed, for each key, endpoint and source; decides who is dialed first.

    A wrong key keeps the address, on that source's word, out of all races for a while that doubles with each.
    Any other failure only moves it back. Of each key the last `MAX_NOTES` places are remembered.
    """

    def __init__(self) -> None:
        self._notes: dict[PeerKey, dict[_Place, _Note]] = {}

    def __len__(self) -> int:
        """How many places are remembered."""
        return sum(map(len, self._notes.values()))

    def succeeded(self, key: PeerKey, address: Address, *, now: float) -> None:
        """The peer authenticated there."""
        note = self._note(key, address, now)
        note.worked_at = now
        note.failed_at = note.failure = note.penalty_ends_at = None
        note.penalty_s = FIRST_PENALTY_S

    def failed(self, key: PeerKey, address: Address, reason: UnreachableReason, *, now: float) -> None:
        """A dial ended without the peer; a wrong key brings a penalty."""
        note = self._note(key, address, now)
        note.failed_at, note.failure = now, reason
        if reason is UnreachableReason.WRONG_KEY and not note.is_penalised(now):
            note.penalty_ends_at = now + note.penalty_s
            note.penalty_s = min(note.penalty_s * 2, LONGEST_PENALTY_S)

    def renewed(self, key: PeerKey, address: Address) -> None:
        """The peer itself says anew that it is there: failures from before, and a penalty, count no more."""
        note = self._notes.get(key, {}).get((*address.endpoint, address.source))
        if note is not None:
            note.failed_at = note.failure = note.penalty_ends_at = None

    def forget(self, key: PeerKey) -> None:
        """Drop what is remembered of a key that lost trust."""
        self._notes.pop(key, None)

    def penalised(self, key: PeerKey, address: Address, *, now: float) -> bool:
        """Whether the address is out of all races on the word of its source."""
        return self._look_up(key, address).is_penalised(now)

    def last_attempt(self, key: PeerKey, address: Address, *, now: float) -> Attempt | None:
        """How the last dial there ended; None: there was none, or it is forgotten."""
        note = self._look_up(key, address)
        ended_at = note.worked_at if note.failed_at is None else note.failed_at
        if ended_at is None:
            return None
        return Attempt(ended_at, note.failure, note.penalty_ends_at if note.is_penalised(now) else None)

    def next_release(self, key: PeerKey, *, now: float) -> float | None:
        """When the first penalty of this key ends; None when there is none."""
        notes = self._notes.get(key, {}).values()
        return min(
            (
                note.penalty_ends_at
                for note in notes
                if note.penalty_ends_at is not None and note.is_penalised(now)
            ),
            default=None,
        )

    def sort(self, key: PeerKey, candidates: Iterable[Candidate]) -> list[Candidate]:
        """All candidates, best first; see `ranked`."""
        return sorted(candidates, key=lambda each: self._rank(key, each))

    def ranked(self, key: PeerKey, candidates: Iterable[Candidate]) -> list[Candidate]:
        """All candidates, best first, each endpoint once.

        Where it worked last, signed, configured, hint; but a hint that worked, in this run or an earlier one,
        comes behind what is signed now: it may have been a relay. Of equals, those that failed last time come
        last, and the least recently failed of them first. Otherwise the order is that of `candidates`.
        """
        first: dict[tuple[IPAddress, int], Candidate] = {}
        for candidate in self.sort(key, candidates):
            first.setdefault(candidate.address.endpoint, candidate)
        return list(first.values())

    def order(self, key: PeerKey, candidates: Iterable[Candidate], *, now: float) -> list[Candidate]:
        """The candidates of a race, best first: without those under a penalty, at most `MAX_CANDIDATES`.

        Where there are more, each kind and source gives its best in turn, so that however many addresses one
        of them names, it crowds out no other.
        """
        free = [each for each in candidates if not self.penalised(key, each.address, now=now)]
        ranked = self.ranked(key, free)
        if len(ranked) <= MAX_CANDIDATES:
            return ranked
        chosen = set()
        for candidate in _in_turn(ranked):
            chosen.add(candidate)
            if len(chosen) == MAX_CANDIDATES:
                break
        return [each for each in ranked if each in chosen]

    def _rank(self, key: PeerKey, candidate: Candidate) -> tuple[int, bool, float, float]:
        note = self._look_up(key, candidate.address)
        failed = note.failed_at is not None
        good = not failed and (note.worked_at is not None or candidate.kind is Kind.KNOWN)
        match candidate.kind:
            case Kind.SIGNED:
                rank = 0 if good else 1
            case Kind.CONFIGURED:
                rank = 0 if good else 3
            case Kind.HINT | Kind.KNOWN:
                rank = 2 if good else 4
        return rank, failed, note.failed_at or 0.0, -(note.worked_at or 0.0)

    def _look_up(self, key: PeerKey, address: Address) -> _Note:
        return self._notes.get(key, {}).get((*address.endpoint, address.source), _UNKNOWN)

    def _note(self, key: PeerKey, address: Address, now: float) -> _Note:
        notes = self._notes.setdefault(key, {})
        place = (*address.endpoint, address.source)
        note = notes.get(place)
        if note is None:
            if len(notes) >= MAX_NOTES:
                del notes[min(notes, key=lambda each: notes[each].worth(now))]
            note = notes[place] = _Note(now)
        note.noted_at = now
        return note


def _in_turn(ranked: list[Candidate]) -> Iterator[Candidate]:
    groups: dict[tuple[Kind, str], list[Candidate]] = {}
    for candidate in ranked:
        groups.setdefault((candidate.kind, candidate.address.source), []).append(candidate)
    for turn in range(len(ranked)):
        for group in groups.values():
            if turn < len(group):
                yield group[turn]


class RaceSchedule:
    """When the next candidate of a race may start.

    The first starts at once, each further one after a gap that begins at 250 ms and halves down to 10 ms, or
    as soon as one before it has failed.

    Source: RFC 8305 §5 and §8.
    """

    __slots__ = ("_gap_s", "_next_start")

    def __init__(self) -> None:
        self._gap_s = FIRST_GAP_S
        self._next_start: float | None = None

    def next_start(self, *, now: float) -> float:
        """When the next may start; not after `now` if that is at once."""
        return now if self._next_start is None else self._next_start

    def started(self, *, now: float) -> None:
        """One started."""
        self._next_start = now + self._gap_s
        self._gap_s = max(self._gap_s / 2, SHORTEST_GAP_S)

    def failed(self) -> None:
        """One failed: its successor need not wait."""
        self._next_start = None
