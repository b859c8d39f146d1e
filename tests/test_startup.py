"""The budget of a start: what the probe notes, put together, written as tables and drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from benchmarks.startup import Budget, Step, read_budget, table, waterfall

REPORT = {
    "began": 10.010,
    "spans": [
        ["modules: node", 10.040, 10.140],
        ["modules: command line", 10.012, 10.030],
        ["identity, trust list", 10.150, 10.152],
        ["first query", 10.160, 10.161],
        ["TLS handshake", 10.170, 10.180],
        ["TLS handshake", 10.172, 10.199],
    ],
    "loads": [["attr._make", 10.050, 0.010], ["ssl", 10.060, 0.020], ["attr", 10.070, 0.005]],
    "marks": {"PeerDiscovered": 10.165, "PeerConnected": 10.200},
    "processor_s": 0.15,
}


def of(report: dict[str, object], name: str) -> Step:
    (step,) = [step for step in read_budget([(10.0, report)]).steps if step.name == name]
    return step


def test_steps_are_told_from_the_start_of_the_process() -> None:
    """In milliseconds, in order, with what of each was imports."""
    budget = read_budget([(10.0, REPORT)])
    assert [step.name for step in budget.steps] == [
        "interpreter",
        "modules: command line",
        "modules: node",
        "event loop",
        "identity, trust list",
        "query to answer",
        "TLS handshake",
        "agreement",
    ]
    node = of(REPORT, "modules: node")
    assert (node.began_ms, node.ended_ms, node.imports_ms) == pytest.approx((40, 140, 35))
    assert of(REPORT, "query to answer").took_ms == pytest.approx(5)
    assert budget.total_ms == pytest.approx(200)


def test_the_first_of_several_counts() -> None:
    """Both ends may dial; the link needs one handshake."""
    assert of(REPORT, "TLS handshake").ended_ms == pytest.approx(180)


def test_what_no_step_covers_is_told() -> None:
    """10 ms between the command line and the node, 8 and 5 around the query."""
    assert read_budget([(10.0, REPORT)]).elsewhere_ms == pytest.approx(10 + 8 + 5)


def test_figures_are_medians_of_all_starts() -> None:
    """One slow start among three changes nothing."""
    slow = {**REPORT, "marks": {"PeerDiscovered": 10.165, "PeerConnected": 19.0}}
    budget = read_budget([(10.0, REPORT), (10.0, slow), (10.0, REPORT)])
    assert budget.total_ms == pytest.approx(200)
    assert budget.rounds == 3


def test_packages_are_added_up() -> None:
    """A package's own modules, and the standard library as one."""
    packages = {each.name: each for each in read_budget([(10.0, REPORT)]).packages}
    assert packages["attr"].modules == 2
    assert packages["attr"].took_ms == pytest.approx(15)
    assert packages["standard library"].took_ms == pytest.approx(20)


def test_the_table_names_every_step_and_the_total() -> None:
    """For the page that shows it."""
    shown = table(read_budget([(10.0, REPORT)]))
    assert "| modules: node | 40 | 100.0 | 35.0 |" in shown
    assert "| **the first link** | **200** | | |" in shown
    assert "| of it on a processor | | 150 | |" in shown
    assert "| attr | 2 | 15.0 |" in shown


def test_the_waterfall_is_a_drawing_with_everything_inside_of_it() -> None:
    """Well-formed, every bar within its edges, the floor where it is."""
    root = ET.fromstring(waterfall(read_budget([(10.0, REPORT)]), floor_ms=90, title="a < b"))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    names = {"{http://www.w3.org/2000/svg}" + name for name in ("rect", "text", "line")}
    placed = [element for element in root if element.tag in names]
    bars = [element for element in placed if element.tag.endswith("rect")]
    assert len(bars) == 1 + 2 * 8
    for bar in bars:
        assert 0 <= float(bar.attrib["x"]) <= width - float(bar.attrib["width"])
        assert 0 <= float(bar.attrib["y"]) <= height - float(bar.attrib["height"])
    texts = [element.text for element in placed if element.tag.endswith("text")]
    assert {"a < b", "floor 90 ms", "agreement"} <= set(texts)


def test_a_budget_of_one_short_step_can_be_drawn() -> None:
    """Nothing divides by nothing."""
    budget = Budget((Step("interpreter", 0.0, 0.5, 0.0),), (), 0.5, 0.5, 1)
    assert ET.fromstring(waterfall(budget)).tag.endswith("svg")
    assert budget.elsewhere_ms == 0
