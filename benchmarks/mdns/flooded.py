"""Case: somebody floods the link; whether a genuine newcomer is found meanwhile, and what it costs.

A peer runs. The flood lasts 6 s; after 2 s of it a genuine peer starts on a third host and announces itself;
timed is until the first one knows it, 40 s at most. Memory is the growth of the anonymous proportional set
size until shortly after the flood. The stall is as in the crowd, during the flood. The address space of each
process is limited to 6 GiB: one that needs more ends, and that is said.

At last somebody says, once, that a peer has gone which has not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from benchmarks.mdns.bench import Bench, WaitedInVainError, number
from benchmarks.mdns.figures import Fact
from benchmarks.mdns.latency import start
from benchmarks.mdns.subject import LOUD_PORT
from peernet_core.keys import PeerKey
from peernet_core.testing.lab import INTERFACE

__all__ = ["FLOODS", "flooded"]

FLOODS: Final = {
    "30 names a packet, one sender": ("pointers",),
    "whole peers, one sender": ("peers",),
    "whole peers, 1,000 senders": ("peers", "--source=10.77.130.1", "--sources=1000"),
    "queries, one sender": ("queries",),
    "whole peers, another port": ("peers", "--port=6000"),
    "whole peers, from off the link": ("peers", "--source=198.51.100.7"),
}
_FLOOD_S: Final = 6.0
_BEFORE_S: Final = 2.0
_LIMIT_S: Final = 40.0
_FORGED_S: Final = 8.0
"""Longer than anybody takes to ask whether it is true."""


def flooded(
    engines: Sequence[str], *, floods: Sequence[str] = tuple(FLOODS), seconds: float = _FLOOD_S
) -> list[Fact]:
    """Flood each engine with each."""
    facts = []
    for name in floods:
        for engine in engines:
            try:
                text = _flood(engine, FLOODS[name], seconds)
            except WaitedInVainError as error:
                text = f"the process ended, or hung: {str(error).splitlines()[-1][:80]}"
            facts.append(Fact(f"{name}, {engine}", text))
    facts += [Fact(f"one forged goodbye, {engine}", _forge(engine)) for engine in engines]
    return facts


def _forge(engine: str) -> str:
    """Say goodbye for somebody else."""
    with Bench() as bench:
        running = bench.subject(bench.host("running"), engine)
        genuine = bench.subject(bench.host("genuine"), engine)
        attacker = bench.host("attacker")
        start(running)
        key = PeerKey.parse(start(genuine))
        running.wait("seen", key=str(key))
        since = running.mark()
        options = ("--most=1", f"--alias={key.alias}")
        with bench.start(attacker, "benchmarks.mdns.flood", "goodbye", INTERFACE, *options) as forger:
            forged_at = number(forger.wait("started"), "at")
            forger.wait("ended")
            lost = running.look("lost", since=since, timeout_s=_FORGED_S, key=str(key))
        if lost is None:
            return f"the peer stays, for {_FORGED_S:g} s at least"
        return f"the peer is lost after {(number(lost, 'at') - forged_at) * 1000:.1f} ms"


def _flood(engine: str, options: Sequence[str], seconds: float) -> str:
    with Bench() as bench:
        running = bench.subject(bench.host("running"), engine, silent=True)
        genuine = bench.subject(bench.host("genuine"), engine, silent=True)
        attacker = bench.host("attacker")
        start(running)
        genuine.wait("ready")
        running.say("tick")
        before = running.ask("report", "report")
        kind, *more = options
        flood = bench.start(attacker, "benchmarks.mdns.flood", kind, INTERFACE, f"--seconds={seconds}", *more)
        flood.wait("started")
        time.sleep(min(_BEFORE_S, seconds / 3))
        since = running.mark()
        announced_at = time.monotonic()
        started = genuine.ask("start", "started", port=LOUD_PORT, targets=[])
        seen = running.look("seen", since=since, timeout_s=_LIMIT_S, key=started["key"])
        ended = flood.wait("ended", timeout_s=seconds + 60)
        after = running.ask("report", "report")
        found = (
            "newcomer not found in 40 s"
            if seen is None
            else f"newcomer found after {(number(seen, 'at') - announced_at) * 1000:,.0f} ms"
        )
        grown_kib = number(after, "anonymous_kib") - number(before, "anonymous_kib")
        rate = number(ended, "packets") / number(ended, "seconds")
        return (
            f"{found}, memory {grown_kib / 1024:+.1f} MiB, stall {number(after, 'worst_stall_ms'):,.0f} ms, "
            f"{number(after, 'known'):,.0f} known, at {rate:,.0f} packets/s"
        )
