"""The command line as a whole: quick, clear about what is missing, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from peernet_core.cli import app
from peernet_core.cli.app import invoke
from peernet_core.cli.failures import report
from peernet_core.errors import BackendError, ConfigurationError, DataDirectoryInUseError, StorageError


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run some code in a process of its own, far from this checkout and this user's files."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PEERNET_")}
    environ |= {"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd), "XDG_DATA_HOME": str(cwd)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` lists the commands, without importing them, each with the words of its own help."""
    assert invoke(["--help"]) == 0
    shown = capsys.readouterr().out
    group = app.app
    assert isinstance(group, click.Group)
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        summary = command.get_short_help_str(100)
        assert re.search(rf"^  {name} +{re.escape(summary)}$", shown, re.MULTILINE)
    assert "peernet trust add KEY    on each" in shown


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program and its version."""
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out.startswith("peernet 0.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Usage: peernet"),
        (["fly"], "No such command 'fly'"),
        (["--fly"], "No such option"),
        (["trust"], "Usage: peernet trust"),
        (["trust", "add"], "Missing argument"),
        (["run", "extra"], "unexpected extra argument"),
        (["id", "--data-dir", "x"], "No such option"),
    ],
)
def test_bad_usage_is_2(arguments: Sequence[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was typed wrong is said on stderr; the global options stand before the command."""
    assert invoke(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert not said.out


@pytest.mark.parametrize("missing", ["click", "rich", "segno"])
def test_without_the_extra_it_says_what_to_install(missing: str, tmp_path: Path) -> None:
    """Without a package of the extra there is one line and status 2, not a traceback."""
    need = {"click": "[]", "rich": "['id', '--qr']", "segno": "['id', '--qr']"}[missing]
    code = f"""\
import sys
sys.modules[{missing!r}] = None
sys.argv[1:] = {need}
if {missing!r} == "rich":
    import peernet_core.cli.app as app
    app.invoke = lambda _: __import__("rich")
from peernet_core.cli import main
main()
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "pip" in line]
    assert "pip install 'peernet-core[cli]'" in line
    assert "Traceback" not in done.stderr


def test_another_missing_module_is_no_usage_error(tmp_path: Path) -> None:
    """A broken installation is told as what it is."""
    code = (
        "import sys; sys.modules['cryptography.exceptions'] = None; from peernet_core.cli import main; main()"
    )
    done = python(code, "id", cwd=tmp_path)
    assert done.returncode == 1
    assert "cryptography" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (
            ["--help"],
            {"anyio", "asyncio", "attrs", "cattrs", "cryptography", "platformdirs", "rich", "segno"},
        ),
        (
            ["id"],
            {
                "anyio",
                "asyncio",
                "cattrs",
                "cbor2",
                "pluggy",
                "rich",
                "segno",
                "peernet_core.configuration.config",
            },
        ),
        (["trust", "list"], {"anyio", "asyncio", "cattrs", "cbor2", "pluggy", "rich", "segno"}),
        (
            ["backends"],
            {"anyio", "asyncio", "cattrs", "packaging.requirements", "rich", "segno", "peernet_manual"},
        ),
        (["run", "--help"], {"anyio", "asyncio", "rich", "segno", "peernet_core.node"}),
        (["race", "--help"], {"anyio", "asyncio", "rich", "segno", "peernet_core.node"}),
    ],
)
def test_a_short_command_imports_little(arguments: list[str], unwanted: set[str], tmp_path: Path) -> None:
    """What a command does not need it does not wait for."""
    code = """\
import atexit, json, sys
from peernet_core.cli import main
atexit.register(lambda: sys.stderr.write("\\n" + json.dumps(list(sys.modules))))
main()
"""
    done = python(code, *arguments, cwd=tmp_path)
    assert done.returncode == 0
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not unwanted & loaded


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    """`python -m peernet_core.cli` is the same command line."""
    done = python("import runpy; runpy.run_module('peernet_core.cli', run_name='__main__')", cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: peernet" in done.stderr


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """`peernet … | head -1` ends without a word."""
    code = """\
import os, sys
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(reader)
from peernet_core.cli import main
main()
"""
    done = python(code, "backends", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert not done.stderr


def test_a_terminal_that_knows_few_characters(tmp_path: Path) -> None:
    """What cannot be shown is escaped, and nothing fails for it."""
    code = """\
import sys
sys.stdout.reconfigure(encoding="latin-1")
from peernet_core.cli.app import invoke
key = "y" * 51 + "a"
assert invoke(["--data-dir", "data", "trust", "add", key, "--label", "\\u53a8"]) == 0
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"(\u53a8)" in done.stdout


FAILURES = [
    (ConfigurationError(["a: no", "b: \x1b no"]), 2, ["a: no", r"b: \x1b no"]),
    (StorageError(Path("/data"), "it is full"), 1, ["peernet: /data: it is full"]),
    (DataDirectoryInUseError(Path("/data"), "in use"), 1, ["peernet: /data: in use"]),
    (OSError(98, "Address in use"), 1, ["peernet: Address in use"]),
    (PermissionError(13, "Permission denied", "/etc/x"), 1, ["peernet: /etc/x: Permission denied"]),
    (
        ExceptionGroup(
            "start",
            [
                BackendError("lan", "mdns (peernet-mdns 0.1.0)", "no socket"),
                ExceptionGroup("more", [BackendError("dht", "", "no way")]),
            ],
        ),
        1,
        ["[discovery.lan], mdns (peernet-mdns 0.1.0): no socket", "[discovery.dht]: no way"],
    ),
    (
        ZeroDivisionError("by zero"),
        1,
        ["peernet: unexpected ZeroDivisionError: by zero (a mistake in peernet; --debug shows where)"],
    ),
]


@pytest.mark.parametrize(("error", "status", "lines"), FAILURES, ids=lambda value: type(value).__name__)
def test_an_error_is_a_line_for_each_reason(
    error: Exception, status: int, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 is for what the user wrote, 1 for what failed; there is no traceback."""
    assert report(error, debug=False) == status
    assert capsys.readouterr().err.splitlines() == lines


def test_debug_shows_where_it_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--debug` and PEERNET_DEBUG=1 add the traceback, before the line."""
    missing = str(tmp_path / "no.toml")
    assert invoke(["--config", missing, "check"]) == 2
    plain = capsys.readouterr().err
    assert plain == f"{missing}: there is no such file\n"
    assert invoke(["--debug", "--config", missing, "check"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith(plain)
    monkeypatch.setenv("PEERNET_DEBUG", "1")
    assert invoke(["--config", missing, "check"]) == 2
    assert capsys.readouterr().err == shown.replace("invoke(", "invoke(") or "Traceback"


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is interrupted has failed, and says no more than that."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app.app, "invoke", interrupted)
    assert invoke(["backends"]) == 1
    assert capsys.readouterr().err.strip() == "interrupted"


def test_a_node_is_imported_without_the_collector_and_runs_with_it(tmp_path: Path) -> None:
    """Looking for garbage in what imports make costs a tenth of the start; a node that runs makes some."""
    code = """\
import asyncio, gc, sys
while_importing = []
def hear(event, arguments):
    if event == "import" and arguments[0] == "peernet_core.engine":
        while_importing.append(gc.isenabled())
sys.addaudithook(hear)
def run(host):
    host.close()
    print(while_importing, gc.isenabled(), gc.get_freeze_count() > 0)
asyncio.run = run
from peernet_core.cli import main
main()
"""
    config = tmp_path / "peernet.toml"
    config.write_text('[node]\nlisten = ["127.0.0.1:0"]\n')
    done = python(code, "--config", str(config), "--data-dir", str(tmp_path / "data"), "run", cwd=tmp_path)
    assert done.stdout == "[False] True True\n"
