"""Types of options have names for people, and those that no file can give are told to the author."""

from __future__ import annotations

import enum
import sys
import typing
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType

import attrs
import pytest

from peernet_core.addresses import Address
from peernet_core.configuration.option_types import (
    OptionField,
    Secret,
    UnsupportedTypeError,
    check_options,
    describe_options,
    options_of,
    plain_type,
    words_for,
)
from peernet_core.keys import PeerKey

if TYPE_CHECKING:
    from decimal import Decimal  # noqa: TC004  # the mistake that the tests are about

Seconds = NewType("Seconds", float)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Odd(enum.Enum):
    PAIR = (1, 2)


@attrs.frozen
class Peer:
    key: PeerKey
    address: Address | None = None


@attrs.frozen
class Tree:
    branches: list[Tree] = attrs.field(factory=list)
    leaf: complex = 0j


@pytest.mark.parametrize(
    ("form", "singular", "plural"),
    [
        (str, "a string", "strings"),
        (bool, "true or false", "booleans"),
        (list[str], "a list of strings", "lists of strings"),
        (list[list[int]], "a list of lists of integers", "lists of lists of integers"),
        (tuple[float, ...], "a list of numbers", "lists of numbers"),
        (tuple[int, str], "a list of an integer and a string", "lists of an integer and a string"),
        (Sequence[Path], "a list of paths", "lists of paths"),
        (dict[str, int], "a table of integers", "tables of integers"),
        (Mapping[str, list[int]], "a table of lists of integers", "tables of lists of integers"),
        (int | None, "an integer", "integers"),
        (typing.Union[int, str, None], "an integer or a string", "integers or strings"),  # noqa: UP007  # both spellings count
        (IPv4Address | IPv6Address, "an IPv4 address or an IPv6 address", "IPv4 addresses or IPv6 addresses"),
        (Literal["a", 2, True], '"a", 2 or true', '"a", 2 or true'),
        (Colour, '"red" or "blue"', '"red" or "blue"'),
        (list[Colour], 'a list of "red" or "blue"', 'lists of "red" or "blue"'),
        (Peer, "a table", "tables"),
        (list[Peer], "a list of tables", "lists of tables"),
        (PeerKey, "a key", "keys"),
        (Seconds, "a number", "numbers"),
        (Annotated[Seconds, ["not hashable"]], "a number", "numbers"),
        (Secret, "a secret", "secrets"),
        (Any, "any value", "any values"),
    ],
)
def test_each_type_has_words(form: object, singular: str, plural: str) -> None:
    """They are what a message calls the values that it expected."""
    assert words_for(form) == (singular, plural)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (complex, "complex is no type of options"),
        (bytes, "bytes is no type of options"),
        (list, r"say of what: list\[str\]"),
        (dict, r"say of what: dict\[str, str\]"),
        (typing.List, "List is no type of options"),  # noqa: UP006  # an author may still write it
        (dict[int, str], r"dict\[int, str\] is no type of options"),
        (list[complex], "complex is no type of options"),
        (int | complex, "complex is no type of options"),
        (Odd, "Odd has values that a TOML file cannot hold"),
        (Literal[b"x"], "has values that a TOML file cannot hold"),
        (None, "it has no type"),
        (tuple[()], "is no type of options"),
    ],
)
def test_other_types_are_refused(form: object, reason: str) -> None:
    """The message is for the backend's author."""
    with pytest.raises(UnsupportedTypeError, match=reason):
        words_for(form)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement came with Python 3.12")
def test_type_aliases_are_looked_through() -> None:
    """An alias made by the type statement stands for what it names."""
    alias = vars(typing)["TypeAliasType"]("Names", list[str])
    assert plain_type(alias) == list[str]
    assert words_for(alias)[0] == "a list of strings"


@attrs.define(eq=False)
class Described:
    """A backend that looks at a folder.

    It says more here,
    over two lines.

    Attributes:
        path: Where the others
            write their records.
        poll_s (float): How often to look.
        interfaces: Not what the metadata says.

    Raises:
        nothing: at all
    """

    path: Path
    poll_s: float = 1.0
    interfaces: list[str] = attrs.field(factory=list, metadata={"meaning": "Which interfaces."})
    colour: Colour = Colour.BLUE
    home: Path = Path("/srv")
    token: Secret | None = None
    table: dict[str, list[int]] = attrs.field(factory=lambda: {"a": [1]})
    alias: str = attrs.field(default=attrs.Factory(lambda self: str(self.path), takes_self=True))
    _private: bool = True
    task: object = attrs.field(init=False, default=None)


