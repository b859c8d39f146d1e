"""Avahi's tools: `avahi-publish` announces us, the lines of `avahi-browse` tell of others."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from benchmarks.scoreboard.programs.avahi_lines import parse_browsed
from benchmarks.scoreboard.programs.tls_links import Address, Links

__all__ = ["AvahiFinder"]

_DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")


class AvahiFinder:
    """The two tools, which talk with the daemon of this host.

    Args:
        service: The service's type.
    """

    def __init__(self, service: str) -> None:
        self._type = service
        self._known: dict[str, Address] = {}

    async def find(self, name: str) -> Address | None:
        """Where that peer is."""
        return self._known.get(name)

    async def run(self, name: str, port: int, links: Links) -> None:
        """Browse, publish, and go on."""
        publish, browse = os.environ["AVAHI_PUBLISH"], os.environ["AVAHI_BROWSE"]
        browsing = await asyncio.create_subprocess_exec(
            *(*_DIES_WITH_US, browse, "-rp", self._type), stdout=asyncio.subprocess.PIPE
        )
        publishing = await asyncio.create_subprocess_exec(
            *(*_DIES_WITH_US, publish, "--service", name, self._type, str(port), "txtvers=1"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert browsing.stdout is not None
        async for line in browsing.stdout:
            found = parse_browsed(line.decode("utf-8", "replace"))
            if found is None or found.name == name or found.interface == "lo":
                continue
            if found.address is None:
                self._known.pop(found.name, None)
            else:
                self._known[found.name] = found.address
                links.found(found.name)
        raise SystemExit(f"avahi-browse ended with {await browsing.wait()}; {publishing.returncode=}")
