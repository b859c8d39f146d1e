"""Two sites of a contender on a link of their own, and what they do together."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs

from benchmarks.mdns.bench import WaitedInVainError
from benchmarks.scoreboard.contender import Contender, Site, UnavailableError
from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.results import Measurement
from benchmarks.scoreboard.watched import Watched
from peernet_core.testing.lab import GuardExpiredError, LaboratoryError

__all__ = [
    "FAULTS",
    "HURRIED",
    "WHOLE",
    "Notes",
    "Pace",
    "Pair",
    "in_turn",
    "link",
    "make_pairs",
    "settle",
    "without_paths",
]

FAULTS: Final = (WaitedInVainError, UnavailableError, GuardExpiredError, LaboratoryError, OSError)
"""What a contender may do to us; it is noted, and the others go on."""
_ROOT: Final = Path(__file__).parents[2]
READY_S: Final = 30.0
LINK_S: Final = 60.0


@attrs.frozen
class Pace:
    """How much time things are given.

    Attributes:
        settled_s: How long a peer has run before somebody comes.
        stable_s: How old links are before they are cut or their peer restarts. For peernet one that ends
            sooner counts as a failed dial, which is another case than these.
        patience_s: How long everybody has the processors alone; whoever takes longer waits for the network,
            and goes on waiting while the next one has its turn.
        turns: Whether those who are quick are timed more often than the others.
    """

    settled_s: float
    stable_s: float
    patience_s: float
    turns: bool


WHOLE: Final = Pace(settled_s=3.0, stable_s=5.5, patience_s=2.5, turns=True)
HURRIED: Final = Pace(settled_s=1.5, stable_s=0.5, patience_s=0.0, turns=False)
"""Where figures are worth nothing anyway."""


def without_paths(text: str) -> str:
    """Leave out where this machine keeps what: the text ends up on a page."""
    for folder in (sys.prefix, str(_ROOT), tempfile.gettempdir(), str(Path.home())):
        text = text.replace(f"{folder}/", "")
    return text


class Notes:
    """The measurements of a case, as they come."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Measurement] = {}

    def add(self, quantity: str, contender: str, value: float, busy: float | None = None) -> None:
        """Note a value, and how much of it was spent on a processor where that is known."""
        before = self._of(quantity, contender)
        spent = before.busy if busy is None else (*before.busy, busy)
        self._keep(attrs.evolve(before, values=(*before.values, value), busy=spent))

    def fail(self, quantity: str, contender: str, error: BaseException | str) -> None:
        """Note that there is none, and why."""
        before = self._of(quantity, contender)
        self._keep(attrs.evolve(before, failures=(*before.failures, without_paths(str(error)))))

    def keep(self, quantity: str, contender: str) -> None:
        """Note that the link was never given up."""
        before = self._of(quantity, contender)
        self._keep(attrs.evolve(before, kept=before.kept + 1))

    def taken(self) -> tuple[Measurement, ...]:
        """All of them."""
        return tuple(self._found.values())

    def _of(self, quantity: str, contender: str) -> Measurement:
        return self._found.get((quantity, contender)) or Measurement(quantity, contender)

    def _keep(self, measurement: Measurement) -> None:
        self._found[measurement.quantity, measurement.contender] = measurement


