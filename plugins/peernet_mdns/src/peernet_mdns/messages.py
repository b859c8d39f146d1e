"""What we send: questions, and the service that stands for a node (RFC 6762, RFC 6763)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zeroconf import DNSOutgoing, DNSPointer, DNSQuestion, ServiceInfo
from zeroconf.const import (
    _CLASS_IN,
    _CLASS_UNIQUE,
    _FLAGS_QR_QUERY,
    _TYPE_PTR,
    _TYPE_SRV,
    _TYPE_TXT,
)

from peernet_core.contract import Announcement
from peernet_mdns.browser import Query
from peernet_mdns.names import host_name, instance_name, type_name
from peernet_mdns.txt import encode_txt

__all__ = ["HOST_TTL_S", "query_message", "service_info"]

HOST_TTL_S: Final = 120
"""Of SRV, A and AAAA: what names a host (RFC 6762 §10)."""
OTHER_TTL_S: Final = 4500


def query_message(query: Query, service: str, *, legacy: bool = False) -> DNSOutgoing:
    """Put a query into a message.

    Args:
        query: Whom to ask for.
        service: The type.
        legacy: For a socket of our own: no unicast bit, and no known answers (RFC 6762 §6.7).
    """
    message = DNSOutgoing(_FLAGS_QR_QUERY, multicast=not legacy)
    kind = _CLASS_IN | _CLASS_UNIQUE if query.unicast and not legacy else _CLASS_IN
    if query.everybody:
        message.add_question(DNSQuestion(type_name(service), _TYPE_PTR, kind))
    for alias in query.names:
        name = instance_name(alias, service)
        message.add_question(DNSQuestion(name, _TYPE_SRV, kind))
        message.add_question(DNSQuestion(name, _TYPE_TXT, kind))
    if not legacy:
        for alias, ttl_s in query.known:
            name = instance_name(alias, service)
            pointer = DNSPointer(type_name(service), _TYPE_PTR, _CLASS_IN, int(ttl_s), name)
            message.add_answer_at_time(pointer, 0)
    return message


def service_info(announcement: Announcement, service: str, addresses: Iterable[bytes]) -> ServiceInfo:
    """The service that stands for a node.

    Args:
        announcement: All that may be known of us.
        service: The type.
        addresses: Packed; of all links together.
    """
    return ServiceInfo(
        type_name(service),
        instance_name(announcement.alias, service),
        port=announcement.port,
        properties=encode_txt(announcement.record),
        server=host_name(announcement.alias),
        addresses=sorted(addresses),
        host_ttl=HOST_TTL_S,
        other_ttl=OTHER_TTL_S,
    )
