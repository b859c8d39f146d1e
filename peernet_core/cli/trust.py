"""`peernet trust`: whom this machine links with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import escape, note, show_json, show_table
from peernet_core.cli.places import data_directory
from peernet_core.errors import ConfigurationError, MalformedKeyError, NodeClosedError
from peernet_core.keys import KEY_CHARACTERS, PeerKey
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.storage.identity_file import load
from peernet_core.storage.trust_file import TrustFile
from peernet_core.trust import TrustList

__all__ = ["command"]

SHORTEST_PREFIX: Final = 4
"""Fewer characters could too easily be somebody else's."""

_PREFIX: Final = re.compile("[A-Za-z2-7]+")


@click.group("trust")
def command() -> None:
    """Show or change the keys that we link with.

    A running node follows at once.
    """


@command.command("add")
@click.argument("who", metavar="KEY-OR-PREFIX")
@click.option("--label", default="", metavar="TEXT", help="What you call this peer.")
@click.pass_obj
def add(invocation: Invocation, who: str, label: str) -> None:
    """Trust a key, or give a trusted one another label.

    A prefix of at least 4 characters does for a stranger whom the running node has seen.
    """
    with data_directory(invocation) as directory:
        file = TrustFile(directory.trust_path)
        key = _find(who, directory)
        if directory.identity_path.exists() and load(directory.identity_path).key == key:
            raise ConfigurationError(["this is our own key; add it on the other machine, and its key here"])
        new = file.add(key, label)
    name = f" ({escape(label)})" if label else ""
    click.echo(f"{'added' if new else 'already trusted:'} {key}{name}")


@command.command("remove")
@click.argument("who", metavar="KEY-OR-LABEL")
@click.pass_obj
def remove(invocation: Invocation, who: str) -> None:
    """Trust a key no more; a running node closes its link and streams."""
    with data_directory(invocation) as directory:
        file = TrustFile(directory.trust_path)
        trusted = TrustList(file.load().peers)
        key = trusted.find(who)
        label = trusted.label(key)
        file.remove(key)
    click.echo(f"removed {key}{f' ({escape(label)})' if label else ''}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of objects with key and label.")
@click.pass_obj
def list_trusted(invocation: Invocation, *, as_json: bool) -> None:
    """Show whom we trust."""
    with data_directory(invocation) as directory:
        peers = TrustFile(directory.trust_path).load().peers
    if as_json:
        show_json([{"key": str(peer.key), "label": peer.label} for peer in peers])
    elif peers:
        show_table(("key", "label"), [(str(peer.key), peer.label) for peer in peers])
    else:
        note("nobody is trusted yet; peernet trust add KEY")


def _find(who: str, directory: DataDirectory) -> PeerKey:
    try:
        return PeerKey.parse(who)
    except MalformedKeyError as error:
        if len(who) >= KEY_CHARACTERS or _PREFIX.fullmatch(who) is None:
            raise ConfigurationError([f"not a key: {error}"]) from error
    if len(who) < SHORTEST_PREFIX:
        raise ConfigurationError(
            [f"{who!a} is too short; give a whole key, or {SHORTEST_PREFIX} characters of a stranger's"]
        )
    matches = [key for key in _strangers(directory.socket_path()) if str(key).startswith(who.lower())]
    if not matches:
        raise ConfigurationError(
            [f"no stranger whom the running node has seen has a key that begins with {who.lower()}"]
        )
    if len(matches) > 1:
        which = ", ".join(map(str, matches))
        raise ConfigurationError([f"{who.lower()} could be any of {len(matches)} strangers: {which}"])
    return matches[0]


def _strangers(socket_path: Path | None) -> list[PeerKey]:
    from peernet_core.control import ask  # noqa: PLC0415 - brings anyio, which a whole key does not need

    try:
        answer = ask(socket_path, {"ask": "strangers"})
    except NodeClosedError as error:
        raise NodeClosedError(
            f"{error}, so there is nobody to ask whose key that is; give the whole key"
        ) from error
    strangers = answer.get("strangers")
    if answer.get("ok") is not True or not isinstance(strangers, list):
        raise NodeClosedError(f"the running node cannot say whom it has seen: {answer.get('error')}")
    # One stranger may be there several times, through several sources.
    return sorted({PeerKey.parse(stranger["key"]) for stranger in strangers})
