"""Classes that share one `__repr__`, which writes what attrs would."""

from __future__ import annotations

import attrs
import pytest

from peernet_core.values import define, frozen


@attrs.frozen
class Stock:
    number: int
    text: str = "a'b"
    secret: str = attrs.field(default="hidden", repr=False)
    nothing: object = attrs.field(init=False, eq=False)


@frozen
class Ours:
    number: int
    text: str = "a'b"
    secret: str = attrs.field(default="hidden", repr=False)
    nothing: object = attrs.field(init=False, eq=False)


def test_an_instance_is_written_as_attrs_writes_it() -> None:
    """Fields that are not shown, and one that was never set, included."""
    assert repr(Ours(3)) == repr(Stock(3)).replace("Stock", "Ours")
    assert "hidden" not in repr(Ours(3))


def test_a_nested_class_is_written_without_what_it_stands_in() -> None:
    """As attrs does: its name alone, where a function made it."""

    @frozen
    class Local:
        inner: Ours

    assert repr(Local(Ours(3))) == f"Local(inner={Ours(3)!r})"


def test_a_class_that_holds_itself_can_be_written() -> None:
    """And does not recurse for ever."""

    @define(eq=False)
    class Node:
        other: object = None

    node = Node()
    node.other = node
    assert repr(node) == "Node(other=...)"


def test_a_class_keeps_a_repr_of_its_own() -> None:
    """It says more than we could."""

    @frozen
    class Own:
        number: int

        def __repr__(self) -> str:
            return "own"

    @frozen(repr=False)
    class Without:
        number: int

    assert repr(Own(3)) == "own"
    assert "number" not in repr(Without(3))


def test_all_else_is_what_attrs_makes() -> None:
    """Frozen, slotted, compared and hashed by its fields, and matched by position."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Ours(3).number = 4  # type: ignore[misc]  # that is the point
    assert Ours(3) == Ours(3) != Ours(4)
    assert not hasattr(Ours(3), "__dict__")
    assert Ours.__match_args__ == Stock.__match_args__
