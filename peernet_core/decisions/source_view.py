"""What one source says of one key: its statements, and the addresses that stand in them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import attrs

from peernet_core.addresses import Address
from peernet_core.decisions.statements import Kind, Statement
from peernet_core.values import define, frozen

__all__ = ["MAX_ADDRESSES", "FixedLease", "SourceView"]

MAX_ADDRESSES: Final = 32
"""Of one key from one source; of statements as many."""


@frozen
class FixedLease:
    """The lease of a sequence that came over a medium that never forgets: reading it again gives no other.

    Attributes:
        sequence: Of the record.
        expires_at: When the lease ends or ended; None: never.
        data: The record's bytes.
    """

    sequence: int
    expires_at: float | None
    data: bytes


@define(eq=False)
class SourceView:
    """The live statements of one source about one key.

    Attributes:
        statements: By what makes two reports the same.
        fixed: The last such lease. It outlives its statement, else each reading would bring the dead back.
    """

    statements: dict[Hashable, Statement] = attrs.Factory(dict)
    fixed: FixedLease | None = None
    _addresses: dict[Address, int] = attrs.Factory(dict)

    def add(self, statement: Statement) -> list[Address]:
        """Put in a statement; returns its addresses that stood in no other."""
        self.statements[statement.report] = statement
        fresh = []
        for address in statement.sighting.addresses:
            standing = self._addresses.get(address, 0)
            self._addresses[address] = standing + 1
            if not standing:
                fresh.append(address)
        return fresh

    def remove(self, statement: Statement) -> None:
        """Take out a statement that was put in."""
        del self.statements[statement.report]
        for address in statement.sighting.addresses:
            standing = self._addresses.pop(address)
            if standing > 1:
                self._addresses[address] = standing - 1

    def surplus(self) -> Statement | None:
        """Which statement has to give way; None while there is room.

        The operator's own never do. What anybody can say goes before what the peer has signed; of either the
        least recently reported goes first.
        """
        if len(self._addresses) <= MAX_ADDRESSES and len(self.statements) <= MAX_ADDRESSES:
            return None
        return min(
            (each for each in self.statements.values() if each.kind is not Kind.CONFIGURED),
            key=lambda each: (each.kind is Kind.SIGNED, each.seen_at),
            default=None,
        )
