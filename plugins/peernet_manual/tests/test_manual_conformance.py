"""The manual backend keeps the laws for backends that are told of peers."""

from __future__ import annotations

from typing import ClassVar

from peernet_core.testing import DiscoveryConformance, Place
from peernet_manual import ManualDiscovery


class TestManual(DiscoveryConformance):
    backend = ManualDiscovery
    announces = False
    detects_loss = False
    carries_bytes = False
    medium_vanishes = False
    wrong_options: ClassVar[dict[str, list[object]]] = {"peers": ["nobody", [{"key": "short"}]]}

    def options(self, place: Place) -> dict[str, object]:
        return {"peers": [{"key": str(place.peer), "address": str(place.address)}]}
