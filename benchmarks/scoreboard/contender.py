"""What the cases ask of a contender."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from benchmarks.scoreboard.ground import Ground
from benchmarks.scoreboard.watched import Watched
from benchmarks.warmth import warm_memory
from peernet_core.testing.lab import Host

__all__ = ["Contender", "Crowd", "Site", "UnavailableError"]


class UnavailableError(Exception):
    """A contender cannot take part here; the message says why and what would change it."""


class Site(abc.ABC):
    """One identity on one host, whose process can be started again and again.

    Attributes:
        key: By what name others say that they are linked with it.
    """

    def __init__(self, ground: Ground, host: Host, name: str) -> None:
        self.ground = ground
        self.host = host
        self.folder = ground.folder / f"{host.name}-{name}"
        self.folder.mkdir()
        self.key = ""

    @abc.abstractmethod
    def trust(self, keys: Sequence[str]) -> None:
        """Let it know whom it is to be linked with: that, and not where they are."""

    @abc.abstractmethod
    def load(self) -> Watched:
        """Get its process ready to begin, on another port than before."""

    def start(self) -> Watched:
        """Start its process, on another port than before, and return at once."""
        process = self.load()
        warm_memory()
        return process.begin()

    def start_call(self) -> Watched:
        """Start a process that says `started` when it calls what starts it, with all imported."""
        raise UnavailableError("it has no start call: it is a program and not a library")

    def forget(self) -> None:  # noqa: B027 - most remember nothing
        """Make it forget, while it does not run, where peers were reached."""

    def measured(self, process: Watched) -> list[int]:
        """The processes whose memory and processor time count; with their children."""
        return [process.pid]


class Crowd(abc.ABC):
    """Many peers of one site, played on one other host; each of them is to be linked with it."""

    @abc.abstractmethod
    def members(self) -> Sequence[str]:
        """Their keys."""

    @abc.abstractmethod
    def start(self) -> None:
        """Let them run."""


class Contender(abc.ABC):
    """One of those that are compared.

    Attributes:
        name: By which it is asked for.
        title: For people.
        start_call: What starts it in a process, for people; empty: nothing does.
        how: How it is configured, a sentence or two.
        cases: Where it takes part; None: everywhere.
        turns: How many rounds it has where others have one: who takes milliseconds is timed more often.
    """

    name: str
    title: str
    start_call: str = ""
    how: str
    cases: Sequence[str] | None = None
    turns: int = 1

    @abc.abstractmethod
    def check(self) -> str:
        """Get ready, and return its version.

        Raises:
            UnavailableError: it cannot run here.
        """

    @abc.abstractmethod
    def site(self, ground: Ground, host: Host, name: str = "site") -> Site:
        """Make an identity there."""

    @abc.abstractmethod
    def crowd(self, ground: Ground, host: Host, count: int, site: Site) -> Crowd:
        """Make that many peers of that site, which then trusts them."""

    def strangers(self, ground: Ground, host: Host, count: int) -> None:  # noqa: ARG002 - for others
        """Let the host be so many hosts with peers that nobody trusts.

        Raises:
            UnavailableError: nobody has written that for this contender.
        """
        raise UnavailableError(f"{count:,} emulated peers: there is no emulation of its announcements")
