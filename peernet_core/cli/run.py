"""`peernet run`: a node until it is told to stop."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from types import FrameType

import click

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
    # The imports below take a while, and whoever says stop meanwhile should not see a traceback.
    for each in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _leave)
    gc.disable()  # what an import makes stays: looking through it for garbage costs a tenth of the start
    from peernet_core.cli.hosting import run_node  # noqa: PLC0415 - see above

    run_node(invocation, as_json=as_json, record=record)


def _leave(_number: int, _frame: FrameType | None) -> None:
    # Nothing is open yet, and an exception here would come out of whatever is just being imported.
    os._exit(0)
