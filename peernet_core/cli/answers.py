"""What a running node answers over its control socket."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
import attrs

from peernet_core.cli.json_lines import address_object
from peernet_core.errors import MalformedError
from peernet_core.keys import PeerKey

if TYPE_CHECKING:
    from peernet_core.cli.greeting import Greeter
    from peernet_core.control import Answer, Handler
    from peernet_core.events import PeerStatus
    from peernet_core.node import Node

__all__ = ["handlers"]


def handlers(node: Node, greeter: Greeter) -> Mapping[str, Handler]:
    """What can be asked for, by its name."""

    async def strangers(_: Mapping[str, object]) -> Answer:
        return {
            "strangers": [
                {
                    "key": str(stranger.key),
                    **address_object(stranger.address),
                    "source": stranger.source,
                    "seen_s": anyio.current_time() - stranger.seen_at,
                }
                for stranger in node.strangers()
            ]
        }

    async def peers(_: Mapping[str, object]) -> Answer:
        return {"peers": [_peer_object(peer) for peer in node.peers()]}

    async def status(_: Mapping[str, object]) -> Answer:
        return {
            "key": str(node.key),
            "name": node.name,
            "port": node.port,
            "addresses": [str(address) for address in node.addresses],
            "pid": os.getpid(),
            "t": time.time(),
            "backends": [attrs.asdict(each) for each in node.backends()],
            "statistics": dict(node.statistics()),
        }

    async def greet(request: Mapping[str, object]) -> Answer:
        key, text = request.get("key"), request.get("text")
        if not isinstance(key, str) or not isinstance(text, str):
            raise MalformedError('a greeting needs a "key" and a "text"')
        return {"answer": await greeter.greet(PeerKey.parse(key), text)}

    return {"strangers": strangers, "peers": peers, "status": status, "greet": greet}


def _peer_object(peer: PeerStatus) -> dict[str, object]:
    return {
        "key": str(peer.key),
        "label": peer.label,
        "state": str(peer.state),
        "address": None if peer.address is None else str(peer.address),
        "source": None if peer.address is None else peer.address.source,
        "since": peer.since,
        "addresses": [str(address) for address in peer.addresses],
    }
