"""What an extra of an installed distribution needs, and whether that is installed.

Which extras were asked for at installation is written nowhere: an extra counts as installed when all that it
requires is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

__all__ = ["missing_requirements"]

_NAMES_AN_EXTRA: Final = re.compile(r"\bextra\b")


def missing_requirements(provider: Distribution, extras: Iterable[str]) -> tuple[str, ...]:
    """What these extras of a distribution require and is not installed; empty: they can be used.

    Args:
        provider: An installed distribution.
        extras: Their names, as in its metadata.
    """
    return tuple(dict.fromkeys(_missing(provider, [*extras], set())))


def _missing(provider: Distribution, extras: list[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    for extra in extras:
        here = canonicalize_name(provider.name), canonicalize_name(extra)
        if here in seen:  # an extra may name others of its own distribution, in a circle as well
            continue
        seen.add(here)
        for requirement in _requirements(provider, extra):
            try:
                found = distribution(requirement.name)
            except PackageNotFoundError:
                found = None
            if found is not None and requirement.specifier.contains(found.version, prereleases=True):
                yield from _missing(found, sorted(requirement.extras), seen)
            else:
                yield f"{requirement.name}{requirement.specifier}"


def _requirements(provider: Distribution, extra: str) -> Iterator[Requirement]:
    for text in provider.requires or ():
        if _NAMES_AN_EXTRA.search(text) is None:
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # whoever installed it made something of it
            continue
        marker = requirement.marker
        if marker is not None and marker.evaluate({"extra": extra}):
            yield requirement
