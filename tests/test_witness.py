"""A witness is told of every report, after the node, and changes nothing for the backend."""

from __future__ import annotations

from ipaddress import IPv4Address

from peernet_core.addresses import Address, IPAddress
from peernet_core.backends.contexts import HostContext
from peernet_core.backends.reports import (
    AddressReport,
    LossReport,
    RecordReport,
    Report,
    Reported,
    WithdrawalReport,
)
from peernet_core.backends.witness import WitnessedIntake
from peernet_core.contract import Sighting, ThreadContext
from peernet_core.keys import Identity, PeerKey
from peernet_core.testing import FixedNetwork

OWN, PEER = (Identity.generate().key for _ in range(2))
IP = IPv4Address("10.0.0.5")
SEEN = Sighting(1, PEER, "lan", (Address(IP, 7100, "lan"),))


class Node:
    """Takes everything; records that begin with 'r' are one peer's."""

    def __init__(self, order: list[object]) -> None:
        self.order = order

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        self.order.append(("node", source, record, ttl_s, renew, heard))
        return SEEN if record.startswith(b"r") else None

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        self.order.append(("node", source, key, ip, port, ttl_s, configured))
        return SEEN

    def peer_lost(self, sighting: Sighting) -> None:
        self.order.append(("node", sighting))

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        self.order.append(("node", source, key, ip, port))


async def test_every_report_is_witnessed_after_the_node_took_it() -> None:
    """From the loop and from threads, with what became of it; the backend gets the node's own answers."""
    order: list[object] = []
    context = HostContext(
        "lan", key=OWN, intake=WitnessedIntake(Node(order), order.append), network=FixedNetwork()
    )
    heard = (IP, "eth0")
    assert context.record_received(b"r1", ttl_s=60, renew=False, heard=heard) is SEEN
    assert context.record_received(b"x", ttl_s=60) is None
    assert context.peer_discovered(PEER, IP, 7100, configured=True) is SEEN
    context.peer_lost(SEEN)

    def report(thread: ThreadContext) -> None:
        thread.peer_lost(PEER, IP)

    context.spawn_thread(report)
    assert await context.aclose(thread_timeout_s=20) == ()
    expected: list[tuple[Report | WithdrawalReport, Sighting | None]] = [
        (RecordReport(b"r1", 60.0, False, heard), SEEN),
        (RecordReport(b"x", 60.0, True, None), None),
        (AddressReport(PEER, Address(IP, 7100, "lan"), None, True), SEEN),
        (WithdrawalReport(SEEN), None),
        (LossReport(PEER, IP, None), None),
    ]
    assert order[1::2] == [Reported("lan", *each) for each in expected]
    assert order[::2] == [
        ("node", "lan", b"r1", 60.0, False, heard),
        ("node", "lan", b"x", 60.0, True, None),
        ("node", "lan", PEER, IP, 7100, None, True),
        ("node", SEEN),
        ("node", "lan", PEER, IP, None),
    ]


async def test_what_comes_too_late_is_not_witnessed() -> None:
    """A closed context drops reports before the node, and so before the witness."""
    order: list[object] = []
    context = HostContext(
        "lan", key=OWN, intake=WitnessedIntake(Node(order), order.append), network=FixedNetwork()
    )
    await context.aclose(thread_timeout_s=1)
    context.record_received(b"r1", ttl_s=60)
    assert order == []
