"""Case: how soon a wanted peer is found where packets are lost each way.

Several pairs of hosts, each on a link of its own; nftables drops that share of what arrives at each of the
two. One peer runs; the other starts, is asked at once to look for it (`resolve`; stock zeroconf: a request by
name for 30 s, beside its browser), and stops. What has not come after 30 s counts as missed. Ours and the
others' run at the same time.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

import attrs

from benchmarks.mdns.bench import Bench, Child
from benchmarks.mdns.figures import Comparison
from benchmarks.mdns.latency import find_once, start
from peernet_core.testing.lab import Host

__all__ = ["lossy"]

_PAIRS: Final = 8
_LIMIT_S: Final = 30.0
_PAUSE_S: Final = 1.1


@attrs.frozen
class _Pair:
    engine: str
    hosts: tuple[Host, Host]
    key: str
    coming: Child


def lossy(engines: Sequence[str], runs: int, *, percents: Sequence[int] = (20, 30)) -> list[Comparison]:
    """Lose packets, and look for one peer.

    Args:
        engines: What is measured.
        runs: How often, each.
        percents: Of what arrives at each end.
    """
    results = []
    with ExitStack() as stack:
        pairs = [
            _pair(stack.enter_context(Bench()), engine)
            for _ in range(min(_PAIRS, runs))
            for engine in engines
        ]
        for percent in percents:
            result = Comparison(f"a wanted peer, {percent} % lost each way", shares=(0.9, 0.99))
            for host in (host for pair in pairs for host in pair.hosts):
                host.lose(percent)
            each = math.ceil(runs / min(_PAIRS, runs))
            with ThreadPoolExecutor(len(pairs)) as threads:
                for pair, found in zip(pairs, threads.map(_run, pairs, itertools.repeat(each)), strict=True):
                    for took in found:
                        result.add(pair.engine, took)
            results.append(result)
    return results


def _pair(bench: Bench, engine: str) -> _Pair:
    here, there = bench.host("here"), bench.host("there")
    running = bench.subject(there, engine)
    return _Pair(engine, (here, there), start(running), bench.subject(here, engine))


def _run(pair: _Pair, runs: int) -> list[float | None]:
    found = []
    for _ in range(runs):
        found.append(find_once(pair.coming, pair.key, want=True, limit_s=_LIMIT_S))
        time.sleep(_PAUSE_S)
    return found
