"""`peernet race`: the configured backends side by side for a time, and how they did."""

from __future__ import annotations

import math
from typing import Final

import click

from peernet_core.cli.early_signals import leave_on_signals
from peernet_core.cli.invocation import Invocation

__all__ = ["command"]

DEFAULT_S: Final = 30.0


def _length(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"expected a number of seconds above 0, got {value:g}")
    return value


@click.command("race")
@click.option(
    "--for",
    "for_s",
    type=float,
    default=DEFAULT_S,
    show_default=True,
    callback=_length,
    metavar="SECONDS",
    help="How long; Ctrl-C ends it earlier.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object; spans are in seconds.")
@click.pass_obj
def command(invocation: Invocation, for_s: float, *, as_json: bool) -> int:
    """Let the configured backends race: who finds whom first.

    Runs a node as `peernet run` does, and at its end shows for each trusted peer which backend found it
    first and by how much, which missed it, and which still believed in it after it had gone: kill a peer
    meanwhile. What happens is shown on stderr; Ctrl-C ends the race and shows how it stands. A backend that
    fails ends nobody else's race. Without a configuration there is only the backend mdns.
    """
    leave_on_signals()
    from peernet_core.cli.race_course import run_race  # noqa: PLC0415 - it takes a while

    return run_race(invocation, for_s=for_s, as_json=as_json)
