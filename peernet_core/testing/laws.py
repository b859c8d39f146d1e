"""How a broken law is told: which law it is, what was seen, and what mends it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from peernet_core.backends.containment import describe

__all__ = ["LawBrokenError", "hint_of", "law"]

_L = TypeVar("_L", bound=Callable[..., Coroutine[Any, Any, None]])
_HINT: Final = "__peernet_hint__"
_OUR_FOLDER: Final = f"{Path(__file__).parents[1]}/"


class LawBrokenError(AssertionError):
    """A backend does not keep a law.

    Args:
        seen: What was seen.
        hint: What mends it, where that is not the law's own hint.
    """

    def __init__(self, seen: str, *, hint: str | None = None) -> None:
        super().__init__(seen)
        self.hint = hint


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
                report = _report(sentence, str(broken), broken.hint or hint, broken.__cause__)
            except Exception as error:  # noqa: BLE001 - of the backend's or of the test class's own code
                report = _report(sentence, describe(error), hint, error)
            if report:
                pytest.fail(report, pytrace=False)

        setattr(run, _HINT, hint)
        return pytest.mark.anyio(run)  # type: ignore[no-any-return]  # a mark returns what it is put on

    return decorate


def hint_of(test: object) -> str | None:
    """The hint of a test that `law` made; None for any other."""
    hint: str | None = getattr(test, _HINT, None)
    return hint


def _report(law: str, seen: str, hint: str, cause: BaseException | None) -> str:
    text = f"  law:  {law}\n  seen: {seen}\n  hint: {hint}"
    if cause is None:
        return text
    # Our own lines would tell nobody anything; those of the backend do.
    told = traceback.TracebackException.from_exception(cause)
    told.stack = traceback.StackSummary.from_list(
        [frame for frame in told.stack if not frame.filename.startswith(_OUR_FOLDER)]
    )
    return "".join(told.format()) + "\n" + text
