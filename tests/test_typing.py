"""mypy and pyright, both strict, take what an author may write, and refuse what would not work.

`typing/right.py` has no error. In `typing/wrong.py` a line with ``# E: word`` has just what the word means.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest

FOLDER = Path(__file__).parent / "typing"
ROOT = FOLDER.parents[1]

Errors: TypeAlias = dict[int, set[str]]

# What the words of the marks are to mypy, and to pyright.
WORDS: dict[str, dict[str, set[str]]] = {
    "override": {"mypy": {"override"}, "pyright": {"reportIncompatibleMethodOverride"}},
    "argument": {"mypy": {"arg-type"}, "pyright": {"reportArgumentType"}},
    "call": {"mypy": {"call-arg"}, "pyright": {"reportCallIssue"}},
    "assignment": {"mypy": {"assignment"}, "pyright": {"reportAssignmentType"}},
    "decorator": {
        "mypy": {"call-overload", "untyped-decorator"},
        "pyright": {"reportCallIssue", "reportUntypedFunctionDecorator"},
    },
}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MYPY_CACHE_DIR": str(cwd / "cache"), "MYPYPATH": str(ROOT)}
    environment |= {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # it would say that there is a newer one
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def by_mypy(folder: Path, name: str) -> Errors:
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\nexplicit_package_bases = true\n")
    done = run(
        "mypy", "--config-file", "mypy.ini", "--no-error-summary", "--hide-error-context", name, cwd=folder
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    errors: Errors = {}
    for line, code in re.findall(rf"^{name}:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE):
        errors.setdefault(int(line), set()).add(code)
    assert bool(errors) == (done.returncode == 1), done.stdout
    return errors


def by_pyright(folder: Path, name: str) -> Errors:
    settings = {
        "include": [name],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=folder)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    errors: Errors = {}
    for each in report["generalDiagnostics"]:
        assert each["severity"] == "error", each
        errors.setdefault(each["range"]["start"]["line"] + 1, set()).add(each["rule"])
    return errors


CHECKERS = {"mypy": by_mypy, "pyright": by_pyright}


def marked(text: str, checker: str) -> Errors:
    marks = (re.search(r"  # E: (\w+)$", line) for line in text.splitlines())
    return {number: WORDS[mark[1]][checker] for number, mark in enumerate(marks, 1) if mark is not None}


@pytest.mark.parametrize("checker", CHECKERS)
def test_what_an_author_may_write_is_taken(checker: str, tmp_path: Path) -> None:
    """Hooks with the base and without, the context's calls, options, a test class, a backend for a node."""
    (tmp_path / "right.py").write_text((FOLDER / "right.py").read_text())
    assert CHECKERS[checker](tmp_path, "right.py") == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_what_would_not_work_is_refused(checker: str, tmp_path: Path) -> None:
    """Each wrong line by its rule, and no other line: sync hooks, wrong parameters, types and decorators."""
    text = (FOLDER / "wrong.py").read_text()
    (tmp_path / "wrong.py").write_text(text)
    expected = marked(text, checker)
    assert CHECKERS[checker](tmp_path, "wrong.py") == expected
    assert len(expected) == text.count("# E")
    for hook in ("start", "announce_self", "resolve", "stop"):
        assert len(re.findall(rf"def {hook}\(.*  # E: ", text)) >= 3, f"{hook} is not tried in every way"
