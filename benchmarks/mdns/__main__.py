"""Discovery by `peernet-mdns` beside stock python-zeroconf.

Run, as root on Linux with iproute2 and nftables: ``python -m benchmarks.mdns [CASE ...] [--rounds 20]
[--quick]``

Every case runs in the same minutes for both, on links of their own made of network namespaces: real packets,
no other traffic. Ours is driven as core drives it, without trust, signatures and links: a record counts when
the backend hands it over. Stock is python-zeroconf as its documentation shows it, on IPv4 and IPv6 as ours: a
browser whose handler loads a service from the cache, or requests what is incomplete, and a service that
carries the same TXT record. `stock-cooperating` is the same without the probing before a registration.

Shown are median, percentiles and worst of all runs that succeeded; how many did not (`missed`); and the ratio
of the medians, theirs to ours. How each case is measured stands in the module of the case.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.mdns import flooded, latency, loss, scale, traffic
from benchmarks.mdns.bench import DEFAULT_RECEIVE_BUFFER
from benchmarks.mdns.figures import Comparison, Fact, show
from peernet_core.testing.lab import why_not

__all__ = ["main"]

_ENGINES: Final = ("ours", "stock")
_ALL: Final = ("ours", "stock", "stock-cooperating")
Results = Sequence[Comparison | Fact]


def _cases(rounds: int, *, quick: bool) -> dict[str, Callable[[], Results]]:
    runs = 3 * rounds if quick else 10 * rounds
    few = max(1, rounds // 7)
    counts = (1000,) if quick else (1000, 5000, 10_000)
    floods = tuple(flooded.FLOODS)[:2] if quick else tuple(flooded.FLOODS)
    return {
        "newcomer": lambda: latency.newcomer(_ENGINES, rounds),
        "second": lambda: latency.second_process(_ENGINES, rounds),
        "life": lambda: latency.life(_ALL, rounds),
        "killed": lambda: latency.killed(_ENGINES, rounds, leases=not quick),
        "loss": lambda: loss.lossy(_ENGINES, runs),
        "scale": lambda: scale.crowd(_ENGINES, few, counts=counts),
        "packets": lambda: traffic.newcomer_packets(_ENGINES, peers=100 if quick else 1000),
        "idle": lambda: traffic.idle_minute(_ENGINES),
        "flood": lambda: flooded.flooded(_ENGINES, floods=floods, seconds=3.0 if quick else 6.0),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mdns",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = tuple(_cases(1, quick=False))
    parser.add_argument("case", nargs="*", help=f"{', '.join(names)}; all but idle in the quick form")
    parser.add_argument("--rounds", type=int, help="how often each is timed (20; 3 in the quick form)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and smaller rounds, no waiting for leases"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.case) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if (reason := why_not()) is not None:
        raise SystemExit(f"these measurements need namespaces: {reason}")
    rounds = arguments.rounds or (3 if arguments.quick else 20)
    if rounds < 1:
        parser.error("at least one round")
    chosen = arguments.case or [name for name in names if not (arguments.quick and name == "idle")]
    most = int(Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii"))
    print(
        f"{rounds} rounds, {os.cpu_count()} processors; receive buffers up to {most:,} bytes; "
        f"'default limits' holds a process's setsockopt to {DEFAULT_RECEIVE_BUFFER:,}"
    )
    cases = {name: case for name, case in _cases(rounds, quick=arguments.quick).items() if name in chosen}
    with ThreadPoolExecutor(1) as beside:
        # Both do little but wait. The other cases want both processors.
        waiting = cases.pop("killed", None)
        if waiting is not None and "idle" in cases:
            began = time.monotonic()
            killed = beside.submit(waiting)
            _show("idle", began, cases.pop("idle")())
            _show("killed", began, killed.result())
        elif waiting is not None:
            cases["killed"] = waiting
        for name, run in cases.items():
            began = time.monotonic()
            _show(name, began, run())


def _show(name: str, began: float, results: Results) -> None:
    print(show(f"\n{name} ({time.monotonic() - began:.0f} s)", results), flush=True)


if __name__ == "__main__":
    main()
