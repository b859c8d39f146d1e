"""`peernet explain`: why a peer is, or is not, linked."""

from __future__ import annotations

import click

from peernet_core.cli.asking import answer_of, objects_in, span
from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import escape, show_json, show_table

__all__ = ["command"]

_HEADER = ("address", "source", "word", "sequence", "seen", "lease", "last dial", "next dial")


@click.command("explain")
@click.argument("who", metavar="KEY-OR-LABEL")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; spans are in seconds.")
@click.pass_obj
def command(invocation: Invocation, who: str, *, as_json: bool) -> None:
    """Say why a peer is, or is not, linked.

    Every address that the running node knows of it: who said so, on whose word, what came of dialing it,
    and when it is dialed next. Name the peer by its key, its label, or the first characters of its key.
    """
    answer = answer_of(invocation, "explain", who=who)
    if as_json:
        show_json(answer)
        return
    name = f" ({answer['label']})" if answer.get("label") else ""
    state = answer.get("state") or "not trusted"
    since = f" for {span(answer['since_s'])}" if answer.get("state") else ""
    click.echo(escape(f"{answer['key']}{name}: {state}{since}"))
    click.echo(escape(str(answer["next"])))
    addresses = objects_in(answer, "addresses")
    if addresses:
        here = "linked" if answer.get("state") == "linked" else "now"
        show_table(_HEADER, [_row(each, here=here) for each in addresses])


def _row(address: dict[str, object], *, here: str) -> tuple[str, ...]:
    ip, port = address["ip"], address["port"]
    sequence = address["sequence"]
    last, next_s = str(address["outcome"]), address["next_dial_s"]
    obstacle = str(address["obstacle"])
    return (
        f"[{ip}]:{port}" if ":" in str(ip) else f"{ip}:{port}",
        str(address["source"]),
        str(address["kind"]),
        "" if sequence is None else str(sequence),
        f"{span(address['age_s'])} ago",
        "no end" if address["lease_left_s"] is None else span(address["lease_left_s"]),
        f"{last}, {span(address['outcome_age_s'])} ago" if last else "never",
        obstacle or ("" if next_s is None else here if next_s == 0 else f"in {span(next_s)}"),
    )
