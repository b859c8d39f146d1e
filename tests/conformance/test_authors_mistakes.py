"""What an author of a backend gets wrong in the first hour: told once, in three lines, and nothing hangs.

Each mistake is made in what `peernet new-backend` makes, whose tests then run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    others: str
    """What becomes of the other laws."""


MISTAKES = {
    "a hook that is misspelt": Mistake(
        MODULE,
        "def announce_self",
        "def anounce_self",
        CONTRACT,
        '"anounce_self" is no hook; did you mean "announce_self"?',
        CHANGE,
        "28 skipped",
    ),
    "a hook without its decorator": Mistake(
        MODULE,
        "    @hookimpl\n    async def start",
        "    async def start",
        CONTRACT,
        "start lacks @hookimpl, so it would never be called",
        CHANGE,
        "28 skipped",
    ),
    "a hook that is no coroutine": Mistake(
        MODULE,
        "    async def announce_self(self, announcement: Announcement) -> None:\n        await ",
        "    def announce_self(self, announcement: Announcement) -> None:\n        ",
        CONTRACT,
        "announce_self is no coroutine function; write async def announce_self",
        CHANGE,
        "28 skipped",
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
        "28 skipped",
    ),
    "no backend": Mistake(
        TESTS,
        "    backend = FolderDiscovery\n",
        "",
        CONTRACT,
        "the test class names no backend",
        "write backend = MyDiscovery in it",
        "28 skipped",
    ),
    "a capability that is not declared": Mistake(
        TESTS,
        "    resolves = True\n",
        "",
        CONTRACT,
        "the class has a hook resolve, but the test class declares resolves = False",
        "declare resolves = True in the test class, so that it is tested",
        "25 passed, 3 skipped",
    ),
    "no options": Mistake(
        TESTS,
        "def options(",
        "def optoins(",
        OPTIONS,
        "the test class does not say how",
        "give it options(self, place), which returns the table of two nodes that are to find each other",
        "1 passed, 27 skipped",
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
        "1 passed, 27 skipped",
    ),
    "no way to pollute": Mistake(
        TESTS,
        "def pollute(",
        "def polute(",
        GARBAGE,
        "the test class does not say how",
        "give it pollute(self, place, data), which puts bytes on the medium; "
        "or declare carries_bytes = False",
        "27 passed, 1 skipped",
    ),
    "a way to pollute that raises": Mistake(
        TESTS,
        '(place.folder / "litter").write_bytes(data)',
        "raise RuntimeError(len(data))",
        GARBAGE,
        "RuntimeError: 0",
        "hand over whatever comes as it is: record_received takes any bytes and never raises for them",
        "27 passed, 1 skipped",
    ),
    "a start that raises": Mistake(
        MODULE,
        "        self._context = context\n",
        '        raise OSError("no such bus")\n',
        START,
        "start raised OSError: no such bus",
        "mend what start does first, then run the tests again",
        "2 passed, 26 skipped",
    ),
    "a start that blocks for ever": Mistake(
        MODULE,
        "        self._context = context\n",
        "        import threading\n\n        threading.Event().wait()\n",
        START,
        "start raised LoopStoodStillError: the event loop stood still for 0.2 s here",
        "mend what start does first, then run the tests again",
        "2 passed, 26 skipped",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_once(mistake: Mistake, tmp_path: Path) -> None:
    """One failure with the law, what was seen and what mends it; nothing of the kit's own lines."""
    for path, text in render("folder", year=2030).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "conftest.py").write_text(IMPATIENT)
    file = tmp_path / mistake.file
    right = file.read_text()
    assert mistake.right in right
    file.write_text(right.replace(mistake.right, mistake.wrong, 1))
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    lines = done.stdout.splitlines()
    assert lines[-1].startswith(f"1 failed, {mistake.others} in "), done.stdout + done.stderr
    for line in (f"  law:  {mistake.law}", f"  seen: {mistake.seen}", f"  hint: {mistake.hint}"):
        assert line in lines, done.stdout
    assert "peernet_core/testing/conformance" not in done.stdout
