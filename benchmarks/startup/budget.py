"""Where the milliseconds of a start go: the medians of many starts that `probe` has noted."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

__all__ = ["STEPS", "Budget", "Package", "Step", "read_budget", "table"]

STEPS: Final = (
    "interpreter",
    "modules: command line",
    "modules: node",
    "installed backends",
    "configuration",
    "modules: backend",
    "event loop",
    "identity, trust list",
    "interfaces",
    "certificates, TLS contexts",
    "bind",
    "signed record",
    "backends start",
    "query to answer",
    "TCP",
    "TLS handshake",
    "agreement",
)
_OTHER_PACKAGES: Final = 8


@attrs.frozen
class Step:
    """One step of a start, in milliseconds from the start of the process. Steps may overlap.

    Attributes:
        name: What it does.
        began_ms: When.
        ended_ms: When.
        imports_ms: How much of it was spent on importing modules.
    """

    name: str
    began_ms: float
    ended_ms: float
    imports_ms: float

    @property
    def took_ms(self) -> float:
        """From its begin to its end."""
        return self.ended_ms - self.began_ms


@attrs.frozen
class Package:
    """What a top-level package's modules take to import, each without those that it imports."""

    name: str
    modules: int
    took_ms: float


@attrs.frozen
class Budget:
    """A start, from the process to the first link.

    Attributes:
        steps: In order of their begin; none for what did not happen.
        packages: The most expensive first; ``standard library`` is one.
        total_ms: To the event `PeerConnected`.
        processor_ms: How much of that the process had a processor: where others want it too, that is less.
        rounds: How many starts these are medians of.
    """

    steps: tuple[Step, ...]
    packages: tuple[Package, ...]
    total_ms: float
    processor_ms: float
    rounds: int

    @property
    def elsewhere_ms(self) -> float:
        """What no step covers."""
        covered, last = 0.0, 0.0
        for step in self.steps:
            covered += max(0.0, step.ended_ms - max(last, step.began_ms))
            last = max(last, step.ended_ms)
        return self.total_ms - covered


@attrs.frozen
class _Start:
    """One start as it was noted, in milliseconds from the start of the process."""

    steps: Mapping[str, tuple[float, float, float]]
    packages: Mapping[str, tuple[int, float]]
    total_ms: float
    processor_ms: float


def read_budget(starts: Sequence[tuple[float, Mapping[str, Any]]]) -> Budget:
    """Put the reports of many starts together.

    Args:
        starts: For each the time (`time.monotonic`) when its process was started, and what `probe` wrote.
    """
    read = [_read(started, report) for started, report in starts]
    steps = []
    for name in STEPS:
        figures = [start.steps[name] for start in read if name in start.steps]
        if figures:
            steps.append(Step(name, *(statistics.median(each) for each in zip(*figures, strict=True))))
    packages = []
    for name in sorted({name for start in read for name in start.packages}):
        figured = [start.packages.get(name, (0, 0.0)) for start in read]
        count, took_ms = (statistics.median(each) for each in zip(*figured, strict=True))
        packages.append(Package(name, round(count), took_ms))
    return Budget(
        tuple(sorted(steps, key=lambda step: step.began_ms)),
        tuple(sorted(packages, key=lambda package: -package.took_ms)),
        statistics.median(start.total_ms for start in read),
        statistics.median(start.processor_ms for start in read),
        len(read),
    )


def _read(started: float, report: Mapping[str, Any]) -> _Start:
    def ms(moment: float) -> float:
        return (moment - started) * 1000

    marks = {name: ms(moment) for name, moment in report["marks"].items()}
    loads = [(ms(ended), took * 1000) for _, ended, took in report["loads"]]
    spans: dict[str, tuple[float, float]] = {}
    for name, began, ended in sorted(report["spans"], key=lambda span: float(span[1])):
        spans.setdefault(name, (ms(began), ms(ended)))
    end = marks["PeerConnected"]
    began = ms(report["began"])
    spans["interpreter"] = (0.0, began)
    if "modules: command line" in spans:
        spans["modules: command line"] = (began, spans["modules: command line"][1])
    if "identity, trust list" in spans:
        ready = max(
            ended
            for name, (_, ended) in spans.items()
            if name.startswith("modules") or name == "configuration"
        )
        spans["event loop"] = (ready, spans["identity, trust list"][0])
    query = spans.pop("first query", None)
    if query is not None and "PeerDiscovered" in marks:
        spans["query to answer"] = (query[0], marks["PeerDiscovered"])
    if "TLS handshake" in spans:
        spans["agreement"] = (spans["TLS handshake"][1], end)
    steps = {
        name: (begin, until, sum(took for at, took in loads if begin < at <= until))
        for name, (begin, until) in spans.items()
    }
    packages: dict[str, tuple[int, float]] = {}
    for module, _, took in report["loads"]:
        top = module.partition(".")[0]
        name = "standard library" if top in sys.stdlib_module_names else top
        count, sum_ms = packages.get(name, (0, 0.0))
        packages[name] = (count + 1, sum_ms + took * 1000)
    return _Start(steps, packages, end, report["processor_s"] * 1000)


def table(budget: Budget) -> str:
    """The steps and the packages, as two tables in Markdown."""
    lines = ["| step | begins, ms | takes, ms | of it imports, ms |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {step.name} | {step.began_ms:.0f} | {step.took_ms:.1f} | {step.imports_ms:.1f} |"
        for step in budget.steps
    ]
    lines.append(f"| between the steps | | {budget.elsewhere_ms:.1f} | |")
    lines.append(f"| **the first link** | **{budget.total_ms:.0f}** | | |")
    lines.append(f"| of it on a processor | | {budget.processor_ms:.0f} | |")
    lines += ["", "| imports of | modules | take, ms |", "| --- | ---: | ---: |"]
    shown, rest = budget.packages[:_OTHER_PACKAGES], budget.packages[_OTHER_PACKAGES:]
    lines += [f"| {each.name} | {each.modules} | {each.took_ms:.1f} |" for each in shown]
    if rest:
        lines.append(
            f"| {len(rest)} others | {sum(each.modules for each in rest)} "
            f"| {sum(each.took_ms for each in rest):.1f} |"
        )
    return "\n".join(lines)
