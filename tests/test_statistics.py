"""What a node counts: every name stands on the page, and nothing else does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import peernet_core
from peernet_core.events import UnreachableReason

ROOT = Path(peernet_core.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "diagnosis.md"
PLACEHOLDERS = {"dial_failed_": [f"dial_failed_{reason}" for reason in UnreachableReason]}


def counted() -> set[str]:
    """The names under which the code counts, whether written out, built, or passed to `_drop`."""
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.AugAssign(
                    target=ast.Subscript(
                        value=ast.Attribute(attr="counts" | "_counts"), slice=ast.Constant(value=str(name))
                    )
                ):
                    found.add(name)
                case ast.AugAssign(
                    target=ast.Subscript(
                        value=ast.Attribute(attr="counts" | "_counts"),
                        slice=ast.JoinedStr(values=[ast.Constant(value=str(prefix)), *_]),
                    )
                ):
                    found.update(PLACEHOLDERS.get(prefix, [f"{prefix}<source>"]))
                case ast.Call(func=ast.Attribute(attr="_drop"), args=[ast.Constant(value=str(name)), *_]):
                    found.add(name)
    return found


def test_every_statistic_is_documented_and_no_other() -> None:
    """Those of the acceptor and the streams are added by the node."""
    if not PAGE.exists():
        pytest.skip("the documentation is not part of an installation")
    rows = PAGE.read_text(encoding="utf-8").partition("## Statistics")[2]
    documented = set(re.findall(r"^\| `([a-z_<>]+)` \|", rows, flags=re.MULTILINE))
    assert documented == counted() | {"connections_refused", "accept_pauses", "streams_open"}
