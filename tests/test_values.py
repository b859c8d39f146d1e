"""Classes that share their methods, which do what those of attrs would."""

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


def test_instances_are_compared_by_the_fields_that_count() -> None:
    """Equal and of one hash where these are equal; a field with `eq=False` does not count."""
    one, same = Ours(3), Ours(3)
    object.__setattr__(one, "nothing", "something")
    assert one == same
    assert hash(one) == hash(same)
    assert len({Ours(3), Ours(3), Ours(4), Ours(3, "b")}) == 3


def test_classes_without_fields_are_compared_by_class() -> None:
    """As the signals of a program are."""

    @frozen
    class Stop:
        pass

    @frozen
    class Go:
        pass

    assert Stop() == Stop()
    assert len({Stop(), Stop(), Go()}) == 2


def test_a_subclass_is_another_class() -> None:
    """An instance of it equals none of its base, whichever side is asked."""

    @frozen
    class More(Ours):
        more: int = 0

    assert More(3) == More(3)
    assert More(3) != More(3, more=1)
    assert More(3) != Ours(3)
    assert Ours(3) != More(3)


def test_what_changes_has_no_hash() -> None:
    """It would be lost in a set; by identity, where it asks for that, it has one."""

    @define
    class Changing:
        number: int

    @define(eq=False)
    class Itself:
        number: int

    assert Changing(3) == Changing(3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Changing(3))
    assert Itself(3) != Itself(3)
    assert hash(Itself(3)) != hash(Itself(3))


def test_a_class_keeps_a_comparison_of_its_own() -> None:
    """And what it asks attrs for: an order, or a hash that is kept."""

    @frozen
    class Alike:
        number: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Alike)

        def __hash__(self) -> int:
            return 1

    @frozen(order=True)
    class Ordered:
        number: int

    @frozen(cache_hash=True)
    class Kept:
        number: int

    assert Alike(3) == Alike(4)
    assert Ordered(3) < Ordered(4)
    assert Kept(3) == Kept(3)
    assert hash(Kept(3)) == hash(Kept(3))


def test_all_else_is_what_attrs_makes() -> None:
    """Frozen, slotted, compared and hashed by its fields, and matched by position."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Ours(3).number = 4  # type: ignore[misc]  # that is the point
    assert Ours(3) == Ours(3) != Ours(4)
    assert not hasattr(Ours(3), "__dict__")
    assert Ours.__match_args__ == Stock.__match_args__
