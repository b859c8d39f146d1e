"""A peer of the contenders `zeroconf + TLS` and `Avahi + TLS`.

Run: ``python -m benchmarks.scoreboard.programs.tls_peer zeroconf|avahi FOLDER IP`` with the certificates in
the folder. ``avahi`` finds its tools in the environment: AVAHI_PUBLISH and AVAHI_BROWSE.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Protocol

from benchmarks.scoreboard.programs.said import say
from benchmarks.scoreboard.programs.tls_links import Address, Links

__all__ = ["Finder"]

_SERVICE = "_peernet._tcp"
"""That of peernet, so that the same emulated strangers can be on the link; its records are not read."""


class Finder(Protocol):
    """What announces us and finds others."""

    async def find(self, name: str) -> Address | None:
        """Where that peer is, as far as it is known."""

    async def run(self, name: str, port: int, links: Links) -> None:
        """Announce us, and tell of others as they come."""


def _finder(kind: str, ip: str) -> Finder:
    # Each imports only what it needs: that is part of what is measured.
    if kind == "zeroconf":
        from benchmarks.scoreboard.programs.zeroconf_finder import ZeroconfFinder  # noqa: PLC0415 - see above

        return ZeroconfFinder(_SERVICE, ip)
    from benchmarks.scoreboard.programs.avahi_finder import AvahiFinder  # noqa: PLC0415 - see above

    return AvahiFinder(_SERVICE)


async def _main(kind: str, folder: Path, ip: str) -> None:
    finder = _finder(kind, ip)
    say("started")
    links = Links(folder, finder.find)
    port = await links.listen()
    (folder / "port").write_text(str(port), encoding="ascii")
    name = (folder / "name").read_text(encoding="ascii")
    say("ready")
    await finder.run(name, port, links)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
