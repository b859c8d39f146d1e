"""The start of a node: how long it takes to a link, and where each millisecond goes."""

from __future__ import annotations

from benchmarks.startup.budget import Budget, Package, Step, read_budget, table
from benchmarks.startup.drawing import waterfall
from benchmarks.startup.runs import Comparison, measure, neighbours, probed

__all__ = [
    "Budget",
    "Comparison",
    "Package",
    "Step",
    "measure",
    "neighbours",
    "probed",
    "read_budget",
    "table",
    "waterfall",
]
