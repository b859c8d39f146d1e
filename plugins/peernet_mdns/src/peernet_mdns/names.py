"""Names: what a peer is called in DNS-SD, and which names are a peer's. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "ALIAS_CHARACTERS",
    "SERVICE",
    "alias_of",
    "check_service",
    "host_name",
    "instance_name",
    "type_name",
]

SERVICE: Final = "_peernet._tcp"
ALIAS_CHARACTERS: Final = 26
"""Characters of an alias, each of `a` to `z` and `2` to `7`."""

_DOMAIN: Final = ".local."
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_MAX_SERVICE_CHARACTERS: Final = 15
_TCP: Final = "._tcp"
_NOT_IN_SERVICE: Final = re.compile("[^a-z0-9-]")
_SHOWN_CHARACTERS: Final = 60


def check_service(service: str) -> str:
    """Check the type under which peers are published.

    Args:
        service: As in `"_peernet._tcp"`: without a domain, in lower case.

    Returns:
        The same.

    Raises:
        ValueError: anything else; the message is one sentence for who wrote it, with an example.

    Source: RFC 6335 §5.1; RFC 6763 §7.
    """
    wrong = _why_no_service(service)
    if wrong is not None:
        shown = service if len(service) <= _SHOWN_CHARACTERS else service[:_SHOWN_CHARACTERS] + "..."
        raise ValueError(f'{_quote(shown)} is no service type: {wrong}; an example is "{SERVICE}"')
    return service


def type_name(service: str) -> str:
    """The name that is asked for all peers, as in `_peernet._tcp.local.`."""
    return service + _DOMAIN


def instance_name(alias: str, service: str) -> str:
    """The name of one peer's SRV and TXT records."""
    return f"{alias}.{service}{_DOMAIN}"


def host_name(alias: str) -> str:
    """The name of one peer's addresses; never the host's own name, which is somebody's."""
    return alias + _DOMAIN


def alias_of(name: str, service: str) -> str | None:
    """Read the alias from the name of an instance.

    Args:
        name: Any name that was received, in whatever case.
        service: The type, as `check_service` takes it.

    Returns:
        The alias in lower case; None unless the name is one label of an alias's form before the type.
    """
    if len(name) != ALIAS_CHARACTERS + 1 + len(service) + len(_DOMAIN) or not name.isascii():
        return None  # U+212A, the sign for kelvin, would be a 'k' in lower case
    name = name.lower()
    alias = name[:ALIAS_CHARACTERS]
    if alias.strip(_BASE32) or name[ALIAS_CHARACTERS:] != f".{service}{_DOMAIN}":
        return None
    return alias


def _why_no_service(service: str) -> str | None:
    if not service:
        return "it is empty"
    lower = service.lower().removesuffix(".")
    if lower.endswith(".local"):
        return 'the domain is always the local one, so leave ".local" out'
    if lower.endswith("._udp"):
        return 'links between peers are TCP, so it ends in "._tcp" and not in "._udp"'
    if not service.endswith(_TCP):
        return 'it ends in "._tcp"'
    name = service.removesuffix(_TCP)
    if not name.startswith("_"):
        return "it starts with an underscore"
    return _why_no_service_name(name[1:])


def _why_no_service_name(name: str) -> str | None:
    odd = _NOT_IN_SERVICE.search(name)
    if odd is not None:
        return f"its name is made of a to z in lower case, 0 to 9 and hyphens; found {_quote(odd[0])}"
    if not 1 <= len(name) <= _MAX_SERVICE_CHARACTERS:
        return f"its name has 1 to {_MAX_SERVICE_CHARACTERS} characters; this has {len(name)}"
    if not re.search("[a-z]", name):
        return "its name has a letter in it"
    if name.startswith("-") or name.endswith("-") or "--" in name:
        return "a hyphen stands between two letters or digits"
    return None


def _quote(text: str) -> str:
    return '"' + ascii(text)[1:-1] + '"'
