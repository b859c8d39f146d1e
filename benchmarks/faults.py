"""How soon two nodes that found each other by mDNS are linked again after something happened to one of them.

Run, as root on Linux with iproute2 and nftables: ``python -m benchmarks.faults [CASE ...] [--rounds 20]``

Two hosts on a bridge, each a network namespace with a real ``peernet run --json`` without a configuration. In
each round of a case one thing happens; timed is from then until a line of the other node (or of both) was
read. A round begins when both say that they are linked. Processes take a few tenths of a second to start,
mostly imports: where one is started anew, its own ``node_started`` begins the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from peernet_core.testing.lab import (
    INTERFACE,
    LabNode,
    Laboratory,
    NodeProcess,
    eventually,
    why_not,
)

_STABLE_S: Final = 5.2
"""A link that ends sooner counts as a failed dial, which is another case than these."""


def _restarted(alpha: LabNode, beta: LabNode) -> float:
    """Killed, and started again on another port."""
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since = a.mark()
        b.kill()
        with beta.start() as again:
            began = again.wait("node_started").received_at
            back = a.wait("peer_connected", key=str(beta.key), since=since).received_at
            return max(back, again.wait("peer_connected").received_at) - began


def _healed(alpha: LabNode, beta: LabNode) -> float:
    """The cable of one is out until both have given up the link, and in again."""
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since = a.mark(), b.mark()
        beta.host.unplug()
        for process, mark in zip((a, b), since, strict=True):
            process.wait("peer_disconnected", since=mark, guard_s=40)
        beta.host.plug_in()
        return _linked_since(a, b, since, time.monotonic())


def _moved(alpha: LabNode, beta: LabNode) -> float:
    """One gets another IPv4 address in the place of the one that the link runs over."""
    return _changed(alpha, beta, (beta,))


def _both_moved(alpha: LabNode, beta: LabNode) -> float:
    """Both do."""
    return _changed(alpha, beta, (alpha, beta))


def _changed(alpha: LabNode, beta: LabNode, who: tuple[LabNode, ...]) -> float:
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since = a.mark(), b.mark()
        began = time.monotonic()
        for node in who:
            _move(node, str(node.host.ipv4), _elsewhere(node))
        try:
            return _linked_since(a, b, since, began, moved=(alpha in who, beta in who))
        finally:
            for node in who:
                _move(node, _elsewhere(node), str(node.host.ipv4))


def _elsewhere(node: LabNode) -> str:
    return str(node.host.ipv4 + 100)


def _move(node: LabNode, before: str, after: str) -> None:
    node.host.ip("address", "del", f"{before}/24", "dev", INTERFACE)
    node.host.ip("address", "add", f"{after}/24", "dev", INTERFACE)


def _stopped(alpha: LabNode, beta: LabNode) -> float:
    """SIGTERM, until the other side says that the peer has gone."""
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since, began = a.mark(), time.monotonic()
        b.terminate()
        return a.wait("peer_disconnected", since=since).received_at - began


def _power_lost(alpha: LabNode, beta: LabNode) -> float:
    """Killed with no packet leaving any more, so that nobody is told; and back with a new boot id."""
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since = a.mark()
        beta.host.filter("chain leaving { type filter hook output priority 0; policy drop; }")
        b.kill()
        beta.host.filter("")
        with beta.start() as again:
            began = again.wait("node_started").received_at
            a.wait("peer_disconnected", since=since)
            linked = again.wait("peer_connected").received_at
            return max(linked, a.wait("peer_connected", since=since).received_at) - began


CASES: Final[dict[str, tuple[float, Callable[[LabNode, LabNode], float]]]] = {
    "restarted on another port": (1.0, _restarted),
    "cable out and in": (2.0, _healed),
    "address changed": (2.0, _moved),
    "address changed on both": (3.0, _both_moved),
    "power lost and back": (1.0, _power_lost),
    "clean stop, until known": (0.1, _stopped),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("case", nargs="*", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        raise SystemExit(f"these measurements need namespaces: {reason}")
    if unknown := set(arguments.case) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    for name in arguments.case or CASES:
        aim_s, case = CASES[name]
        took = []
        for _ in range(arguments.rounds):
            with _pair() as (alpha, beta):
                took.append(case(alpha, beta))
        print(
            f"{name:28} median {statistics.median(took):6.3f} s  worst {max(took):6.3f} s  aim {aim_s:g} s",
            flush=True,
        )


@contextmanager
def _pair() -> Iterator[tuple[LabNode, LabNode]]:
    with Laboratory() as lab:
        alpha, beta = lab.node("alpha"), lab.node("beta")
        for node, other in ((alpha, beta), (beta, alpha)):
            node.configure(trust=[other])
            node.config.unlink()
        yield alpha, beta


def _linked(*processes: NodeProcess) -> None:
    for process in processes:
        process.wait("peer_connected")
    since = time.monotonic()
    eventually(lambda: time.monotonic() - since > _STABLE_S, "the link is some seconds old")


def _linked_since(
    a: NodeProcess,
    b: NodeProcess,
    since: tuple[int, int],
    began: float,
    *,
    moved: tuple[bool, bool] = (True, True),
) -> float:
    """From then until both say that they are linked.

    Args:
        a: One.
        b: The other.
        since: From which of their lines on.
        began: When it happened.
        moved: Who must have lost the link; the other may have kept it until the next one was there.
    """
    times = [began]
    # Who must have lost it first: by the time that it is back, the other has said what there is to say.
    sides = sorted(zip((a, b), since, moved, strict=True), key=lambda side: not side[2])
    for process, mark, must in sides:
        if must:
            gone = process.wait("peer_disconnected", since=mark, guard_s=40)
        elif seen := process.seen("peer_disconnected", since=mark):
            gone = seen[-1]
        else:
            continue
        times.append(process.wait("peer_connected", since=gone.number).received_at)
    return max(times) - began


if __name__ == "__main__":
    main()
