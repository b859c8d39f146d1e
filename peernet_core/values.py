"""`attrs.frozen` and `attrs.define`, with one `__repr__` that all classes share.

attrs writes and compiles a `__repr__` for each class. That is a third of what making a class costs, and a
node that starts makes a hundred: 15 ms of it. Type checkers see attrs itself.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

__all__ = ["define", "frozen"]


@reprlib.recursive_repr()
def _repr(self: Any) -> str:  # noqa: ANN401 - an instance of any such class
    """Write an instance as attrs does."""
    shown = [
        f"{field.name}={getattr(self, field.name, attrs.NOTHING)!r}"
        for field in attrs.fields(type(self))
        if field.repr
    ]
    return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


def _sharing(maker: Callable[..., Any]) -> Callable[..., Any]:
    def make(cls: type | None = None, **options: Any) -> Any:  # noqa: ANN401 - whatever attrs takes and gives
        if cls is None:
            return lambda decorated: make(decorated, **options)
        made = maker(cls, **{**options, "repr": False})
        if "__repr__" not in vars(cls) and options.get("repr", True):
            made.__repr__ = _repr
        return made

    return make


if TYPE_CHECKING:
    from attrs import define, frozen
else:
    define = _sharing(attrs.define)
    frozen = _sharing(attrs.frozen)
