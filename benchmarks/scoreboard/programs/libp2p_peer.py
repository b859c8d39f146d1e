# /// script
# requires-python = ">=3.11"
# dependencies = ["libp2p>=0.8.1,<0.9"]
# ///
"""A peer of the contender py-libp2p; it runs in an environment of its own, so it imports nothing of ours.

Run: ``libp2p_peer.py IP FOLDER``, a folder with ``secret`` (32 bytes in hex) and ``trusted`` (peer ids, one
a line). It dials whom it discovers by mDNS and knows, and again every second while such a peer is
discovered and not connected. ``libp2p_peer.py --id SECRET ...`` prints peer ids. ``libp2p_peer.py --crowd
IP FOLDER ...`` is many hosts that listen, announced as its mDNS does; ``libp2p_peer.py --strangers IP
COUNT`` announces some that are not.
"""

from __future__ import annotations

import json
import random
import secrets
import string
import sys
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import multiaddr
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.discovery.events.peerDiscovery import peerDiscovery
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

_AGAIN_S = 1.0
_DIAL_S = 3.0
_TYPE = "_p2p._udp.local."


def _say(event: str, peer: str = "") -> None:
    print(json.dumps({"event": event, "peer": peer, "at": time.monotonic()}), flush=True)


class _Follower(INotifee):  # type: ignore[misc]  # it is not there where types are checked
    """Says who is connected, and lets a lost peer be dialed again."""

    def __init__(self, trusted: set[str]) -> None:
        self.trusted = trusted
        self.connected_to: dict[str, int] = {}
        self.changed = trio.Event()

    def notice(self) -> None:
        """Look again whom to dial."""
        self.changed.set()

    async def connected(self, network: INetwork, conn: INetConn) -> None:  # noqa: ARG002 - its interface
        self._count(str(conn.muxed_conn.peer_id), 1)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:  # noqa: ARG002 - its interface
        self._count(str(conn.muxed_conn.peer_id), -1)

    def _count(self, peer: str, change: int) -> None:
        before = self.connected_to.get(peer, 0)
        self.connected_to[peer] = before + change
        if peer in self.trusted and not before:
            _say("linked", peer)
        elif peer in self.trusted and not before + change:
            _say("lost", peer)
            self.changed.set()

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...
    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...
    async def listen(self, network: INetwork, multiaddr: multiaddr.Multiaddr) -> None: ...
    async def listen_close(self, network: INetwork, multiaddr: multiaddr.Multiaddr) -> None: ...


def _host(folder: Path, *, mdns: bool) -> IHost:
    secret = bytes.fromhex((folder / "secret").read_text(encoding="ascii"))
    connections = ConnectionConfig(
        enable_health_monitoring=True,
        health_initial_delay=5.0,
        health_check_interval=5.0,
        ping_timeout=5.0,
        abort_connection_on_ping_failure=True,
    )
    return new_host(key_pair=create_new_key_pair(secret), enable_mDNS=mdns, connection_config=connections)


async def _peer(ip: str, folder: Path) -> None:
    token = trio.lowlevel.current_trio_token()
    follower = _Follower(set((folder / "trusted").read_text(encoding="ascii").split()))
    known: dict[str, PeerInfo] = {}

    def discovered(info: PeerInfo) -> None:
        known[str(info.peer_id)] = info
        trio.from_thread.run_sync(follower.notice, trio_token=token)

    _say("started")
    peerDiscovery.register_peer_discovered_handler(discovered)
    host = _host(folder, mdns=True)
    host.get_network().register_notifee(follower)
    async with host.run([multiaddr.Multiaddr(f"/ip4/{ip}/tcp/0")]), trio.open_nursery() as nursery:
        _say("ready")
        dialing: set[str] = set()

        async def pursue(peer: str) -> None:
            dialing.add(peer)
            while not follower.connected_to.get(peer):
                with suppress(Exception), trio.move_on_after(_DIAL_S):
                    await host.connect(known[peer])
                if not follower.connected_to.get(peer):
                    await trio.sleep(_AGAIN_S)
            dialing.discard(peer)

        while True:
            follower.changed = trio.Event()
            for peer in follower.trusted & known.keys() - dialing:
                if not follower.connected_to.get(peer):
                    nursery.start_soon(pursue, peer)
            await follower.changed.wait()


async def _crowd(ip: str, folders: list[Path]) -> None:
    async with AsyncExitStack() as stack:
        announced = []
        for folder in folders:
            host = _host(folder, mdns=False)
            await stack.enter_async_context(host.run([multiaddr.Multiaddr(f"/ip4/{ip}/tcp/0")]))
            announced.append((str(host.get_transport_addrs()[0]).partition("/p2p/")[0], str(host.get_id())))
        await _announce(ip, announced)


async def _strangers(ip: str, count: int) -> None:
    identities = [_id(secrets.token_hex(32)) for _ in range(count)]
    await _announce(ip, [(f"/ip4/{ip}/tcp/{1024 + place}", each) for place, each in enumerate(identities)])


async def _announce(ip: str, peers: list[tuple[str, str]]) -> None:
    """Announce them as its mDNS does, all at once, and go on answering."""
    from zeroconf import ServiceInfo, Zeroconf  # noqa: PLC0415 - not what is measured

    zeroconf = Zeroconf()
    async with trio.open_nursery() as nursery:
        for address, peer in peers:
            name = "".join(random.choices(string.ascii_lowercase + string.digits, k=63))
            info = ServiceInfo(
                _TYPE,
                f"{name}.{_TYPE}",
                port=int(address.rpartition("/")[2]),
                properties={b"dnsaddr": f"{address}/p2p/{peer}".encode()},
                server=f"{name}.local",
                parsed_addresses=[ip],
            )
            register = partial(zeroconf.register_service, info, cooperating_responders=True)
            nursery.start_soon(trio.to_thread.run_sync, register)
    _say("ready")
    await trio.sleep_forever()


def _id(secret: str) -> str:
    return str(ID.from_pubkey(create_new_key_pair(bytes.fromhex(secret)).public_key))


def main(arguments: list[str]) -> None:
    """Do what the first argument says."""
    match arguments:
        case ["--id", *given]:
            print("\n".join(map(_id, given)))
        case ["--crowd", ip, *folders]:
            trio.run(_crowd, ip, [Path(each) for each in folders])
        case ["--strangers", ip, count]:
            trio.run(_strangers, ip, int(count))
        case [ip, folder]:
            trio.run(_peer, ip, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
