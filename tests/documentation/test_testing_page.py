"""What docs/backends/testing.md says of the kit is so, and its example is a test that passes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from pages import ROOT, load

import peernet_core.testing
from peernet_core.testing import DiscoveryConformance

PAGE = (ROOT / "docs/backends/testing.md").read_text(encoding="utf-8")


def test_every_declaration_is_in_the_table_with_its_default() -> None:
    """Neither one more nor one less."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|(.*?)\| .+ \|$", PAGE.split("## Time")[0], re.MULTILINE)
    stated: dict[str, str] = {}
    for names, defaults in rows:
        values = [value.strip(" `") for value in defaults.split(",")]
        stated |= dict(zip(re.findall(r"`(\w+)`", names), values, strict=True))
    names = {name for cls in DiscoveryConformance.__mro__ for name in inspect.get_annotations(cls)}
    declared = {name: getattr(DiscoveryConformance, name, "") for name in names if not name.startswith("_")}
    assert stated == {
        name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in declared.items()
    }


def test_every_name_in_the_second_table_is_there() -> None:
    """And of what the module offers the page leaves out only what those are made of."""
    named = set(re.findall(r"`(\w+)[`(]", PAGE.split("What else there is")[1]))
    assert {"Place", "BroadcastMedium", "RadioDiscovery", "FixedNetwork", "open_sockets"} <= named
    missing = [name for name in peernet_core.testing.__all__ if name not in PAGE]
    assert set(missing) <= {"HookFailedError", "LawBrokenError", "Life", "Member"}


def test_the_example_of_a_failure_is_a_law_with_its_hint() -> None:
    """The law's sentence and its hint, as the kit prints them."""
    from peernet_core.testing.laws import hint_of  # noqa: PLC0415 - not a public name

    law = DiscoveryConformance.test_a_peer_that_stops_is_lost
    shown = re.sub(r"\s+", " ", PAGE)
    assert f"law: {law.__doc__}" in shown
    assert f"hint: {hint_of(law)}" in shown


@pytest.mark.anyio
async def test_the_example_passes(tmp_path: Path) -> None:
    """As pytest would run it."""
    await load("test_backups").test_a_file_from_a_backup_brings_nobody_back(tmp_path)
