"""What a signal does to a command that runs a node, before anything of the node is there."""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["leave_on_signals"]


def leave_on_signals() -> None:
    """Let SIGINT and SIGTERM end the process without a word, until something else takes them.

    Imports take a while, and whoever says stop meanwhile should not see a traceback.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    # Nothing is open yet, and an exception here would come out of whatever is just being imported.
    os._exit(0)
