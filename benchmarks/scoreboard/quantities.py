"""What is measured: names, units, and how."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["CASES", "COUNTS", "LINKS", "QUANTITIES", "STARTUP", "STRANGERS", "Case", "Quantity", "footprint"]

COUNTS: Final = (1, 10, 100)
LINKS: Final = 3
"""How many times a contender is watched at once where it has one peer."""
STRANGERS: Final = 1000
STARTUP: Final = "startup"
_ASLEEP: Final = 1.6
"""Processor time of a process that sleeps nearly always is that of waking up: for the same work it was up to
1.9 times as much in one of two runs on a virtual machine, more so for who sleeps more."""


@attrs.frozen
class Quantity:
    """One of them; less is better.

    Attributes:
        title: What the rows of its table show.
        unit: Of the values.
        rounds: What its values are called: there is one for each.
        counted: Whether it adds up over time, so that the mean of the values stands for all of them: what
            happens every other minute is half as much a minute. Otherwise it is their median.
        differs: By which factor a ratio has been found to differ between two runs of the same, whatever the
            values of one run say.
    """

    name: str
    title: str
    unit: str
    rounds: str = "rounds"
    counted: bool = False
    differs: float = 1.0


@attrs.frozen
class Case:
    """What is asked for by name, and shown under one heading.

    Attributes:
        heading: Of its section.
        method: How it is done.
        quantities: What it measures.
    """

    name: str
    heading: str
    method: str
    quantities: tuple[Quantity, ...]


def footprint(count: int) -> tuple[Quantity, ...]:
    """What a process with so many others takes."""
    among = f"1 peer among {count:,} others" if count == STRANGERS else f"{count:,} peer{'s' * (count > 1)}"
    counts = (
        ("cpu", "processor time", "ms", _ASLEEP),
        ("packets", "packets", "packets", 1.0),
        ("bytes", "bytes", "kB", 1.0),
    )
    return (
        Quantity(f"memory-{count}", f"memory, {among}", "MiB", "minutes"),
        *(
            Quantity(
                f"{name}-{count}",
                f"{what} of an idle minute, {among}",
                unit,
                "minutes",
                counted=True,
                differs=differs,
            )
            for name, what, unit, differs in counts
        ),
    )


CASES: Final = (
    Case(
        "newcomer",
        "A newcomer: from the start of its process to the link",
        "A peer has been running for some seconds. The newcomer's process is started, with an existing "
        "key and the peer's, and without knowing where it is; the time ends when both sides say that "
        "they are linked. Each round has fresh processes on both sides. The bare process stands for the "
        "floor: Python that imports `socket` and `ssl`, asks one mDNS question, gets its answer, and "
        "makes one mutual TLS 1.3 handshake.",
        (Quantity("newcomer", "process start to link", "ms"),),
    ),
    Case(
        "together",
        "Both start at the same instant",
        "Nobody runs; both processes are executed within a millisecond, and the time ends when both say "
        "that they are linked.",
        (Quantity("together", "both process starts to link", "ms"),),
    ),
    Case(
        "in-process",
        "In a process: from the start call to the link",
        "As the newcomer, but timed in its process from the call that starts it, when everything is "
        "imported.",
        (Quantity("in-process", "start call to link", "ms"),),
    ),
    Case(
        "restart",
        "A peer restarts on another port",
        "Linked for more than 5 s, one of the two is killed (SIGKILL) and started again at once, on "
        "another port; timed from that start until both say that they are linked.",
        (Quantity("restart", "process start to link", "ms"),),
    ),
    Case(
        "cut",
        "The link is cut for 30 s",
        "Linked for more than 5 s, one of the two hosts loses its carrier for 30 s; timed from its "
        "return until both say that they are linked. Whoever dials again on a schedule takes anything "
        "between nothing and its interval, by where in that interval the cable comes back. So that all "
        "parts of it are met equally often, cables come back after 30 to 31 s, spread evenly over the "
        "second that begins with the link.",
        (Quantity("cut", "carrier back to link", "ms"),),
    ),
    Case(
        "idle",
        "What it takes to be linked and idle",
        "One process that is linked with 1, 10 or 100 peers, all of them on one other host; or with one, "
        f"while {STRANGERS:,} emulated peers that nobody trusts announce themselves and answer on the same "
        "link. From 35 s after the last of them was linked, for five minutes: memory (the proportional set "
        "size of all its processes), their processor time, and what the interface of its host carries both "
        "ways, read each minute. Of memory the median of the readings is told; what is counted adds up, so "
        "it is the mean of the minutes, and what is done every other minute, or every fifth, is seen as "
        "often as it happens. All contenders are idle in the same minutes, each on a link of its own, and "
        f"nothing else is measured meanwhile. With one peer each is so {LINKS} times: whoever sends a packet "
        "every few seconds sends, by how the pings of both sides happen to fall, a fifth more or less.",
        tuple(each for count in (*COUNTS, STRANGERS) for each in footprint(count)),
    ),
    Case(
        "growth",
        f"A newcomer among {STRANGERS:,} others on the link",
        f"As the newcomer, while {STRANGERS:,} emulated peers that nobody trusts announce themselves and "
        "answer on the same link.",
        (Quantity(f"newcomer-{STRANGERS}", "process start to link", "ms"),),
    ),
    Case(
        STARTUP,
        "Where a start of peernet spends its time",
        "The benchmark of its own that `benchmarks/startup` is.",
        (),
    ),
    Case(
        "floor",
        "The physical floor",
        "Between two hosts on the bridge, from one Python process: an mDNS question until its answer (by "
        "python-zeroconf), and a mutual TLS 1.3 handshake until the server's first byte.",
        (
            Quantity("query", "one question and its answer", "ms"),
            Quantity("handshake", "one mutual TLS 1.3 handshake", "ms"),
        ),
    ),
)
QUANTITIES: Final = {each.name: each for case in CASES for each in case.quantities}
