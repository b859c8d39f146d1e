"""The backend of the page that teaches how to write one keeps every law."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from peernet_core.testing import DiscoveryConformance, Place

PAGE = Path(__file__).parents[2] / "docs/writing-a-backend.md"


def _module() -> ModuleType:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (source,) = [block for block in blocks if "class FolderDiscovery" in block]
    module = ModuleType("peernet_folder_of_the_docs")
    sys.modules[module.__name__] = module  # its options' types are looked up there
    exec(compile(source, str(PAGE), "exec"), module.__dict__)
    return module


class TestFolder(DiscoveryConformance):
    backend = _module().FolderDiscovery
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
