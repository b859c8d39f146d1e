"""`peernet check`: every mistake of a configuration at once, or what was understood."""

from __future__ import annotations

import click

from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import align
from peernet_core.cli.places import configuration_path, data_directory_path
from peernet_core.configuration.config import Config
from peernet_core.configuration.entrypoints import Backend, load_configuration
from peernet_core.errors import ConfigurationError
from peernet_core.storage.trust_file import TrustFile

__all__ = ["command"]


@click.command("check")
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Check a configuration, and show every mistake.

    The backends that it names are imported, but not started. The trust list is read as well.
    """
    path = configuration_path(invocation)
    if path is None:
        raise ConfigurationError(
            ["no configuration file is here; name one with --config, or write peernet.toml"]
        )
    problems: list[str] = []
    try:
        config, backends = load_configuration(path)
    except ConfigurationError as error:
        problems += error.problems
    try:
        data_directory = data_directory_path(invocation)
        trusted = TrustFile(data_directory / "trusted_peers").load().peers
    except ConfigurationError as error:
        problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigurationError(problems)
    click.echo("ok")
    rows = [
        ("configuration", str(path)),
        ("data directory", f"{data_directory} ({len(trusted)} trusted)"),
        *_node_rows(config),
        *_discovery_rows(config, backends),
    ]
    for line in align(rows):
        click.echo(line)


def _node_rows(config: Config) -> list[tuple[str, str]]:
    rows = [("name", config.name)] if config.name else []
    rows.append(("listens on", ", ".join(map(str, config.listen))))
    if config.advertise:
        rows.append(("advertises", ", ".join(map(str, config.advertise))))
    return rows


def _discovery_rows(config: Config, backends: tuple[Backend, ...]) -> list[tuple[str, str]]:
    made = {backend.source: backend for backend in backends}
    rows = []
    for source in config.sources:
        backend = made.get(source.source)
        if backend is None:
            text = f"{source.backend}, not enabled"
        else:
            notes = [] if backend.required else ["may fail"]
            notes += [] if backend.advertise else ["is not told about us"]
            text = ", ".join([backend.provider, *notes])
        rows.append((f"discovery {source.source}", text))
    return rows or [("discovery", "none: this node finds nobody by itself")]
