"""Every error that peernet raises.

::

    PeerNetError
    ├── ConfigurationError        our user's fault: a file, an option, a trust list; every mistake at once
    ├── StorageError              the data directory cannot be read or written
    │   ├── IdentityFileError         the identity is unreadable, readable by others, or corrupt
    │   └── DataDirectoryInUseError   another node runs on it
    ├── BackendError              a discovery backend failed or broke its contract
    ├── PeerNotTrustedError       the key is not in the trust list
    ├── PeerUnreachableError      trusted, but no link came up in time
    ├── ProtocolRefusedError      linked, but the peer does not take this stream
    ├── NodeClosedError           the node is stopped or was never started
    └── MalformedError            bytes or text that cannot be what they should be
        ├── MalformedKeyError
        ├── MalformedAddressError
        ├── MalformedRecordError
        │   └── BadSignatureError
        └── MalformedFrameError
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peernet_core.keys import PeerKey

__all__ = [
    "BackendError",
    "BadSignatureError",
    "ConfigurationError",
    "DataDirectoryInUseError",
    "IdentityFileError",
    "MalformedAddressError",
    "MalformedError",
    "MalformedFrameError",
    "MalformedKeyError",
    "MalformedRecordError",
    "NodeClosedError",
    "PeerNetError",
    "PeerNotTrustedError",
    "PeerUnreachableError",
    "ProtocolRefusedError",
    "StorageError",
]


class PeerNetError(Exception):
    """The root of every error that peernet raises."""


class ConfigurationError(PeerNetError):
    """The configuration cannot be used; holds every mistake found, not just the first.

    Args:
        problems: One complete line each: file, table, option, what was wrong, what is possible.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class StorageError(PeerNetError):
    """A file of the data directory cannot be read or written.

    Args:
        path: The file or folder.
        reason: What is wrong and what to do about it, without the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class IdentityFileError(StorageError):
    """The identity file is corrupt, of another kind, or readable by others. It is never overwritten."""


class DataDirectoryInUseError(StorageError):
    """Another running node holds the data directory's lock."""


class BackendError(PeerNetError):
    """A discovery backend failed, or does not keep the contract.

    Args:
        source: The configured instance.
        provider: Backend, distribution and version, as ``mdns (peernet-mdns 0.1.0)``; may be empty.
        reason: What happened.
    """

    def __init__(self, source: str, provider: str, reason: str) -> None:
        self.source = source
        self.provider = provider
        self.reason = reason
        by = f", {provider}" if provider else ""
        super().__init__(f"[discovery.{source}]{by}: {reason}")


class PeerNotTrustedError(PeerNetError):
    """The key is not in the trust list, so it is never dialed; see PeerUnreachableError for trusted ones."""

    def __init__(self, key: PeerKey) -> None:
        self.key = key
        super().__init__(f"{key} is not in the trust list")


class PeerUnreachableError(PeerNetError):
    """The peer is trusted, but could not be reached in the time given."""

    def __init__(self, key: PeerKey, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key} could not be reached: {reason}")


class ProtocolRefusedError(PeerNetError):
    """The peer was reached and does not take a stream of this protocol (now)."""

    def __init__(self, key: PeerKey, protocol: str, reason: str) -> None:
        self.key = key
        self.protocol = protocol
        self.reason = reason
        super().__init__(f"{key} refused a stream of {protocol!r}: {reason}")


class NodeClosedError(PeerNetError):
    """The node is stopped, or has not been started."""


class MalformedError(PeerNetError, ValueError):
    """Bytes or text that cannot be what they should be; the message says why."""


class MalformedKeyError(MalformedError):
    """Not a public key that may be trusted, or not in its one spelling."""


class MalformedAddressError(MalformedError):
    """Not an address that can be dialed."""


class MalformedRecordError(MalformedError):
    """Not a record: wrong tag or algorithm, oversized, truncated, or not deterministic CBOR."""


class BadSignatureError(MalformedRecordError):
    """A well-formed record that its key did not sign."""


class MalformedFrameError(MalformedError):
    """Not a frame of the link protocol."""
