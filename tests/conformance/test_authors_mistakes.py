"""What an author of a backend gets wrong in the first hour: told once, in three lines, and nothing hangs.

Each mistake is made in what `peernet new-backend` makes, whose tests then run in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from xml.etree import ElementTree as ET

import attrs
import pytest

from peernet_core.cli.new_backend import render

CONTRACT = "The class is one that core accepts: attrs, hooks decorated, coroutines, known by name."
OPTIONS = "Options that are misspelt, missing, or wrong are refused, and the message names the option."
START = "`start` returns when the backend listens; it never waits for peers."
GARBAGE = "Anything at all may be on the medium; nothing raises, and peers are still found."
CHANGE = "change what it says"
MODULE, TESTS = "src/peernet_folder/__init__.py", "tests/test_conformance.py"


IMPATIENT = """
from peernet_core.testing.conformance import subject

subject._STANDSTILL_S = 0.2
"""


@attrs.frozen
class Mistake:
    """What is written instead of what, and what the author reads."""

    file: str
    right: str
    wrong: str
    law: str
    seen: str
    hint: str
    passed: int
    """How many of the other laws are tried, and kept; the rest is skipped."""


MISTAKES = {
    "a hook that is misspelt": Mistake(
        MODULE,
        "def announce_self",
        "def anounce_self",
        CONTRACT,
        '"anounce_self" is no hook; did you mean "announce_self"?',
        CHANGE,
        0,
    ),
    "a hook without its decorator": Mistake(
        MODULE,
        "    @hookimpl\n    async def start",
        "    async def start",
        CONTRACT,
        "start lacks @hookimpl, so it would never be called",
        CHANGE,
        0,
    ),
    "a hook that is no coroutine": Mistake(
        MODULE,
        "    async def announce_self(self, announcement: Announcement) -> None:\n        await ",
        "    def announce_self(self, announcement: Announcement) -> None:\n        ",
        CONTRACT,
        "announce_self is no coroutine function; write async def announce_self",
        CHANGE,
        0,
    ),
    "a type that is not there at run time": Mistake(
        MODULE,
        "from pathlib import Path\nfrom typing import ClassVar\n",
        "from typing import TYPE_CHECKING, ClassVar\nif TYPE_CHECKING:\n    from pathlib import Path\n",
        CONTRACT,
        'option "path": its type "Path" cannot be resolved: name \'Path\' is not defined; options are read '
        'at run time: import it outside "if TYPE_CHECKING:" (if ruff\'s TC rules moved it there, set '
        'runtime-evaluated-decorators = ["attrs.define"])',
        CHANGE,
        0,
    ),
    "no backend": Mistake(
        TESTS,
        "    backend = FolderDiscovery\n",
        "",
        CONTRACT,
        "the test class names no backend",
        "write backend = MyDiscovery in it",
        0,
    ),
    "a capability that is not declared": Mistake(
        TESTS,
        "    resolves = True\n",
        "",
        CONTRACT,
        "the class has a hook resolve, but the test class declares resolves = False",
        "declare resolves = True in the test class, so that it is tested",
        25,
    ),
    "no options": Mistake(
        TESTS,
        "def options(",
        "def optoins(",
        OPTIONS,
        "the test class does not say how",
        "give it options(self, place), which returns the table of two nodes that are to find each other",
        1,
    ),
    "options that raise": Mistake(
        TESTS,
        '        return {"path"',
        '        return {"pat": {}["path"], "path"',
        OPTIONS,
        "KeyError: 'path'",
        "give each option its exact type, and a validator whose ValueError says what is possible; "
        "core names the table and the option",
        1,
    ),
    "options that are wrong": Mistake(
        TESTS,
        '"poll_s": 0.5',
        '"pol_s": 0.5',
        OPTIONS,
        "the backend refuses what options(place) returned: "
        '[discovery.kit]: unknown option "pol_s"; did you mean "poll_s"?',
        "give each option its exact type, and a validator whose ValueError says what is possible; "
        "core names the table and the option",
        1,
    ),
    "no way to pollute": Mistake(
        TESTS,
        "def pollute(",
        "def polute(",
        GARBAGE,
        "the test class does not say how",
        "give it pollute(self, place, data), which puts bytes on the medium; "
        "or declare carries_bytes = False",
        27,
    ),
    "a way to pollute that raises": Mistake(
        TESTS,
        '(place.folder / "litter").write_bytes(data)',
        "raise RuntimeError(len(data))",
        GARBAGE,
        "RuntimeError: 0",
        "hand over whatever comes as it is: record_received takes any bytes and never raises for them",
        27,
    ),
    "a start that raises": Mistake(
        MODULE,
        "        self._context = context\n",
        '        raise OSError("no such bus")\n',
        START,
        "start raised OSError: no such bus",
        "mend what start does first, then run the tests again",
        2,
    ),
    "a start that blocks for ever": Mistake(
        MODULE,
        "        self._context = context\n",
        "        import threading\n\n        threading.Event().wait()\n",
        START,
        "start raised LoopStoodStillError: the event loop stood still for 0.2 s here",
        "mend what start does first, then run the tests again",
        2,
    ),
}


@attrs.frozen
class Result:
    """What became of the laws of one test class: how many passed and were skipped, and what was told."""

    passed: list[str] = attrs.Factory(list)
    skipped: list[str] = attrs.Factory(list)
    told: list[str] = attrs.Factory(list)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Of each mistake; made in a distribution of its own, all of which are tested in one go."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "conftest.py").write_text(IMPATIENT)
    sources, tests = [], []
    for number, mistake in enumerate(MISTAKES.values()):
        made = folder / f"made{number}"
        for path, text in render(f"folder{number}", year=2030).items():
            changed = text
            if path == mistake.file.replace("folder", f"folder{number}"):
                right = mistake.right.replace("Folder", f"Folder{number}")
                assert right in text
                changed = text.replace(right, mistake.wrong, 1)
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(changed)
        sources.append(str(made / "src"))
        tests.append(str((made / "tests/test_conformance.py").rename(made / f"test_{number}.py")))
    options = ["--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error"]
    options += [
        "-c",
        os.devnull,
        "--rootdir",
        ".",
        "--confcutdir",
        ".",
    ]  # one made project would be taken for all
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "--junitxml", "report.xml", *tests],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(sources), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    found: dict[str, Result] = defaultdict(Result)
    for case in ET.parse(folder / "report.xml").iter("testcase"):
        assert case.find("error") is None, ET.tostring(case, encoding="unicode")
        digits = "".join(filter(str.isdigit, case.attrib["classname"].rpartition(".")[2]))
        result = found[list(MISTAKES)[int(digits)]]
        failure = case.find("failure")
        if failure is not None:
            result.told.append(failure.text or "")
        else:
            where = result.passed if case.find("skipped") is None else result.skipped
            where.append(case.attrib["name"])
    return found


@pytest.mark.timeout(250)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_once(name: str, results: dict[str, Result]) -> None:
    """One failure with the law, what was seen and what mends it; nothing of the kit's own lines."""
    mistake, result = MISTAKES[name], results[name]
    (told,) = result.told
    assert (len(result.passed), len(result.skipped)) == (mistake.passed, 28 - mistake.passed)
    lines = told.splitlines()
    assert [line.strip() for line in lines[-3:]] == [
        f"law:  {mistake.law}",
        f"seen: {mistake.seen}",
        f"hint: {mistake.hint}",
    ]
    assert "peernet_core/testing/conformance" not in told
