"""The hook reference is made from the contract, and nothing of the contract is without words."""

from __future__ import annotations

import ast

import pytest
from hook_reference import GIVEN, PAGE, render, undocumented
from pages import PAGES, blocks

from peernet_core import contract
from peernet_core.configuration.contract_check import HOOKS
from peernet_core.contract import DiscoverySpec, hookspec


def test_the_page_is_the_one_that_is_made() -> None:
    """``python docs/hook_reference.py`` writes it; nobody edits it by hand."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_everything_that_an_author_meets_is_on_the_page() -> None:
    """Every hook; and of the contract's classes all but what core alone uses."""
    page = render()
    for hook in HOOKS:
        assert f"\n### `{hook}`\n" in page
    classes = {getattr(contract, name) for name in contract.__all__}
    assert {cls for cls in classes if isinstance(cls, type)} == {DiscoverySpec, *GIVEN}


class _Bare(DiscoverySpec):
    """Has words, and hooks that have none.

    Attributes:
        gone: What is no more.
    """

    new: int

    @hookspec
    async def silent(self) -> None:
        raise NotImplementedError

    @hookspec
    async def vague(self, one: int, two: int) -> None:  # noqa: D417 - on purpose
        """Say something.

        Args:
            one: Has words.
            three: Is no parameter.
        """
        raise NotImplementedError


def test_what_has_no_words_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call, a parameter, an attribute; and words for what is not there. Then no page is made."""
    found = undocumented(_Bare)
    assert found == [
        "_Bare.gone",
        "_Bare.new",
        "_Bare.silent",
        "_Bare.vague(three)",
        "_Bare.vague(two)",
    ]
    monkeypatch.setitem(render.__globals__, "GIVEN", (_Bare,))
    with pytest.raises(ValueError, match=r"_Bare\.silent"):
        render()


def test_signatures_are_python() -> None:
    """With a body they compile; and no other page has blocks of that kind."""
    shown = [block for page in PAGES for block in blocks(page, "py")]
    assert len(shown) == render().count("```py\n")
    for block in shown:
        ast.parse(f"{block.text.rstrip()}: ...")
