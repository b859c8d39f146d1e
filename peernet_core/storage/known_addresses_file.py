"""The file of known addresses: where trusted peers were reached in earlier runs.

A line a place: ``<key> <ip:port> <source> <seconds>``, the last being when it last worked, in Unix time. Only
addresses that we dialed, and where the peer proved its key, are in it. The file is a convenience: what cannot
be read in it is passed over, and the next writing leaves it out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from peernet_core.addresses import Address
from peernet_core.errors import MalformedAddressError, MalformedKeyError, StorageError
from peernet_core.keys import PeerKey
from peernet_core.storage.files import read_file, replace_file
from peernet_core.values import frozen

__all__ = ["MAX_KEYS", "MAX_PLACES", "KnownAddress", "KnownAddressesFile", "parse_known_addresses"]

_LOG: Final = logging.getLogger(__name__)
MAX_KEYS: Final = 4096
MAX_PLACES: Final = 4
"""Of one key."""
_MAX_BYTES: Final = 4 * 1024 * 1024
_FIELDS: Final = 4
_LATEST: Final = 2**40
_FRESH_S: Final = 24 * 3600
"""What worked again within a day need not be written again."""


@frozen
class KnownAddress:
    """One place.

    Attributes:
        address: With the source that named it.
        worked_at: When it last worked, in Unix seconds by this host's clock.
    """

    key: PeerKey
    address: Address
    worked_at: int


def parse_known_addresses(data: bytes) -> tuple[list[KnownAddress], list[int]]:
    """Read the file.

    Args:
        data: Anything at all.

    Returns:
        The places, and the numbers of the lines that are none.
    """
    found: list[KnownAddress] = []
    bad: list[int] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        known = _parse_line(line)
        if known is None:
            bad.append(number)
        else:
            found.append(known)
    return found, bad


def _parse_line(line: bytes) -> KnownAddress | None:
    try:
        fields = line.decode("ascii").split()
        if len(fields) != _FIELDS or not fields[3].isdigit() or int(fields[3]) > _LATEST:
            return None
        return KnownAddress(
            PeerKey.parse(fields[0]), Address.parse(fields[1], source=fields[2]), int(fields[3])
        )
    except (UnicodeDecodeError, MalformedKeyError, MalformedAddressError):
        return None


class KnownAddressesFile:
    """What the file holds, and what it will hold.

    Bounded: of each key the `MAX_PLACES` that worked last, of the keys the `MAX_KEYS`.

    Args:
        path: The file; None: memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._places: dict[PeerKey, dict[tuple[object, int], KnownAddress]] = {}
        self._changed = False

    def load(self) -> None:
        """Read the file; one that is missing, damaged or unreadable is no reason to stop."""
        if self._path is None:
            return
        try:
            found = read_file(self._path, max_bytes=_MAX_BYTES)
        except StorageError as error:
            _LOG.warning("known addresses: %s", error)
            return
        places, bad = parse_known_addresses(b"" if found is None else found[0])
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            _LOG.warning("%s, line %d%s: no place; passed over", self._path, bad[0], more)
        for known in sorted(places, key=lambda each: each.worked_at):
            self._put(known)

    def places(self) -> tuple[KnownAddress, ...]:
        """All of them; of each key the latest first."""
        return tuple(known for places in self._places.values() for known in reversed(places.values()))

    def note(self, key: PeerKey, address: Address, *, worked_at: int) -> bool:
        """A dial there was answered by the peer; returns whether that is worth writing."""
        if address.ip.is_link_local or address.ip.is_loopback:
            return False  # without the interface where the peer is heard it may not be dialed
        before = self._places.get(key, {}).get(address.endpoint)
        if before is not None and abs(worked_at - before.worked_at) < _FRESH_S:
            return False
        # What worked from memory keeps the source that named it first.
        named = address if before is None else before.address
        self._put(KnownAddress(key, named, worked_at))
        self._changed = True
        return True

    def forget(self, keep: Iterable[PeerKey]) -> None:
        """Drop what is known of others than these."""
        kept = frozenset(keep)
        for key in [key for key in self._places if key not in kept]:
            del self._places[key]
            self._changed = True

    def save(self) -> None:
        """Replace the file if there is something new; a full disk costs a warning, and the old file stays."""
        if self._path is None or not self._changed:
            return
        self._changed = False
        lines = [
            f"{known.key} {known.address} {known.address.source or '-'} {known.worked_at}\n"
            for places in list(self._places.values())
            for known in list(places.values())
        ]
        try:
            replace_file(self._path, "".join(lines).encode("ascii"))
        except StorageError as error:
            _LOG.warning("known addresses are not kept: %s", error)

    def _put(self, known: KnownAddress) -> None:
        places = self._places.pop(known.key, {})
        places.pop(known.address.endpoint, None)
        places[known.address.endpoint] = known
        self._places[known.key] = places
        if len(places) > MAX_PLACES:
            del places[next(iter(places))]
        if len(self._places) > MAX_KEYS:
            del self._places[next(iter(self._places))]
