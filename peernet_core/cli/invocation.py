"""What stands before the command: for every command the same, and there before any of them is imported."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Invocation"]


class Invocation:
    """The global options of this call.

    Attributes:
        config: The configuration file that was named, if one was.
        data_dir: The data directory that was named, if one was.
        debug: Show tracebacks.
    """

    def __init__(self) -> None:
        self.config: Path | None = None
        self.data_dir: Path | None = None
        self.debug = False
