"""Somebody who sees every report of every backend as it goes to the node, and what became of it."""

from __future__ import annotations

from collections.abc import Callable

from peernet_core.addresses import Address, IPAddress
from peernet_core.backends.contexts import Intake
from peernet_core.backends.reports import (
    AddressReport,
    LossReport,
    RecordReport,
    Reported,
    WithdrawalReport,
)
from peernet_core.contract import Sighting
from peernet_core.keys import PeerKey

__all__ = ["Witness", "WitnessedIntake"]


Witness = Callable[[Reported], None]
"""Is told of each report, on the loop, after it was taken; must neither block nor raise."""


class WitnessedIntake(Intake):
    """An intake that tells a witness of what it takes.

    Args:
        intake: Where reports really go.
        witness: Whom to tell.
    """

    def __init__(self, intake: Intake, witness: Witness) -> None:
        self._intake = intake
        self._witness = witness

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        """See `contexts.Intake`."""
        sighting = self._intake.record_received(source, record, ttl_s=ttl_s, renew=renew, heard=heard)
        self._witness(Reported(source, RecordReport(record, ttl_s, renew, heard), sighting))
        return sighting

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        """See `contexts.Intake`."""
        sighting = self._intake.peer_discovered(source, key, ip, port, ttl_s=ttl_s, configured=configured)
        report = AddressReport(key, Address(ip, port, source), ttl_s, configured)
        self._witness(Reported(source, report, sighting))
        return sighting

    def peer_lost(self, sighting: Sighting) -> None:
        """See `contexts.Intake`."""
        self._intake.peer_lost(sighting)
        self._witness(Reported(sighting.source, WithdrawalReport(sighting)))

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        """See `contexts.Intake`."""
        self._intake.source_lost(source, key, ip, port)
        self._witness(Reported(source, LossReport(key, ip, port)))
