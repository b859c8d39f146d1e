"""What is put to the test: a backend, what it can do, and what its author gives the kit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs
import pytest

from peernet_core.addresses import NetworkSnapshot
from peernet_core.configuration.config import RESERVED_KEYS
from peernet_core.configuration.entrypoints import check_class
from peernet_core.configuration.options import structure_options
from peernet_core.errors import ConfigurationError
from peernet_core.network import read_network
from peernet_core.testing.clock import JumpingEventLoop
from peernet_core.testing.discovery_node import DiscoveryNode, HookFailedError, Life
from peernet_core.testing.laws import LawBrokenError
from peernet_core.testing.place import FixedNetwork, Place
from peernet_core.testing.standstill import Watchman

__all__ = ["Subject", "Trial"]

_STANDSTILL_S: Final = 10.0
_MENDED_FIRST: Final = "nothing can be tried before test_the_class_keeps_the_contract passes"
_STARTED_FIRST: Final = "nothing can be tried before test_start_returns_where_nobody_is passes"
_GIVEN_FIRST: Final = (
    "nothing can be tried before test_wrong_options_are_refused passes: no options to start with"
)


@attrs.frozen
class Trial:
    """What came of a first start.

    Attributes:
        took_s: How long it took, in seconds of the loop's time.
        broken: None: it returned.
    """

    took_s: float
    broken: LawBrokenError | None = None


_trials: Final[dict[type, Trial]] = {}


class Subject:
    """A backend, with what is declared of it. Override what differs.

    Attributes:
        backend: The class that the entry point names.
        announces: It tells others about us; else it only reports whom it knows.
        detects_loss: Whoever stops, or is silent for the length of a lease, is lost.
        resolves: It looks peers up by their key.
        carries_bytes: Others can put anything at all on its medium: `pollute` does.
        medium_vanishes: Its medium can go away and come back: `vanish` and `come_back` do it.
        needs_network: It uses the interfaces of this host: nodes are told of those that there are, but
            loopback, and not of invented ones. Where there is none, nothing but the class and its options is
            tested. One that can do with loopback overrides `network`.
        real_time: It, or what it talks to, does not follow the loop's time. Then nothing is tested that
            takes a lease's length.
        wrong_options: Values that the backend must refuse, by option. Wrong types core refuses by itself.
        patience_s: How long discovery may take, in seconds of the loop's time.
        goodbye_s: How long it may take until a peer that stopped is lost.
        lease_s: How long it may take until a peer that died without a word is lost.
    """

    backend: ClassVar[type]
    announces: ClassVar[bool] = True
    detects_loss: ClassVar[bool] = True
    resolves: ClassVar[bool] = False
    carries_bytes: ClassVar[bool] = True
    medium_vanishes: ClassVar[bool] = True
    needs_network: ClassVar[bool] = False
    real_time: ClassVar[bool] = False
    wrong_options: ClassVar[dict[str, list[object]]] = {}
    patience_s: ClassVar[float] = 30.0
    goodbye_s: ClassVar[float] = 5.0
    lease_s: ClassVar[float] = 180.0

    # What the author gives: `options` always, `pollute`, `vanish` and `come_back` where they are declared.

    def options(self, place: Place) -> dict[str, object]:  # noqa: ARG002 - for those who override it
        """The backend's table as TOML has it, so that all instances that get it find each other."""
        raise _not_given(
            "options(self, place), which returns the table of two nodes that are to find each other"
        )

    def pollute(self, place: Place, data: bytes) -> None:  # noqa: ARG002 - for those who override it
        """Put these bytes where the backend looks for what peers say."""
        raise _not_given("pollute(self, place, data), which puts bytes on the medium", "carries_bytes")

    def vanish(self, place: Place) -> None:  # noqa: ARG002 - for those who override it
        """Take the medium away from under whoever uses it; may be called in a thread."""
        raise _not_given("vanish(self, place), which takes the medium away", "medium_vanishes")

    def come_back(self, place: Place) -> None:  # noqa: ARG002 - for those who override it
        """Bring it back."""
        raise _not_given("come_back(self, place), which brings the medium back", "medium_vanishes")

    def silence(self, life: Life) -> None:
        """Make an instance as silent as if its process had died; its tasks and threads have been ended."""

    def network(self) -> FixedNetwork:
        """What the nodes are told of the host's network."""
        return FixedNetwork(_without_loopback(read_network())) if self.needs_network else FixedNetwork()

    # What pytest needs.

    @pytest.fixture
    def watchman(self) -> Iterator[Watchman]:
        """Breaks off what makes the loop stand still. Made before the loop, which does not count it then."""
        with Watchman(_STANDSTILL_S) as watchman:
            yield watchman

    @pytest.fixture
    def anyio_backend(self, watchman: Watchman) -> tuple[str, dict[str, object]]:
        """The loop: one whose time jumps, unless the backend needs real time."""
        del watchman
        return "asyncio", {} if self.real_time else {"loop_factory": JumpingEventLoop}

    @pytest.fixture
    async def untried_place(self, tmp_path: Path) -> Place:
        """An empty place, for a backend of which only the class is known to be right."""
        if check_class(getattr(self, "backend", None)):
            pytest.skip(_MENDED_FIRST)
        folder = tmp_path / "untried"
        folder.mkdir()
        return Place(folder, network=self.network())

    @pytest.fixture
    async def trial(self, untried_place: Place, watchman: Watchman) -> Trial:
        """What came of starting an instance, all alone; tried once for each test class."""
        try:
            self._make(untried_place)
        except Exception:  # noqa: BLE001 - of the test class's own code; that law tells it
            pytest.skip(_GIVEN_FIRST)
        if self.needs_network and not untried_place.network.snapshot.interfaces:
            pytest.skip("the backend declares needs_network = True, and this host has no interface to use")
        watchman.watch(asyncio.get_running_loop())
        if type(self) not in _trials:
            _trials[type(self)] = await self._try(untried_place)
        return _trials[type(self)]

    @pytest.fixture
    async def place(self, trial: Trial, untried_place: Place) -> Place:
        """An empty place, for a backend that can be started."""
        if trial.broken is not None:
            pytest.skip(_STARTED_FIRST)
        folder = untried_place.folder.with_name("place")
        folder.mkdir()
        return Place(folder, network=self.network())

    @pytest.fixture
    async def nodes(self, place: Place) -> AsyncIterator[Callable[[], DiscoveryNode]]:
        """Makes nodes that trust each other, and ends them after the test."""
        made: list[DiscoveryNode] = []

        def make() -> DiscoveryNode:
            node = DiscoveryNode(place, len(made) + 1)
            for other in made:
                node.trust(other)
                other.trust(node)
            made.append(node)
            return node

        yield make
        for node in made:
            await node.close()

    # What the laws share.

    @property
    def _a_while_s(self) -> float:
        """Long enough for anything to happen that may happen."""
        return 0.5 if self.real_time else 60.0

    def _needs(self, *, jumping: bool = False, **capabilities: bool) -> None:
        for name, value in capabilities.items():
            if getattr(self, name) is not value:
                pytest.skip(f"the backend declares {name} = {not value}")
        if jumping and self.real_time:
            pytest.skip("the backend declares real_time = True")

    async def _try(self, place: Place) -> Trial:
        node, loop = DiscoveryNode(place, 1), asyncio.get_running_loop()
        life, began, broken = node.life(self._make(place)), loop.time(), None
        try:
            await life.start()
        except HookFailedError as error:
            broken = LawBrokenError(str(error), hint="mend what start does first, then run the tests again")
            broken.__cause__ = error.__cause__
        took_s = loop.time() - began
        await node.close()
        return Trial(took_s, broken)

    def _make(self, place: Place) -> Any:  # noqa: ANN401 - an instance of any class
        """An instance, made as core makes it from the table of a file."""
        table = self.options(place)
        if not isinstance(table, dict):
            raise LawBrokenError(f"options(place) returned {type(table).__name__}, not a dict")
        try:
            return self._structured(place, table)
        except ConfigurationError as error:
            text = "; ".join(error.problems)
            raise LawBrokenError(
                f"the backend refuses what options(place) returned: {text}"
            ) from error.__cause__

    def _structured(self, place: Place, table: dict[str, object]) -> object:
        return structure_options(
            self.backend, table, where="[discovery.kit]", base=place.folder, reserved=RESERVED_KEYS
        )

    async def _keeps(self, hook: Any, when: str = "") -> None:  # noqa: ANN401 - any awaitable
        try:
            await hook
        except HookFailedError as error:
            raise LawBrokenError(f"{when}{error}") from error.__cause__

    async def _finds(
        self,
        node: DiscoveryNode,
        other: DiscoveryNode,
        port: int | None = None,
        *,
        why: str = "",
        within_s: float | None = None,
    ) -> None:
        within_s = self.patience_s if within_s is None else within_s
        if not await node.until(lambda: node.sees(other, port), within_s):
            at = "" if port is None else f" at port {port}"
            known = ", ".join(map(str, sorted(node.ports_of(other.key)))) or "no port"
            raise LawBrokenError(
                f"within {within_s:g} s node {node.address.ip} did not find {other.address.ip}{at}"
                f"{why and ', ' + why}; it knows of {known}; {node.reports} reports came"
                f"{''.join('; ' + crash for crash in node.crashes[:2])}"
            )


def _without_loopback(network: NetworkSnapshot) -> NetworkSnapshot:
    interfaces = network.interfaces
    return NetworkSnapshot(
        tuple(each for each in interfaces if not all(address.is_loopback for address in each.addresses))
    )


def _not_given(what: str, capability: str = "") -> LawBrokenError:
    instead = f"; or declare {capability} = False" if capability else ""
    return LawBrokenError("the test class does not say how", hint=f"give it {what}{instead}")
