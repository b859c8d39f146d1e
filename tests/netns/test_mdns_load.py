"""mDNS under load: lossy links, crowds, floods. Reduced here; the full forms run with `-m soak`.

How fast all of it is stands in `benchmarks/mdns`; here it has to come true at all, or within the promised
bound in the full form.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from benchmarks.mdns.bench import Bench, number
from benchmarks.mdns.figures import Comparison, percentile
from benchmarks.mdns.loss import lossy
from peernet_core.testing.lab import INTERFACE, Host, Laboratory

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def _needs_namespaces(namespaces_work: None) -> None:
    """The rigs make their own."""


def test_a_wanted_peer_is_found_on_a_bad_link() -> None:
    """At 20 % and 30 % loss each way, every time."""
    for result in lossy(("ours",), 8):
        assert result.missed == {"ours": 0}, result.name


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_wanted_peer_is_found_on_a_bad_link_two_hundred_times() -> None:
    """None is missed; of a hundred 99 are found within 3 s at 20 %, and within 5 s at 30 %."""
    results = lossy(("ours",), 200)
    for result, bound_s in zip(results, (3.0, 5.0), strict=True):
        assert result.missed == {"ours": 0}, result.name
        assert percentile(result.values["ours"], 0.99) <= bound_s * 1000, result.name


def _crowd(count: int, enough: int, *, limit_s: float, default_limits: bool) -> Comparison:
    result = Comparison(f"{count} peers")
    with Bench() as bench:
        host = bench.host("newcomer")
        with bench.emulate(bench.host("crowd"), count):
            child = bench.subject(host, "ours", silent=True, default_limits=default_limits)
            child.wait("ready")
            began = number(child.ask("start", "started", port=0, targets=[enough]), "began")
            line = child.look("known", timeout_s=limit_s, count=enough)
            result.add("ours", None if line is None else (number(line, "at") - began) * 1000)
    return result


def test_everybody_in_a_crowd_is_found() -> None:
    """300 hosts answer at once; with the smallest buffer that Linux grants by default."""
    assert _crowd(300, 300, limit_s=20.0, default_limits=True).missed == {"ours": 0}


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("count", "enough", "bound_s"), [(1000, 1000, 1.5), (5000, 5000, 4.0), (10_000, 9990, 20.0)]
)
def test_everybody_in_a_great_crowd_is_found_in_time(count: int, enough: int, bound_s: float) -> None:
    """With default limits."""
    result = _crowd(count, enough, limit_s=40.0, default_limits=True)
    assert result.values["ours"]
    assert result.values["ours"][0] <= bound_s * 1000


def _flood(host: Host, seconds: float, *options: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "benchmarks.mdns.flood", *options, f"--seconds={seconds}"]
    return subprocess.Popen(host.command(*program), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)


def _flooded(lab: Laboratory, seconds: float, *options: str, grows_kib: int, whole: bool = False) -> float:
    """Flood a node that runs, and let a trusted peer start meanwhile: it links, and memory stays bounded.

    Returns:
        How long the peer listened before it was discovered, in seconds.
    """
    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node, other in ((alpha, beta), (beta, alpha)):
        node.configure(trust=[other])
        node.config.unlink()
    attacker = lab.host("attacker")
    with alpha.start() as a:
        a.wait("backend_started", source="mdns")
        before = a.resident_kib
        with _flood(attacker, seconds, *options) as flood:
            assert flood.stdout is not None
            flood.stdout.readline()  # it has begun
            with beta.start() as b:
                listening = b.wait("node_started")
                found = a.wait("peer_discovered", key=str(beta.key), source="mdns")
                a.wait("peer_connected", key=str(beta.key))
                b.wait("peer_connected", key=str(alpha.key))
                assert flood.poll() is None, "the flood ended too early to tell"
            if whole:
                flood.stdout.read()
                assert flood.wait(60) == 0
            flood.terminate()
        assert a.resident_kib - before < grows_kib
        assert a.terminate() == 0
    return found.received_at - listening.received_at


# With as many senders as it can make up, an attacker can fill the table, but no more than that.
FLOODS: Final[dict[str, tuple[int, *tuple[str, ...]]]] = {
    "pointers": (32, "pointers", INTERFACE),
    "peers": (32, "peers", INTERFACE),
    "queries": (32, "queries", INTERFACE),
    "many senders": (64, "peers", INTERFACE, "--source=10.77.0.20", "--sources=200"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_neither_fills_memory_nor_hides_a_peer(lab: Laboratory, kind: str) -> None:
    """From one host, as fast as it can, until the peer is linked."""
    grows_mib, *options = FLOODS[kind]
    _flooded(lab, 30.0, *options, grows_kib=grows_mib * 1024)


@pytest.mark.soak
@pytest.mark.parametrize("kind", FLOODS)
def test_a_long_flood_neither_fills_memory_nor_hides_a_peer(lab: Laboratory, kind: str) -> None:
    """The same for ten seconds; the peer is found within two."""
    grows_mib, *options = FLOODS[kind]
    assert _flooded(lab, 10.0, *options, grows_kib=grows_mib * 1024, whole=True) <= 2.0
