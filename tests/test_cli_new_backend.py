"""`peernet new-backend`: what it makes is whole and keeps every law; what it refuses it refuses at once."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from pages import ROOT, block_named

from peernet_core.cli.app import invoke
from peernet_core.cli.new_backend import render
from peernet_core.configuration.entrypoints import BackendIndex, InstalledBackend

TESTING = ROOT / "docs/backends/testing.md"
NAMES = ["folder", "a", "my-very-long-bluetooth-x"]  # the last as long as may be


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command makes its folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_it_makes_a_whole_distribution_and_says_what_to_do_next(
    in_an_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files on stdout, a line each; the next steps on stderr; nothing else is left."""
    assert invoke(["new-backend", "folder"]) == 0
    out, err = capsys.readouterr()
    made = in_an_empty_folder / "peernet-folder"
    assert set(out.split()) == {f"peernet-folder/{path}" for path in contents(made)}
    assert set(contents(made)) == {
        ".github/workflows/test.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/peernet_folder/__init__.py",
        "src/peernet_folder/py.typed",
        "tests/test_conformance.py",
    }
    assert [path.name for path in in_an_empty_folder.iterdir()] == ["peernet-folder"]
    assert "cd peernet-folder" in err
    assert "pytest" in err


def test_the_project_names_its_backend_and_fits_this_core(in_an_empty_folder: Path) -> None:
    """The entry point, and bounds that the running core is within and the next minor one is not."""
    assert invoke(["new-backend", "my-mesh"]) == 0
    project = tomllib.loads((in_an_empty_folder / "peernet-my-mesh/pyproject.toml").read_text())["project"]
    assert project["name"] == "peernet-my-mesh"
    assert project["entry-points"] == {"peernet.discovery": {"my-mesh": "peernet_my_mesh:MyMeshDiscovery"}}
    (core,) = [each for each in map(Requirement, project["dependencies"]) if each.name == "peernet-core"]
    assert core.specifier.contains(version("peernet-core"))
    assert not core.specifier.contains("0.2.0")


def test_no_placeholder_is_left() -> None:
    """In any file, but for the one that GitHub fills in."""
    for path, text in render("folder", year=2030).items():
        assert "$" not in text.replace("${{ matrix.python }}", "").replace("$ p", "").replace(
            "$ m", ""
        ).replace("$ r", ""), path
    assert "(c) 2030" in render("folder", year=2030)["LICENSE"]


@pytest.mark.parametrize(
    "path", ["src/peernet_folder/__init__.py", "tests/test_conformance.py", "pyproject.toml"]
)
def test_the_pages_show_what_the_command_makes(path: str) -> None:
    """The files on the pages in docs/backends are those of `peernet new-backend folder`."""
    assert block_named(path).text == render("folder", year=2030)[path]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_passes_the_linter(name: str, in_an_empty_folder: Path) -> None:
    """As its own configuration has it, TC rules included; and nothing is to be formatted."""
    assert invoke(["new-backend", name]) == 0
    for tool in ("ruff check", "ruff format --check"):
        passes(tool, in_an_empty_folder / f"peernet-{name}")


def test_types_of_options_stay_where_they_are_read(in_an_empty_folder: Path) -> None:
    """With its configuration ruff moves none under TYPE_CHECKING, new ones neither; without it would."""
    assert invoke(["new-backend", "folder"]) == 0
    made = in_an_empty_folder / "peernet-folder"
    module, project = made / "src/peernet_folder/__init__.py", made / "pyproject.toml"
    text = module.read_text().replace("from pathlib", "from ipaddress import IPv4Address\nfrom pathlib")
    text = text.replace("    poll_s: float", "    ip: IPv4Address | None = None\n    poll_s: float")
    module.write_text(text)
    passes("ruff check --fix --unsafe-fixes", made)
    assert module.read_text() == text
    setting = 'runtime-evaluated-decorators = ["attrs.define", "attrs.frozen"]\n'
    configured = project.read_text()
    assert setting in configured
    project.write_text(configured.replace(setting, ""))
    passes("ruff check --fix --unsafe-fixes", made)
    assert "if TYPE_CHECKING:\n    from ipaddress import IPv4Address" in module.read_text()


def test_what_is_made_passes_the_strict_type_checker(in_an_empty_folder: Path) -> None:
    """The backend and its tests."""
    assert invoke(["new-backend", "folder"]) == 0
    passes("mypy", in_an_empty_folder / "peernet-folder")


