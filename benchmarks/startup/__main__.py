"""From process start to link, beside the floor: where each millisecond goes.

Run as root: ``python -m benchmarks.startup [--rounds 20] [--program NAME=PATH …] [--svg FOLDER]``

A peer runs already on another host of a laboratory. In turn, round by round: a fresh ``peernet run --json``
with mdns alone, timed from the start of its process to its line `peer_connected`; the same start under the
probe, for the budget; a bare Python that imports every module that such a start imports; and the floor, a
Python that imports only what is needed and makes one TLS handshake with the same peer. To compare two
versions, name the `peernet` command of each.
"""

from __future__ import annotations

import argparse
import statistics
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from benchmarks.startup import Comparison, measure, table, waterfall
from peernet_core.testing.lab import why_not


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--program", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--svg", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    reason = why_not()
    if reason is not None:
        raise SystemExit(f"nothing can be measured here: {reason}")
    programs = {name: Path(path) for name, _, path in (each.partition("=") for each in options.program)}
    found = measure(programs or {"peernet": Path(sysconfig.get_path("scripts")) / "peernet"}, options.rounds)
    _report(found, options.rounds)
    for name, budget in found.budgets.items():
        print(f"\n{name}, {budget.rounds} starts under the probe\n\n{table(budget)}")
        if options.svg is not None:
            options.svg.mkdir(parents=True, exist_ok=True)
            drawn = waterfall(
                budget, floor_ms=statistics.median(found.floor), title=f"{name}: process to link"
            )
            (options.svg / f"startup-{name}.svg").write_text(drawn, encoding="utf-8")


def _report(found: Comparison, rounds: int) -> None:
    def line(name: str, values: Sequence[float]) -> None:
        print(f"{name:34} median {statistics.median(values):7.0f} ms  worst {max(values):7.0f} ms")

    print(f"{rounds} rounds in turn")
    line("floor: imports, one TLS handshake", found.floor)
    first = next(iter(found.links))
    for name, values in found.links.items():
        line(f"{name}: start to peer_connected", values)
        line(f"{name}: its imports in a bare Python", found.imports[name])
        pairs = list(zip(values, found.floor, strict=True))
        ratio = statistics.median(value / floor for value, floor in pairs)
        print(f"{name:12} over the floor {found.over_floor(name):7.0f} ms, {ratio:.2f} times the floor")
        if name != first:
            ratios = [value / before for value, before in zip(values, found.links[first], strict=True)]
            print(f"{name:12} over {first}: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
