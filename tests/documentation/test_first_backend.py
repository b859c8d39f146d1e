"""What docs/backends/first-backend.md shows on a console is what the commands print."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pages import ROOT, blocks

from peernet_core.cli.app import invoke

PAGE = ROOT / "docs/backends/first-backend.md"
RUN_ELSEWHERE = {  # test_cli_new_backend does it, without installing
    "pip install --group dev -e .",
    "pytest && mypy && ruff check",
}


def session() -> list[tuple[str, str]]:
    """The first console block: each command, and what it prints."""
    found: list[tuple[str, str]] = []
    for line in blocks(PAGE, "console")[0].text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].strip(), ""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def install(folder: Path) -> None:
    """Lay a distribution's metadata beside its source, as an editable installation does."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    requirements = "".join(f"Requires-Dist: {each}\n" for each in project["dependencies"])
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{requirements}"
    )
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
            for group, entries in project["entry-points"].items()
        )
    )


def test_the_console_shows_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the page, each compared to the last character; what is installed lies on the path."""
    monkeypatch.chdir(tmp_path)
    ran = 0
    for command, expected in session():
        match command.split():
            case ["peernet", "new-backend", *arguments]:
                assert invoke(["new-backend", *arguments]) == 0
                assert capsys.readouterr().out == expected
            case ["cd", folder]:
                monkeypatch.chdir(folder)
                install(Path.cwd())
                continue
            case ["peernet", *arguments]:
                assert _in_a_process(*arguments) == expected
            case _:
                assert command in RUN_ELSEWHERE
                continue
        ran += 1
    assert ran == 2


def test_the_list_shows_it_as_the_page_on_publishing_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here beside others, which are of the same width."""
    shown = blocks(ROOT / "docs/backends/publishing.md", "console")[-1].text.split("peernet backends\n")[1]
    monkeypatch.chdir(tmp_path)
    assert invoke(["new-backend", "folder"]) == 0
    capsys.readouterr()
    monkeypatch.chdir("peernet-folder")
    install(Path.cwd())
    printed = _in_a_process("backends").splitlines()
    assert [line for line in printed if line.startswith(("name", "folder"))] == shown.splitlines()


def _in_a_process(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "peernet_core.cli", *arguments],
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
