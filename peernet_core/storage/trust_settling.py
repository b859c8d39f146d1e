"""When a running node believes what `trusted_peers` says; decisions only, the time and the text come in.

An edit by us replaces the file in one step, and says so. An editor may do it in many, so a file is believed
only when it has been still for a while, and one that is missing, blank or broken never removes anybody.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping
from typing import Final

from peernet_core.keys import PeerKey
from peernet_core.trust import TrustDocument, TrustedPeer
from peernet_core.values import frozen

__all__ = ["EDIT_STILL_S", "STILL_S", "FileStamp", "TrustChange", "TrustSettling"]

STILL_S: Final = 0.25
"""How long a file must be as it is before anything in it is believed."""
EDIT_STILL_S: Final = 1.0
"""The same for removals by anybody but us: an editor that is still busy may pause."""


@frozen
class FileStamp:
    """What changes when a file does."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """The stamp that a stat result shows."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@frozen
class TrustChange:
    """What a running node is to do after a look at the file.

    Attributes:
        added: Peers that are new, or have another label.
        removed: Keys that are trusted no more.
        problems: What was found wrong and was not reported before; nobody is removed then.
    """

    added: tuple[TrustedPeer, ...] = ()
    removed: tuple[PeerKey, ...] = ()
    problems: tuple[str, ...] = ()


class _Phase(enum.Enum):
    MOVING = enum.auto()
    """Nothing of this state of the file has been believed."""
    ADDED = enum.auto()
    """Its additions have been."""
    SETTLED = enum.auto()
    """There is nothing more to take from it."""


class TrustSettling:
    """Decides what of a changing file is believed, and when. Pure: looks at nothing, waits for nothing.

    - After 250 ms of stillness, whole lines that parse add their peers, also when other lines are broken.
    - Then too, a file that we wrote removes the peers that it lacks. If anybody else wrote it, an editor may
      only be pausing: it must have been still for 1 s, and only then is a last line without an end read.
    - A file that is missing, blank or broken removes nobody, and is reported once.

    Args:
        document: What was believed at the start.
        trusted: Who was trusted then: whoever is not in the document came from elsewhere, and stays.
    """

    def __init__(self, document: TrustDocument, trusted: Iterable[PeerKey] = ()) -> None:
        self._elsewhere = set(trusted) - {peer.key for peer in document.peers}
        self._phase = _Phase.SETTLED
        self._stamp: FileStamp | None = None
        self._seen = False
        self._since = 0.0
        self._reported: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether all of the file, as it was when it was looked at last, has been taken."""
        return self._seen and self._phase is _Phase.SETTLED

    def due(self, stamp: FileStamp | None, *, now: float) -> bool:
        """Whether the file, which looks like this now, is to be read and given to `settle`."""
        if not self._seen or stamp != self._stamp:
            self._seen = True
            self._stamp = stamp
            self._since = now
            self._phase = _Phase.MOVING
        if self._phase is _Phase.SETTLED:
            return False
        return now - self._since >= (STILL_S if self._phase is _Phase.MOVING else EDIT_STILL_S)

    def settle(
        self, text: str | None, trusted: Mapping[PeerKey, str], *, ours: bool, now: float
    ) -> TrustChange:
        """Decide about a file that was due.

        Args:
            text: What was read while the stamp was the one that `due` was told last; None: there is no file.
            trusted: Who is trusted now, with labels.
            ours: Whether our own writer left it exactly so, and whole.
            now: Loop time in seconds.
        """
        if not ours and now - self._since < EDIT_STILL_S:
            self._phase = _Phase.ADDED
            whole_lines = "" if text is None else text[: text.rfind("\n") + 1]
            return TrustChange(added=_additions(TrustDocument.parse(whole_lines), trusted))
        self._phase = _Phase.SETTLED
        document = TrustDocument.parse("" if text is None else text)
        keys = {peer.key for peer in document.peers}
        removed = tuple(key for key in trusted if key not in keys and key not in self._elsewhere)
        problems = document.problems
        if removed and document.is_blank:
            empty = "the file is empty; to trust nobody on purpose, leave a comment line in it"
            problems = ("the file is missing" if text is None else empty,)
        if problems:
            return TrustChange(added=_additions(document, trusted), problems=self._unreported(problems))
        self._reported = ()
        self._elsewhere -= keys
        return TrustChange(added=_additions(document, trusted), removed=removed)

    def unreadable(self, reason: str) -> TrustChange:
        """Decide about a file that could not be read: it stays due."""
        return TrustChange(problems=self._unreported((reason,)))

    def _unreported(self, problems: tuple[str, ...]) -> tuple[str, ...]:
        if problems == self._reported:
            return ()
        self._reported = problems
        return problems


def _additions(document: TrustDocument, trusted: Mapping[PeerKey, str]) -> tuple[TrustedPeer, ...]:
    return tuple(
        peer
        for peer in document.peers
        if peer.key not in trusted or (peer.label and peer.label != trusted[peer.key])
    )
