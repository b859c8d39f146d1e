"""What a running node answers over its control socket."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from peernet_core.cli.json_lines import address_object
from peernet_core.errors import ConfigurationError, MalformedError, MalformedKeyError
from peernet_core.keys import PeerKey

if TYPE_CHECKING:
    from peernet_core.cli.greeting import Greeter
    from peernet_core.control import Answer, Handler
    from peernet_core.decisions.explanation import Explanation
    from peernet_core.events import PeerStatus
    from peernet_core.node import Node

__all__ = ["handlers"]

SHORTEST_PREFIX: Final = 4
"""Of a key: fewer characters could too easily be somebody else's."""


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

    async def explain(request: Mapping[str, object]) -> Answer:
        return _explanation_object(node.explain(_find(node, request.get("who"))))

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

    return {"strangers": strangers, "peers": peers, "explain": explain, "status": status, "greet": greet}


def _find(node: Node, who: object) -> PeerKey:
    """Whom a person means by a key, a label, or the beginning of a key.

    Raises:
        PeerNetError: nobody, or several.
    """
    if not isinstance(who, str):
        raise MalformedError('say whom with "who"')
    try:
        return PeerKey.parse(who)
    except MalformedKeyError:
        pass
    everybody = {*(peer.key for peer in node.trust), *(stranger.key for stranger in node.strangers())}
    begin = sorted(key for key in everybody if str(key).startswith(who.lower()))
    try:
        return node.trust.find(who)
    except ConfigurationError:
        if len(who) < SHORTEST_PREFIX or not begin:
            raise
    if len(begin) > 1:
        raise ConfigurationError(
            [f"{who.lower()} could be any of {len(begin)}: {', '.join(map(str, begin))}"]
        )
    return begin[0]


def _explanation_object(explanation: Explanation) -> dict[str, object]:
    return {
        **attrs.asdict(explanation, recurse=False),
        "key": str(explanation.key),
        "addresses": [
            {
                **attrs.asdict(each, recurse=False, filter=lambda field, _: field.name != "address"),
                **address_object(each.address),
                "source": each.address.source,
            }
            for each in explanation.addresses
        ],
    }


def _peer_object(peer: PeerStatus) -> dict[str, object]:
    return {
        "key": str(peer.key),
        "label": peer.label,
        "state": str(peer.state),
        "address": None if peer.address is None else str(peer.address),
        "source": None if peer.address is None else peer.address.source,
        "since": peer.since,
        # Several sources may name one.
        "addresses": list(dict.fromkeys(str(address) for address in peer.addresses)),
    }
