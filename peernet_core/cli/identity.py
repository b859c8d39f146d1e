"""`peernet id`: who this machine is to others."""

from __future__ import annotations

import click

from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import note
from peernet_core.cli.places import data_directory
from peernet_core.storage.identity_file import load_or_create

__all__ = ["command"]


@click.command("id")
@click.option("--qr", is_flag=True, help="Show the key as a QR code as well.")
@click.pass_obj
def command(invocation: Invocation, *, qr: bool) -> None:
    """Print our key, which names this machine to others.

    The key alone goes to stdout; what to type on the other machine goes to stderr. The identity is created on
    first use.
    """
    with data_directory(invocation) as directory:
        key = load_or_create(directory.identity_path).key
    click.echo(str(key))
    if qr:
        from peernet_core.cli.qr_code import qr_code  # noqa: PLC0415 - only here is segno needed

        click.echo(qr_code(str(key)), err=True)
    note(f"On the other machine: peernet trust add {key}")
