"""For tests of backends and of peernet: the conformance kit, and what it is made of.

Needs pytest: ``pip install 'peernet-core[testing]'``. Nothing is loaded by itself: import what you use.
"""

from __future__ import annotations

try:
    import pytest  # noqa: F401 - to say what is missing before anything else fails
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "peernet_core.testing needs pytest: pip install 'peernet-core[testing]'", name=error.name
    ) from error

from peernet_core.testing.broadcast import BroadcastMedium, Member
from peernet_core.testing.clock import JumpingEventLoop
from peernet_core.testing.conformance import DiscoveryConformance
from peernet_core.testing.discovery_node import DiscoveryNode, HookFailedError, Life
from peernet_core.testing.fakes import (
    FailingDiscovery,
    HangingDiscovery,
    LyingDiscovery,
    SilentDiscovery,
)
from peernet_core.testing.laws import LawBrokenError
from peernet_core.testing.leaks import open_descriptors, open_sockets, running_threads, unfinished_tasks
from peernet_core.testing.place import FixedNetwork, Place
from peernet_core.testing.radio import RadioDiscovery
from peernet_core.testing.replay import ReplayDiscovery

__all__ = [
    "BroadcastMedium",
    "DiscoveryConformance",
    "DiscoveryNode",
    "FailingDiscovery",
    "FixedNetwork",
    "HangingDiscovery",
    "HookFailedError",
    "JumpingEventLoop",
    "LawBrokenError",
    "Life",
    "LyingDiscovery",
    "Member",
    "Place",
    "RadioDiscovery",
    "ReplayDiscovery",
    "SilentDiscovery",
    "open_descriptors",
    "open_sockets",
    "running_threads",
    "unfinished_tasks",
]
