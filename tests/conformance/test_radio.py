"""The backend that the kit's own tests are made from keeps every law."""

from __future__ import annotations

from typing import ClassVar

from peernet_core.testing import DiscoveryConformance, Place, RadioDiscovery


class TestRadio(DiscoveryConformance):
    backend = RadioDiscovery
    resolves = True
    wrong_options: ClassVar[dict[str, list[object]]] = {"every_s": [0, -1.0], "channel": [7]}

    def options(self, place: Place) -> dict[str, object]:
        return {"channel": place.medium.name}

    def pollute(self, place: Place, data: bytes) -> None:
        place.medium.say(data)

    def vanish(self, place: Place) -> None:
        place.medium.vanish()

    def come_back(self, place: Place) -> None:
        place.medium.come_back()
