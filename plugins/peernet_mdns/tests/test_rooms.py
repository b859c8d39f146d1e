"""What decides stays pure, and one module alone knows zeroconf's inner parts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import peernet_mdns

FOLDER = Path(peernet_mdns.__file__).parent
PURE = [
    "names",
    "txt",
    "timers",
    "quotas",
    "wants",
    "answers",
    "questions",
    "peer_table",
    "browser",
    "gate",
    "links",
]
SHELL = ["inbox", "engine", "legacy", "messages", "medium", "discovery", "zeroconf_log", "__init__"]
SHELL_ONLY = {"anyio", "asyncio", "select", "selectors", "socket", "threading", "time"}


def imported(name: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return found


def test_every_module_has_its_side() -> None:
    """A new one is put into one of the two lists."""
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == sorted(PURE + SHELL)


@pytest.mark.parametrize("name", PURE)
def test_what_decides_neither_waits_nor_connects(name: str) -> None:
    """Nor does it ask for the time, or import what does."""
    modules = imported(name)
    assert not {module.partition(".")[0] for module in modules} & SHELL_ONLY
    assert not modules & {f"peernet_mdns.{each}" for each in SHELL}


def test_zeroconf_s_inner_parts_are_known_in_one_place() -> None:
    """They may change with any release of it."""
    private = {
        name for name in PURE + SHELL if any(module.startswith("zeroconf._") for module in imported(name))
    }
    assert private == {"engine"}
