"""What a hostile backend costs a node, and whether it keeps a genuine peer away.

Run, as root on Linux with iproute2 and nftables: ``python -m benchmarks.attack [--strangers 50000]
[--addresses 10000]``

Two hosts on a bridge, each a network namespace. On one a node with a backend that lies: it reports so many
distinct strangers with signed records; then, of the one trusted key, so many forged records, a genuine one as
if heard from as many addresses of the network, and as many hints at such addresses, where nobody is. Then
another, honest backend brings the peer's own record; the peer runs on the other host, and knows no address.

Reports come as fast as the loop takes them, fifty at a time. Told are the growth of the anonymous memory, the
longest time for which the loop kept a coroutine waiting that wants to run every 2 ms, what the node counted,
and how long after its true address was reported the peer was linked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import attrs

from peernet_core import (
    Backend,
    Config,
    Context,
    DiscoverySpec,
    Identity,
    Node,
    PeerConnected,
    PeerKey,
    TrustedPeer,
    hookimpl,
)
from peernet_core.addresses import Address
from peernet_core.records import Record, encode_record
from peernet_core.testing.lab import INTERFACE, PORT, Laboratory, why_not

_SLICE: Final = 50
_FIRST: Final = IPv4Address("10.77.16.0")
_GUARD_S: Final = 60.0


@attrs.define(eq=False)
class Reporter(DiscoverySpec):
    """Reports whatever it is told to."""

    context: Context = attrs.field(init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self.context = context


@attrs.frozen
class Stage:
    """What one kind of lies cost.

    Attributes:
        name: Which.
        calls: How many reports.
        took_s: How long the node took to hear them all.
        grown_mib: By how much its anonymous memory grew, a second later.
        worst_stall_s: The longest time for which its loop kept another coroutine waiting.
    """

    name: str
    calls: int
    took_s: float
    grown_mib: float
    worst_stall_s: float


@attrs.frozen
class Attacked:
    """What the attack came to.

    Attributes:
        stages: In order.
        linked_s: How long after its true address was reported the genuine peer was linked.
        held: How many sightings the ledger and the table of strangers hold in the end.
        counts: The node's statistics.
    """

    stages: tuple[Stage, ...]
    linked_s: float
    held: dict[str, int]
    counts: dict[str, int]


def main() -> None:
    """Measure and print, or be the node that is attacked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--strangers", type=int, default=50_000)
    parser.add_argument("--addresses", type=int, default=10_000)
    parser.add_argument("--victim", nargs=3, metavar=("OURS", "THEIRS", "ADDRESS"))
    arguments = parser.parse_args()
    if arguments.victim:
        outcome = asyncio.run(_be_attacked(arguments.strangers, arguments.addresses, *arguments.victim))
        print(json.dumps({"event": "attacked", **attrs.asdict(outcome)}))
        return
    if (reason := why_not()) is not None:
        raise SystemExit(f"these measurements need namespaces: {reason}")
    with Laboratory() as lab:
        outcome = attack(lab, strangers=arguments.strangers, addresses=arguments.addresses)
    for stage in outcome.stages:
        print(
            f"{stage.calls:>7,} {stage.name:40} {stage.took_s:6.2f} s, "
            f"{stage.calls / stage.took_s:8,.0f} a second, memory {stage.grown_mib:+6.1f} MiB, "
            f"worst stall {stage.worst_stall_s * 1000:5.1f} ms"
        )
    print(f"the genuine peer was linked after {outcome.linked_s * 1000:.0f} ms")
    print("held:", json.dumps(outcome.held), "counted:", json.dumps(outcome.counts))


