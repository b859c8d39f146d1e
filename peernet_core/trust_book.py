"""The trust list as the application edits it: in memory, and in the data directory where there is one."""

from __future__ import annotations

from collections.abc import Iterator

from peernet_core.keys import PeerKey
from peernet_core.storage.trust_file import TrustFile
from peernet_core.trust import TrustedPeer, TrustList

__all__ = ["TrustBook"]


class TrustBook:
    """Whom a node trusts. Changes take effect at once, and outlive the node if it has a data directory.

    Args:
        peers: The list that the node consults.
        file: Where it is kept; None: nowhere.
    """

    def __init__(self, peers: TrustList, file: TrustFile | None) -> None:
        self._peers = peers
        self._file = file

    def add(self, key: PeerKey, label: str = "") -> None:
        """Trust a key, or give it another label; blocks while the file is written.

        Raises:
            ConfigurationError: the file is broken and stays as it is, or the label cannot be written.
            StorageError: the file cannot be changed; nothing has changed.
        """
        if self._file is not None:
            self._file.add(key, label)
        self._peers.add(key, label)

    def remove(self, key: PeerKey) -> None:
        """Trust a key no longer: its link, streams and dials end at once; blocks while the file is written.

        Raises:
            ConfigurationError: the file is broken and stays as it is; the key is trusted again after a
                restart.
            StorageError: the file cannot be changed; the same.
        """
        self._peers.remove(key)
        if self._file is not None:
            self._file.remove(key)

    def label(self, key: PeerKey) -> str:
        """What the key is called here; may be empty."""
        return self._peers.label(key)

    def find(self, text: str) -> PeerKey:
        """The key that has this label, or is written so.

        Raises:
            ConfigurationError: none, or more than one.
        """
        return self._peers.find(text)

    def __contains__(self, key: object) -> bool:
        return key in self._peers

    def __iter__(self) -> Iterator[TrustedPeer]:
        return iter(self._peers)

    def __len__(self) -> int:
        return len(self._peers)
