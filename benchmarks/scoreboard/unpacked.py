"""Other people's programs: installed, or unpacked by ``.ci/interop`` into PEERNET_INTEROP."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.scoreboard.contender import UnavailableError

__all__ = ["find_file", "find_program", "library_path"]


def _folder() -> Path | None:
    named = os.environ.get("PEERNET_INTEROP")
    return Path(named).absolute() / "unpacked" if named else None


def find_file(path: str, package: str) -> Path:
    """Return where that file of a Debian package is.

    Raises:
        UnavailableError: nowhere.
    """
    roots = [each for each in (_folder(), Path("/")) if each is not None]
    for root in roots:
        if (root / path).exists():
            return root / path
    raise UnavailableError(
        f"/{path} was not found (Debian package {package}; .ci/interop FOLDER unpacks it without installing, "
        f"then set PEERNET_INTEROP=FOLDER)"
    )


def find_program(package: str, path: str) -> Path:
    """The same for a program, which may also be anywhere on PATH."""
    try:
        return find_file(path, package)
    except UnavailableError:
        if found := shutil.which(Path(path).name):
            return Path(found)
        raise


def library_path() -> str:
    """LD_LIBRARY_PATH for what is unpacked; empty: nothing is."""
    folder = _folder()
    found = sorted({path.parent for path in folder.glob("**/*.so*")}) if folder is not None else []
    return ":".join(map(str, found))
