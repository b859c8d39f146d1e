"""The backend of the page that teaches how to write one keeps every law."""

from __future__ import annotations

from typing import ClassVar

from pages import load

from peernet_core.testing import DiscoveryConformance, Place


class TestFolder(DiscoveryConformance):
    backend = load("peernet_folder").FolderDiscovery
    resolves = True
    lease_s = 61.0
    wrong_options: ClassVar[dict[str, list[object]]] = {"poll_s": [0, "often"], "path": [7]}

    def options(self, place: Place) -> dict[str, object]:
        return {"path": str(place.folder), "poll_s": 0.5}

    def pollute(self, place: Place, data: bytes) -> None:
        (place.folder / "litter").write_bytes(data)

    def vanish(self, place: Place) -> None:
        place.folder.rename(place.folder.with_name("away"))

    def come_back(self, place: Place) -> None:
        place.folder.with_name("away").rename(place.folder)
