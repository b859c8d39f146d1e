"""The start of a node as the benchmark sees it: every step is found, and nothing is imported in vain."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.startup import neighbours, probed, read_budget
from benchmarks.startup.budget import STEPS

pytestmark = pytest.mark.netns

# What a node with mdns alone does not need before its first link.
UNWANTED = {
    "anyio.streams.buffered",
    "cattrs",
    "packaging.requirements",
    "platformdirs",
    "rich",
    "segno",
    "peernet_core.cli.live_table",
    "peernet_core.testing",
    "peernet_manual",
    "xml",
}


@pytest.fixture(scope="module")
def start(namespaces_work: None) -> Iterator[tuple[float, Mapping[str, Any]]]:  # noqa: ARG001 - asked for to skip
    """One start under the probe, of a newcomer that finds a peer."""
    with neighbours() as (_, newcomer):
        yield probed(newcomer, Path(sysconfig.get_path("scripts")) / "peernet")


def test_every_step_is_found(start: tuple[float, Mapping[str, Any]]) -> None:
    """The probe names functions; one that is renamed would silently vanish from the budget."""
    steps = read_budget([start]).steps
    assert {step.name for step in steps} == set(STEPS)
    assert all(0 <= step.imports_ms <= step.took_ms + 0.001 for step in steps)


def test_a_node_links_before_anything_is_imported_in_vain(start: tuple[float, Mapping[str, Any]]) -> None:
    """What a start does not need it does not wait for."""
    loaded = {module for module, _, _ in start[1]["loads"]}
    assert {"peernet_mdns", "peernet_core.node", "zeroconf"} <= loaded
    assert not UNWANTED & loaded
