"""How messages about a file show what stands in it, and guess what was meant. Every text is one line."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Final

from peernet_core.addresses import Address
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.keys import PeerKey

__all__ = ["closest", "hint_for", "join_words", "one_line", "quote", "show_default", "show_value"]

_MAX_SHOWN: Final = 80
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(text: str) -> str:
    """A text as TOML writes it, on one line, shortened when it is long."""
    shown = text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
    return (
        '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\u{ord(c):04x}") for c in shown) + '"'
    )


def show_value(value: object) -> str:
    """A value of a file, as a message repeats it; of lists and tables only that they are such."""
    match value:
        case str():
            return quote(value)
        case bool():
            return str(value).lower()
        case int():
            # Python refuses to write integers of more than 4300 digits.
            return str(value) if abs(value) < 10**_MAX_SHOWN else "a huge integer"
        case float():
            return repr(value)
        case dt.date() | dt.time():
            return value.isoformat()
        case list() | tuple():
            return "a list" if value else "an empty list"
        case Mapping():
            return "a table" if value else "an empty table"
        case None:
            return "nothing"
        case _:
            return f"a Python {type(value).__name__}"


def show_default(value: object) -> str:
    """A default as one would write it in the file."""
    match value:
        case None:
            return "none"
        case Enum():
            return show_value(value.value)
        case list() | tuple() | set() | frozenset():
            return "[" + ", ".join(show_default(item) for item in value) + "]"
        case dict():
            pairs = ", ".join(f"{key} = {show_default(item)}" for key, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case Path() | PeerKey() | Address() | ListenAddress():
            return quote(str(value))
        case IPv4Address() | IPv6Address() | IPv4Network() | IPv6Network():
            return quote(str(value))
        case _:
            return show_value(value)


def one_line(error: BaseException, *, named: bool | None = None) -> str:
    """What an exception of somebody else's code says.

    Args:
        error: The exception.
        named: Whether its type comes first; None: unless it is one that is raised with a text for users.
    """
    # attrs' own validators put the field and the value behind the message.
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if named is None:
        named = not isinstance(error, ValueError | TypeError)
    if not text:
        return type(error).__name__
    return f"{type(error).__name__}: {text}" if named else text


def closest(name: str, possible: Iterable[str]) -> str | None:
    """The name that was most probably meant, if one is close enough."""
    spellings = {_spelling(each): each for each in possible}
    found = difflib.get_close_matches(_spelling(name), spellings, n=1)
    return spellings[found[0]] if found else None


def hint_for(name: str, possible: Collection[str], *, also: Collection[str] = ()) -> str:
    """The end of a message about an unknown name: what was meant, or else what is possible.

    Args:
        name: The unknown one.
        possible: What is listed when there is nothing to guess.
        also: Further names to guess from.
    """
    guess = closest(name, [*possible, *also])
    if guess is not None:
        return f"; did you mean {quote(guess)}?"
    return f"; possible: {', '.join(possible)}" if possible else "; there are none"


def join_words(words: Iterable[str], conjunction: str) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *head, last = words
    return f"{', '.join(head)} {conjunction} {last}" if head else last


def _spelling(name: str) -> str:
    return name.casefold().replace("-", "_")
