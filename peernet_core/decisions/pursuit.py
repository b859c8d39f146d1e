"""The pursuit of one trusted peer: when it is dialed, which connection is its link, when to try again.

Pure. Its methods append to the effects that it was given; times are loop seconds.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from peernet_core.addresses import Address, IPAddress
from peernet_core.decisions.agreement import (
    Agreement,
    Close,
    ConnectionId,
    Linked,
    SendNo,
    SendPing,
    SendUp,
    Unlinked,
)
from peernet_core.decisions.agreement import Effect as Outcome
from peernet_core.decisions.backoff import Backoff, TokenBucket
from peernet_core.decisions.boot_ids import BootIds, Verdict
from peernet_core.decisions.effects import (
    CancelDial,
    CloseConnection,
    Dial,
    Effect,
    ExtendDial,
    Publish,
    SendFrame,
)
from peernet_core.decisions.frames import Bye, Frame, No, Open, Ping, Pong, Up
from peernet_core.decisions.ledger import Candidate, Kind
from peernet_core.events import (
    IdentityConflict,
    PeerConnected,
    PeerDisconnected,
    PeerState,
    PeerUnreachable,
    UnreachableReason,
)
from peernet_core.keys import PeerKey
from peernet_core.values import frozen

__all__ = ["Activity", "Outlook", "Pursuit"]

_STABLE_S: Final = 5.0
"""A link that lived this long proves its address; one that died sooner counts as a failed dial."""
_EVIDENCE_PER_S: Final = 0.1
_EVIDENCE_BURST: Final = 5
_UNANSWERED_S: Final = 0.25
"""A dial without an answer for so long began when there was none to be had: while a network was cut, say."""
_MAX_REASONS: Final = 64
_MAX_RACING: Final = 48
"""Places of one race, but for those that somebody vouches for; further ones wait for the next race."""


class Activity(enum.Enum):
    """What is being done about a peer right now."""

    LINKED = enum.auto()
    DIALING = enum.auto()
    DECIDING = enum.auto()
    """A connection is open, and has no verdict yet."""
    HOLDING = enum.auto()
    """The peer has a link with us that we have not heard of yet."""
    REFUSING = enum.auto()
    """Two processes run with this key."""
    RESTING = enum.auto()
    """The next dial is due later."""
    IDLE = enum.auto()
    """Nobody can be dialed."""


@frozen
class Outlook:
    """What is being done about a peer, and what comes next.

    Attributes:
        activity: What is done now.
        until: When that ends, in loop time; None: when something happens.
        cause: What led to it, for people; may be empty.
        dialing: The places that are being dialed.
    """

    activity: Activity
    until: float | None = None
    cause: str = ""
    dialing: frozenset[tuple[IPAddress, int]] = frozenset()


class Pursuit:
    """Everything that is decided about one peer.

    Args:
        key: The peer.
        decides: Whether our key is the smaller one.
        candidates: Who may be dialed now, best first; asked with the time.
        next_release: When the next address that is penalised may be dialed again; asked with the time.
        label: What the peer is called now.
        effects: Where what is to be done is appended.
        jitter: For the waits between dials.
        now: The time at which the pursuit begins.

    Attributes:
        since: When the state last changed.
        connections: Those that reached OPEN, with where their other end listens.
        over: Whether trust has ended; nothing is begun any more.
    """

    def __init__(
        self,
        key: PeerKey,
        *,
        decides: bool,
        candidates: Callable[[float], Sequence[Candidate]],
        next_release: Callable[[float], float | None],
        label: Callable[[], str],
        effects: list[Effect],
        jitter: random.Random,
        now: float,
    ) -> None:
        self.key = key
        self.since = now
        self.connections: dict[ConnectionId, Address] = {}
        self.over = False
        self._candidates = candidates
        self._next_release = next_release
        self._label = label
        self._effects = effects
        self._agreement = Agreement(decides=decides)
        self._backoff = Backoff(jitter)
        self._evidence = TokenBucket(_EVIDENCE_PER_S, _EVIDENCE_BURST)
        self._pings: Iterator[int] = itertools.count(1)
        self._state = PeerState.UNSEEN
        self._racing: dict[tuple[IPAddress, int], list[float]] | None = None  # when its dials began
        self._failed: set[tuple[IPAddress, int]] = set()  # in the race that is on
        self._retry_at: float | None = None
        self._retry_cause = ""
        self._boot_ids = BootIds()
        self._linked_at = now
        self._reasons: dict[Address, UnreachableReason] = {}

    @property
    def link(self) -> ConnectionId | None:
        """The connection that is the link."""
        return self._agreement.link

    def state(self, *, has_address: bool) -> PeerState:
        """What is being done about the peer."""
        if self._agreement.link is not None:
            return PeerState.LINKED
        if self._racing is not None or self._agreement.waiting:
            return PeerState.DIALING
        return PeerState.WAITING if has_address else PeerState.UNSEEN

    def outlook(self, *, now: float) -> Outlook:
        """What is being done about the peer, and what comes next."""
        refused_until = self._boot_ids.refused_until(now=now)
        held_until = self._agreement.held_until
        if refused_until is not None:
            return Outlook(Activity.REFUSING, refused_until)
        if self._agreement.link is not None:
            return Outlook(Activity.LINKED)
        if self._racing is not None:
            return Outlook(Activity.DIALING, dialing=frozenset(self._racing))
        if self._agreement.waiting:
            return Outlook(Activity.DECIDING, self._agreement.next_deadline())
        if held_until is not None:
            return Outlook(Activity.HOLDING, held_until)
        if self._retry_at is not None:
            return Outlook(Activity.RESTING, self._retry_at, self._retry_cause)
        return Outlook(Activity.IDLE)

    def next_deadline(self, *, now: float) -> float | None:
        """When `handle_timer` is due; never in the past.

        A retry whose time has come, and that may not begin yet, begins when the agreement changes.
        """
        retry_at = self._retry_at if self._retry_at is not None and self._retry_at > now else None
        due = (self._agreement.next_deadline(), retry_at, self._boot_ids.refused_until(now=now))
        return min((at for at in due if at is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        """Act on the deadlines that have passed."""
        self._follow(self._agreement.handle_timer(now=now), now=now)

    # What speaks for a dial, or against the link.

    def discovered(self, address: Address | None, *, vouched: bool = True, now: float) -> None:
        """Something new speaks for a dial: it begins at once, unless that was said too often lately.

        Args:
            address: The new address; None: our own network changed.
            vouched: Whether the peer signed it, or the operator said so. Of others a race takes only so many.
            now: The time.
        """
        if self._retry_at is not None and self._evidence.take(now=now):
            self._backoff.reset()
            self._retry_at = None
        if self._racing is None:
            self._consider(now=now)
        elif vouched or len(self._racing) < _MAX_RACING:
            self._extend(self._racing, address, now=now)

    def _extend(
        self, racing: dict[tuple[IPAddress, int], list[float]], address: Address | None, *, now: float
    ) -> None:
        """Let an address join the race that is on; one that was tried in it already only on new evidence.

        What has no answer yet is tried beside: TCP asks again after a second, then after two, then four.
        """
        again = False
        for candidate in self._candidates(now):
            endpoint, hint = candidate.address.endpoint, candidate.kind is Kind.HINT
            began = racing.get(endpoint)
            if began is not None and (hint or now - began[-1] < _UNANSWERED_S):
                continue
            tried = began is not None or endpoint in self._failed
            wanted = tried and not hint if address is None else candidate.address == address
            if wanted and tried:
                again = again or self._evidence.take(now=now)
                wanted = again
            if wanted:
                racing.setdefault(endpoint, []).append(now)
                self._failed.discard(endpoint)
                self._effects.append(ExtendDial(self.key, candidate))

    def suspect(self, *, now: float) -> None:
        """Something speaks against the link: it is asked whether it is alive."""
        self._follow(self._agreement.suspect(now=now), now=now)

    # How dials end.

    def dial_failed(self, address: Address, reason: UnreachableReason) -> None:
        """One candidate failed; told once per change of reason."""
        if self._racing is not None:
            under_way = self._racing.get(address.endpoint, [])[1:]  # of several dials of one place
            if under_way:
                self._racing[address.endpoint] = under_way
            else:
                self._racing.pop(address.endpoint, None)
                self._failed.add(address.endpoint)
        if self._reasons.get(address) == reason:
            return
        if len(self._reasons) >= _MAX_REASONS:
            self._reasons.clear()
        self._reasons[address] = reason
        self._effects.append(Publish(PeerUnreachable(self.key, address, reason)))

    def race_lost(self, *, now: float) -> None:
        """Every candidate failed."""
        if self._racing is not None:
            self._racing = None
            self._rest("no address led to a link", now=now)

    def race_won(self, connection: ConnectionId, boot_id: bytes, *, now: float) -> bool:
        """A dial was authenticated; returns whether it is opened, and closes it if not."""
        self._racing = None
        self._reasons.clear()
        if self._agreement.wants_open(boot_id):
            self._effects.append(SendFrame(connection, Open()))
            return True
        self._effects.append(CloseConnection(connection, "not needed"))
        self._consider(now=now)
        return False

    # What happens on connections that reached OPEN.

    def opened(self, connection: ConnectionId, address: Address, boot_id: bytes, *, now: float) -> None:
        """A connection reached OPEN, sent by us or by them."""
        self.connections[connection] = address
        self._follow(self._agreement.opened(connection, boot_id, now=now), now=now)

    def why_unwelcome(self, boot_id: bytes, *, now: float) -> str:
        """Why a connection of this boot id is not dealt with; empty: it is.

        When it shows that two processes run with the key, that is told, and every connection with it ends.
        """
        if self._boot_ids.refused_until(now=now) is not None:
            return "identity conflict"
        match self._boot_ids.heard(boot_id, linked=self.link is not None, now=now):
            case Verdict.WELCOME:
                return ""
            case Verdict.STALE:
                return "another process followed"
            case _:
                self._effects.append(Publish(IdentityConflict(self.key)))
                self._cancel()
                self._carry_out(self._agreement.reset("identity conflict"), now=now)
                return "identity conflict"

    def frame_received(self, connection: ConnectionId, frame: Frame, *, now: float) -> bool:
        """Act on a frame of the agreement; returns whether it was one."""
        match frame:
            case Up(number=number):
                self._follow(self._agreement.up_received(connection, number), now=now)
            case No():
                self._follow(self._agreement.no_received(connection, now=now), now=now)
            case Ping(nonce=nonce):
                self._effects.append(SendFrame(connection, Pong(nonce)))
            case Pong():
                self._follow(self._agreement.pong_received(connection), now=now)
            case Bye(reason=reason):
                self._left(connection, reason, now=now)
            case _:
                return False
        return True

    def closed(self, connection: ConnectionId, reason: str, *, now: float) -> None:
        """A connection ended."""
        self.connections.pop(connection, None)
        if connection in self._agreement.waiting and self._agreement.link is None and self._racing is None:
            self._rest("a connection ended without a verdict", now=now)
        self._follow(self._agreement.closed(connection, reason), now=now)

    def end(self, reason: str, *, farewell: bool, now: float) -> None:
        """Trust has ended, or the node stops: nothing of this peer stays, and nothing new begins.

        Args:
            reason: For events and for the peer.
            farewell: Whether to say it to the peer.
            now: The time.
        """
        self.over = True
        self._cancel()
        # Also where we wait for the verdict: the other end may call it a link already.
        for connection in (self._agreement.link, *self._agreement.waiting) if farewell else ():
            if connection is not None:
                self._effects.append(SendFrame(connection, Bye(reason)))
        self._follow(self._agreement.reset(reason), now=now)

    def note_state(self, *, has_address: bool, now: float) -> PeerState:
        """The state, having noted when it changed."""
        state = self.state(has_address=has_address)
        if state is not self._state:
            self._state, self.since = state, now
        return state

    # Inside.

    def _consider(self, *, now: float) -> None:
        """Dial if a link is missing, there is somebody to dial, and it is time."""
        if self.over or self._racing is not None or not self._agreement.may_dial():
            return
        if self._retry_at is not None and now < self._retry_at:
            return
        if self._boot_ids.refused_until(now=now) is not None:
            return
        candidates = tuple(self._candidates(now))
        if not candidates:
            self._retry_at = self._next_release(now)
            self._retry_cause = "somebody else answered at its addresses"
            return
        self._retry_at = None
        self._racing = {candidate.address.endpoint: [now] for candidate in candidates}
        self._failed.clear()
        self._effects.append(Dial(self.key, candidates))

    def _cancel(self) -> None:
        if self._racing is not None:
            self._racing = None
            self._effects.append(CancelDial(self.key))

    def _left(self, connection: ConnectionId, reason: str, *, now: float) -> None:
        """The peer stops: none of its connections is any good, and dialing it again can wait."""
        if connection != self._agreement.link:
            self._effects.append(CloseConnection(connection, reason))
            self.closed(connection, reason, now=now)
            return
        self._carry_out(self._agreement.reset(reason), now=now)
        self._rest(f"it said goodbye ({reason})", now=now)

    def _rest(self, cause: str, *, now: float) -> None:
        self._retry_at = self._backoff.failed(now=now)
        self._retry_cause = cause

    def _follow(self, outcomes: Iterable[Outcome], *, now: float) -> None:
        self._carry_out(outcomes, now=now)
        self._consider(now=now)

    def _carry_out(self, outcomes: Iterable[Outcome], *, now: float) -> None:
        """Turn what the agreement wants into effects and events."""
        for outcome in outcomes:
            match outcome:
                case SendUp(connection, number):
                    self._effects.append(SendFrame(connection, Up(number)))
                case SendNo(connection):
                    self._effects.append(SendFrame(connection, No()))
                case SendPing(connection):
                    self._effects.append(SendFrame(connection, Ping(next(self._pings))))
                case Close(connection, reason):
                    self.connections.pop(connection, None)
                    self._effects.append(CloseConnection(connection, reason))
                case Linked(connection, moved):
                    self._linked(connection, moved=moved, now=now)
                case Unlinked(reason):
                    self._unlinked(reason, now=now)

    def _linked(self, connection: ConnectionId, *, moved: bool, now: float) -> None:
        self._cancel()
        self._retry_at = None
        self._linked_at = now
        self._reasons.clear()
        if not moved:
            connected = PeerConnected(self.key, self.connections[connection], self._label())
            self._effects.append(Publish(connected))

    def _unlinked(self, reason: str, *, now: float) -> None:
        self._effects.append(Publish(PeerDisconnected(self.key, reason)))
        if now - self._linked_at >= _STABLE_S:
            self._backoff.reset()
            self._retry_at = None
        else:
            self._rest(f"the link ended soon ({reason})", now=now)