@attrs.define(eq=False)
class Pair:
    """The one that is there, and the one that comes.

    Attributes:
        fault: What went wrong in this round; None: nothing so far.
    """

    contender: Contender
    there: Site
    here: Site
    running: Watched | None = None
    coming: Watched | None = None
    fault: BaseException | None = None

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    def start_there(self) -> None:
        """Start the one that is there, without waiting."""
        self.forget()
        self.running = self.there.start()

    def forget(self) -> None:
        """Let neither know where the other one was."""
        self.there.forget()
        self.here.forget()

    def expect(self, patience_s: float, *, since: int = 0) -> None:
        """Wait for so long, and no longer, until both are linked; `since` is that of `linked_s`."""
        assert self.running is not None
        assert self.coming is not None
        until = time.monotonic() + patience_s
        self.coming.look("linked", self.there.key, timeout_s=patience_s)
        left_s = max(0.0, until - time.monotonic())
        self.running.look("linked", self.here.key, since=since, timeout_s=left_s)

    def linked_s(self, began: float, *, since: int = 0, timeout_s: float = LINK_S) -> float:
        """Return how long after `began` both said that they are linked, waiting for it.

        Args:
            began: When.
            since: What the one that is there had said by then.
            timeout_s: How long to wait for each.

        Raises:
            WaitedInVainError: it did not happen.
        """
        assert self.running is not None
        assert self.coming is not None
        here = self.coming.wait("linked", self.there.key, timeout_s=timeout_s)
        there = self.running.wait("linked", self.here.key, since=since, timeout_s=timeout_s)
        return max(here, there) - began

    def busy_ms(self, since: str = "") -> float:
        """How long the one that comes was on a processor from when it said `since`, or began, to its link."""
        assert self.coming is not None
        before = self.coming.busy_ms(since) if since else 0.0
        return self.coming.busy_ms("linked", self.there.key) - before

    def marks(self) -> tuple[int, int]:
        """How much both have said by now."""
        assert self.running is not None
        assert self.coming is not None
        return self.running.mark(), self.coming.mark()

    def has_lost(self, marks: tuple[int, int]) -> bool:
        """Whether one of them has said, since then, that the link is lost."""
        return any(_lost(*side) for side in self._sides(marks))

    def made(self) -> float | None:
        """When the later one of both came to be linked as it still is; None: one of them is not."""
        found = [process.last_linked(peer) for process, peer, _ in self._sides((0, 0))]
        return max((at for at in found if at is not None), default=None) if None not in found else None

    def _sides(self, marks: tuple[int, int]) -> Iterator[tuple[Watched, str, int]]:
        assert self.running is not None
        assert self.coming is not None
        yield self.running, self.here.key, marks[0]
        yield self.coming, self.there.key, marks[1]

    def report(self) -> str:
        """The last that both printed and logged."""
        assert self.running is not None
        assert self.coming is not None
        return f"{self.running.report()}; {self.coming.report()}"

    def end(self) -> None:
        """Kill both."""
        for process in (self.coming, self.running):
            if process is not None:
                process.kill()
        self.coming = self.running = None
        self.fault = None

    @contextmanager
    def noting(self, notes: Notes, quantity: str) -> Iterator[None]:
        """Note what goes wrong inside, which ends the round for this pair."""
        try:
            yield
        except FAULTS as error:
            self.fault = error
            notes.fail(quantity, self.name, error)


def _lost(process: Watched, peer: str, since: int) -> bool:
    return process.look("lost", peer, since=since, timeout_s=0) is not None


@contextmanager
def make_pairs(
    contenders: Sequence[Contender], notes: Notes, quantity: str, each: int = 1, *, turns: bool = False
) -> Iterator[list[Pair]]:
    """Make links with two hosts for each contender that can be there.

    Args:
        contenders: Who.
        notes: Where it goes who cannot be there.
        quantity: As what.
        each: How many.
        turns: Whether some have more, by their `turns`.
    """
    many = {contender: each * (contender.turns if turns else 1) for contender in contenders}
    with ExitStack() as stack:
        pairs = []
        for contender in (
            one for place in range(max(many.values(), default=0)) for one in contenders if place < many[one]
        ):
            try:
                ground = stack.enter_context(Ground())
                there = contender.site(ground, ground.host("there"), "there")
                here = contender.site(ground, ground.host("here"), "here")
                there.trust([here.key])
                here.trust([there.key])
            except FAULTS as error:
                notes.fail(quantity, contender.name, error)
            else:
                pairs.append(Pair(contender, there, here))
        yield pairs


def settle(pairs: Sequence[Pair], notes: Notes, quantity: str, pace: Pace) -> None:
    """Wait until everybody who was started runs, and has run for some seconds."""
    for pair in pairs:
        try:
            assert pair.running is not None
            pair.running.wait("ready", timeout_s=READY_S)
        except FAULTS as error:
            pair.fault = error
            notes.fail(quantity, pair.name, error)
    time.sleep(pace.settled_s)


def in_turn(pairs: Sequence[Pair], number: int = 0) -> Sequence[Pair]:
    """All with whom nothing is wrong in this round, beginning with another one in each."""
    first = number % len(pairs) if pairs else 0
    return [pair for pair in (*pairs[first:], *pairs[:first]) if pair.fault is None]


def link(pairs: Sequence[Pair], notes: Notes, quantity: str, pace: Pace) -> None:
    """Start everybody, and wait until all links are some seconds old."""
    for pair in pairs:
        pair.start_there()
    settle(pairs, notes, quantity, pace)
    for pair in in_turn(pairs):
        with pair.noting(notes, quantity):
            pair.coming = pair.here.start()
    for pair in in_turn(pairs):
        with pair.noting(notes, quantity):
            pair.linked_s(0.0)
    time.sleep(pace.stable_s)
