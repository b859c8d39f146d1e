"""Streams where one side's firewall lets nobody in: the link carries the wish, and the peer dials."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from peernet_core.control import ask
from peernet_core.testing.lab import PORT, LabNode, Laboratory

pytestmark = pytest.mark.netns

SYN = f"tcp dport {PORT} tcp flags & (syn | ack) == syn"


def greet(node: LabNode, other: LabNode) -> float:
    """Open a stream from one to the other and have it answered; returns the seconds that this took."""
    path = node.control_socket()
    began = time.monotonic()
    answer = ask(path, {"ask": "greet", "key": str(other.key), "text": "hello"}, timeout_s=20)
    assert answer["ok"] is True, answer
    assert answer["answer"] == other.host.name
    return time.monotonic() - began


@pytest.mark.parametrize("verdict", ["drop", "reject with tcp reset"], ids=["drops", "rejects"])
def test_a_stream_crosses_a_one_way_firewall(
    lab: Laboratory, verdict: str, measured: Callable[[str], None]
) -> None:
    """Beta can dial alpha and cannot be dialed; alpha opens streams to it all the same."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    alpha.configure(trust=[beta])
    beta.configure(trust=[alpha], peers={alpha: str(alpha.host.ipv4)})
    beta.host.filter(f"chain arriving {{ type filter hook input priority 0; {SYN} {verdict}; }}")
    with alpha.start() as a, beta.start():
        a.wait("peer_connected", key=str(beta.key))
        took = [greet(alpha, beta) for _ in range(2)]
        shown = " and ".join(f"{each * 1000:.0f} ms" for each in took)
        measured(f"two streams to a peer whose firewall {verdict.split(maxsplit=1)[0]}s: {shown}")
        greet(beta, alpha)
