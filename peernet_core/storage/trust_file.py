"""`trusted_peers`: editing it under its lock, and following everybody's edits while the node runs."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from peernet_core.errors import ConfigurationError, StorageError
from peernet_core.keys import PeerKey
from peernet_core.storage.files import explain, open_lock_file, read_file, replace_file, try_lock
from peernet_core.storage.trust_settling import FileStamp, TrustChange, TrustSettling
from peernet_core.trust import TrustDocument, TrustList

__all__ = ["TrustFile", "TrustWatcher"]

_log = logging.getLogger(__name__)

_MAX_BYTES: Final = 8 * 1024 * 1024
_LOCK_POLL_S: Final = 0.05


class TrustFile:
    """The file on the disk; every call blocks.

    Args:
        path: The file; a symbolic link stays one when the file is edited.
        lock_timeout_s: How long an edit waits for another process's edit.
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = 5.0) -> None:
        self._path = path
        self._lock_timeout_s = lock_timeout_s

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def load(self) -> TrustDocument:
        """Read the list; where there is no file, nobody is trusted yet.

        Raises:
            ConfigurationError: it is broken; every line that is, with the path and its number.
            StorageError: it cannot be read.
        """
        found = self.look()
        document = TrustDocument.parse("" if found is None else found[1])
        if document.problems:
            raise ConfigurationError([f"{self._path}: {problem}" for problem in document.problems])
        return document

    def add(self, key: PeerKey, label: str = "") -> bool:
        """Add a key, or give it another label.

        Returns:
            Whether the key is new to the file.

        Raises:
            ConfigurationError: the file is broken and stays as it is, or the label cannot be written.
            StorageError: the file cannot be changed.
        """
        with self._locked():
            old = self.load()
            self._replace(old, old.adding(key, label))
        return all(peer.key != key for peer in old.peers)

    def remove(self, key: PeerKey) -> bool:
        """Remove a key.

        Returns:
            Whether it was there.

        Raises:
            ConfigurationError: the file is broken and stays as it is: a running node would not follow.
            StorageError: the file cannot be changed.
        """
        with self._locked():
            old = self.load()
            self._replace(old, old.removing(key))
        return any(peer.key == key for peer in old.peers)

    def stamp(self) -> FileStamp | None:
        """What the file looks like from outside; None when there is none.

        Raises:
            StorageError: that cannot be seen.
        """
        try:
            return FileStamp.of(self._path.stat())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(self._path, explain(error)) from error

    def look(self) -> tuple[FileStamp, str] | None:
        """The text, and the stamp after it was read; None when there is no file.

        Raises:
            StorageError: it cannot be read.
        """
        found = read_file(self._path, max_bytes=_MAX_BYTES)
        if found is None:
            return None
        data, status = found
        return FileStamp.of(status), data.decode("utf-8", "surrogateescape")

    def _replace(self, old: TrustDocument, new: TrustDocument) -> None:
        if new.text == old.text:
            return
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except FileNotFoundError:
            mode = 0o600
        replace_file(self._path, new.text.encode("utf-8", "surrogateescape"), mode)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._path.with_name(f"{self._path.name}.lock")
        descriptor = open_lock_file(path)
        try:
            give_up_at = time.monotonic() + self._lock_timeout_s
            while not try_lock(descriptor, path):
                if time.monotonic() >= give_up_at:
                    reason = f"another process has been editing {self._path.name} for too long; try again"
                    raise StorageError(path, reason)
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)


class TrustWatcher:
    """Keeps a trust list as the file says; the node calls `poll` every 250 ms.

    Who changes the list and the file itself changes the file first: then no poll in between undoes it.

    Args:
        file: The file.
        trust: The list in memory.
        document: What was loaded from the file at the start.
    """

    def __init__(self, file: TrustFile, trust: TrustList, document: TrustDocument) -> None:
        self._file = file
        self._trust = trust
        self._settling = TrustSettling(document, trust.keys())

    def poll(self, *, now: float) -> tuple[str, ...]:
        """Look at the file and apply what is due to the list.

        Returns:
            Problems that were not there before, each with the path and the line's number; they are in the
            log as well.
        """
        change = self._change(now)
        for peer in change.added:
            self._trust.add(peer.key, peer.label)
        for key in change.removed:
            self._trust.remove(key)
        problems = tuple(f"{self._file.path}: {problem}" for problem in change.problems)
        for problem in problems:
            _log.warning("%s; nobody is removed", problem)
        return problems

    def _change(self, now: float) -> TrustChange:
        try:
            stamp = self._file.stamp()
            if not self._settling.due(stamp, now=now):
                return TrustChange()
            found = self._file.look()
        except StorageError as error:
            return self._settling.unreadable(error.reason)
        found_stamp, text = (None, None) if found is None else found
        if found_stamp != stamp:
            self._settling.due(found_stamp, now=now)
            return TrustChange()
        labels = {peer.key: peer.label for peer in self._trust}
        return self._settling.settle(text, labels, now=now)
