"""Where the configuration file is looked for. Apart from its reading, which costs short commands too much."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["CONFIG_FILE", "CONFIG_VARIABLE", "find_config"]

CONFIG_VARIABLE: Final = "PEERNET_CONFIG"
CONFIG_FILE: Final = "peernet.toml"


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Say which configuration file to use; None: there is none, and everything has its default.

    Args:
        explicit: Given by the user; taken whether it exists or not, so that a mistake in it is told.
        environ: ``PEERNET_CONFIG`` is taken likewise.
    """
    if explicit is not None:
        return explicit
    if environ.get(CONFIG_VARIABLE):
        return Path(os.path.expanduser(environ[CONFIG_VARIABLE]))  # noqa: PTH111  # Path's raises for ~nobody
    import platformdirs  # noqa: PLC0415 - where the file is named, nobody needs it

    places = (Path(CONFIG_FILE), platformdirs.user_config_path("peernet", appauthor=False) / CONFIG_FILE)
    return next((path for path in places if os.path.exists(path)), None)  # noqa: PTH110  # Path's raises, too
