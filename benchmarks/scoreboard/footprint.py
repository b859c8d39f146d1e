"""Cases: what it takes to be linked and idle, alone and among many."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs

from benchmarks.mdns.bench import Traffic, WaitedInVainError
from benchmarks.scoreboard.accounting import ProcessorTime, pss_kib, tree
from benchmarks.scoreboard.contender import Contender, Site
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.pairs import FAULTS, Notes, Pair, in_turn, settle
from benchmarks.scoreboard.quantities import footprint
from benchmarks.scoreboard.results import Measurement
from benchmarks.scoreboard.watched import Watched

__all__ = ["growth", "idle"]

_LINKING_S: Final = 90.0
_SETTLED_S: Final = 45.0
_MINUTE_S: Final = 60.0


@attrs.frozen
class _Idler:
    """Somebody who is to be watched while idle.

    Attributes:
        peers: How many there are, as the quantities name it.
    """

    contender: str
    peers: int
    site: Site
    process: Watched

    @property
    def pids(self) -> list[int]:
        """All of its processes."""
        return tree(self.site.measured(self.process))

    def traffic(self) -> Traffic:
        """What the interface of its host has carried."""
        return self.site.ground.traffic(self.site.host)


def idle(
    contenders: Sequence[Contender],
    counts: Sequence[int],
    *,
    settled_s: float = _SETTLED_S,
    minute_s: float = _MINUTE_S,
) -> tuple[Measurement, ...]:
    """Everybody among so many linked peers, in the same minute.

    Args:
        contenders: Who.
        counts: How many peers.
        settled_s: How long to wait after the last was started.
        minute_s: How long to watch; what is counted is for a minute.
    """
    notes = Notes()
    with ExitStack() as stack:
        idlers = []
        for count in counts:
            for contender in contenders:
                with _noting(notes, contender.name, count):
                    ground = stack.enter_context(Ground())
                    idlers.append(_among_linked(contender, ground, count))
        time.sleep(settled_s)
        _watch(idlers, notes, minute_s)
    return notes.taken()


def _among_linked(contender: Contender, ground: Ground, count: int) -> _Idler:
    site = contender.site(ground, ground.host("here"), "here")
    crowd = contender.crowd(ground, ground.host("there"), count, site)
    crowd.start()
    process = site.start()
    deadline = time.monotonic() + _LINKING_S
    for key in crowd.members():
        if process.look("linked", key, timeout_s=max(0.0, deadline - time.monotonic())) is None:
            raise WaitedInVainError(
                f"linked with {len(process.linked())} of {count} after {_LINKING_S:g} s: {process.report()}"
            )
    return _Idler(contender.name, count, site, process)


@contextmanager
def _noting(notes: Notes, contender: str, count: int) -> Iterator[None]:
    try:
        yield
    except FAULTS as error:
        for quantity in footprint(count):
            notes.fail(quantity.name, contender, error)


def _watch(idlers: Sequence[_Idler], notes: Notes, minute_s: float) -> None:
    """Do nothing for a minute, and note what everybody took."""
    before = []
    for idler in idlers:
        with _noting(notes, idler.contender, idler.peers):
            before.append((idler, idler.traffic(), ProcessorTime(idler.pids)))
    time.sleep(minute_s)
    share = 60.0 / minute_s
    for idler, traffic, processor in before:
        with _noting(notes, idler.contender, idler.peers):
            carried = idler.traffic().since(traffic)
            taken = (
                pss_kib(idler.pids) / 1024,
                processor.taken_ms() * share,
                (carried.sent + carried.received) * share,
                (carried.sent_bytes + carried.received_bytes) * share / 1000,
            )
            for quantity, value in zip(footprint(idler.peers), taken, strict=True):
                notes.add(quantity.name, idler.contender, value)


def growth(
    contenders: Sequence[Contender],
    rounds: int,
    strangers: int,
    *,
    settled_s: float = _SETTLED_S,
    minute_s: float = _MINUTE_S,
) -> tuple[Measurement, ...]:
    """A newcomer, and an idle minute, among so many whom nobody trusts."""
    notes = Notes()
    quantity = f"newcomer-{strangers}"
    with ExitStack() as stack:
        pairs = []
        for contender in contenders:
            with _noting(notes, contender.name, strangers):
                try:
                    pairs.append(_among_strangers(contender, stack.enter_context(Ground()), strangers))
                except FAULTS as error:
                    notes.fail(quantity, contender.name, error)
                    raise
        for number in range(rounds):
            for pair in pairs:
                pair.end()
                pair.start_there()
            settle(pairs, notes, quantity)
            for pair in in_turn(pairs, number):
                with pair.noting(notes, quantity):
                    pair.coming = pair.here.start()
                    notes.add(quantity, pair.name, pair.linked_s(pair.coming.began) * 1000)
        time.sleep(settled_s)
        idlers = [
            _Idler(pair.name, strangers, pair.here, pair.coming) for pair in in_turn(pairs) if pair.coming
        ]
        _watch(idlers, notes, minute_s)
    return notes.taken()


def _among_strangers(contender: Contender, ground: Ground, strangers: int) -> Pair:
    there = contender.site(ground, ground.host("there"), "there")
    here = contender.site(ground, ground.host("here"), "here")
    there.trust([here.key])
    here.trust([there.key])
    contender.strangers(ground, ground.host("crowd"), strangers)
    return Pair(contender, there, here)
