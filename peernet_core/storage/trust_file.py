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
_MAX_NOTE_BYTES: Final = 200
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
        with self._locked() as lock:
            old = self.load()
            self._replace(old, old.adding(key, label), lock)
        return all(peer.key != key for peer in old.peers)

    def remove(self, key: PeerKey) -> bool:
        """Remove a key.

        Returns:
            Whether it was there.

        Raises:
            ConfigurationError: the file is broken and stays as it is: a running node would not follow.
            StorageError: the file cannot be changed.
        """
        with self._locked() as lock:
            old = self.load()
            self._replace(old, old.removing(key), lock)
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

    def is_ours(self, stamp: FileStamp) -> bool:
        """Whether a file that looks like this is what an edit of ours left; False when in doubt."""
        try:
            found = read_file(self._lock_path, max_bytes=_MAX_NOTE_BYTES)
        except StorageError:
            return False
        return found is not None and found[0] == _note(stamp)

    @property
    def _lock_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.lock")

    def _replace(self, old: TrustDocument, new: TrustDocument, lock: int) -> None:
        if new.text == old.text:
            return
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except FileNotFoundError:
            mode = 0o600
        replace_file(self._path, new.text.encode("utf-8", "surrogateescape"), mode)
        # A note for running nodes: without it they only wait longer, so it may fail.
        with contextlib.suppress(OSError, StorageError):
            os.ftruncate(lock, 0)
            found = self.look()
            if found is not None and found[1] == new.text:
                os.pwrite(lock, _note(found[0]), 0)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        path = self._lock_path
        descriptor = open_lock_file(path)
        try:
            give_up_at = time.monotonic() + self._lock_timeout_s
            while not try_lock(descriptor, path):
                if time.monotonic() >= give_up_at:
                    reason = f"another process has been editing {self._path.name} for too long; try again"
                    raise StorageError(path, reason)
                time.sleep(_LOCK_POLL_S)
            yield descriptor
        finally:
            os.close(descriptor)


class TrustWatcher:
    """Keeps a trust list as the file says: it is to `poll` when the file may have changed.

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

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def settled(self) -> bool:
        """Whether another look is of no use before the file changes; else it is after `STILL_S`."""
        return self._settling.settled

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
        ours = stamp is not None and self._file.is_ours(stamp)
        return self._settling.settle(text, labels, ours=ours, now=now)


def _note(stamp: FileStamp) -> bytes:
    numbers = (stamp.device, stamp.inode, stamp.size, stamp.modified_ns, stamp.changed_ns)
    return b"%d %d %d %d %d\n" % numbers
