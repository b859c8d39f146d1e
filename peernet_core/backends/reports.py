"""What a backend reports, checked: its own mistakes raise at its call, what the network sent does not."""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv6Address

from peernet_core.addresses import Address, IPAddress, normalize_ip, with_zone
from peernet_core.contract import Sighting
from peernet_core.errors import MalformedAddressError
from peernet_core.keys import PeerKey
from peernet_core.values import frozen

__all__ = [
    "AddressReport",
    "LossReport",
    "RecordReport",
    "Report",
    "Reported",
    "WithdrawalReport",
    "check_key",
]


@frozen
class RecordReport:
    """`Context.record_received`: bytes that may be a record.

    Attributes:
        heard: In its one form, a link-local address with its zone; None also for one that can be nobody's.

    Raises:
        TypeError: an argument of another type.
        ValueError: a lease that is none.
    """

    record: bytes
    ttl_s: float
    renew: bool
    heard: tuple[IPAddress, str] | None

    @classmethod
    def of(cls, record: object, ttl_s: object, renew: object, heard: object) -> RecordReport:
        """Check the arguments of a call."""
        call = "record_received"
        if not isinstance(record, bytes | bytearray | memoryview):
            raise TypeError(f"{call}: record must be bytes, not {type(record).__name__}")
        return cls(bytes(record), _seconds(call, ttl_s), _flag(call, "renew", renew), _heard(call, heard))


@frozen
class AddressReport:
    """`Context.peer_discovered`: a key and an address without proof.

    Raises:
        TypeError: an argument of another type.
        ValueError: a lease that is none.
        MalformedAddressError: an address that can be nobody's.
    """

    key: PeerKey
    address: Address
    ttl_s: float | None
    configured: bool

    @classmethod
    def of(
        cls, source: str, key: object, ip: object, port: object, ttl_s: object, configured: object
    ) -> AddressReport:
        """Check the arguments of a call."""
        call = "peer_discovered"
        checked_key, by_operator = check_key(call, key), _flag(call, "configured", configured)
        checked_ip, checked_port = _ip(call, ip), _port(call, port)
        if isinstance(checked_ip, IPv6Address) and checked_ip.is_link_local and not checked_ip.scope_id:
            raise MalformedAddressError(
                f"{call}: link-local {checked_ip} needs its zone, as in {checked_ip}%eth0"
            )
        try:
            # The operator's own word may name any address, also one that stands for an IPv4 one.
            address = Address(checked_ip if by_operator else normalize_ip(checked_ip), checked_port, source)
        except MalformedAddressError as error:
            raise MalformedAddressError(f"{call}: {error}") from None
        lease_s = None if ttl_s is None else _seconds(call, ttl_s)
        return cls(checked_key, address, lease_s, by_operator)


@frozen
class LossReport:
    """`ThreadContext.peer_lost`: a key, or one of its addresses, is no longer there.

    Raises:
        TypeError: an argument of another type.
    """

    key: PeerKey
    ip: IPAddress | None
    port: int | None

    @classmethod
    def of(cls, key: object, ip: object, port: object) -> LossReport:
        """Check the arguments of a call."""
        call = "peer_lost"
        return cls(
            check_key(call, key),
            None if ip is None else _plain(_ip(call, ip)),
            None if port is None else _port(call, port),
        )


@frozen
class WithdrawalReport:
    """`Context.peer_lost`: that one sighting has ended."""

    sighting: Sighting


Report = RecordReport | AddressReport | LossReport


@frozen
class Reported:
    """One report.

    Attributes:
        source: Which backend instance made it.
        report: What it said; its own mistakes are found before, and raise at its call.
        sighting: The handle that the backend was given for it.
    """

    source: str
    report: Report | WithdrawalReport
    sighting: Sighting | None = None


def check_key(call: str, key: object) -> PeerKey:
    """A key, and not its text or its bytes."""
    if not isinstance(key, PeerKey):
        raise TypeError(f"{call}: key must be a PeerKey, not {type(key).__name__}")
    return key


def _seconds(call: str, ttl_s: object) -> float:
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float):
        raise TypeError(f"{call}: ttl_s must be a number of seconds, not {type(ttl_s).__name__}")
    if not (math.isfinite(ttl_s) and ttl_s > 0):
        raise ValueError(f"{call}: ttl_s must be finite and more than 0, not {ttl_s}")
    return float(ttl_s)


def _flag(call: str, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{call}: {name} must be True or False, not {type(value).__name__}")
    return value


def _ip(call: str, ip: object) -> IPAddress:
    if not isinstance(ip, IPv4Address | IPv6Address):
        raise TypeError(f"{call}: ip must be an IPv4Address or IPv6Address, not {type(ip).__name__}")
    return ip


def _port(call: str, port: object) -> int:
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"{call}: port must be an int, not {type(port).__name__}")
    return port


def _heard(call: str, heard: object) -> tuple[IPAddress, str] | None:
    if heard is None:
        return None
    match heard:
        case (IPv4Address() | IPv6Address() as ip, str(interface)):
            try:
                return with_zone(normalize_ip(ip), interface), interface
            except ValueError:  # a sender's address that is refused, which is not the backend's doing
                return None
    raise TypeError(f"{call}: heard must be (ip, interface name) or None, not {type(heard).__name__}")


def _plain(ip: IPAddress) -> IPAddress:
    try:
        return normalize_ip(ip)
    except MalformedAddressError:  # never reported as a hint, but perhaps as the operator's word
        return ip
