"""Who may hold one of the few places for connections that have not authenticated yet.

Pure. A flood of strangers must neither exhaust the node nor keep a trusted peer out: places are few, they are
given back soon, and the source that holds most of them gives way first.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Network
from typing import Final

from peernet_core.addresses import IPAddress
from peernet_core.values import frozen

__all__ = ["GRACE_S", "MAX_UNAUTHENTICATED", "SCARCE_S", "Admission", "Verdict", "source_of"]

MAX_UNAUTHENTICATED: Final = 64
GRACE_S: Final = 0.5
"""How long a connection may keep its place undisturbed: a handshake takes less."""
SCARCE_S: Final = 60.0
"""How long there are fewer places after the system ran out of descriptors."""
_FEWEST: Final = 8
_MAX_PROVEN: Final = 1024
_SITE_PREFIX: Final = 64


def source_of(ip: IPAddress) -> str:
    """What counts as one source: an IPv4 address, or an IPv6 /64 (link-local ones with their zone)."""
    if isinstance(ip, IPv4Address):
        return str(ip)
    return f"{IPv6Network((int(ip), _SITE_PREFIX), strict=False)}{ip.scope_id or ''}"


@frozen
class Verdict:
    """What to do with a connection that arrived.

    Attributes:
        admitted: Whether it gets a place; if not, close it.
        evicted: Whose place it takes: close that one.
    """

    admitted: bool
    evicted: int | None = None


class Admission:
    """The places for unauthenticated connections.

    Args:
        places: How many there are.
    """

    def __init__(self, places: int = MAX_UNAUTHENTICATED) -> None:
        self._all_places = places
        self._places = places
        self._scarce_until: float | None = None
        self._held: dict[str, OrderedDict[int, float]] = {}
        self._source: dict[int, str] = {}
        self._proven: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._source)

    def arrive(self, connection: int, ip: IPAddress, *, now: float) -> Verdict:
        """A connection was accepted."""
        if self._scarce_until is not None and now >= self._scarce_until:
            self._places, self._scarce_until = self._all_places, None
        evicted = None
        if len(self._source) >= self._places:
            evicted = self.shed(now=now)
            if evicted is None:
                return Verdict(admitted=False)
        source = source_of(ip)
        self._source[connection] = source
        self._held.setdefault(source, OrderedDict())[connection] = now
        return Verdict(admitted=True, evicted=evicted)

    def shed(self, *, now: float) -> int | None:
        """Take the place of the one that should give way first; None when all are still in their grace."""
        due = [
            (source in self._proven, -len(held), since, connection)
            for source, held in self._held.items()
            for connection, since in (next(iter(held.items())),)
            if now - since >= GRACE_S
        ]
        if not due:
            return None
        connection = min(due)[-1]
        self.leave(connection)
        return connection

    def exhausted(self, *, now: float) -> list[int]:
        """The system has no descriptor left: make do with fewer places for a minute.

        Those that wait to be accepted can be turned away at once only while accepting works.

        Returns:
            Whose place is gone: close them. Fewer than wanted while they are in their grace; ask again.
        """
        if self._scarce_until is None or len(self._source) <= self._places:
            self._places = max(_FEWEST, min(self._places, len(self._source)) * 3 // 4)
        self._scarce_until = now + SCARCE_S
        evicted = []
        while len(self._source) > self._places and (connection := self.shed(now=now)) is not None:
            evicted.append(connection)
        return evicted

    def leave(self, connection: int) -> None:
        """A connection ended or was evicted; unknown ones are no error."""
        source = self._source.pop(connection, None)
        if source is None:
            return
        held = self._held[source]
        del held[connection]
        if not held:
            del self._held[source]

    def authenticated(self, connection: int, ip: IPAddress) -> None:
        """A trusted key proved itself: its place is free, and its source gives way last from now on."""
        self.leave(connection)
        source = source_of(ip)
        self._proven[source] = None
        self._proven.move_to_end(source)
        if len(self._proven) > _MAX_PROVEN:
            self._proven.popitem(last=False)
