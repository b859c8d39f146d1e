"""What a node keeps between runs: who it is, whom it trusts, how far it has counted, where it listened."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from peernet_core.errors import StorageError
from peernet_core.keys import Identity
from peernet_core.storage import identity_file
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.storage.files import read_file, replace_file
from peernet_core.storage.known_addresses_file import KnownAddressesFile
from peernet_core.storage.sequence_file import MemorySequence, SequenceFile, SequenceSource
from peernet_core.storage.trust_file import TrustFile, TrustWatcher
from peernet_core.trust import TrustedPeer, TrustList

__all__ = ["Home"]

_LOG: Final = logging.getLogger(__name__)
_MAX_PORT: Final = 65535


class Home:
    """An opened data directory, or its stand-in in memory.

    Attributes:
        identity: Who we are.
        trust: Whom we trust.
        numbers: Where the numbers of our records come from.
        trust_file: None in memory.
        watcher: Follows the trust file; None in memory.
        control_path: Where the control socket may be; None: nowhere.
        known: Where trusted peers were reached before.
    """

    def __init__(
        self,
        directory: DataDirectory | None,
        *,
        identity: Identity | None,
        trust: TrustList | Iterable[TrustedPeer] | None,
    ) -> None:
        self._directory = directory
        self.trust_file: TrustFile | None = None
        self.watcher: TrustWatcher | None = None
        self.control_path: Path | None = None
        self.numbers: SequenceSource = MemorySequence()
        self.known = KnownAddressesFile(None if directory is None else directory.known_addresses_path)
        if directory is None:
            self.identity = identity or Identity.generate()
            self.trust = trust if isinstance(trust, TrustList) else TrustList(trust or ())
            return
        self.identity = identity or identity_file.load_or_create(directory.identity_path)
        self.numbers = SequenceFile(directory.sequence_path)
        if trust is None:
            self.trust_file = TrustFile(directory.trust_path)
            document = self.trust_file.load()
            self.trust = TrustList(document.peers)
            self.watcher = TrustWatcher(self.trust_file, self.trust, document)
        else:
            self.trust = trust if isinstance(trust, TrustList) else TrustList(trust)
        self.control_path = directory.socket_path()
        self.known.load()

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        identity: Identity | None = None,
        trust: TrustList | Iterable[TrustedPeer] | None = None,
    ) -> Home:
        """Open, and create what is missing.

        Args:
            path: The data directory; None: everything in memory.
            identity: Instead of the one in the directory.
            trust: Instead of the list in the directory.

        Raises:
            StorageError: something in it cannot be used; nothing was changed.
            DataDirectoryInUseError: another node runs on it.
            ConfigurationError: the trust list is broken, each line with its number.
        """
        if path is None:
            return cls(None, identity=identity, trust=trust)
        directory = DataDirectory.open(path)
        try:
            return cls(directory, identity=identity, trust=trust)
        except BaseException:
            directory.close()
            raise

    def last_port(self) -> int:
        """The port of the last run; 0: none is known. A damaged note is no reason to stop."""
        if self._directory is None:
            return 0
        try:
            found = read_file(self._port_path(self._directory), max_bytes=16)
        except StorageError:
            return 0
        text = b"" if found is None else found[0].strip()
        return int(text) if text.isdigit() and 0 < int(text) <= _MAX_PORT else 0

    def keep_port(self, port: int) -> None:
        """Note the port for the next run; that it cannot be noted is worth a log line and no more."""
        if self._directory is None or port == self.last_port():
            return
        try:
            replace_file(self._port_path(self._directory), f"{port}\n".encode())
        except StorageError as error:
            _LOG.warning("the port will be another one after a restart: %s", error)

    def close(self) -> None:
        """Let go of the data directory."""
        if self._directory is not None:
            self._directory.close()

    @staticmethod
    def _port_path(directory: DataDirectory) -> Path:
        return directory.path / "port"