def test_options_are_described_for_people() -> None:
    """Name, type, default and meaning: what a reader of a configuration wants to know."""
    assert describe_options(Described) == (
        OptionField("path", "a path", None, "Where the others write their records."),
        OptionField("poll_s", "a number", "1.0", "How often to look."),
        OptionField("interfaces", "a list of strings", "[]", "Which interfaces."),
        OptionField("colour", '"red" or "blue"', '"blue"', ""),
        OptionField("home", "a path", '"/srv"', ""),
        OptionField("token", "a secret", "none", ""),
        OptionField("table", "a table of lists of integers", "{ a = [1] }", ""),
        OptionField("alias", "a string", "made by the backend", ""),
        OptionField("private", "true or false", "true", ""),
    )


@attrs.define
class Limit:
    """How much is too much.

    Attributes:
        most: As many.
    """

    most: int
    within: list[Limit] = attrs.field(factory=list)


@attrs.define
class Limited:
    limit: Limit | None = None
    limits: list[Limit] = attrs.field(factory=list)
    named: dict[str, tuple[Limit, ...]] = attrs.field(factory=dict)


def test_tables_inside_of_the_table_are_described_as_well() -> None:
    """Each with its place; one that holds itself comes to an end."""
    described = {
        each.name: (each.type_text, each.default_text, each.meaning) for each in describe_options(Limited)
    }
    for place in ("limit", "limits[]", "named.*[]"):
        assert described.pop(f"{place}.most") == ("an integer", None, "As many.")
        assert described.pop(f"{place}.within") == ("a list of tables", "[]", "")
    assert described == {
        "limit": ("a table", "none", ""),
        "limits": ("a list of tables", "[]", ""),
        "named": ("a table of lists of tables", "{}", ""),
    }


@attrs.define
class Unresolved:
    path: Path
    amount: Decimal
    nested: list[Decimal]
    mine: Decimal = attrs.field(init=False)


def test_a_type_for_checkers_only_is_explained() -> None:
    """What is imported under TYPE_CHECKING is not there at run time; the message names field and remedy."""
    remedy = (
        "name 'Decimal' is not defined; options are read at run time: "
        'import it outside "if TYPE_CHECKING:" '
        '(if ruff\'s TC rules moved it there, set runtime-evaluated-decorators = ["attrs.define"])'
    )
    assert check_options(Unresolved) == (
        f'option "amount": its type "Decimal" cannot be resolved: {remedy}',
        f'option "nested": its type "list[Decimal]" cannot be resolved: {remedy}',
    )


def test_the_types_of_fields_that_are_no_options_do_not_matter() -> None:
    """A backend's own state may have any type, and one that exists for type checkers only."""

    @attrs.define
    class Stateful:
        name: str
        amount: Decimal = attrs.field(init=False)
        socket: complex = attrs.field(init=False)

    assert check_options(Stateful) == ()
    assert [option.key for option in options_of(Stateful)] == ["name"]


def test_inherited_options_resolve_where_they_were_written() -> None:
    """A subclass in another module has its own names; the annotation means what it meant to the base."""
    child = type("Child", (Described,), {"__module__": "typing", "__annotations__": {}})
    assert check_options(attrs.define(eq=False, slots=False)(child)) == ()


@attrs.define
class Enclosing:
    @attrs.define
    class Inner:
        name: str

    inner: list[Inner]


def test_a_class_inside_of_the_class_resolves() -> None:
    """An annotation sees the names of the class body."""
    assert check_options(Enclosing) == ()
    assert [option.type for option in options_of(Enclosing)] == [list[Enclosing.Inner]]


def test_nested_classes_are_checked_once_each() -> None:
    """Their mistakes count as well, and a class that contains itself ends."""

    @attrs.define
    class Forest:
        trees: dict[str, list[Tree]]
        more: Tree | None = None

    assert check_options(Forest) == (
        'option "leaf" cannot be read from a file: complex is no type of options',
    )


def test_a_field_without_an_annotation_is_told() -> None:
    """It could hold anything, and strictness would be gone."""
    untyped = attrs.make_class("untyped", ["name"])
    assert check_options(untyped) == ('option "name" cannot be read from a file: it has no type',)


def test_reserved_keys_are_refused_as_options_by_their_key() -> None:
    """What counts is what would stand in the file: the alias, not the field."""

    @attrs.define
    class Colliding:
        required: bool = False
        _restart: bool = False
        enabled: bool = attrs.field(default=False, alias="on")
        advertise: bool = attrs.field(default=False, init=False)

    assert check_options(Colliding, reserved=("required", "restart", "enabled", "advertise")) == (
        'option "required" has the name of a reserved key; rename it',
        'option "restart" has the name of a reserved key; rename it',
    )
