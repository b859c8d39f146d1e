"""`peernet peers`: whom the running node knows."""

from __future__ import annotations

import time

import click

from peernet_core.cli.asking import ago, answer_of, objects_in
from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import note, show_json, show_table

__all__ = ["command"]


@click.command("peers")
@click.option("--strangers", is_flag=True, help="Those that were seen and are not trusted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of objects.")
@click.pass_obj
def command(invocation: Invocation, *, strangers: bool, as_json: bool) -> None:
    """List whom the running node knows, and how it stands with them.

    Trusted peers; or with --strangers those that were seen and are not trusted, whom `peernet trust add`
    would let in.
    """
    name = "strangers" if strangers else "peers"
    found = objects_in(answer_of(invocation, name), name)
    if as_json:
        show_json(found)
    elif not found:
        note("no stranger was seen" if strangers else "no key is trusted; peernet trust add lets one in")
    elif strangers:
        now = time.time()
        show_table(
            ("key", "address", "source", "seen"),
            [
                (
                    str(each["key"]),
                    _place(each),
                    str(each["source"]),
                    f"{ago(now - float(str(each['seen_s'])), now=now)} ago",
                )
                for each in found
            ],
        )
    else:
        show_table(
            ("label", "state", "for", "address", "source", "key"),
            [
                (
                    str(each["label"]),
                    str(each["state"]),
                    ago(each["since"]),
                    str(each["address"] or ""),
                    str(each["source"] or ""),
                    str(each["key"]),
                )
                for each in found
            ],
        )


def _place(stranger: dict[str, object]) -> str:
    ip, port = stranger["ip"], stranger["port"]
    return f"[{ip}]:{port}" if ":" in str(ip) else f"{ip}:{port}"
