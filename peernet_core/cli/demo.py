"""`peernet demo`: two nodes on this machine find, authenticate and greet each other."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
import click

from peernet_core.cli.demo_node import DemoFailedError, DemoNode
from peernet_core.cli.failures import DONE, FAILED
from peernet_core.cli.output import escape, note
from peernet_core.cli.stopping import Stopping
from peernet_core.cli.timeline import Timeline
from peernet_core.configuration.entrypoints import BackendIndex
from peernet_core.errors import ConfigurationError
from peernet_core.network import read_network

__all__ = ["command"]

LINK_WITHIN_S: Final = 15.0
GREET_WITHIN_S: Final = 10.0

_BACKEND: Final = "mdns"
_NAMES: Final = ("kitchen", "garden")


@click.command("demo")
def command() -> int:
    """Let two nodes on this machine find and greet each other.

    They are two processes with fresh identities that trust each other and know no address: they find each
    other by multicast DNS on the loopback interface. Nothing outside of a temporary folder is read or
    written, and nothing leaves this machine.
    """
    if all(installed.name != _BACKEND for installed in BackendIndex.scan().installed):
        raise ConfigurationError(
            [f"the demo needs the backend {_BACKEND}, which is not installed: pip install peernet-{_BACKEND}"]
        )
    loopback = next((each.name for each in read_network().interfaces if each.is_loopback), None)
    if loopback is None:
        note("this machine has no loopback interface that is up, so the two nodes cannot meet")
        return FAILED
    return asyncio.run(_demonstrate(loopback))


async def _demonstrate(loopback: str) -> int:
    stopping = Stopping(force=lambda: os._exit(FAILED))
    statuses: list[int] = []
    with (
        stopping.on_signals(),
        stopping.cancelling_start(),
        tempfile.TemporaryDirectory(prefix="peernet-demo-", ignore_cleanup_errors=True) as folder,
    ):
        statuses.append(await _meet(Path(folder), loopback))
    if not statuses:  # a signal cut it short
        note("interrupted; both nodes are stopped")
        return FAILED
    return statuses[0]


async def _meet(folder: Path, loopback: str) -> int:
    click.echo("Two nodes on this machine, each a process with a new identity, that trust each other:")
    timeline = Timeline(_NAMES, start=time.time())
    nodes = [DemoNode(name, folder / name, loopback=loopback, timeline=timeline) for name in _NAMES]
    for node, other in _both_ways(nodes):
        node.meet(other)
        click.echo(f"  {node.name:<8} {node.key}")
    click.echo()
    failure: DemoFailedError | None = None
    answers: dict[str, str] = {}
    try:
        async with anyio.create_task_group() as tasks:
            for node in nodes:
                tasks.start_soon(node.run)
            await _link(nodes)
            await _greet(nodes, answers)
            tasks.cancel_scope.cancel()
    except* DemoFailedError as group:
        failure = _first(group)
    for line in timeline.lines():
        click.echo(line)
    click.echo()
    if failure is not None:
        for line in failure.reasons:
            note(line)
        return FAILED
    for node, other in _both_ways(nodes):
        click.echo(f'{node.name} greeted {other.name}, which answered "{escape(answers[node.name])}"')
    return DONE


async def _link(nodes: list[DemoNode]) -> None:
    try:
        with anyio.fail_after(LINK_WITHIN_S):
            for node in nodes:
                await node.connected.wait()
    except TimeoutError:
        reasons = [f"  {node.name}: {node.trouble}" for node in nodes if not node.connected.is_set()]
        raise DemoFailedError([f"no link within {LINK_WITHIN_S:g} s:", *reasons]) from None


async def _greet(nodes: list[DemoNode], answers: dict[str, str]) -> None:
    async def greet(node: DemoNode, other: DemoNode) -> None:
        answers[node.name] = await node.greet(other)

    try:
        with anyio.fail_after(GREET_WITHIN_S):
            async with anyio.create_task_group() as tasks:
                for node, other in _both_ways(nodes):
                    tasks.start_soon(greet, node, other)
    except TimeoutError:
        reasons = [f"  {node.name}: {node.trouble}" for node in nodes if node.name not in answers]
        raise DemoFailedError([f"no greeting within {GREET_WITHIN_S:g} s:", *reasons]) from None


def _both_ways(nodes: list[DemoNode]) -> list[tuple[DemoNode, DemoNode]]:
    return list(zip(nodes, reversed(nodes), strict=True))


def _first(group: BaseExceptionGroup[DemoFailedError]) -> DemoFailedError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
