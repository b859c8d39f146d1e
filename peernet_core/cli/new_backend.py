"""`peernet new-backend`: a whole distribution for a backend of one's own, which works and keeps every law."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import click
from packaging.utils import canonicalize_name
from packaging.version import Version

from peernet_core.cli.output import note
from peernet_core.configuration.config import RESERVED_SOURCES
from peernet_core.configuration.entrypoints import BackendIndex
from peernet_core.configuration.wording import quote
from peernet_core.errors import StorageError
from peernet_core.storage.files import explain

__all__ = ["command", "render"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 24
_TAKEN: Final = frozenset({"core", *RESERVED_SOURCES})
_OURS: Final = frozenset({"manual", "mdns"})  # known to be published, also where they are not installed
_TEMPLATES: Final = {
    "pyproject.toml": "pyproject.toml.in",
    "README.md": "README.md.in",
    "LICENSE": "LICENSE.in",
    ".gitignore": "gitignore.in",
    ".github/workflows/test.yml": "workflow.yml.in",
    "src/$module/__init__.py": "backend.py.in",
    "tests/test_conformance.py": "test_backend.py.in",
}


@click.command("new-backend")
@click.argument("name")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to make it; it must not exist, or be empty. Otherwise ./peernet-NAME.",
)
def command(name: str, path: Path | None) -> None:
    """Make a distribution for a discovery backend of your own.

    What is made works over a shared folder and passes its tests: begin by running them, then change it. NAME
    is what a configuration will call it, such as "folder". Nothing is fetched, and nothing overwritten.
    """
    _check(name)
    target = Path(f"peernet-{name}") if path is None else path
    texts = render(name, year=dt.datetime.now(tz=dt.UTC).year)
    _write(target, texts)
    for relative in texts:
        click.echo(target / relative)
    note("next:")
    for step in (
        f"cd {target}",
        "pip install --group dev -e .    # pip 25.1 or later",
        "pytest && mypy && ruff check",
        f"peernet backends {name} --check",
    ):
        note(f"  {step}")


def render(name: str, *, year: int) -> dict[str, str]:
    """The files of the distribution, by path, with their text.

    Args:
        name: The backend's.
        year: For the licence.
    """
    core = Version(_core_version())
    words = {
        "name": name,
        "distribution": f"peernet-{name}",
        "module": f"peernet_{name.replace('-', '_')}",
        "cls": "".join(part.capitalize() for part in name.split("-")) + "Discovery",
        "core": f"{core.major}.{core.minor}",
        "next_core": f"{core.major}.{core.minor + 1}",
        "year": str(year),
    }
    folder = files("peernet_core.cli") / "backend_template"
    texts = {
        Template(path).substitute(words): Template((folder / source).read_text("utf-8")).substitute(words)
        for path, source in _TEMPLATES.items()
    }
    return texts | {f"src/{words['module']}/py.typed": ""}


def _core_version() -> str:
    try:
        return version("peernet-core")
    except PackageNotFoundError:  # used from a source folder
        return "0.1"


def _check(name: str) -> None:
    """Refuse a name that could not be one, or that would be in somebody's way."""
    if name.startswith("peernet-") and _NAME.fullmatch(name):
        short = name.removeprefix("peernet-")
        raise click.BadParameter(
            f"the distribution's name begins with peernet- anyway; write {quote(short)}", param_hint="NAME"
        )
    if _NAME.fullmatch(name) is None or len(name) > _LONGEST:
        raise click.BadParameter(
            f"{quote(name)} is no name for a backend: at most {_LONGEST} characters, lower-case letters, "
            'digits and single hyphens, a letter first, as in "my-folder"',
            param_hint="NAME",
        )
    if name in _TAKEN:
        raise click.BadParameter(f"{quote(name)} has a meaning of its own; choose another", param_hint="NAME")
    if name in _OURS:
        raise click.BadParameter(
            f"{quote(name)} is taken by peernet-{name}; choose another", param_hint="NAME"
        )
    for installed in BackendIndex.scan().installed:
        if (
            canonicalize_name(installed.name) == name
            or canonicalize_name(installed.distribution) == f"peernet-{name}"
        ):
            raise click.BadParameter(
                f"{quote(name)} is taken by {installed.release}, which is installed; choose another",
                param_hint="NAME",
            )


def _write(target: Path, texts: dict[str, str]) -> None:
    """Write all files, or none."""
    try:
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise click.BadParameter(f"{target} is no folder; choose another with --path", param_hint="DIR")
        if target.exists() and any(target.iterdir()):
            raise click.BadParameter(f"{target} is not empty; choose another with --path", param_hint="DIR")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".peernet-", dir=target.parent) as work:
            made = Path(work, "made")
            for relative, text in texts.items():
                path = made / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if target.exists():  # and is empty; it may be where somebody stands
                for path in made.iterdir():
                    path.rename(target / path.name)
            else:
                made.rename(target)
    except OSError as error:
        raise StorageError(target, f"{explain(error)}. Nothing was made") from error
