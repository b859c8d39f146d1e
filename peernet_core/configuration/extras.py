"""What an extra of an installed distribution needs, and whether that is installed.

Which extras were asked for at installation is written nowhere: an extra counts as installed when all that it
requires is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from peernet_core.configuration.installed import InstalledDistributions
from peernet_core.configuration.releases import Release, admits, canonical

__all__ = ["missing_requirements"]

_NAMES_AN_EXTRA: Final = re.compile(r"\bextra\b")
_PLAIN: Final = re.compile(
    r"(?P<name>[\w.-]+)\s*(?P<versions>[<>=!~][^;\[@()]*)?;\s*extra\s*==\s*[\"'](?P<extra>[\w.-]+)[\"']\s*"
)
"""As nearly all are written: read without packaging's grammar, whose import every start would pay."""

_Required = tuple[str, str, frozenset[str]]
"""A distribution, its versions, and which of its extras."""


def missing_requirements(
    installed: InstalledDistributions, provider: Release, extras: Iterable[str]
) -> tuple[str, ...]:
    """What these extras of a distribution require and is not installed; empty: they can be used.

    Args:
        installed: What is.
        provider: An installed distribution.
        extras: Their names, as in its metadata.
    """
    return tuple(dict.fromkeys(_missing(installed, provider, [*extras], set())))


def _missing(
    installed: InstalledDistributions, provider: Release, extras: list[str], seen: set[tuple[str, str]]
) -> Iterator[str]:
    for extra in extras:
        here = canonical(provider.name), canonical(extra)
        if here in seen:  # an extra may name others of its own distribution, in a circle as well
            continue
        seen.add(here)
        for name, versions, theirs in _requirements(provider, extra):
            found = installed.release(name)
            if found is not None and admits(versions, found.version):
                yield from _missing(installed, found, sorted(theirs), seen)
            else:
                yield f"{name}{versions}"


def _requirements(provider: Release, extra: str) -> Iterator[_Required]:
    for text in provider.requires:
        if _NAMES_AN_EXTRA.search(text) is not None:
            try:
                required = _read(text, extra)
            except ValueError:  # each of packaging's errors is one; whoever installed it made something of it
                continue
            if required is not None:
                yield required


def _read(text: str, extra: str) -> _Required | None:
    """What a requirement names, if this extra has it."""
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        if canonical(plain["extra"]) != canonical(extra):
            return None
        versions = (plain["versions"] or "").replace(" ", "")
        admits(versions, "0")  # raises where they cannot be read
        return plain["name"], versions, frozenset()
    from packaging.requirements import Requirement  # noqa: PLC0415 - see _PLAIN

    requirement = Requirement(text)
    if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
        return None
    return requirement.name, str(requirement.specifier), frozenset(requirement.extras)
