"""`peernet status`: the running node and its backends' health."""

from __future__ import annotations

import click

from peernet_core.cli.asking import ago, answer_of, objects_in
from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import escape, show_json, show_table

__all__ = ["command"]


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with everything that was counted.")
@click.pass_obj
def command(invocation: Invocation, *, as_json: bool) -> None:
    """Show the running node: its addresses and its backends' health."""
    answer = answer_of(invocation, "status")
    if as_json:
        show_json(answer)
        return
    backends = objects_in(answer, "backends")
    addresses = answer.get("addresses")
    listening = ", ".join(map(str, addresses)) if isinstance(addresses, list) and addresses else "nowhere"
    name = f" ({answer['name']})" if answer.get("name") else ""
    click.echo(escape(f"{answer['key']}{name}, process {answer['pid']}, reachable at {listening}"))
    if not backends:
        click.echo("no discovery backend is enabled")
        return
    show_table(
        ("discovery", "backend", "state", "for", "a minute", "restarts", "last failure"),
        [
            (
                str(each["source"]),
                str(each["provider"] or each["backend"]),
                str(each["state"]),
                ago(each["since"]),
                str(each["sightings_per_minute"]),
                str(each["restarts"]),
                str(each["error"]),
            )
            for each in backends
        ],
    )
