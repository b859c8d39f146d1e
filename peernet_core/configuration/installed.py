"""Which distributions are installed: what `importlib.metadata` answers, without waiting for its import.

Nearly always every place on `sys.path` is a folder, and what is asked for stands in small files there.
Reading them costs less than the modules for mail, tables and archives that `importlib.metadata` brings. Where
there is something else, an archive or an importer with distributions of its own, it is asked all the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from typing import Final

from peernet_core.configuration.releases import Metadata, Release, canonical, read_release
from peernet_core.values import frozen

__all__ = ["InstalledDistributions", "MetadataFolder", "read_entry_points"]

_SUFFIXES: Final = (".dist-info", ".egg-info")


@frozen
class MetadataFolder:
    """The folder of an installed distribution's metadata.

    Attributes:
        path: As ``…/acme-1.0.dist-info``.
    """

    path: str

    def read_text(self, name: str) -> str | None:
        """Read one of its files; None: it is not there, or not for us."""
        try:
            with open(os.path.join(self.path, name), encoding="utf-8") as file:  # noqa: PTH118, PTH123 - many are tried
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            return None


class InstalledDistributions:
    """What is installed now, in the order of `sys.path`; nothing is imported, and little is read yet."""

    def __init__(self) -> None:
        self._found: dict[str, list[Metadata]] = {}
        for name, metadata in _search():
            self._found.setdefault(name, []).append(metadata)

    def __iter__(self) -> Iterator[Metadata]:
        """All of them; one that is found twice comes twice."""
        for found in self._found.values():
            yield from found

    def release(self, name: str) -> Release | None:
        """The installed version of a distribution; None: it is not installed.

        Raises:
            ValueError: its metadata cannot be read.
        """
        found = self._found.get(canonical(name))
        return read_release(found[0]) if found else None


def _search() -> Iterator[tuple[str, Metadata]]:
    finders = [each for each in sys.meta_path if hasattr(each, "find_distributions")]
    if finders != [PathFinder]:
        yield from _ask_library(sys.path)
        return
    for place in sys.path:
        try:
            names = os.listdir(place or ".")  # noqa: PTH208 - a string is all that is needed
        except NotADirectoryError:
            yield from _ask_library([place])
            continue
        except OSError:
            continue
        if place.lower().endswith(".egg"):
            yield from _ask_library([place])
        for name in names:
            if name.lower().endswith(_SUFFIXES):
                stem = name.rpartition(".")[0].partition("-")[0]
                yield canonical(stem), MetadataFolder(os.path.join(place or ".", name))  # noqa: PTH118 - the same


def _ask_library(places: Iterable[str]) -> Iterator[tuple[str, Metadata]]:
    from importlib.metadata import distributions  # noqa: PLC0415 - see the module's docstring

    for distribution in distributions(path=[*places]):
        try:
            name = canonical(distribution.metadata["Name"])
        except Exception:  # noqa: BLE001, S112 - whoever installed it made something of it
            continue
        yield name, distribution


def read_entry_points(metadata: Metadata, group: str) -> tuple[tuple[str, str], ...]:
    """The names and values of a distribution's entry points in a group.

    Raises:
        ValueError: one of them has no value, or the file is not text.

    Source: the packaging specification of entry points.
    """
    text = metadata.read_text("entry_points.txt") or ""
    if f"[{group}]" not in text:
        return ()
    found: list[tuple[str, str]] = []
    section = ""
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == group:
            name, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"an entry point without a value: {line!r}")
            found.append((name.strip(), value.strip()))
    return tuple(found)
