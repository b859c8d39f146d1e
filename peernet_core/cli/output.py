"""Plain text for people: aligned, and with nothing in it that a terminal would obey."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import click

__all__ = ["align", "escape", "note", "show_json", "show_table"]

_GAP: Final = "  "
_WIDE: Final = frozenset("WF")


def escape(text: str) -> str:
    """Replace what is not printable (control characters, line ends, changes of direction) by its escape.

    Labels, names and reasons may come from the network, or from a file that somebody else wrote.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """Set rows of cells, each escaped, in columns of equal width."""
    escaped = [[escape(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column), default=0) for column in zip(*escaped, strict=True)]
    return [
        _GAP.join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in escaped
    ]


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout."""
    for line in align([header, *rows]):
        click.echo(line)


def show_json(value: object) -> None:
    """Print one JSON document on stdout, for a program."""
    click.echo(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Print a line for the person, on stderr; stdout belongs to what was asked for."""
    click.echo(escape(text), err=True)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in _WIDE
        else 1
        for character in text
    )
