"""What docs/backends/life-cycle.md and its drawing say is what core does."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import attrs
from pages import ROOT

from peernet_core import engine
from peernet_core.backends import containment, keeper, runner
from peernet_core.configuration.config import SourceConfig
from peernet_core.configuration.contract_check import HOOKS
from peernet_core.decisions import lookups

PAGE = (ROOT / "docs/backends/life-cycle.md").read_text(encoding="utf-8")
DRAWING = ROOT / "docs/backends/life-cycle.svg"
SVG = "{http://www.w3.org/2000/svg}"


def limits() -> dict[str, float]:
    defaults: dict[str, Any] = {field.name: field.default for field in attrs.fields(SourceConfig)}
    return {
        "start": defaults["start_timeout_s"],
        "announce_self": runner.ANNOUNCE_TIMEOUT_S,
        "resolve": runner.RESOLVE_TIMEOUT_S,
        "stop": defaults["stop_timeout_s"],
    }


def drawn() -> list[str]:
    return ["".join(text.itertext()) for text in ET.parse(DRAWING).getroot().iter(f"{SVG}text")]


def test_the_drawing_shows_every_hook_with_its_time() -> None:
    """Below each hook's name, as it is called, stands how long it may take."""
    texts = drawn()
    for hook, parameters in HOOKS.items():
        place = texts.index(f"{hook}({', '.join(parameters)})")
        assert texts[place + 1].endswith(f"at most {limits()[hook]:g} s")
    last = [text for text in texts if "the last record" in text]
    assert last == [f"the last record: we have stopped · at most {engine._GOODBYE_S:g} s"]


def test_the_drawing_shows_how_long_it_is_waited() -> None:
    """Between two instances."""
    texts = " ".join(drawn())
    assert f"a random wait of {keeper.SHORTEST_WAIT_S:g} to {keeper.FIRST_WAIT_S:g} s, then" in texts
    assert f"up to 2, 4, … {keeper.LONGEST_WAIT_S:g} s" in texts


def test_the_drawing_stands_alone() -> None:
    """It has words for who cannot see it, a background of its own, and loads nothing."""
    root = ET.parse(DRAWING).getroot()
    assert root.find(f"{SVG}title") is not None
    assert root.find(f"{SVG}desc") is not None
    background = root.find(f"{SVG}rect")
    assert background is not None
    assert background.get("fill", "").startswith("#")
    source = DRAWING.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in source
    assert re.findall(r"url\(([^)]*)\)", source) == re.findall(r"url\((#\w+)\)", source)


def test_the_page_states_the_times_that_core_keeps() -> None:
    """Those of hooks, of waits, and of lookups."""
    times = limits()
    for words in (
        f"It has {times['start']:g} s\n   (`start_timeout_s`",
        f"it has {times['announce_self']:g} s, and of",
        f"it has {times['resolve']:g} s.",
        f"It has {times['stop']:g} s\n   (`stop_timeout_s`)",
        "It has half a second.",
        "gets one second to end",
        "at most 1 s, then 2, 4 and so on up to a minute, and never less than a quarter of a second",
        "Once an instance has\nrun for a minute",
        "after 30 seconds, then 60, and so on up to 5 minutes",
        "most 16 lookups are under way at a time",
        "at 50 keys a second",
    ):
        assert words in PAGE, words
    ends: list[float] = [engine._GOODBYE_S, containment.GRACE_S]
    assert ends == [0.5, 1]
    waits: list[float] = [keeper.SHORTEST_WAIT_S, keeper.FIRST_WAIT_S, keeper.LONGEST_WAIT_S, keeper.PROVEN_S]
    assert waits == [0.25, 1, 60, 60]
    asked: list[float] = [lookups.FIRST_WAIT_S, lookups.LONGEST_WAIT_S, lookups.MAX_UNDER_WAY]
    assert asked == [30, 300, 16]
    assert lookups.MAX_UNDER_WAY / lookups.SWEEP_GAP_S == 50
