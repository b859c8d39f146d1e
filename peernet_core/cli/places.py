"""Where this call's configuration and data directory are."""

from __future__ import annotations

import os
from pathlib import Path

from peernet_core.cli.invocation import Invocation
from peernet_core.configuration.config_search import find_config
from peernet_core.errors import ConfigurationError
from peernet_core.storage.data_directory import DataDirectory, default_data_dir

__all__ = ["configuration_path", "data_directory", "data_directory_path"]


def configuration_path(invocation: Invocation) -> Path | None:
    """The configuration file to use; None: there is none."""
    return find_config(invocation.config, os.environ)


def data_directory_path(invocation: Invocation) -> Path:
    """The data directory, which need not exist yet.

    Raises:
        ConfigurationError: it is the configuration file's to say, and that is broken: guessing would make
            an identity in the wrong place.
    """
    if invocation.data_dir is not None:
        return invocation.data_dir
    path = configuration_path(invocation)
    if path is None:
        return default_data_dir(os.environ)
    from peernet_core.configuration.config import read_config  # noqa: PLC0415 - most of what it costs a short command

    config, problems = read_config(path)
    if problems:
        raise ConfigurationError(problems)
    return default_data_dir(os.environ, configured=config.data_dir)


def data_directory(invocation: Invocation) -> DataDirectory:
    """Open the data directory for looking at it or editing it, also while a node runs on it.

    Raises:
        ConfigurationError: see `data_directory_path`.
        StorageError: it cannot be created.
    """
    return DataDirectory.open(data_directory_path(invocation), lock=False)
