"""`peernet backends`: what is installed, without importing any of it; and what one of them is."""

from __future__ import annotations

from collections.abc import Mapping

import click

from peernet_core.cli.invocation import Invocation
from peernet_core.cli.output import align, escape, note, show_json, show_table
from peernet_core.cli.places import configuration_path
from peernet_core.configuration.config import read_config
from peernet_core.configuration.contract_check import HOOKS
from peernet_core.configuration.entrypoints import BackendIndex, Inspection, InstalledBackend
from peernet_core.configuration.wording import quote

__all__ = ["command"]


@click.command("backends")
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="With NAME: also say whether it keeps the contract.")
@click.option("--json", "as_json", is_flag=True, help="JSON for a program.")
@click.pass_obj
def command(invocation: Invocation, name: str | None, *, check: bool, as_json: bool) -> int:
    """List the discovery backends that are installed, or show one.

    The list imports none of them. With NAME that one is imported, if it fits this core, for its options are
    the fields of its class. The exit status is 1 if it cannot be used; --check lists what was looked at.
    """
    if check and name is None:
        raise click.UsageError("--check needs the NAME of a backend; the list imports none")
    index = BackendIndex.scan()
    if name is not None:
        inspection = index.inspect(name)
        sources = _selected(invocation, index).get(inspection.installed, ())
        if as_json:
            _show_one_as_json(inspection, index, sources)
        else:
            _show_one(inspection, index, sources, check=check)
        return 1 if inspection.problems else 0
    selected = _selected(invocation, index)
    if as_json:
        show_json([_as_object(each, index, selected.get(each, ())) for each in index.installed])
    elif index.installed:
        _show_list(index, selected)
    else:
        note("no discovery backend is installed; for the local network: pip install peernet-mdns")
    return 0


def _selected(invocation: Invocation, index: BackendIndex) -> Mapping[InstalledBackend, tuple[str, ...]]:
    path = configuration_path(invocation)
    if path is None:
        return {}
    config, problems = read_config(path)
    if problems:
        note(f"{path} has mistakes, which may hide what it selects; see: peernet check")
    return index.selected(config)


def _show_list(index: BackendIndex, selected: Mapping[InstalledBackend, tuple[str, ...]]) -> None:
    show_table(
        ("name", "distribution", "version", "fits this core", "selected by"),
        [
            (
                each.name,
                each.distribution,
                each.version,
                each.requirement_problem or "yes",
                _tables(selected.get(each, ())),
            )
            for each in index.installed
        ],
    )
    for each in index.installed:
        others = index.conflicts(each)
        if others:
            reference = quote(f"{each.distribution}:{each.name}")
            rivals = ", ".join(other.release for other in others)
            note(f"{each.provider}: also provided by {rivals}; to select it write backend = {reference}")


def _tables(sources: tuple[str, ...]) -> str:
    return ", ".join(f"[discovery.{source}]" for source in sources)


def _show_one(inspection: Inspection, index: BackendIndex, sources: tuple[str, ...], *, check: bool) -> None:
    installed, problems = inspection.installed, inspection.problems
    click.echo(escape(installed.provider))
    rows = [
        ("class", f"{installed.module}:{installed.attribute}"),
        ("fits this core", installed.requirement_problem or "yes"),
        ("also provided by", ", ".join(other.release for other in index.conflicts(installed))),
        ("selected by", _tables(sources)),
    ]
    if check:
        broken = "broken" if installed.requirement_problem is None else "not looked at"
        rows.append(("contract", broken if problems else "kept"))
        if not problems:
            rows += [(hook, _hook(hook, inspection.hooks)) for hook in HOOKS]
    for line in align([(f"  {title}", text) for title, text in rows if text]):
        click.echo(line)
    for problem in problems:
        note(problem)
    if inspection.options:
        click.echo()
        show_table(
            ("option", "type", "default", "meaning"),
            [
                (each.name, each.type_text, each.default_text or "(must be given)", each.meaning)
                for each in inspection.options
            ],
        )
    elif not problems:
        click.echo("  it has no options")


def _hook(name: str, there: tuple[str, ...]) -> str:
    if name in there:
        return "a coroutine function, decorated, with the right parameters"
    return "not there, and need not be"


def _show_one_as_json(inspection: Inspection, index: BackendIndex, sources: tuple[str, ...]) -> None:
    installed = inspection.installed
    show_json(
        {
            **_as_object(installed, index, sources),
            "class": f"{installed.module}:{installed.attribute}",
            "problems": list(inspection.problems),
            "hooks": list(inspection.hooks),
            "options": [
                {
                    "name": each.name,
                    "type": each.type_text,
                    "default": each.default_text,
                    "meaning": each.meaning,
                }
                for each in inspection.options
            ],
        }
    )


def _as_object(each: InstalledBackend, index: BackendIndex, sources: tuple[str, ...]) -> dict[str, object]:
    return {
        "name": each.name,
        "distribution": each.distribution,
        "version": each.version,
        "usable": each.requirement_problem is None,
        "problem": each.requirement_problem,
        "conflicts": [other.release for other in index.conflicts(each)],
        "selected_by": list(sources),
    }
