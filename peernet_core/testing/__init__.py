"""For tests of peernet and of backends: time that jumps, and guards against what a test leaves behind."""

from __future__ import annotations

from peernet_core.testing.clock import JumpingEventLoop
from peernet_core.testing.leaks import open_sockets, running_threads, unfinished_tasks

__all__ = ["JumpingEventLoop", "open_sockets", "running_threads", "unfinished_tasks"]
