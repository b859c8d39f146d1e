"""The budget of a start as a section of the scoreboard's page."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.scoreboard import run as running
from benchmarks.scoreboard.page import render
from benchmarks.scoreboard.run import Plan, run
from benchmarks.scoreboard.startup import describe
from benchmarks.startup import Budget, Comparison, Step


def compared(link_ms: float) -> Comparison:
    budget = Budget((Step("interpreter", 0.0, 20.0, 0.0),), (), link_ms, link_ms, 2)
    return Comparison(
        {"peernet": [link_ms, link_ms]}, [100.0, 100.0], {"peernet": [80.0, 80.0]}, {"peernet": budget}
    )


@pytest.mark.parametrize(("link_ms", "verdict"), [(160.0, "met"), (161.0, "missed")])
def test_a_start_is_held_against_the_floor(link_ms: float, verdict: str) -> None:
    """By the figures: what it takes longer, and whether that is within the aim."""
    section = describe(compared(link_ms))
    assert f"**{verdict}**; {link_ms - 100:.1f} ms longer" in section.text
    assert "| interpreter | 0 | 20.0 | 0.0 |" in section.text
    assert ET.fromstring(section.drawing).tag.endswith("svg")


def test_a_start_that_cannot_be_measured_is_shown_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says what went wrong; without peernet there is nothing to say."""

    def broken(_: int) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr(running, "startup", broken)
    page = render(run(Plan(("startup",), ("peernet",), rounds=1, smoke=False)))
    assert "It failed: `RuntimeError('oh')`" in page
    assert "startup.svg" not in page
    assert run(Plan(("startup",), ("bare",), rounds=1, smoke=False)).appendices == ()
