"""The scoreboard: discovery to authenticated link, side by side with what people use today.

Run, as root on Linux with iproute2 and nftables: ``uv run --group bench python -m benchmarks [CASE ...]
[--contender NAME ...] [--rounds 20] [--smoke] [--output FOLDER]``

Makes network namespaces of its own and removes them again, and installs nothing outside of uv's cache. All
contenders take part in the same run, in turn; one that fails or is missing is shown with its error. A whole
run takes less than half an hour and writes `docs/benchmarks.md`, its plots, and the figures behind them; a
part of it only prints its tables, unless it is told where to write.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Final

from benchmarks.scoreboard.page import tables, write_page
from benchmarks.scoreboard.quantities import CASES
from benchmarks.scoreboard.ratios import REPEATED, compare
from benchmarks.scoreboard.results import Results, load
from benchmarks.scoreboard.run import CONTENDERS, Plan, run, smoke_faults
from peernet_core.testing.lab import why_not

_DOCS: Final = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Measure, print and write."""
    names, cases = [each().name for each in CONTENDERS], [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", nargs="*", help=f"of {', '.join(cases)}; all, if none is named")
    parser.add_argument("--contender", action="append", help=f"of {', '.join(names)}; all, if none is named")
    parser.add_argument(
        "--rounds", type=int, default=20, help="of the newcomer; cases with long waits have fewer"
    )
    parser.add_argument("--smoke", action="store_true", help="one short round of most cases, and no page")
    parser.add_argument(
        "--output", type=Path, help="where to write the page, also of a part; a whole run: docs"
    )
    parser.add_argument(
        "--render", action="store_true", help="measure nothing; write the page of the last run anew"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar="RESULTS",
        help="measure nothing; show on which ratios two runs agree, and on which they do not",
    )
    arguments = parser.parse_args()
    for given, known, what in (
        (arguments.case, cases, "case"),
        (arguments.contender or [], names, "contender"),
    ):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"no such {what}: {', '.join(unknown)}; there are {', '.join(known)}")
    if arguments.rounds < 1:
        parser.error("at least one round")
    if arguments.render:
        folder = arguments.output or _DOCS
        write_page(_read(folder / "benchmarks" / "results.json"), folder)
    elif arguments.compare:
        raise SystemExit(_compare(*map(_read, arguments.compare)))
    else:
        _measure(
            Plan(
                cases=tuple(arguments.case or cases),
                contenders=tuple(arguments.contender or names),
                rounds=arguments.rounds,
                smoke=arguments.smoke,
            ),
            arguments.output,
        )


def _read(path: Path) -> Results:
    try:
        return load(path)
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}; a whole run writes one, or `--output FOLDER`") from None
    except ValueError as error:
        raise SystemExit(f"{path}: {error}") from None


def _compare(one: Results, other: Results) -> int:
    """Print what agrees and what does not; the exit status says whether all does."""
    found = compare(one, other)
    numbers = [each for each in found if each.is_sure]
    ranges = [each for each in found if not each.is_sure]
    for kind, what in ((numbers, "numbers"), (ranges, "ranges")):
        if kind:
            agreeing = sum(each.agrees for each in kind)
            print(f"{agreeing} of {len(kind)} ratios that are told as {what} agree within {REPEATED:.0%}:")
            for each in sorted(kind, key=lambda each: each.agrees):
                print(f"  {'' if each.agrees else '! '}{each}")
            print()
    return 0 if found and all(each.agrees for each in found) else 1


def _measure(plan: Plan, output: Path | None) -> None:
    if (reason := why_not()) is not None:
        raise SystemExit(f"these measurements need namespaces: {reason}")
    # Ended by a signal, whichever: processes and namespaces are removed on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # As for a user: whoever imports keeps what was compiled, and finds nothing but what is installed.
    for variable in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH"):
        os.environ.pop(variable, None)
    try:
        results = run(plan)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; nothing was written") from None
    print(tables(results))
    if output is None and plan.whole:
        output = _DOCS
    if output is not None:
        write_page(results, output)
    if plan.smoke and (faults := smoke_faults(results)):
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
