"""Cases: what it takes to be linked and idle, alone and among many."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs

from benchmarks.mdns.bench import Traffic, WaitedInVainError
from benchmarks.scoreboard.accounting import ProcessorTime, pss_kib, tree
from benchmarks.scoreboard.contender import Contender, Crowd, Site
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.moments import come
from benchmarks.scoreboard.pairs import FAULTS, WHOLE, Notes, Pace, Pair
from benchmarks.scoreboard.quantities import LINKS, footprint
from benchmarks.scoreboard.results import Measurement
from benchmarks.scoreboard.watched import Watched

__all__ = ["GLANCE", "LONG", "Idler", "Watch", "growth", "idle", "watch_idle"]

_LINKING_S: Final = 90.0
_LAST_LINES: Final = 3


@attrs.frozen
class Watch:
    """How long everybody is left alone and then watched.

    Attributes:
        settled_s: How long to wait after the last was started.
        minutes: How often what was taken is read.
        minute_s: How long lies between two readings; what is counted is told for a minute.
    """

    settled_s: float
    minutes: int
    minute_s: float


LONG: Final = Watch(settled_s=35.0, minutes=5, minute_s=60.0)
"""Of what is done every 30, 60 or 120 s it sees much, and of what is done every 300 s once. A node of peernet
asks everybody 30, 90 and 210 s after its start, and again after 450 s; with 100 peers that takes more bytes
than minutes of all else. So it begins and ends between these, for all that was set up in half a minute."""
GLANCE: Final = Watch(settled_s=1.0, minutes=1, minute_s=2.0)


@attrs.frozen
class Idler:
    """Somebody who is to be watched while idle.

    Attributes:
        peers: How many there are, as the quantities name it.
        linked: With whom it is linked.
        other: The process of its only peer; None: they are many.
    """

    contender: str
    peers: int
    site: Site
    process: Watched
    linked: frozenset[str]
    other: Watched | None = None

    @property
    def pids(self) -> list[int]:
        """All of its processes."""
        return tree(self.site.measured(self.process))

    def traffic(self) -> Traffic:
        """What the interface of its host has carried."""
        return self.site.ground.traffic(self.site.host)


def idle(
    contenders: Sequence[Contender], counts: Sequence[int], strangers: int | None, watch: Watch = LONG
) -> tuple[Measurement, ...]:
    """Everybody among so many linked peers, and with one among so many strangers, in the same minutes.

    Args:
        contenders: Who.
        counts: How many peers.
        strangers: How many others; None: nobody is watched among such.
        watch: How long.
    """
    notes = Notes()
    with ExitStack() as stack:
        idlers: list[Idler] = []
        # What takes longest to be set up comes first: in the end all are of nearly the same age.
        if strangers is not None:
            idlers += _among_others(contenders, strangers, notes, stack)
        idlers += _among_linked(contenders, sorted(counts, reverse=True), notes, stack)
        time.sleep(watch.settled_s)
        watch_idle(idlers, notes, watch)
    return notes.taken()


@attrs.frozen
class _Ready:
    """Somebody and its peers who have not been started yet."""

    contender: str
    site: Site
    crowd: Crowd

    @classmethod
    def make(cls, contender: Contender, ground: Ground, count: int) -> _Ready:
        site = contender.site(ground, ground.host("here"), "here")
        return cls(contender.name, site, contender.crowd(ground, ground.host("there"), count, site))

    def start(self) -> Idler:
        self.crowd.start()
        members = self.crowd.members()
        return Idler(self.contender, len(members), self.site, self.site.start(), frozenset(members))


def _among_linked(
    contenders: Sequence[Contender], counts: Sequence[int], notes: Notes, stack: ExitStack
) -> list[Idler]:
    ready: dict[int, list[_Ready]] = {count: [] for count in counts}
    # Keys and first runs take long. Who is slow to link starts first, and is waited for when the others have.
    for count in counts:
        for contender in reversed(contenders):
            for _ in range(LINKS if count == 1 else 1):
                with _noting(notes, contender.name, count):
                    ready[count].append(_Ready.make(contender, stack.enter_context(Ground()), count))
    idlers = []
    for count in counts:
        started = []
        for each in ready[count]:
            with _noting(notes, each.contender, count):
                started.append(each.start())
        for idler in started:
            with _noting(notes, idler.contender, count):
                _wait_until_linked(idler)
                idlers.append(idler)
    return idlers


def _wait_until_linked(idler: Idler) -> None:
    deadline = time.monotonic() + _LINKING_S
    for key in idler.linked:
        if idler.process.look("linked", key, timeout_s=max(0.0, deadline - time.monotonic())) is None:
            raise WaitedInVainError(
                f"linked with {len(idler.process.linked())} of {len(idler.linked)} after {_LINKING_S:g} s: "
                f"{idler.process.report()}"
            )


@contextmanager
def _noting(notes: Notes, contender: str, count: int) -> Iterator[None]:
    try:
        yield
    except FAULTS as error:
        for quantity in footprint(count):
            notes.fail(quantity.name, contender, error)


def _among_others(
    contenders: Sequence[Contender], strangers: int, notes: Notes, stack: ExitStack
) -> list[Idler]:
    pairs, idlers = [], []
    for contender in contenders:
        with _noting(notes, contender.name, strangers):
            pair = _among_strangers(contender, stack.enter_context(Ground()), strangers)
            pair.start_there()
            pairs.append(pair)
    time.sleep(WHOLE.settled_s)
    for pair in pairs:
        with _noting(notes, pair.name, strangers):
            pair.coming = pair.here.start()
            pair.linked_s(pair.coming.began, timeout_s=_LINKING_S)
            linked = frozenset({pair.there.key})
            idlers.append(Idler(pair.name, strangers, pair.here, pair.coming, linked, pair.running))
    return idlers


@attrs.frozen
class _Reading:
    """What somebody has taken so far."""

    idler: Idler
    traffic: Traffic
    processor: ProcessorTime


def _read(idler: Idler) -> _Reading:
    return _Reading(idler, idler.traffic(), ProcessorTime(idler.pids))


def watch_idle(idlers: Sequence[Idler], notes: Notes, watch: Watch) -> None:
    """Do nothing for some minutes, and note after each what everybody took."""
    readings = []
    began = time.monotonic()
    for idler in idlers:
        with _noting(notes, idler.contender, idler.peers):
            readings.append(_read(idler))
    for number in range(watch.minutes):
        time.sleep(max(0.0, began + (number + 1) * watch.minute_s - time.monotonic()))
        before, readings = readings, []
        for reading in before:
            with _noting(notes, reading.idler.contender, reading.idler.peers):
                _note(reading, notes, 60.0 / watch.minute_s)
                readings.append(_read(reading.idler))


def _note(reading: _Reading, notes: Notes, share: float) -> None:
    idler = reading.idler
    if lost := idler.linked - idler.process.linked():
        gone = idler.other is not None and idler.other.process.poll() is not None
        last = idler.other.report() if idler.other is not None and gone else idler.process.report()
        said = "; ".join(last.splitlines()[-_LAST_LINES:])
        raise WaitedInVainError(
            f"lost {len(lost)} of {len(idler.linked)} links{', its peer has ended' if gone else ''}: {said}"
        )
    carried = idler.traffic().since(reading.traffic)
    taken = (
        pss_kib(idler.pids) / 1024,
        reading.processor.taken_ms() * share,
        (carried.sent + carried.received) * share,
        (carried.sent_bytes + carried.received_bytes) * share / 1000,
    )
    for quantity, value in zip(footprint(idler.peers), taken, strict=True):
        notes.add(quantity.name, idler.contender, value)


def growth(
    contenders: Sequence[Contender], rounds: int, strangers: int, pace: Pace = WHOLE
) -> tuple[Measurement, ...]:
    """A newcomer among so many whom nobody trusts."""
    notes = Notes()
    quantity = f"newcomer-{strangers}"
    with ExitStack() as stack:
        pairs = []
        for contender in contenders:
            try:
                pairs.append(_among_strangers(contender, stack.enter_context(Ground()), strangers))
            except FAULTS as error:
                notes.fail(quantity, contender.name, error)
        come(pairs, notes, quantity, rounds, pace)
    return notes.taken()


def _among_strangers(contender: Contender, ground: Ground, strangers: int) -> Pair:
    there = contender.site(ground, ground.host("there"), "there")
    here = contender.site(ground, ground.host("here"), "here")
    there.trust([here.key])
    here.trust([there.key])
    contender.strangers(ground, ground.host("crowd"), strangers)
    return Pair(contender, there, here)
