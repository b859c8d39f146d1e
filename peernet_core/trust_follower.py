"""Following the trust file while a node runs: told of edits where the system tells, looking elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from peernet_core.kernel_messages import Messages, open_folder_messages
from peernet_core.storage.trust_file import TrustWatcher
from peernet_core.storage.trust_settling import STILL_S

__all__ = ["TrustFollower"]

POLL_S: Final = 1.0
SAFETY_POLL_S: Final = 60.0
"""How often to look although the system tells of changes."""


class TrustFollower:
    """Lets a watcher look at the file whenever there is a reason.

    After each look the file is let alone for a quarter of a second: then a file that settles is looked at
    again, and a folder in which much is written does not keep the node busy.

    Args:
        watcher: Who looks.
        listen: Called with the file's folder when `run` begins; None: nothing tells of changes.
    """

    def __init__(
        self,
        watcher: TrustWatcher,
        *,
        listen: Callable[[Path], Messages | None] = open_folder_messages,
    ) -> None:
        self._watcher = watcher
        self._listen = listen

    async def run(self) -> None:
        """Follow the file until cancelled."""
        clock = asyncio.get_running_loop().time
        messages = self._listen(self._watcher.path.parent)
        try:
            while True:
                await self._until_due(messages)
                if messages is not None:
                    messages.clear()  # before looking: what comes from here on is a reason to look again
                self._watcher.poll(now=clock())
        finally:
            if messages is not None:
                messages.close()

    async def _until_due(self, messages: Messages | None) -> None:
        """Wait until there is a reason to look; without messages an idle node wakes up for nothing else."""
        if messages is None:
            await asyncio.sleep(POLL_S if self._watcher.settled else STILL_S)
            return
        await asyncio.sleep(STILL_S)
        if self._watcher.settled and not await self._told(messages):
            await asyncio.sleep(POLL_S - STILL_S)

    async def _told(self, messages: Messages) -> bool:
        """Wait for a message; False at once where none can be relied on."""
        if self._watcher.path.is_symlink():  # its target is in another folder
            return False
        try:
            async with asyncio.timeout(SAFETY_POLL_S):
                await messages.wait()
        except TimeoutError:
            pass
        except OSError:
            return False
        return True
