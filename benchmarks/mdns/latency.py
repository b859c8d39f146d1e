"""Cases: how soon a peer is found, found at another port, and lost.

Each engine has a link of its own, so that neither hears the other. Processes are started once; in each round,
ours and the others' in turn, an engine with a fresh key starts in them, and stops at the round's end. A round
begins more than a second after the one before: within a second a responder answers no question twice.

Times are those of the loops, whose clock all processes of the machine share: from before `start` (or
`announce_self`, `stop`, or the kill) until the record, or the loss, was handed to core.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import attrs

from benchmarks.mdns.bench import Bench, Child, number
from benchmarks.mdns.figures import Comparison
from peernet_core.testing.lab import Host

__all__ = ["PORT", "find_once", "killed", "life", "newcomer", "second_process", "start"]

PORT: Final = 7100
_LIMIT_S: Final = 15.0
_PAUSE_S: Final = 1.2
_STARTED_S: Final = 0.3
_LIFE: Final = (
    ("announce", PORT, "announced", "seen"),
    ("announce", PORT + 1, "announced", "seen"),
    ("stop", 0, "stopped", "lost"),
)
_LEASE_S: Final = 150.0
"""Longer than the 120 s for which an SRV is believed."""


def newcomer(engines: Sequence[str], rounds: int) -> list[Comparison]:
    """One peer runs; another one starts on a host of its own."""
    return [_find("newcomer alone on its host finds a peer", engines, rounds, places=1, share=False)]


def second_process(engines: Sequence[str], rounds: int) -> list[Comparison]:
    """One peer runs; another one starts on a host where a third one runs already.

    On four such hosts in turn: which of two processes gets a unicast packet is a matter of addresses.
    """
    name = "second process on a host finds a peer"
    return [_find(name, engines, rounds, places=4, share=True)]


@attrs.frozen
class _Pair:
    """A process that runs on, and the one that comes and goes."""

    running: Child
    key: str
    coming: Child


def start(child: Child, *, port: int = PORT, targets: Sequence[int] = ()) -> str:
    """Start its engine, announced if there is a port, and return the key."""
    return str(child.ask("start", "started", port=port, targets=list(targets))["key"])


def _find(name: str, engines: Sequence[str], rounds: int, *, places: int, share: bool) -> Comparison:
    result = Comparison(name)
    with Bench() as first, Bench() as second, Bench() as third:
        pairs: dict[str, list[_Pair]] = {}
        for engine, bench in zip(engines, (first, second, third), strict=False):
            running = bench.subject(bench.host("there"), engine)
            key = start(running)
            for place in range(places):
                here = bench.host(f"here{place}")
                if share:
                    start(bench.subject(here, engine))
                pairs.setdefault(engine, []).append(_Pair(running, key, bench.subject(here, engine)))
        for turn in range(rounds):
            for engine, at in pairs.items():
                pair = at[turn % places]
                result.add(engine, find_once(pair.coming, pair.key))
            time.sleep(_PAUSE_S)
    return result


def find_once(child: Child, key: str, *, want: bool = False, limit_s: float = _LIMIT_S) -> float | None:
    """Start an engine, wait until it has found that peer, stop it; returns the milliseconds.

    Args:
        child: Whose engine is started.
        key: Of the peer that runs.
        want: Whether it is asked to look for that one.
        limit_s: How long it may take.
    """
    since = child.mark()
    started = child.ask("start", "started", port=PORT, targets=[])
    if want:
        child.say("want", key=key)
    seen = child.look("seen", since=since, timeout_s=limit_s, key=key)
    child.ask("stop", "stopped")
    return None if seen is None else (number(seen, "at") - number(started, "began")) * 1000


def life(engines: Sequence[str], rounds: int) -> list[Comparison]:
    """A peer that runs sees another one announce itself, change its port, and stop."""
    results = [
        Comparison("announced, until seen"),
        Comparison("another port, until seen"),
        Comparison("clean stop, until lost"),
    ]
    with Bench() as first, Bench() as second, Bench() as third:
        pairs = {}
        for engine, bench in zip(engines, (first, second, third), strict=False):
            running = bench.subject(bench.host("there"), engine)
            pairs[engine] = _Pair(running, start(running), bench.subject(bench.host("here"), engine))
        for _ in range(rounds):
            keys = {engine: start(pair.coming, port=0) for engine, pair in pairs.items()}
            time.sleep(_STARTED_S)
            for result, (do, port, answer, event) in zip(results, _LIFE, strict=True):
                for engine, pair in pairs.items():
                    since = pair.running.mark()
                    done = pair.coming.ask(do, answer, port=port)
                    line = pair.running.look(
                        event, since=since, timeout_s=_LIMIT_S, key=keys[engine], port=port
                    )
                    took_s = None if line is None else number(line, "at") - number(done, "began")
                    result.add(engine, None if took_s is None else took_s * 1000)
                time.sleep(_PAUSE_S)  # announcements are repeated for a while
    return results


def killed(engines: Sequence[str], rounds: int, *, leases: bool = True) -> list[Comparison]:
    """Peers are killed without a word: until they are lost, with and without core asking for them.

    Core asks, by `resolve`, when the link ends. Stock zeroconf has no such question: its browser waits for
    the end of the PTR's life, 75 minutes.

    Args:
        engines: What is measured.
        rounds: How often; at most ten peers are killed while nobody asks.
        leases: Whether to wait for the leases, two minutes.
    """
    asked = Comparison("killed, core asks at once, until lost", unit="s")
    unasked = Comparison("killed, nobody asks, until lost", unit="s")
    with Bench() as first, Bench() as second, Bench() as third:
        benches = dict(zip(engines, (first, second, third), strict=False))
        observers: dict[str, Child] = {}
        hosts: dict[str, list[Host]] = {}
        count = min(rounds, 10)
        for engine, bench in benches.items():
            observers[engine] = bench.subject(bench.host("there"), engine)
            start(observers[engine])
            hosts[engine] = [bench.host(f"h{each}") for each in range(count)]
        if "ours" in benches:
            victims = _victims(benches["ours"], "ours", hosts["ours"], observers["ours"])
            for key, victim in victims:
                since, killed_at = _kill(observers["ours"], victim)
                observers["ours"].say("want", key=key)
                _note(asked, "ours", observers["ours"], key, since, killed_at, 40.0)
        if leases:
            _wait_for_leases(unasked, benches, hosts, observers)
    return [asked, unasked] if leases else [asked]


def _wait_for_leases(
    result: Comparison, benches: dict[str, Bench], hosts: dict[str, list[Host]], observers: dict[str, Child]
) -> None:
    deaths = []
    for engine, bench in benches.items():
        for key, victim in _victims(bench, engine, hosts[engine], observers[engine]):
            deaths.append((engine, key, *_kill(observers[engine], victim)))
    deadline = time.monotonic() + _LEASE_S
    for engine, key, since, killed_at in deaths:
        _note(result, engine, observers[engine], key, since, killed_at, max(0.0, deadline - time.monotonic()))


def _victims(bench: Bench, engine: str, hosts: list[Host], observer: Child) -> list[tuple[str, Child]]:
    victims = [bench.subject(host, engine) for host in hosts]
    found = [(start(victim), victim) for victim in victims]
    for key, _ in found:
        observer.wait("seen", key=key)
    time.sleep(_PAUSE_S)
    return found


def _kill(observer: Child, victim: Child) -> tuple[int, float]:
    since, killed_at = observer.mark(), time.monotonic()
    victim.kill()
    return since, killed_at


def _note(
    result: Comparison, engine: str, observer: Child, key: str, since: int, killed_at: float, limit_s: float
) -> None:
    lost = observer.look("lost", since=since, timeout_s=limit_s, key=key)
    result.add(engine, None if lost is None else number(lost, "at") - killed_at)
