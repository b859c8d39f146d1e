"""The commands, each of which is imported only when it is called."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from peernet_core.cli import EXTRA
from peernet_core.cli.failures import DONE, FAILED, report
from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import note

__all__ = ["app", "invoke"]

_COMMANDS: Final = {
    "run": "Run a node until it is told to stop.",
    "id": "Print our key, which names this machine to others.",
    "trust": "Show or change the keys that we link with.",
    "peers": "List whom the running node knows, and how it stands with them.",
    "explain": "Say why a peer is, or is not, linked.",
    "status": "Show the running node: its addresses and its backends' health.",
    "race": "Let the configured backends race: who finds whom first.",
    "backends": "List the discovery backends that are installed, or show one.",
    "new-backend": "Make a distribution for a discovery backend of your own.",
    "check": "Check a configuration, and show every mistake.",
    "demo": "Let two nodes on this machine find and greet each other.",
}
_MODULES: Final = {"id": "identity", "new-backend": "new_backend"}


# \b: the lines that follow stay as they are.
_HELP: Final = """Find the peers that you trust on whatever network you share.

\b
Connect two machines:
  peernet id               on each: prints its key
  peernet trust add KEY    on each, with the key of the other
  peernet run              on each

\b
See it on this machine alone:
  peernet demo
"""


class _LazyGroup(click.Group):
    """A group that knows the names and summaries of its commands, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"peernet_core.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    name="peernet",
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
@click.version_option(package_name="peernet-core", prog_name="peernet", message="%(prog)s %(version)s")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="PEERNET_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="The configuration file. Otherwise ./peernet.toml, or the one in your configuration folder.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="PEERNET_DATA_DIR",
    show_envvar=True,
    metavar="DIR",
    help="Where identity and trust are kept. Otherwise what the configuration says, or your data folder.",
)
@click.option(
    "--debug", is_flag=True, envvar="PEERNET_DEBUG", show_envvar=True, help="Show details and tracebacks."
)
@click.pass_obj
def app(invocation: Invocation, config: Path | None, data_dir: Path | None, *, debug: bool) -> None:
    """Find the peers that you trust on whatever network you share."""
    invocation.config = config
    invocation.data_dir = data_dir
    invocation.debug = debug


def invoke(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: What stands after the program's name.

    Returns:
        The exit status: 0 done, 1 failed, 2 bad usage or configuration.

    Raises:
        ModuleNotFoundError: a package of the extra is missing; everything else is reported here.
    """
    _print_anything()
    invocation = Invocation()
    try:
        status = app.main(list(arguments), prog_name="peernet", standalone_mode=False, obj=invocation)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        note("interrupted")
        return FAILED
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in EXTRA:
            raise
        return report(error, debug=invocation.debug)
    return status if isinstance(status, int) else DONE


def _print_anything() -> None:
    """Let no output be an error: not one that was closed (`>&-`), nor a character that a terminal lacks."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
            setattr(sys, name, nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
