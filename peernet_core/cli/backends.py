"""`peernet backends`: what is installed, without importing any of it."""

from __future__ import annotations

import click

from peernet_core.cli.output import note, show_json, show_table
from peernet_core.configuration.entrypoints import BackendIndex

__all__ = ["command"]


@click.command("backends")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of objects.")
def command(*, as_json: bool) -> None:
    """List the discovery backends that are installed.

    None of them is imported.
    """
    installed = BackendIndex.scan().installed
    if as_json:
        show_json(
            [
                {
                    "name": backend.name,
                    "distribution": backend.distribution,
                    "version": backend.version,
                    "usable": backend.requirement_problem is None,
                    "problem": backend.requirement_problem,
                }
                for backend in installed
            ]
        )
    elif installed:
        show_table(
            ("name", "distribution", "version", "fits this core"),
            [
                (backend.name, backend.distribution, backend.version, backend.requirement_problem or "yes")
                for backend in installed
            ],
        )
    else:
        note("no discovery backend is installed; for the local network: pip install peernet-mdns")
