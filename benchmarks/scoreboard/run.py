"""One run: who takes part, and the cases one after the other."""

from __future__ import annotations

import datetime as dt
import os
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from benchmarks.scoreboard import cuts, footprint, moments
from benchmarks.scoreboard.contender import Contender, UnavailableError
from benchmarks.scoreboard.contenders.avahi import AvahiTls
from benchmarks.scoreboard.contenders.bare import Bare
from benchmarks.scoreboard.contenders.libp2p import Libp2p
from benchmarks.scoreboard.contenders.peernet import Peernet
from benchmarks.scoreboard.contenders.syncthing import Syncthing
from benchmarks.scoreboard.contenders.tls import ZeroconfTls
from benchmarks.scoreboard.pairs import HURRIED, WHOLE, without_paths
from benchmarks.scoreboard.quantities import CASES, COUNTS, STARTUP, STRANGERS
from benchmarks.scoreboard.ratios import OURS
from benchmarks.scoreboard.results import Appendix, Measurement, Results, Taker
from benchmarks.scoreboard.startup import startup

__all__ = ["CONTENDERS", "Plan", "run", "smoke_faults"]

CONTENDERS: Final[Sequence[Callable[[], Contender]]] = (
    Peernet,
    ZeroconfTls,
    AvahiTls,
    Libp2p,
    Syncthing,
    Bare,
)
_SMOKE_CASES: Final = ("newcomer", "together", "in-process", "restart", "idle", "floor")
_MUST_RUN: Final = ("peernet", "zeroconf", "bare")
"""They need nothing but what is here, so in a smoke test they have no excuse; the others come only once."""


@attrs.frozen
class Plan:
    """What is to be run.

    Attributes:
        rounds: Of the newcomer; the other cases have a share of it.
    """

    cases: Sequence[str]
    contenders: Sequence[str]
    rounds: int
    smoke: bool

    @property
    def whole(self) -> bool:
        """Whether it is everything."""
        return not self.smoke and len(self.cases) == len(CASES) and len(self.contenders) == len(CONTENDERS)


def _case(name: str, takers: Sequence[Contender], plan: Plan) -> tuple[Measurement, ...]:
    rounds, pace = (1, HURRIED) if plan.smoke else (plan.rounds, WHOLE)
    fewer = max(1, rounds * 3 // 4)
    match name:
        case "newcomer":
            return moments.newcomer(takers, rounds, pace)
        case "together":
            return moments.together(takers, fewer, pace)
        case "in-process":
            return moments.in_process(takers, rounds, pace)
        case "restart":
            return moments.restart(takers, fewer, pace)
        case "cut":
            return cuts.cut(takers, fewer, 2)
        case "idle" if plan.smoke:
            return footprint.idle(takers, COUNTS[:1], None, footprint.GLANCE)
        case "idle":
            return footprint.idle(takers, COUNTS, STRANGERS)
        case "growth":
            return footprint.growth(takers, fewer, STRANGERS, pace)
        case _:
            return moments.floor(takers, rounds, pace)


def run(plan: Plan) -> Results:
    """Measure; says on the way what it does."""
    began, date = time.monotonic(), dt.datetime.now(dt.UTC)
    chosen = [each for each in (make() for make in CONTENDERS) if each.name in plan.contenders]
    takers, present = [], []
    for contender in chosen:
        try:
            version, missing = contender.check(), ""
            present.append(contender)
        except UnavailableError as error:
            version, missing = "", without_paths(str(error))
        call = f" Its start call: {contender.start_call}." if contender.start_call else ""
        takers.append(Taker(contender.name, contender.title, contender.how + call, version, missing))
        print(f"{contender.title}: {version or f'not here: {missing}'}", flush=True)
    measurements: list[Measurement] = []
    appendices: list[Appendix] = []
    cases = [name for name in plan.cases if not plan.smoke or name in _SMOKE_CASES]
    for name in cases:
        case_began = time.monotonic()
        able = [each for each in present if _takes_part(each, name)]
        if plan.smoke and name != cases[0]:
            able = [each for each in able if each.name in _MUST_RUN]
        if name == STARTUP:
            appendices += _guarded_startup(able, plan)
        else:
            measurements += _guarded(name, able, plan)
        print(f"{name}: {time.monotonic() - case_began:.0f} s", flush=True)
    return Results(
        f"{date:%Y-%m-%d %H:%M} UTC",
        time.monotonic() - began,
        _machine(),
        tuple(takers),
        tuple(measurements),
        tuple(appendices),
    )


def _guarded(name: str, takers: Sequence[Contender], plan: Plan) -> tuple[Measurement, ...]:
    try:
        return _case(name, takers, plan)
    except Exception as error:  # noqa: BLE001 - a defect in one case shall not cost the figures of all the others
        traceback.print_exc()
        quantity = next(case for case in CASES if case.name == name).quantities[0].name
        why = f"the benchmark itself failed: {without_paths(repr(error))}"
        return tuple(Measurement(quantity, each.name, failures=(why,)) for each in takers)


def _guarded_startup(takers: Sequence[Contender], plan: Plan) -> tuple[Appendix, ...]:
    """The budget of a start, if peernet takes part; a defect is shown in its place."""
    if not any(each.name == OURS for each in takers):
        return ()
    try:
        return (startup(max(1, plan.rounds // 2)),)
    except Exception as error:  # noqa: BLE001 - the same
        traceback.print_exc()
        return (Appendix(STARTUP, "The budget of a start", f"It failed: `{without_paths(repr(error))}`", ""),)


def _takes_part(contender: Contender, case: str) -> bool:
    if contender.cases is not None:
        return case in contender.cases
    return case != "floor" and (case != "in-process" or bool(contender.start_call))


def _machine() -> str:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        if line.startswith("model name")
    ]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} processors ({model}), Linux {platform.release()}"


def smoke_faults(results: Results) -> list[str]:
    """What a smoke test cannot let pass: somebody who needs nothing did not run, or measured nothing."""
    faults = [
        f"{taker.title} is not here: {taker.missing}"
        for taker in results.takers
        if taker.missing and taker.name in _MUST_RUN
    ]
    for each in results.measurements:
        if each.failures:
            faults.append(f"{each.contender}, {each.quantity}: {each.failures[0]}")
        elif not each.values and not each.kept:
            faults.append(f"{each.contender}, {each.quantity}: nothing was measured")
    if not results.measurements:
        faults.append("nothing was measured at all")
    return faults
