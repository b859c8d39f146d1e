"""Which connection is the link: the agreement between two ends that may dial each other at once.

Pure and per pair of peers. **The end with the smaller key decides, whoever dialed.** With no link, or when
the peer has a new boot id, a connection that reached OPEN becomes the link (UP). Otherwise the deciding end
pings the link that there is: a PONG within a second keeps it (NO), else the newcomer replaces it (UP). The
other end moves to whatever got UP, but for one that was sent before the last one that it followed: that was
under way on a slower connection, which is closed by now. A connection that closes before OPEN has no effect
anywhere.

tests/test_agreement.py explores every interleaving of this very code.
"""

from __future__ import annotations

from typing import Final

from peernet_core.values import frozen

__all__ = [
    "HOLD_S",
    "MAX_WAITING",
    "PROBE_S",
    "RETIRE_S",
    "SUSPICION_S",
    "VERDICT_S",
    "Agreement",
    "Close",
    "ConnectionId",
    "Effect",
    "Linked",
    "SendNo",
    "SendPing",
    "SendUp",
    "Unlinked",
]

PROBE_S: Final = 1.0
"""How long the link may take to answer while another connection wants its place."""
SUSPICION_S: Final = 5.0
"""How long it may take when nothing waits for its place."""
HOLD_S: Final = 5.0
"""After a NO without a link: how long to wait for the UP that should come."""
VERDICT_S: Final = 5.0
"""How long the other end may take from OPEN to its verdict."""
RETIRE_S: Final = 10.0
"""How long a link that was replaced stays open for the other end, which may not know of its successor yet."""
MAX_WAITING: Final = 8
"""Connections at OPEN without a verdict; an honest peer has one or two."""

ConnectionId = int


@frozen
class SendUp:
    """Tell the other end that this connection is the link; `number` grows with each that is sent."""

    connection: ConnectionId
    number: int


@frozen
class SendNo:
    """Tell the other end that the link stays; a Close follows."""

    connection: ConnectionId


@frozen
class SendPing:
    """Ask whether the link is alive; its answer goes to `Agreement.pong_received`."""

    connection: ConnectionId


@frozen
class Close:
    """Close after what was sent has left."""

    connection: ConnectionId
    reason: str


@frozen
class Linked:
    """This connection is the link now; `moved` when it took over from one that never ended for the user."""

    connection: ConnectionId
    moved: bool = False


@frozen
class Unlinked:
    """There is no link any more."""

    reason: str


Effect = SendUp | SendNo | SendPing | Close | Linked | Unlinked


