"""Many peers of one other, in one process: each listens with a certificate of its own and dials nobody.

Run: ``python -m benchmarks.scoreboard.programs.tls_crowd IP FOLDER ...``. They are announced as the peers of
`zeroconf + TLS` are, by one python-zeroconf.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from benchmarks.scoreboard.programs.said import say
from benchmarks.scoreboard.programs.tls_links import Address, Links

_TYPE = "_peernet._tcp.local."


async def _nowhere(_: str) -> Address | None:
    return None


async def _main(ip: str, folders: list[Path]) -> None:
    zeroconf = AsyncZeroconf()
    for folder in folders:
        name = (folder / "name").read_text(encoding="ascii")
        info = AsyncServiceInfo(
            _TYPE,
            f"{name}.{_TYPE}",
            port=await Links(folder, _nowhere).listen(),
            properties={"txtvers": "1"},
            server=f"{name}.local.",
            parsed_addresses=[ip],
        )
        await zeroconf.async_register_service(info, cooperating_responders=True)
    say("ready")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], [Path(each) for each in sys.argv[2:]]))
