"""The page of the results, and its plots: written by this alone."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.scoreboard.aims import aims
from benchmarks.scoreboard.plots import growth_plot, spread_plot
from benchmarks.scoreboard.quantities import CASES, COUNTS, Case, Quantity
from benchmarks.scoreboard.ratios import OURS, ratio
from benchmarks.scoreboard.results import Appendix, Measurement, Results, store
from benchmarks.scoreboard.standing import FLOOR, behind, closing_note
from benchmarks.scoreboard.wording import shown

__all__ = ["MARK", "plots", "render", "tables", "write_page"]

MARK: Final = "<!-- Written by `python -m benchmarks`, and only by it: an edit is lost with the next run. -->"
_FOLDER: Final = "benchmarks"
_WIDTH: Final = 110
_INTRODUCTION: Final = """\
How long it takes from the start of a process to an authenticated link with a peer that one trusts, on a
local network, and what it costs to keep it: peernet beside what people use today, in the same run, on the
same machine. Anyone can run it again, as root on Linux with iproute2 and nftables, in less than half an
hour; `--help` tells how to run a part:

```console
$ .ci/interop FOLDER                # unpacks Syncthing and Avahi there, if they are not installed
$ PEERNET_INTEROP=FOLDER uv run --group bench python -m benchmarks
```
"""
_METHOD: Final = """\
Every contender has a bridge and hosts of its own: network namespaces with real interfaces between them, no
loss, no other traffic, and a delay of some microseconds. In each round of a case all contenders take their
turn, beginning with another one each time; whoever takes milliseconds has more rounds. Some rounds share
their waits: each has hosts and fresh processes of its own, all are set up at once, and then one after the
other is timed. Whoever takes longer than 2.5 s waits for the network by then, and goes on waiting while the
next one is timed. Keys, certificates and databases exist beforehand, and Python keeps what it has compiled,
so that no first run is timed. Just before a program is executed 128 MiB of memory are touched and freed: it
does not wait for memory that a virtual machine has given back to its host, which would be half as long again
for some, by chance.

A time begins just before the contender's own program is executed: entering the namespace and setting the
environment come before that, for every contender. It ends when the line by which both sides say that they are
linked has been read, or at the time that it carries if the program is one of the benchmark's.

The median, what nine of ten rounds do not exceed (p90) and the worst are shown, and the ratio of the medians
to peernet's: above 1 is worse than peernet. Of what is counted in idle minutes it is the mean, and the least
and the most of one minute. Computing is the share of its time that the process that is timed, with those that
it starts, was on a processor.
"""
_REPEATING: Final = """\
Two runs are to agree on a ratio within 15 %, and no ratio is told as a number that this run cannot tell so
closely. Behind a number stands where it lies in 95 of 100 cases if as many rounds are drawn at random from
those of this run, of that contender and of peernet (the bootstrap). Where that reaches further than 10 % to
either side, it stands alone: the ratio is somewhere in it. So it is where a contender takes more or less by
when in its interval of announcements, questions or dials something happens: its median hardly means more than
its spread.

So it is also between one who computes and one who waits. Who computes takes longer on a slower machine, and
who waits does not: their ratio says as much about the machine, and the same machine took 1.2 times as long
for all that computes in a run some hours after another. How much of its time a process was on a processor is
measured in each round, from its start to its link, and stands in the tables. By the difference of the two
shares the interval is wider: between one who only computes and one who only waits, by a factor of 1.2 to
either side.

Packets and bytes of idle minutes are counted over the same five minutes in each run, and come again within a
few per cent. Processor time does not: who sleeps nearly always spends it on waking up, which on a virtual
machine took up to 1.9 times as much in one run as in another, and not the same for all. Of such a ratio the
range is told in which two runs have found it: 1.6 times as much or as little.

`python -m benchmarks --compare` shows of two runs which numbers agree within 15 %, and whether the ranges
meet or come as close to each other.
"""
_NOT_COMPARABLE: Final = """\
- **zeroconf + TLS and Avahi + TLS are not frameworks**: some hundred lines of a benchmark that knows its
  one peer. They have no signed records, no protection from strangers, no trust that changes while they run,
  no single link where both dial, and no memory of addresses. They show what discovery and TLS alone take.
- **Avahi's daemon runs before the clock starts** and may know the peer already; its memory and processor
  time count, those of the message bus do not.
