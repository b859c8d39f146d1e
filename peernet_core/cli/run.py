"""`peernet run`: a node until it is told to stop."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from peernet_core.cli.early_signals import leave_on_signals
from peernet_core.cli.invocation import Invocation

__all__ = ["command"]


@click.command("run")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for a program.")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all that the backends report into a new file, to be played back.",
)
@click.pass_obj
def command(invocation: Invocation, *, as_json: bool, record: Path | None) -> None:
    """Run a node until it is told to stop.

    Shows a table of the trusted peers on a terminal, and log lines in a pipe. Ctrl-C stops it; a second one
    does not wait for anything. Without a configuration file the node uses the backend mdns alone.
    """
    leave_on_signals()
    gc.disable()  # what an import makes stays: looking through it for garbage costs a tenth of the start
    from peernet_core.cli.hosting import run_node  # noqa: PLC0415 - it takes a while

    run_node(invocation, as_json=as_json, record=record)
