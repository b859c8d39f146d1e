"""Writes what backends report into a file: neither a slow disk nor a full one holds the node up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from peernet_core.backends.recording import (
    MAX_LINE_BYTES,
    Header,
    encode_header,
    encode_missing,
    encode_reported,
)
from peernet_core.backends.reports import Reported
from peernet_core.cli.line_writer import LineWriter
from peernet_core.errors import ConfigurationError
from peernet_core.keys import PeerKey

__all__ = ["Recorder"]

MAX_WAITING: Final = 16_384
"""Lines that wait for the disk: some 10 MB."""
_ONLY_US: Final = 0o600

_log: Final = logging.getLogger(__name__)


class Recorder:
    """A recording that is being made. On the loop's thread only; it begins at once.

    Args:
        path: The file, which must not exist.
        sources: The backends that are configured, by source.
        clock: Seconds.
        max_waiting: How many lines may wait for the disk.

    Raises:
        ConfigurationError: there is such a file, or it cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        sources: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.path = path
        self.count = 0
        self.missing = 0
        self._sources = sources
        self._clock = clock
        self._began = clock()
        self._started = time.time()
        self._has_header = False
        self._unsaid = 0
        self._descriptor = _create(path)
        self._writer = LineWriter(self._descriptor, on_broken=self._report_broken, max_lines=max_waiting)

    def begin(self, key: PeerKey) -> None:
        """Write the header, if that was not done.

        Args:
            key: Our own.
        """
        if not self._has_header:
            self._has_header = True
            self._writer.offer(encode_header(Header(key, self._started, self._sources)))

    def take(self, reported: Reported) -> None:
        """Write one report down, after the header; never blocks."""
        at_s = self._clock() - self._began
        if self._unsaid and self._writer.offer(encode_missing(self._unsaid, at_s=at_s)):
            self._unsaid = 0
        line = encode_reported(reported, at_s=at_s)
        # What comes after missing ones must not stand before their number.
        if not self._unsaid and len(line) < MAX_LINE_BYTES and self._writer.offer(line):
            self.count += 1
        else:
            self.missing += 1
            self._unsaid += 1

    def close(self) -> str:
        """Write what waits, for a second at most. Where nothing began no file is left.

        Returns:
            What became of it, for a person.
        """
        unsaid = encode_missing(self._unsaid, at_s=self._clock() - self._began) if self._unsaid else ""
        whole = self._writer.close(last=unsaid)
        if self._writer.error is None and not whole:  # its thread hangs in a write, and has the descriptor
            return f"{self.path}: the end of the recording is missing: the disk is too slow"
        os.close(self._descriptor)
        if self._writer.error is not None:
            return f"{self.path}: the recording ends too early: {self._writer.error.strerror}"
        if not self._has_header:
            self.path.unlink(missing_ok=True)
            return f"{self.path}: nothing was recorded"
        said = f"recorded {self.count} {'report' if self.count == 1 else 'reports'} in {self.path}"
        return f"{said}; {self.missing} are missing: the disk was too slow" if self.missing else said

    def _report_broken(self) -> None:
        error = self._writer.error
        why = "" if error is None else error.strerror
        _log.warning("%s: the recording ends here, and the node goes on: %s", self.path, why)


def _create(path: Path) -> int:
    try:
        # A file that is there may be another recording; a pipe or a device would be waited for.
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _ONLY_US)
    except FileExistsError:
        problem = "there is such a file, and a recording never overwrites one; name another, or remove it"
    except FileNotFoundError:
        problem = f"there is no folder {path.parent}"
    except OSError as error:
        problem = f"it cannot be made: {(error.strerror or type(error).__name__).lower()}"
    raise ConfigurationError([f"{path}: {problem}"])