- **Syncthing synchronizes files**, and is a compiled program. Without a folder it only links; it announces
  itself every 30 s and looks whom to dial on a schedule of its own. It gives a silent link up after 5
  minutes, so a cut of 30 s passes unnoticed: there is no time until it is linked again, because it never
  says that it is not.
- **py-libp2p leaves dialing to its application**: the benchmark's dials at once and then every second. A
  dial of its own that hangs in a dead network is given up after 3 s, as for the two with TLS.
- **py-libp2p's store holds 1,000 peers** by default: among 1,000 others its process forgets its own id soon
  after the link, and ends. A newcomer's time is until the link; idle minutes it has none.
- **Peers played by one process** (all but Syncthing's, which are 1, 10 or 100 processes) share a host, so
  their answers come from one address.
- **Memory is proportional**: a page that several processes share counts in parts. The peers' process shares
  Python's own libraries with the measured one; Syncthing's measured process runs a copy of the program,
  which shares nothing.
"""


def write_page(results: Results, folder: Path) -> None:
    """Write the page, its plots and its figures below that folder."""
    beside = folder / _FOLDER
    beside.mkdir(parents=True, exist_ok=True)
    drawn = plots(results)
    for old in beside.glob("*.svg"):
        if old.stem not in drawn:
            old.unlink()
    for name, text in drawn.items():
        (beside / f"{name}.svg").write_text(text, encoding="utf-8")
    store(results, beside / "results.json")
    (folder / "benchmarks.md").write_text(render(results), encoding="utf-8")


def render(results: Results) -> str:
    """Return the page."""
    parts = [
        MARK,
        "# Benchmarks",
        _INTRODUCTION.rstrip(),
        f"Measured {results.began} in {results.took_s / 60:.0f} minutes on {results.machine}.",
        "## Where peernet is not first",
        _standing(results),
        "## What peernet aims at",
        "\n".join(aims(results)),
        *(_section(results, case) for case in CASES if _measured(results, case)),
        *(_appendix(each) for each in results.appendices),
        "## Who takes part",
        _takers(results),
        "## Method",
        _METHOD.rstrip(),
        "## What another run would say",
        _REPEATING.rstrip(),
        "## What is not comparable",
        _NOT_COMPARABLE.rstrip(),
        *_closing(results),
    ]
    return "\n\n".join(parts) + "\n"


def _appendix(appendix: Appendix) -> str:
    drawn = [f"![{appendix.heading}]({_FOLDER}/{appendix.name}.svg)"] if appendix.drawing else []
    return "\n\n".join([f"## {appendix.heading}", *drawn, appendix.text.strip()])


def _standing(results: Results) -> str:
    found = behind(results)
    if not found:
        return "Nowhere, by the figures of this run."
    rows = [f"| {_named(each.quantity)} | {each.leaders()} | {each.own()} |" for each in found]
    rows = ["| what | who is ahead | peernet |", "| --- | --- | --- |", *rows]
    return "\n".join(["By the figures of this run, where the difference is more than 5 %:", "", *rows])


def _closing(results: Results) -> list[str]:
    notes = closing_note(results)
    return ["## Why, and what would change it", *map(_wrapped, notes)] if notes else []


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _measured(results: Results, case: Case) -> bool:
    return any(results.quantity(each.name) for each in case.quantities)


def _section(results: Results, case: Case) -> str:
    parts = [f"## {case.heading}", _wrapped(case.method)]
    parts += [f"![{case.heading}: {name}]({_FOLDER}/{name}.svg)" for name in _plots_of(results, case)]
    parts += [_table(results, each) for each in case.quantities if results.quantity(each.name)]
    if faults := _faults(results, case):
        parts.append("\n".join(faults))
    return "\n\n".join(parts)


def _table(results: Results, quantity: Quantity) -> str:
    found = results.quantity(quantity.name)
    titles = {taker.name: taker.title for taker in results.takers}
    ours = results.of(quantity.name, OURS)
    rounds = any(len(each.values) > 1 for each in found)
    heads = _heads(quantity) if rounds else [quantity.unit]
    unit = f", {quantity.unit}" if rounds else ""
    computes = any(each.computing is not None for each in found)
    if computes:
        heads = [*heads, "computing"]
    rows = [
        [f"{quantity.title}{unit}", *heads, "ratio", quantity.rounds],
        ["---", *("---:" for _ in heads), "---:", "---:"],
    ]
    best = min(
        (each.figure for each in found if each.figure is not None and each.contender != FLOOR), default=None
    )
    for each in found:
        beside = each.least if quantity.counted else each.p90
        figures = [each.figure, beside, each.worst] if rounds else [each.figure]
        cells = [shown(value) for value in figures]
        if each.figure is not None and each.figure == best:
            cells[0] = f"**{cells[0]}**"
        if computes:
            cells.append("-" if each.computing is None else f"{each.computing:.0%}")
        rows.append([titles[each.contender], *cells, _ratio(each, ours), _rounds(each)])
    rows += _absent(results, found, columns=len(heads))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _heads(quantity: Quantity) -> list[str]:
    return ["mean", "least", "most"] if quantity.counted else ["median", "p90", "worst"]


def _ratio(measurement: Measurement, ours: Measurement | None) -> str:
    their = ratio(measurement, ours)
    return "" if their is None or measurement.contender == OURS else str(their)


def _rounds(measurement: Measurement) -> str:
    parts = [str(len(measurement.values))]
    if measurement.failures:
        parts.append(f"{len(measurement.failures)} failed")
    if measurement.kept:
        parts.append(f"{measurement.kept} not noticed")
    return ", ".join(parts)


def _absent(results: Results, found: Sequence[Measurement], *, columns: int) -> list[list[str]]:
    there = {each.contender for each in found}
    return [
        [taker.title, *("-" for _ in range(columns)), "", "missing"]
        for taker in results.takers
        if taker.missing and taker.name not in there
    ]


def _faults(results: Results, case: Case) -> list[str]:
    titles = {taker.name: taker.title for taker in results.takers}
    lines: dict[str, str] = {}
    for quantity in case.quantities:
        for each in results.quantity(quantity.name):
            for failure in each.failures:
                first = " ".join(failure.split())[:400].replace("`", "'")
                lines.setdefault(f"- {titles[each.contender]} failed: `{first}`", "")
    return list(lines)


def _named(quantity: Quantity) -> str:
    return f"{next(case.name for case in CASES if quantity in case.quantities)}: {quantity.title}"


def _takers(results: Results) -> str:
    rows = ["| who | version | how |", "| --- | --- | --- |"]
    for taker in results.takers:
        version = taker.version or f"missing: {' '.join(taker.missing.split())}"
        rows.append(f"| {taker.title} | {_cell(version)} | {_cell(taker.how)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _plots_of(results: Results, case: Case) -> list[str]:
    if case.name == "idle":
        return ["memory", "cpu", "packets"]
    if case.name in {"growth", "floor"}:
        return []
    return [each.name for each in case.quantities if results.quantity(each.name)]


def plots(results: Results) -> Mapping[str, str]:
    """Return the plots of what was measured: names and SVG."""
    titles = {taker.name: taker.title for taker in results.takers}
    drawn = {each.name: each.drawing for each in results.appendices if each.drawing}
    for case in (each for each in CASES if _measured(results, each)):
        for name in _plots_of(results, case):
            if case.name == "idle":
                drawn[name] = _growth(results, name, titles)
                continue
            quantity = next(each for each in case.quantities if each.name == name)
            rows = [(titles[each.contender], each.values) for each in results.quantity(name)]
            drawn[name] = spread_plot(case.heading, quantity.unit, rows)
    return drawn


def _growth(results: Results, what: str, titles: Mapping[str, str]) -> str:
    title, unit = {
        "memory": ("Memory, linked and idle", "MiB"),
        "cpu": ("Processor time of an idle minute", "ms"),
        "packets": ("Packets of an idle minute", ""),
    }[what]
    series: dict[str, list[tuple[int, float]]] = {}
    for count in COUNTS:
        for each in results.quantity(f"{what}-{count}"):
            points = series.setdefault(titles[each.contender], [])
            if each.figure:
                points.append((count, each.figure))
    return growth_plot(title, unit, series)


def tables(results: Results) -> str:
    """Return the tables alone, for a terminal."""
    parts = [_section(results, case) for case in CASES if _measured(results, case)]
    parts += [_appendix(each) for each in results.appendices]
    return "\n\n".join(["", *parts])
