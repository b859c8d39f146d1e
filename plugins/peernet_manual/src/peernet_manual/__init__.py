"""Peers that are known by configuration, or by the application: a discovery backend without a network."""

from __future__ import annotations

import attrs

from peernet_core.addresses import Address
from peernet_core.contract import Context, DiscoverySpec, Sighting, hookimpl
from peernet_core.errors import NodeClosedError
from peernet_core.keys import PeerKey

__all__ = ["ManualDiscovery", "ManualPeer"]


@attrs.frozen
class ManualPeer:
    """One entry of the configuration.

    Attributes:
        key: The peer's public key.
        address: Where it listens, as ``10.0.0.5:7100`` or ``[fe80::5%eth0]:7100``.
    """

    key: PeerKey = attrs.field(validator=attrs.validators.instance_of(PeerKey))
    address: Address = attrs.field(validator=attrs.validators.instance_of(Address))


def _has_no_repetition(_: object, __: object, peers: list[ManualPeer]) -> None:
    first: dict[ManualPeer, int] = {}
    for number, peer in enumerate(peers):
        if peer in first:
            again = f"{peer.key.short}… at {peer.address}"
            raise ValueError(f"[{number}] repeats [{first[peer]}]: {again}")
        first[peer] = number


@attrs.define(eq=False)
class ManualDiscovery(DiscoverySpec):
    """Reports the peers that it was told of, as the operator's own word: every address may be dialed.

    Attributes:
        peers: Who is where; a peer with several addresses has an entry for each.
    """

    peers: list[ManualPeer] = attrs.field(
        factory=list,
        validator=[
            attrs.validators.deep_iterable(attrs.validators.instance_of(ManualPeer)),
            _has_no_repetition,
        ],
    )
    _known: dict[PeerKey, dict[Address, Sighting | None]] = attrs.field(init=False, factory=dict)
    _context: Context | None = attrs.field(init=False, default=None)
    _stopped: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        for peer in self.peers:
            self._known.setdefault(peer.key, {})[peer.address.with_source("")] = None

    def announce_peer(self, key: PeerKey, address: Address | str) -> None:
        """Tell the node where a peer is; on the loop's thread.

        Before the start it is kept until then. What was said before of this peer stands; saying the same
        again changes nothing.

        Args:
            key: The peer's public key.
            address: An Address, or text as ``10.0.0.5:7100``.

        Raises:
            TypeError: the key is no PeerKey, or the address something else.
            MalformedAddressError: the text is no address, or the address can be nobody's.
            NodeClosedError: the node is stopped.
        """
        self._check(key)
        if not isinstance(address, Address | str):
            raise TypeError(f"address: expected an Address or text, not {type(address).__name__}")
        # By way of its text also an Address is checked as one in the file is: for its zone.
        place = Address.parse(str(address))
        places = self._known.setdefault(key, {})
        if places.get(place) is None:
            places[place] = None
            self._report(key, place)

    def lose_peer(self, key: PeerKey) -> None:
        """Take back all that was said of a peer, in the configuration as well; of an unknown one: nothing.

        A link that is up stays up: it is proof enough that the peer is there.

        Raises:
            TypeError: the key is no PeerKey.
            NodeClosedError: the node is stopped.
        """
        self._check(key)
        for sighting in self._known.pop(key, {}).values():
            if sighting is not None and self._context is not None:
                self._context.peer_lost(sighting)

    @hookimpl
    async def start(self, context: Context) -> None:
        """Report what is known so far."""
        self._context = context
        for key, places in self._known.items():
            for place in places:
                self._report(key, place)

    @hookimpl
    async def stop(self) -> None:
        """Report nothing more."""
        self._context = None
        self._stopped = True

    def _report(self, key: PeerKey, place: Address) -> None:
        context = self._context
        if context is None:
            return
        if key == context.key:
            context.log.info("the entry for %s is our own, and is passed over", place)
            return
        self._known[key][place] = context.peer_discovered(key, place.ip, place.port, configured=True)

    def _check(self, key: object) -> None:
        if not isinstance(key, PeerKey):
            raise TypeError(f"key: expected a PeerKey, not {type(key).__name__}; see PeerKey.parse")
        if self._stopped:
            raise NodeClosedError(
                "this instance of the manual backend is stopped; a new node makes a new one"
            )
