"""Case: one newcomer among 1,000, 5,000 and 10,000 peers, each a host of its own that one process emulates.

The newcomer's process is fresh in each round; with default limits there is one. Timed is from before `start`
until it knows all but ten, or all but one in a thousand, and all. The stall is the longest time for which the
loop kept a coroutine waiting that wants to run every 2 ms; memory is the growth of the anonymous proportional
set size, garbage collected and free memory returned, shared out among the peers that are known then.

`default limits`: with the receive buffer that Linux grants by default, 212,992 bytes asked for at most. That
limit is the machine's and not the namespace's, so it is the process's `setsockopt` that is held to it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.mdns.bench import Bench, Child, WaitedInVainError, number
from benchmarks.mdns.figures import Comparison, Fact
from peernet_core.testing.lab import Host

__all__ = ["crowd"]

_LIMIT_S: Final = 20.0


def crowd(
    engines: Sequence[str], rounds: int, *, counts: Sequence[int] = (1000, 5000, 10_000)
) -> list[Comparison | Fact]:
    """Start among so many."""
    results: list[Comparison | Fact] = []
    for count in counts:
        with Bench() as bench:
            host = bench.host("newcomer")
            with bench.emulate(bench.host("crowd"), count) as responders:
                for default_limits in (False, True):
                    results += _among(
                        bench, host, responders, engines, rounds, count, default_limits=default_limits
                    )
    return results


def _among(
    bench: Bench,
    host: Host,
    responders: Child,
    engines: Sequence[str],
    rounds: int,
    count: int,
    *,
    default_limits: bool,
) -> list[Comparison | Fact]:
    nearly = count - max(10, count // 1000)
    name = f"{count:,} peers{', default limits' if default_limits else ''}"
    times = {nearly: Comparison(f"{name}: {nearly:,} known"), count: Comparison(f"{name}: all known")}
    stalls, memory = Comparison(f"{name}: stall"), Comparison(f"{name}: memory a peer", unit="bytes")
    known: dict[str, list[int]] = {}
    for _ in range(1 if default_limits else rounds):
        for engine in engines:
            if default_limits and engine.startswith("stock"):
                continue  # it asks for no buffer, so it has none but the default
            with bench.subject(host, engine, silent=True, default_limits=default_limits) as child:
                known.setdefault(engine, []).append(_once(engine, child, times, stalls, memory))
    facts = [
        Fact(f"{name}: known after {_LIMIT_S:g} s, {engine}", f"{statistics.median(found):,.0f}")
        for engine, found in known.items()
        if min(found) < count
    ]
    responders.ask("report", "report")
    return [*times.values(), stalls, memory, *facts]


def _once(
    engine: str, child: Child, times: dict[int, Comparison], stalls: Comparison, memory: Comparison
) -> int:
    child.wait("ready")
    before = child.ask("report", "report")
    child.say("tick")
    started = child.ask("start", "started", port=0, targets=sorted(times))
    for count, result in times.items():
        began = number(started, "began")
        left_s = max(0.0, began + _LIMIT_S - time.monotonic())
        line = child.look("known", timeout_s=left_s, count=count)
        result.add(engine, None if line is None else (number(line, "at") - began) * 1000)
    after = child.ask("report", "report")
    stalls.add(engine, number(after, "worst_stall_ms"))
    known = int(number(after, "known"))
    if known:
        memory.add(engine, (number(after, "anonymous_kib") - number(before, "anonymous_kib")) * 1024 / known)
    try:
        child.ask("stop", "stopped", timeout_s=10.0)
    except WaitedInVainError:
        stalls.add(engine, None)
    return known
