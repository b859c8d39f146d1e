"""The conformance kit: what a backend must do to be a good neighbour, each a law with a test of its own.

An author writes one class, in a module that pytest collects::

    class TestFolder(DiscoveryConformance):
        backend = FolderDiscovery

        def options(self, place: Place) -> dict[str, object]:
            return {"path": str(place.folder)}

        def pollute(self, place: Place, data: bytes) -> None:
            (place.folder / "litter").write_bytes(data)

        def vanish(self, place: Place) -> None:
            place.folder.rename(place.folder.with_name("away"))

        def come_back(self, place: Place) -> None:
            place.folder.with_name("away").rename(place.folder)

The tests run on a loop whose time jumps (`JumpingEventLoop`), unless the backend needs real time. A loop that
stands still for ten seconds of real time is broken off, with the line that holds it up. Where the class
breaks the contract, or the test class gives no options that make an instance, that alone fails, and the rest
is skipped.
"""

from __future__ import annotations

from peernet_core.testing.conformance.contract import LawsOfTheContract
from peernet_core.testing.conformance.life import LawsOfLife
from peernet_core.testing.conformance.meeting import LawsOfMeeting
from peernet_core.testing.conformance.tidiness import LawsOfTidiness

__all__ = ["DiscoveryConformance"]


class DiscoveryConformance(LawsOfTidiness, LawsOfMeeting, LawsOfLife, LawsOfTheContract):
    """The laws. Subclass it as ``Test…``, name the backend, and give its options.

    What a backend can do is declared, so that nothing is passed over by its name; `Subject` lists it.
    """
