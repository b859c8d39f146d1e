"""`sequence`: the highest sequence number that our records may have used.

Numbers follow the clock in microseconds, and never go back even where the clock does: each is covered by a
reservation that was on the disk before the number was used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from peernet_core.errors import StorageError
from peernet_core.storage.files import read_file, replace_file

__all__ = ["HIGHEST_CLAIM", "RESERVED_BLOCK", "MemorySequence", "SequenceFile", "SequenceSource"]

HIGHEST_CLAIM: Final = 2**62
"""No node comes near it in 100,000 years: a peer that says it holds a higher one of ours lies, and to believe
it would use up our numbers."""

RESERVED_BLOCK: Final = 60_000_000
"""As many numbers as a minute has microseconds: a node that signs often still writes once a minute."""

_MAX_BYTES: Final = 4096
_CONTENT: Final = re.compile(rb"[0-9]{1,19}\n")
_HIGHEST_RESERVED: Final = HIGHEST_CLAIM + 2**61
_MICROSECONDS: Final = 1_000_000


class SequenceSource(Protocol):
    """Where the next record's sequence number comes from."""

    def next(self, at_least: int = 0) -> int:
        """A number above every earlier one, and not below `at_least`; see `SequenceFile.next`."""
        ...


class MemorySequence:
    """Sequence numbers of a node that keeps nothing.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = 0

    def next(self, at_least: int = 0) -> int:
        """See `SequenceFile.next`."""
        self._last = _following(self._last, at_least, self._clock())
        return self._last


class SequenceFile:
    """Sequence numbers that survive a restart; one writer, not thread-safe.

    A corrupt file is refused and stays as it is: where the clock of this machine may be wrong, only its owner
    knows whether starting from the clock would fall behind what peers have seen.

    Args:
        path: The file; it is created by the first `next`.
        clock: Unix seconds.

    Raises:
        StorageError: the file cannot be read, or is corrupt.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._reserved = _read(path)
        self._last = self._reserved

    def next(self, at_least: int = 0) -> int:
        """A number above every earlier one, also those of earlier runs, and not below `at_least`.

        Blocks for two fsyncs once a minute, and at the first call.

        Args:
            at_least: One more than the highest number that a peer holds of us; ignored above `HIGHEST_CLAIM`.

        Raises:
            StorageError: the reservation could not be written; no number was given out, and the next call
                tries again.
        """
        number = _following(self._last, at_least, self._clock())
        if number > self._reserved:
            reserved = number + RESERVED_BLOCK
            replace_file(self._path, b"%d\n" % reserved)
            self._reserved = reserved
        self._last = number
        return number


def _following(last: int, at_least: int, now: float) -> int:
    return max(int(now * _MICROSECONDS), last + 1, at_least if at_least <= HIGHEST_CLAIM else 0)


def _read(path: Path) -> int:
    found = read_file(path, max_bytes=_MAX_BYTES)
    if found is None:
        return 0
    data, _ = found
    # The line's end is asked for: a number that lost its last digits would be a lower one.
    if _CONTENT.fullmatch(data) is None or int(data) > _HIGHEST_RESERVED:
        raise StorageError(
            path,
            "corrupt: not one number and a line break. If this machine's clock is right, delete the file: "
            "numbering goes on from the clock",
        )
    return int(data)
