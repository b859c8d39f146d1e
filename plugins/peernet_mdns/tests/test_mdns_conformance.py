"""The mDNS backend keeps the laws, with real packets on the loopback interface, in real time."""

from __future__ import annotations

import socket
from ipaddress import IPv4Interface
from typing import ClassVar

from peernet_core.addresses import Interface, NetworkSnapshot
from peernet_core.testing import DiscoveryConformance, FixedNetwork, Place
from peernet_mdns import MdnsDiscovery

LOOPBACK = NetworkSnapshot((Interface("lo", socket.if_nametoindex("lo"), (IPv4Interface("127.0.0.1/8"),)),))
GROUP = ("224.0.0.251", 5353)


class TestMdns(DiscoveryConformance):
    backend = MdnsDiscovery
    resolves = True
    needs_network = True
    real_time = True
    patience_s = 10.0
    wrong_options: ClassVar[dict[str, list[object]]] = {"interfaces": ["eth0"]}

    def network(self) -> FixedNetwork:
        return FixedNetwork(LOOPBACK)

    def options(self, place: Place) -> dict[str, object]:
        del place
        return {"interfaces": ["lo"]}

    def pollute(self, place: Place, data: bytes) -> None:
        del place
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
            liar.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            liar.sendto(data[:9000], GROUP)

    def vanish(self, place: Place) -> None:
        place.network.become(NetworkSnapshot())

    def come_back(self, place: Place) -> None:
        place.network.become(LOOPBACK)
