"""How soon two nodes that found each other by mDNS are linked again after something happened to one of them.

Run, as root on Linux with iproute2 and nftables: ``python -m benchmarks.faults [CASE ...] [--rounds 20]``

Two hosts on a bridge, each a network namespace with a real ``peernet run --json`` without a configuration. In
each round of a case one thing happens; timed is from then until a line of the other node (or of both) was
read. A round begins when both say that they are linked. Processes take a few tenths of a second to start,
mostly imports: where one is started anew, its own ``node_started`` begins the time. "restarted, no discovery"
is from the start of the process to the link, less what a process takes in the same round that only imports
what it needs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
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

_IMPORTS: Final = "import peernet_core.cli.app, peernet_core.cli.run, peernet_core.cli.hosting"
_CUT_S: Final = 30.0
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
    """The cable of one is out for 30 s, in which both give up the link, and in again."""
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since = a.mark(), b.mark()
        beta.host.unplug()
        unplugged_at = time.monotonic()
        for process, mark in zip((a, b), since, strict=True):
            process.wait("peer_disconnected", since=mark, guard_s=_CUT_S)
        time.sleep(max(0.0, unplugged_at + _CUT_S - time.monotonic()))
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
    """Its machine goes dark, so that nobody is told; and is back with a new boot id."""
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since = a.mark()
        beta.host.power_off()
        b.kill()
        beta.host.power_on()
        with beta.start() as again:
            began = again.wait("node_started").received_at
            a.wait("peer_disconnected", since=since)
            linked = again.wait("peer_connected").received_at
            return max(linked, a.wait("peer_connected", since=since).received_at) - began


def _restarted_alone(alpha: LabNode, beta: LabNode) -> float:
    """Stopped, and started without any discovery: only what it remembers. Without what its imports take."""
    for node, other in ((alpha, beta), (beta, alpha)):
        node.configure(trust=[other], peers={alpha: str(alpha.host.ipv4)} if node is beta else {})
    with alpha.start() as a, beta.start() as b:
        _linked(a, b)
        since = a.mark()
        b.terminate()
        a.wait("peer_disconnected", since=since)
        beta.configure(trust=[alpha])
        beta.config.write_text(
            beta.config.read_text(encoding="utf-8").partition("[discovery")[0], encoding="utf-8"
        )
        imports_s = _imports_s(beta)
        with beta.start() as again:
            back = a.wait("peer_connected", key=str(beta.key), since=since).received_at
            return max(back, again.wait("peer_connected").received_at) - again.started_at - imports_s


def _imports_s(node: LabNode) -> float:
    """What a process takes that only imports what such a node does."""
    began = time.monotonic()
    subprocess.run(node.host.command(sys.executable, "-c", _IMPORTS), check=True)
    return time.monotonic() - began


def _bad_addresses(lab: Laboratory) -> Iterator[tuple[str, float]]:
    """Nine addresses that swallow everything, and one of somebody else, around the good one, in any order."""
    alpha, beta, impostor, hole = *map(lab.node, ("alpha", "beta", "impostor")), lab.host("hole")
    hole.filter("chain arriving { type filter hook input priority 0; tcp dport 7100 drop; }")
    for number in range(150, 159):
        hole.ip("address", "add", f"10.77.0.{number}/24", "dev", INTERFACE)
    good = f"{beta.host.ipv4}"
    bad = [f"10.77.0.{number}" for number in range(150, 159)] + [str(impostor.host.ipv4)]
    random.shuffle(bad)
    place = random.randrange(len(bad) + 1)
    beta.configure(trust=[alpha])
    impostor.configure(trust=[alpha])
    with impostor.start() as other:
        other.wait("node_started")
        _configure(alpha, beta, [good])
        yield "clean", _first_link(alpha, beta)
        (alpha.data_dir / "known_addresses").unlink()
        _configure(alpha, beta, [*bad[:place], good, *bad[place:]])
        yield "first", _first_link(alpha, beta)
        yield "after", _first_link(alpha, beta)


def _configure(node: LabNode, peer: LabNode, addresses: list[str]) -> None:
    node.configure(trust=[peer])
    peers = ", ".join(f'{{ key = "{peer.key}", address = "{each}:7100" }}' for each in addresses)
    text = node.config.read_text(encoding="utf-8").replace("peers = []", f"peers = [{peers}]")
    node.config.write_text(text, encoding="utf-8")


def _first_link(node: LabNode, peer: LabNode) -> float:
    """From listening to the link, which the node alone can dial; then both stop."""
    with peer.start() as other:
        other.wait("node_started")
        with node.start() as process:
            began = process.wait("node_started").received_at
            took = process.wait("peer_connected", key=str(peer.key)).received_at - began
            process.terminate()
        other.terminate()
    return took


CASES: Final[dict[str, tuple[float, Callable[[LabNode, LabNode], float]]]] = {
    "restarted on another port": (1.0, _restarted),
    "cable out and in": (2.0, _healed),
    "address changed": (2.0, _moved),
    "address changed on both": (3.0, _both_moved),
    "power lost and back": (1.0, _power_lost),
    "clean stop, until known": (0.1, _stopped),
    "restarted, no discovery": (0.15, _restarted_alone),
}
BAD_ADDRESSES: Final = "bad addresses"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("case", nargs="*", help=", ".join([*CASES, BAD_ADDRESSES]))
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        raise SystemExit(f"these measurements need namespaces: {reason}")
    if unknown := set(arguments.case) - {*CASES, BAD_ADDRESSES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    for name in arguments.case or [*CASES, BAD_ADDRESSES]:
        if name == BAD_ADDRESSES:
            _show_bad_addresses(arguments.rounds)
            continue
        aim_s, case = CASES[name]
        took = []
        for _ in range(arguments.rounds):
            with _pair() as (alpha, beta):
                took.append(case(alpha, beta))
        print(
            f"{name:28} median {statistics.median(took):6.3f} s  worst {max(took):6.3f} s  aim {aim_s:g} s",
            flush=True,
        )


def _show_bad_addresses(rounds: int) -> None:
    took: dict[str, list[float]] = {"clean": [], "first": [], "after": []}
    for _ in range(rounds):
        with Laboratory() as lab:
            for what, seconds in _bad_addresses(lab):
                took[what].append(seconds)
    clean = statistics.median(took["clean"])
    print(f"a good address alone         median {clean:6.3f} s  worst {max(took['clean']):6.3f} s")
    for what, aim in (("first", "1 s"), ("after", f"{clean + 0.05:.3f} s, 50 ms more")):
        print(
            f"ten bad ones around, {what:7} median {statistics.median(took[what]):6.3f} s  "
            f"worst {max(took[what]):6.3f} s  aim {aim}",
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
