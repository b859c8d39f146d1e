"""What an installed distribution says of itself, and which versions a requirement admits.

Every start of a node reads this of a few distributions. So both are read without the library that knows the
whole grammar, as long as they are written as nearly all are: to import `email` or packaging takes longer than
a peer on the local network takes to answer.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from peernet_core.values import frozen

__all__ = ["Metadata", "Release", "admits", "canonical", "read_release"]

_CLAUSE: Final = re.compile(r"(?P<operator>~=|[=!]=|[<>]=?)\s*(?P<release>\d+(?:\.\d+)*)")
_FINAL: Final = re.compile(r"\d+(?:\.\d+)*")
_COMPARES: Final[Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "~=": operator.ge,
}


class Metadata(Protocol):
    """What an installed distribution has written about itself; `importlib.metadata.Distribution` is one."""

    def read_text(self, filename: str, /) -> str | None:
        """Read one of its files; None: it is not there."""
        ...


@frozen
class Release:
    """A version of a distribution.

    Attributes:
        name: As it is written, not as it is compared.
        requires: What it requires, each as it is written.
    """

    name: str
    version: str
    requires: tuple[str, ...]


def read_release(metadata: Metadata) -> Release:
    """Read an installed distribution's metadata.

    Raises:
        ValueError: it says no name or no version, or is not text.
    """
    text = metadata.read_text("METADATA")
    headers = _read_headers(text or metadata.read_text("PKG-INFO") or "")
    names, versions, requires = (headers.get(each, ()) for each in ("name", "version", "requires-dist"))
    if not names or not versions:
        raise ValueError("a distribution that does not say its name and version")
    if text is None and not requires:  # setuptools may have left them in a file of their own
        requires = (metadata.read_text("requires.txt") or "").partition("[")[0].split("\n")
    return Release(names[0], versions[0], tuple(each for each in requires if each))


def _read_headers(text: str) -> dict[str, list[str]]:
    """Read what stands before the description."""
    headers: dict[str, list[str]] = {}
    for line in text.partition("\n\n")[0].splitlines():
        name, colon, value = line.partition(":")
        if not colon or line[0].isspace():  # it goes on from the line before
            return _parse_headers(text)
        headers.setdefault(name.lower(), []).append(value.strip())
    return headers


def _parse_headers(text: str) -> dict[str, list[str]]:
    from email import message_from_string  # noqa: PLC0415 - see the module's docstring

    headers: dict[str, list[str]] = {}
    for name, value in message_from_string(text).items():
        headers.setdefault(name.lower(), []).append(value)
    return headers


def admits(versions: str, version: str) -> bool:
    """Whether a version is among those that a requirement names; pre-releases count.

    Args:
        versions: As ``>=0.1,<0.2``; empty: all.
        version: The one in question.

    Raises:
        ValueError: `versions` is not written as the specification says.

    Source: the packaging specification of version specifiers (PEP 440).
    """
    clauses = [_CLAUSE.fullmatch(each.strip()) for each in versions.split(",") if each.strip()]
    if _FINAL.fullmatch(version) is not None and all(map(_is_plain, clauses)):
        return all(
            _admits(each["operator"], each["release"], version) for each in clauses if each is not None
        )
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - see the module's docstring

    return SpecifierSet(versions).contains(version, prereleases=True)


def _is_plain(clause: re.Match[str] | None) -> bool:
    # `~=1` is an error, which packaging words.
    return clause is not None and (clause["operator"] != "~=" or "." in clause["release"])


def _admits(operator_: str, release: str, version: str) -> bool:
    named, given = _numbers(release), _numbers(version)
    length = max(len(named), len(given))
    prefix = len(named) - 1
    named, given = (each + (0,) * (length - len(each)) for each in (named, given))
    return _COMPARES[operator_](given, named) and (operator_ != "~=" or given[:prefix] == named[:prefix])


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def canonical(name: str) -> str:
    """A distribution's name, a backend's or an extra's, as it is compared.

    Source: the packaging specification of names (PEP 503, PEP 685).
    """
    return re.sub(r"[-_.]+", "-", name).lower()
