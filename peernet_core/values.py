"""`attrs.frozen` and `attrs.define`, with methods that all classes share.

attrs writes and compiles a `__repr__`, an `__eq__` and a `__hash__` for each class. That is half of what it
costs to make one, and a node that starts makes a hundred: 20 ms of it. Type checkers see attrs itself.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import attrs

__all__ = ["define", "frozen"]

_COMPARED_BY_ATTRS: Final = {"hash", "unsafe_hash", "cache_hash", "order"}
_COMPARED_BY_ITSELF: Final = {"__eq__", "__ne__", "__hash__"}


@reprlib.recursive_repr()
def _repr(self: Any) -> str:  # noqa: ANN401 - an instance of any such class
    """Write an instance as attrs does."""
    shown = [
        f"{field.name}={getattr(self, field.name, attrs.NOTHING)!r}"
        for field in attrs.fields(type(self))
        if field.repr
    ]
    return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


def _compare(made: Any, *, hashable: bool) -> None:  # noqa: ANN401 - any such class
    """Give a class the `__eq__` and the `__hash__` that attrs would write for it."""
    names = [field.name for field in attrs.fields(made) if field.eq]
    values: Callable[[object], object] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: object, other: object) -> bool:  # noqa: N807 - it becomes one
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    def __hash__(self: object) -> int:  # noqa: N807 - the same
        return hash(values(self))

    made.__eq__ = __eq__
    made.__hash__ = __hash__ if hashable else None


def _sharing(maker: Callable[..., Any], *, hashable: bool) -> Callable[..., Any]:
    def make(cls: type | None = None, **options: Any) -> Any:  # noqa: ANN401 - whatever attrs takes and gives
        if cls is None:
            return lambda decorated: make(decorated, **options)
        own = vars(cls).keys()
        elsewhere = options.keys() & _COMPARED_BY_ATTRS or own & _COMPARED_BY_ITSELF
        compares = options.get("eq", True) and not elsewhere
        made = maker(cls, **{**options, "repr": False, **({"eq": False} if compares else {})})
        if compares:
            _compare(made, hashable=hashable)
        if "__repr__" not in own and options.get("repr", True):
            made.__repr__ = _repr
        return made

    return make


if TYPE_CHECKING:
    from attrs import define, frozen
else:
    define = _sharing(attrs.define, hashable=False)
    frozen = _sharing(attrs.frozen, hashable=True)
