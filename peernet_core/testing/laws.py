"""How a broken law is told: which law it is, what was seen, and what mends it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import pytest

__all__ = ["LawBrokenError", "hint_of", "law"]

_L = TypeVar("_L", bound=Callable[..., Coroutine[Any, Any, None]])
_HINT: Final = "__peernet_hint__"


class LawBrokenError(AssertionError):
    """A backend does not keep a law; the text is what was seen."""


def law(hint: str) -> Callable[[_L], _L]:
    """Make a test of a law: its docstring is the law, and its failure says so.

    Args:
        hint: How a backend that breaks it is mended, most likely.
    """

    def decorate(test: _L) -> _L:
        sentence = " ".join((test.__doc__ or "").split())

        @functools.wraps(test)
        async def run(*arguments: object, **fixtures: object) -> None:
            report = ""
            try:
                await test(*arguments, **fixtures)
            except LawBrokenError as broken:
                # Our own lines would tell nobody anything; those of the backend do.
                if broken.__cause__ is not None:
                    report = "".join(traceback.format_exception(broken.__cause__)) + "\n"
                report += f"  law:  {sentence}\n  seen: {broken}\n  hint: {hint}"
            if report:
                pytest.fail(report, pytrace=False)

        setattr(run, _HINT, hint)
        return pytest.mark.anyio(run)  # type: ignore[no-any-return]  # a mark returns what it is put on

    return decorate


def hint_of(test: object) -> str | None:
    """The hint of a test that `law` made; None for any other."""
    hint: str | None = getattr(test, _HINT, None)
    return hint
