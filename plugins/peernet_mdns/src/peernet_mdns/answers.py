"""Answers: what one response says of the peers in it. Pure.

It runs for each packet of everybody on the network: a name is judged once, a TXT read only where it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs
from zeroconf import DNSPointer, DNSRecord, DNSService, DNSText

from peernet_mdns.names import alias_of, type_name
from peernet_mdns.txt import record_in

__all__ = ["Claim", "Claims", "read_claims"]

_TYPE_PTR: Final = 12
_CLASS_IN: Final = 1
_UNSEEN: Final = -1


@attrs.frozen
class Claim:
    """What one response says of one instance.

    Attributes:
        alias: Which one; in lower case.
        record: The signed record of its TXT, unverified; None where there was none to read.
        ttl_s: Of its SRV, else its TXT, else its PTR, as it was sent: up to 2**32 - 1. Without meaning in a
            goodbye.
        goodbye: Its PTR or SRV, or its TXT if that is alone, has a TTL of zero.
        complete: SRV and TXT were both there, so nothing needs asking.
    """

    alias: str
    record: bytes | None = None
    ttl_s: float = 0.0
    goodbye: bool = False
    complete: bool = False


@attrs.frozen
class Claims:
    """What one response says.

    Attributes:
        claims: One of each instance, in the order in which they are named.
        refused: How many instances had a name of another form or were too many, and how many TXT records held
            no record.
    """

    claims: tuple[Claim, ...]
    refused: int


class _Instance:
    """What was read of one instance so far. Of two records of a kind the first live one counts."""

    __slots__ = ("alias", "ptr_ttl", "record", "record_ttl", "srv_ttl", "txt_ttl")

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.ptr_ttl = self.srv_ttl = self.txt_ttl = _UNSEEN
        self.record: bytes | None = None
        self.record_ttl = _UNSEEN

    def read_text(self, text: bytes, ttl: int) -> bool:
        """Read a TXT; False when it holds no record of ours."""
        if self.txt_ttl <= 0:
            self.txt_ttl = ttl
        if self.record is not None and (self.record_ttl > 0 or ttl == 0):
            return True
        record = record_in(text)
        if record is None:
            return False
        self.record = record
        self.record_ttl = ttl
        return True

    def claim(self) -> Claim:
        ptr, srv, txt = self.ptr_ttl, self.srv_ttl, self.txt_ttl
        if srv >= 0:
            return Claim(self.alias, self.record, float(srv), srv == 0 or ptr == 0, txt >= 0)
        if txt >= 0:
            return Claim(self.alias, self.record, float(txt), ptr == 0 or (txt == 0 and ptr < 0))
        return Claim(self.alias, None, float(ptr), ptr == 0)


class _Packet:
    """The instances of one packet."""

    __slots__ = ("_instances", "_limit", "_named", "_service", "_type_key", "refused")

    def __init__(self, service: str, limit: int) -> None:
        self._service = service
        self._limit = limit
        self._type_key = type_name(service)
        self._named: dict[str, _Instance | None] = {}
        self._instances: dict[str, _Instance] = {}
        self.refused = 0

    def read_pointer(self, record: DNSPointer) -> None:
        if record.key != self._type_key or record.type != _TYPE_PTR:
            return
        instance = self._named.get(record.alias) or self._find(record.alias, pointed_to=True)
        if instance is not None and instance.ptr_ttl <= 0:
            instance.ptr_ttl = record.ttl

    def read_service(self, record: DNSService) -> None:
        instance = self._named.get(record.name) or self._find(record.name)
        if instance is not None and instance.srv_ttl <= 0:
            instance.srv_ttl = record.ttl

    def read_text(self, record: DNSText) -> None:
        instance = self._named.get(record.name) or self._find(record.name)
        if instance is not None and not instance.read_text(record.text, record.ttl):
            self.refused += 1

    def claims(self) -> Claims:
        return Claims(tuple([instance.claim() for instance in self._instances.values()]), self.refused)

    def _find(self, name: str, *, pointed_to: bool = False) -> _Instance | None:
        if name in self._named:
            return None
        alias = alias_of(name, self._service)
        if alias is None:
            if pointed_to or name.lower().endswith(f".{self._type_key}"):
                self._named[name] = None
                self.refused += 1
            return None
        instance = self._instances.get(alias)
        if instance is None and len(self._instances) < self._limit:
            instance = self._instances[alias] = _Instance(alias)
        self._named[name] = instance
        self.refused += instance is None
        return instance


def read_claims(records: Iterable[DNSRecord], service: str, *, limit: int = 64) -> Claims:
    """Read what a response says of the peers of one service.

    A TXT that holds no record leaves the instance standing: its other records are still true, and one that
    can be read may follow. Addresses are not read: a peer is dialed where its signed record and its packets
    say.

    Args:
        records: All records of the packet, in its order.
        service: The type, as in `_peernet._tcp`.
        limit: How many instances are read at most.
    """
    packet = _Packet(service, limit)
    for record in records:
        if record.class_ != _CLASS_IN:
            continue
        if isinstance(record, DNSPointer):
            packet.read_pointer(record)
        elif isinstance(record, DNSService):
            packet.read_service(record)
        elif isinstance(record, DNSText):
            packet.read_text(record)
    return packet.claims()