def attack(lab: Laboratory, *, strangers: int, addresses: int) -> Attacked:
    """Let one node of a laboratory be lied to, while the peer that it trusts runs on another host."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    beta.configure(trust=[alpha])
    alpha.host.ip("address", "add", "10.77.0.1/16", "dev", INTERFACE)
    numbers = ("--strangers", str(strangers), "--addresses", str(addresses))
    pems = [str(node.data_dir / "identity.pem") for node in (alpha, beta)]
    victim = (*pems, str(beta.host.ipv4))
    program = [sys.executable, "-m", "benchmarks.attack", *numbers, "--victim", *victim]
    with beta.start() as running:
        running.wait("node_started")
        with alpha._start(program) as process:
            told = dict(process.wait("attacked", guard_s=600).fields)
    del told["event"]
    stages = told.pop("stages")
    assert isinstance(stages, list)
    return Attacked(tuple(Stage(**stage) for stage in stages), **told)  # type: ignore[arg-type]  # as it was made


async def _be_attacked(strangers: int, addresses: int, ours: str, theirs: str, address: str) -> Attacked:
    me, peer = (Identity.from_pem(_read(path)) for path in (ours, theirs))
    key = peer.key
    places = [_FIRST + number for number in range(addresses)]
    records = _records(strangers)
    forged = _forged(key, places)
    # It was there before, elsewhere.
    old, genuine = (_signed(peer, number, ip) for number, ip in ((1, _FIRST), (2, IPv4Address(address))))
    backends = tuple(Backend(name, "", name, Reporter) for name in ("hostile", "honest"))
    async with Node(Config(), identity=me, trust=[TrustedPeer(key, "peer")], backends=backends) as node:
        context = node.backend("hostile", Reporter).context
        stages = [
            await _during("moments of peace", _nothing(500)),
            await _during(
                "distinct strangers",
                (partial(context.record_received, record, ttl_s=120.0) for record in records),
            ),
            await _during(
                "forged records of a trusted key",
                (partial(context.record_received, record, ttl_s=120.0) for record in forged),
            ),
            await _during(
                "hints at addresses of the network",
                (partial(context.peer_discovered, key, ip, 7100, ttl_s=120.0) for ip in places),
            ),
            await _during(
                "addresses that send an old record",
                (partial(context.record_received, old, ttl_s=120.0, heard=(ip, INTERFACE)) for ip in places),
            ),
        ]
        async with node.events() as events:
            began = time.monotonic()
            node.backend("honest", Reporter).context.record_received(genuine, ttl_s=120.0)
            async with asyncio.timeout(_GUARD_S):
                async for event in events:
                    if isinstance(event, PeerConnected):
                        break
            linked_s = time.monotonic() - began
        counts = {name: count for name, count in sorted(node.statistics().items()) if count}
        assert node._running is not None
        sightings = node._running.registry.sightings
        held = {"ledger": len(sightings.ledger), "strangers": len(sightings.strangers)}
        return Attacked(tuple(stages), linked_s, held, counts)


def _records(count: int) -> list[bytes]:
    records = []
    for number in range(count):
        identity = Identity.generate()
        record = Record(identity.key, number + 1, 7100, (Address(_FIRST + number % 4096, 7100),))
        records.append(encode_record(record, identity))
    return records


def _forged(key: PeerKey, places: Iterable[IPv4Address]) -> list[bytes]:
    """Well-formed records of that key, each of its own, signed by somebody else."""
    liar = Identity.generate()
    sequence = 10**9
    return [
        encode_record(Record(liar.key, sequence + number, 7100, (Address(ip, 7100),)), liar).replace(
            liar.key.raw, key.raw
        )
        for number, ip in enumerate(places)
    ]


def _signed(peer: Identity, number: int, ip: IPv4Address) -> bytes:
    return encode_record(Record(peer.key, number, PORT, (Address(ip, PORT),)), peer)


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _nothing(turns: int) -> Iterable[Callable[[], object]]:
    return (lambda: None for _ in range(turns))


async def _during(name: str, calls: Iterable[Callable[[], Any]]) -> Stage:
    """Do something, and watch memory and stalls."""
    before, began = _anonymous_kib(), time.monotonic()
    stalls = [0.0]
    ticker = asyncio.create_task(_tick(stalls))
    done = 0
    for done, call in enumerate(calls, 1):
        call()
        if done % _SLICE == 0:
            await asyncio.sleep(0)
    took_s = time.monotonic() - began
    await asyncio.sleep(1)
    ticker.cancel()
    return Stage(name, done, took_s, (_anonymous_kib() - before) / 1024, stalls[0])


async def _tick(worst_s: list[float]) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.002)
        worst_s[0] = max(worst_s[0], time.monotonic() - began - 0.002)


def _anonymous_kib() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


if __name__ == "__main__":
    main()
