"""The lines of `avahi-browse --resolve --parsable`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Browsed", "parse_browsed"]


@dataclass(frozen=True)
class Browsed:
    """A service that has come or gone.

    Attributes:
        interface: Where it was seen.
        name: Its instance.
        address: Where it listens; None: it has gone.
    """

    interface: str
    name: str
    address: tuple[str, int] | None


def parse_browsed(line: str) -> Browsed | None:
    """Read one line; None: it says nothing of an IPv4 service that is resolved or gone."""
    fields = line.rstrip("\n").split(";")
    match fields:
        case ["-", interface, "IPv4", name, *_]:
            return Browsed(interface, name, None)
        case ["=", interface, "IPv4", name, _, _, _, ip, port, *_] if port.isdigit() and "." in ip:
            return Browsed(interface, name, (ip, int(port)))
    return None
