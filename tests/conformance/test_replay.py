"""The backend that plays recordings keeps the laws of all others."""

from __future__ import annotations

from typing import ClassVar

from peernet_core.backends.recording import Header, encode_header, encode_reported
from peernet_core.backends.reports import AddressReport, Reported
from peernet_core.keys import Identity
from peernet_core.testing import DiscoveryConformance, Place
from peernet_core.testing.replay import ReplayDiscovery


class TestReplay(DiscoveryConformance):
    backend = ReplayDiscovery
    announces = False
    detects_loss = False
    carries_bytes = False
    medium_vanishes = False
    wrong_options: ClassVar[dict[str, list[object]]] = {"path": [7], "speed": [0, -1.0]}

    def options(self, place: Place) -> dict[str, object]:
        path = place.folder / "bug.jsonl"
        header = Header(Identity.generate().key, 1763862900.0, {"lan": "mdns"})
        report = AddressReport(place.peer, place.address, None, configured=False)
        lines = (encode_header(header), encode_reported(Reported("lan", report), at_s=0.5))
        path.write_text("".join(f"{line}\n" for line in lines))
        return {"path": str(path)}