def test_what_is_made_passes_the_other_type_checker_as_well(in_an_empty_folder: Path) -> None:
    """Strict, though its author need not have it."""
    assert invoke(["new-backend", "folder"]) == 0
    made = in_an_empty_folder / "peernet-folder"
    root = str(Path(__file__).parents[1])
    settings = {"include": ["src", "tests"], "typeCheckingMode": "strict", "extraPaths": ["src", root]}
    (made / "pyrightconfig.json").write_text(json.dumps(settings))
    passes(f"pyright --pythonpath {sys.executable}", made)


def passes(tool: str, made: Path) -> None:
    root, cache = str(ROOT), str(made.parent / "cache")
    done = subprocess.run(
        [sys.executable, "-m", *tool.split()],
        cwd=made,
        env={**os.environ, "MYPYPATH": root, "MYPY_CACHE_DIR": cache, "RUFF_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{tool}\n{done.stdout}{done.stderr}"


def test_what_is_made_passes_its_own_tests(in_an_empty_folder: Path) -> None:
    """Every law of the conformance kit, with the options that its pyproject.toml gives pytest."""
    assert invoke(["new-backend", "folder"]) == 0
    made = in_an_empty_folder / "peernet-folder"
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=made,
        env={**environment, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = re.findall(r"^\d+ passed, \d+ skipped", TESTING.read_text(encoding="utf-8"), re.MULTILINE)
    assert summary in done.stdout, done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert took_s < 10, "an author would not wait for it each time"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("peernet-x", 'the distribution\'s name begins with peernet- anyway; write "x"'),
        ("Folder", '"Folder" is no name for a backend: at most 24 characters'),
        ("my_folder", '"my_folder" is no name'),
        ("-x", "No such option"),
        ("x-", '"x-" is no name'),
        ("../x", '"../x" is no name'),
        ("", '"" is no name'),
        ("x" * 25, "at most 24 characters"),
        ("core", '"core" has a meaning of its own'),
        ("known", '"known" has a meaning of its own'),
        ("manual", '"manual" is taken by peernet-manual; choose another'),
        ("mdns", '"mdns" is taken by peernet-mdns; choose another'),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(
    name: str, message: str, in_an_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, one message that says what is wrong with it."""
    assert invoke(["new-backend", name]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(in_an_empty_folder.iterdir())


def test_a_name_that_an_installed_backend_has_is_refused(
    in_an_empty_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or that its distribution has; however either is written."""
    acme = InstalledBackend("Mesh_Net", "peernet.radio", "2.0", "acme")
    monkeypatch.setattr(BackendIndex, "scan", lambda: BackendIndex((acme,)))
    for name in ("mesh-net", "radio"):
        assert invoke(["new-backend", name]) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert told.endswith(f'"{name}" is taken by peernet.radio 2.0, which is installed; choose another')
    assert not list(in_an_empty_folder.iterdir())


def test_nothing_that_exists_is_overwritten(
    in_an_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run, a folder with something in it, a file, a link: refused, and as it was."""
    assert invoke(["new-backend", "folder"]) == 0
    before = contents(in_an_empty_folder)
    assert invoke(["new-backend", "folder"]) == 2
    assert "peernet-folder is not empty; choose another with --path" in capsys.readouterr().err
    (in_an_empty_folder / "file").write_text("mine")
    (in_an_empty_folder / "link").symlink_to("nowhere")
    for path in ("file", "link"):
        assert invoke(["new-backend", "folder", "--path", path]) == 2
        assert f"{path} is no folder" in capsys.readouterr().err
    assert contents(in_an_empty_folder) == before | {"file": "mine"}


def test_an_empty_folder_is_used(in_an_empty_folder: Path) -> None:
    """The one where one stands, too; folders above are made."""
    assert invoke(["new-backend", "folder", "--path", "."]) == 0
    assert (in_an_empty_folder / "pyproject.toml").is_file()
    assert invoke(["new-backend", "folder", "--path", "deep/down/here"]) == 0
    assert (in_an_empty_folder / "deep/down/here/pyproject.toml").is_file()


def test_a_disk_that_refuses_leaves_nothing(
    in_an_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, the path and the reason."""
    (in_an_empty_folder / "file").write_text("mine")
    assert invoke(["new-backend", "folder", "--path", "file/below"]) == 1
    assert "Nothing was made" in capsys.readouterr().err
    assert contents(in_an_empty_folder) == {"file": "mine"}
