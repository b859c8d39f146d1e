"""The kit's own test: each law is broken by some backend, which breaks no other, and the report helps."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import attrs
import pytest

from peernet_core.testing import DiscoveryConformance
from peernet_core.testing.laws import hint_of

MUTANTS = Path(__file__).with_name("mutants.py")
LAWS = {name: getattr(DiscoveryConformance, name) for name in dir(DiscoveryConformance) if "test_" in name}


def _module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("conformance_mutants", MUTANTS)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


BREAKS: dict[str, str] = {mutant.__name__: mutant.breaks for mutant in _module().mutants()}


@attrs.frozen
class Result:
    """What became of a mutant's laws.

    Attributes:
        failed: Each law that failed, with the report.
        skipped: Each law that was skipped, with the reason.
    """

    failed: dict[str, str] = attrs.Factory(dict)
    skipped: dict[str, str] = attrs.Factory(dict)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Of each mutant: found in a process that leaks may stay in."""
    report = tmp_path_factory.mktemp("mutants") / "report.xml"
    options = ["--noconftest", "-p", "no:randomly", "-p", "no:cacheprovider", "-W", "ignore"]
    options += ["-c", "/dev/null", "--rootdir", str(MUTANTS.parent), "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", "-q", *options, "--junitxml", str(report), str(MUTANTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    found: dict[str, Result] = defaultdict(Result)
    for case in ET.parse(report).iter("testcase"):
        assert case.find("error") is None, ET.tostring(case, encoding="unicode")
        result = found[case.attrib["classname"].rpartition(".")[2]]
        for failure in case.iter("failure"):
            result.failed[case.attrib["name"]] = failure.text or ""
        for skipped in case.iter("skipped"):
            result.skipped[case.attrib["name"]] = skipped.attrib["message"]
    return found


def test_every_test_of_the_kit_is_a_law_with_a_sentence_and_a_hint() -> None:
    """So that a failure says what was broken, and what mends it."""
    assert len(LAWS) > 20
    for name, test in LAWS.items():
        assert hint_of(test), f"{name} has no hint"
        assert test.__doc__, f"{name} has no sentence"


def test_every_law_has_a_mutant() -> None:
    """The table is complete: a new law comes with a backend that breaks it."""
    assert set(BREAKS.values()) == set(LAWS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", BREAKS)
def test_a_mutant_breaks_its_law_and_no_other(mutant: str, results: dict[str, Result]) -> None:
    """And the report says which law it is, what was seen, and what mends it. The others were tried."""
    result = results[mutant]
    assert set(result.failed) == {BREAKS[mutant]}
    if BREAKS[mutant] != "test_the_class_keeps_the_contract":  # then no other can be
        assert all("the backend declares" in reason for reason in result.skipped.values()), result.skipped
    law = LAWS[BREAKS[mutant]]
    (report,) = result.failed.values()
    sentence, hint = " ".join(law.__doc__.split()), hint_of(law)
    lines = [line.removeprefix("E").strip() for line in report.splitlines()]
    assert f"law:  {sentence}" in lines
    assert f"hint: {hint}" in lines
    assert any(line.startswith("seen: ") and line != "seen:" for line in lines)