class Agreement:
    """One end of the agreement with one peer.

    Args:
        decides: Whether our key is the smaller one.
    """

    def __init__(self, *, decides: bool) -> None:
        self.decides = decides
        self.link: ConnectionId | None = None
        self.link_boot_id: bytes | None = None
        self._waiting: dict[ConnectionId, bytes] = {}  # at OPEN, no verdict yet, with their boot ids
        self._verdict_due: dict[ConnectionId, float] = {}
        self._retired: dict[
            ConnectionId, float
        ] = {}  # were the link; the other end closes them, or we do then
        self._ups_sent = 0
        self._followed: tuple[bytes, int] | None = None  # whose UP the last one was, and its number
        self._probe_due: float | None = None
        self._held_until: float | None = None

    @property
    def waiting(self) -> tuple[ConnectionId, ...]:
        """The connections at OPEN without a verdict, oldest first."""
        return tuple(self._waiting)

    @property
    def held_until(self) -> float | None:
        """Until when we wait for the link that the other end says there is; None: we do not."""
        return self._held_until

    def may_dial(self) -> bool:
        """Whether a dial makes sense: no link, and no verdict that may still bring one."""
        return self.link is None and not self._waiting and self._held_until is None

    def wants_open(self, boot_id: bytes) -> bool:
        """Whether the winner of a race should be opened, given the boot id in its HELLO."""
        if self.link is None:
            return not self._waiting
        return boot_id != self.link_boot_id

    def opened(self, connection: ConnectionId, boot_id: bytes, *, now: float) -> list[Effect]:
        """A connection reached OPEN, sent by us or by them."""
        if len(self._waiting) >= MAX_WAITING:
            return [Close(connection, "too many connections wait for a verdict")]
        if not self.decides:
            self._waiting[connection] = boot_id
            self._verdict_due[connection] = now + VERDICT_S
            return []
        if self.link is None or boot_id != self.link_boot_id:
            return self._take(connection, boot_id)
        self._waiting[connection] = boot_id
        if self._probe_due is None:
            self._probe_due = now + PROBE_S
            return [SendPing(self.link)]
        self._probe_due = min(self._probe_due, now + PROBE_S)
        return []

    def up_received(self, connection: ConnectionId, number: int | None = None) -> list[Effect]:
        """The deciding end made this connection the link.

        Args:
            connection: The connection.
            number: That of the UP; None: the other end does not count, so it is followed.
        """
        if self.decides or connection not in self._waiting:
            return self._violated(connection, "UP out of turn")
        boot_id = self._waiting.pop(connection)
        del self._verdict_due[connection]
        if number is not None:
            if self._followed is not None and self._followed[0] == boot_id and number < self._followed[1]:
                return [Close(connection, "an older verdict")]
            self._followed = (boot_id, number)
        return self._take(connection, boot_id)

    def no_received(self, connection: ConnectionId, *, now: float) -> list[Effect]:
        """The deciding end keeps its link."""
        if self.decides or connection not in self._waiting:
            return self._violated(connection, "NO out of turn")
        del self._waiting[connection], self._verdict_due[connection]
        if self.link is None and not self._waiting:
            self._held_until = now + HOLD_S
        return [Close(connection, "the link stays")]

    def pong_received(self, connection: ConnectionId) -> list[Effect]:
        """The link answered a ping: it is alive, and whoever wanted its place goes."""
        if connection != self.link or self._probe_due is None:
            return []
        self._probe_due = None
        effects: list[Effect] = []
        if self.decides:
            for waiting in self._waiting:
                effects += [SendNo(waiting), Close(waiting, "the link stays")]
            self._waiting.clear()
        return effects

    def suspect(self, *, now: float) -> list[Effect]:
        """Something speaks against the link: ask it whether it is alive."""
        if self.link is None or self._probe_due is not None:
            return []
        self._probe_due = now + SUSPICION_S
        return [SendPing(self.link)]

    def closed(self, connection: ConnectionId, reason: str) -> list[Effect]:
        """A connection that reached OPEN is gone; others may be reported too and have no effect."""
        self._waiting.pop(connection, None)
        self._verdict_due.pop(connection, None)
        self._retired.pop(connection, None)
        if connection != self.link:
            return []
        self.link = self.link_boot_id = self._probe_due = None
        effects: list[Effect] = [Unlinked(reason)]
        if self.decides and self._waiting:
            effects += self._take_newest()
        return effects

    def reset(self, reason: str) -> list[Effect]:
        """Close everything: the peer is not trusted any more, or the node stops."""
        connections = [*self._waiting, *self._retired]
        connections[:0] = [] if self.link is None else [self.link]
        linked = self.link is not None
        self.link = self.link_boot_id = self._probe_due = self._held_until = None
        self._waiting.clear()
        self._retired.clear()
        self._verdict_due.clear()
        effects: list[Effect] = [Close(connection, reason) for connection in connections]
        return [*effects, Unlinked(reason)] if linked else effects

    def next_deadline(self) -> float | None:
        """When `handle_timer` is due."""
        due = [*self._verdict_due.values(), *self._retired.values()]
        due += [at for at in (self._probe_due, self._held_until) if at is not None]
        return min(due, default=None)

    def handle_timer(self, *, now: float) -> list[Effect]:
        """Act on the deadlines that have passed."""
        effects: list[Effect] = []
        if self._held_until is not None and self._held_until <= now:
            self._held_until = None
        for connection in [c for c, due in self._verdict_due.items() if due <= now]:
            del self._waiting[connection], self._verdict_due[connection]
            effects.append(Close(connection, "no verdict in time"))
        for connection in [c for c, due in self._retired.items() if due <= now]:
            del self._retired[connection]
            effects.append(Close(connection, "another connection became the link"))
        if self._probe_due is not None and self._probe_due <= now and self.link is not None:
            self._probe_due = None
            if self.decides and self._waiting:
                # Make before break: the other end closes it once it has heard of its successor.
                self._retired[self.link] = now + RETIRE_S
                effects += self._take_newest()
            else:
                effects.append(Close(self.link, "no answer to a ping"))
                effects += self.closed(self.link, "no answer to a ping")
        return effects

    def _take_newest(self) -> list[Effect]:
        connection, boot_id = self._waiting.popitem()
        return self._take(connection, boot_id)

    def _take(self, connection: ConnectionId, boot_id: bytes) -> list[Effect]:
        """Make a connection the link; the incumbent, and at the deciding end all that wait, go."""
        incumbent, restarted = self.link, self.link is not None and boot_id != self.link_boot_id
        self.link, self.link_boot_id = connection, boot_id
        self._probe_due = self._held_until = None
        effects: list[Effect] = []
        if self.decides:
            self._ups_sent += 1
            effects.append(SendUp(connection, self._ups_sent))
            for waiting in self._waiting:
                effects += [SendNo(waiting), Close(waiting, "another connection became the link")]
            self._waiting.clear()
        if incumbent is not None and incumbent not in self._retired:
            effects.append(Close(incumbent, "another connection became the link"))
        if restarted:
            effects.append(Unlinked("restarted"))
        return [*effects, Linked(connection, moved=incumbent is not None and not restarted)]

    def _violated(self, connection: ConnectionId, reason: str) -> list[Effect]:
        return [Close(connection, reason), *self.closed(connection, reason)]
