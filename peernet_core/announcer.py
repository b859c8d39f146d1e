"""What we say of ourselves: the signed record, and the announcement that backends carry."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from peernet_core.addresses import Address, IPAddress, NetworkSnapshot
from peernet_core.configuration.config import ListenAddress
from peernet_core.contract import Announcement
from peernet_core.keys import Identity
from peernet_core.records import Record, encode_record, fit_record
from peernet_core.storage.sequence_file import SequenceSource

__all__ = ["Announcer"]

_LOG: Final = logging.getLogger(__name__)


class Announcer:
    """Makes our record and keeps the newest one.

    Args:
        identity: Signs.
        numbers: Where the records' numbers come from.
        name: For people.
        advertise: The operator's own list of addresses; when empty, what the host has and we listen on.
        listen: What we listen on.

    Attributes:
        record: The newest record; empty before the first `announcement`.
        sequence: Its number.
    """

    def __init__(
        self,
        identity: Identity,
        numbers: SequenceSource,
        *,
        name: str,
        advertise: Iterable[Address],
        listen: Iterable[ListenAddress],
    ) -> None:
        self._identity = identity
        self._numbers = numbers
        self._name = name
        self._advertise = tuple(advertise)
        self._listen = tuple(listen)
        self.record = b""
        self.sequence = 0

    def announcement(
        self, port: int, network: NetworkSnapshot, *, above: int = 0, stopping: bool = False
    ) -> Announcement:
        """Sign anew; with `stopping`, the record of a peer that has stopped, which voids the rest at once.

        Raises:
            StorageError: no number can be reserved; what was announced before stands.
        """
        addresses = () if stopping else self.addresses(port, network)
        sequence = self._numbers.next(above + 1)
        record = Record(self._identity.key, sequence, port, addresses, self._name, stopped=stopping)
        fitted = fit_record(record)
        if fitted != record:
            _LOG.info(
                "the record holds %d of %d addresses and the name %a; more does not fit",
                *(len(fitted.addresses), len(addresses), fitted.name),
            )
        self.record, self.sequence = encode_record(record, self._identity), sequence
        ips = tuple(dict.fromkeys(address.ip for address in fitted.addresses))
        return Announcement(port, ips, self.record, self._identity.key.alias)

    def addresses(self, port: int, network: NetworkSnapshot) -> tuple[Address, ...]:
        """Where others may reach us, best first; never loopback or link-local."""
        if self._advertise:
            return self._advertise
        return tuple(Address(ip, port) for ip in network.advertisable() if self._listens_on(ip))

    def _listens_on(self, ip: IPAddress) -> bool:
        return any(
            each.ip == ip or (each.ip.is_unspecified and each.ip.version == ip.version)
            for each in self._listen
        )
