"""Memory that is at hand: what a start takes shall not hang on where its memory comes from.

A virtual machine may give free memory back to its host (free page reporting); the next process to get it
waits until the host has found it again. Starting Python then takes half as long again, for as long as such
memory is handed out, and whether it is depends on what ended some seconds before.
"""

from __future__ import annotations

import mmap
from typing import Final

__all__ = ["warm_memory"]

_BYTES: Final = 128 * 1024 * 1024
"""More than any program takes whose start is timed."""


def warm_memory() -> None:
    """Touch that much memory and free it; whoever starts within the next second or two gets it first."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, _BYTES, flags=flags).close()
