"""Which types an option may have, and what their values are called.

The words serve three readers: the user whose file holds a mistake, `describe_options`, and a backend's author
whose option has a type that no TOML value can become.
"""

from __future__ import annotations

import datetime as dt
import inspect
import re
import sys
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NewType, TypeAlias, Union

import attrs

from peernet_core.addresses import Address
from peernet_core.configuration.construction import default_of
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.configuration.wording import join_words, one_line, quote, show_default, show_value
from peernet_core.keys import PeerKey
from peernet_core.values import frozen

__all__ = [
    "LISTS",
    "SCALARS",
    "TABLES",
    "UNIONS",
    "Option",
    "OptionField",
    "Secret",
    "TypeForm",
    "UnsupportedTypeError",
    "check_options",
    "choices_of",
    "describe_options",
    "holds_secret",
    "options_of",
    "plain_type",
    "words_for",
]

# What stands in an annotation: a class, a generic alias, a union… Python has no one type for them.
TypeForm: TypeAlias = object


class Secret:
    """A text that is never printed: a password, a token.

    In a file it stands as ``{ env = "VARIABLE" }`` or ``{ file = "path" }``, never as itself.

    Args:
        text: The secret.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))


class UnsupportedTypeError(TypeError):
    """No value of a file can become of this type: a mistake of the backend's author, not of the user."""


@frozen
class Option:
    """One option of a class.

    Attributes:
        key: What stands in the file: the name of the argument of ``__init__``.
        type: The annotation, resolved.
        field: The attrs field behind it.
    """

    key: str
    type: TypeForm
    field: attrs.Attribute[Any]


@frozen
class OptionField:
    """One option, for people to read.

    Attributes:
        name: The key in the table.
        type_text: What its values are, as ``a list of strings``.
        default_text: As it would stand in the file; None: the option must be given.
        meaning: The metadata's ``meaning``, else what the class's docstring says of the field; may be empty.
    """

    name: str
    type_text: str
    default_text: str | None
    meaning: str


# Each with its name in the singular, with an article, and in the plural.
SCALARS: Final[Mapping[TypeForm, tuple[str, str]]] = {
    bool: ("true or false", "booleans"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    Path: ("a path", "paths"),
    Secret: ("a secret", "secrets"),
    PeerKey: ("a key", "keys"),
    Address: ("an address (ip:port)", "addresses (ip:port)"),
    ListenAddress: ("an address (ip:port)", "addresses (ip:port)"),
    IPv4Address: ("an IPv4 address", "IPv4 addresses"),
    IPv6Address: ("an IPv6 address", "IPv6 addresses"),
    IPv4Network: ("an IPv4 network", "IPv4 networks"),
    IPv6Network: ("an IPv6 network", "IPv6 networks"),
    dt.datetime: ("a date and time", "dates and times"),
    dt.date: ("a date", "dates"),
    dt.time: ("a time of day", "times of day"),
    Any: ("any value", "any values"),
    object: ("any value", "any values"),
}
LISTS: Final = frozenset({list, set, frozenset, Sequence})
TABLES: Final = frozenset({dict, Mapping})
UNIONS: Final = frozenset({Union, types.UnionType})


def plain_type(form: TypeForm) -> TypeForm:
    """Take off what means nothing to a reader of values: Annotated, Final, NewType, a type alias."""
    while True:
        if typing.get_origin(form) in {Annotated, Final}:
            form = typing.get_args(form)[0]
        elif isinstance(form, NewType):
            form = form.__supertype__
        elif type(form).__name__ == "TypeAliasType":  # typing has it from Python 3.12 on
            form = form.__value__  # type: ignore[attr-defined]  # the line above says that it is there
        else:
            return form


def choices_of(form: TypeForm) -> tuple[object, ...] | None:
    """The values that a Literal or an Enum allows; None for other types."""
    if typing.get_origin(form) is Literal:
        return typing.get_args(form)
    if isinstance(form, type) and issubclass(form, Enum):
        return tuple(member.value for member in form)
    return None


def words_for(form: TypeForm) -> tuple[str, str]:
    """What values of a type are called: in the singular with an article, and in the plural.

    Raises:
        UnsupportedTypeError: an option cannot have this type.
    """
    form = plain_type(form)
    if _is_scalar(form):
        return SCALARS[form]
    choices = choices_of(form)
    if choices:
        if any(type(choice) not in {str, int, float, bool} for choice in choices):
            raise UnsupportedTypeError(f"{_name_of(form)} has values that a TOML file cannot hold")
        text = join_words((show_value(choice) for choice in choices), "or")
        return text, text
    if _is_attrs_class(form):
        return "a table", "tables"
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if origin in UNIONS:
        each = [words_for(member) for member in arguments if member is not type(None)]
        # dict, not set: the author's order
        singular, plural = (dict.fromkeys(words) for words in zip(*each, strict=True))
        return join_words(singular, "or"), join_words(plural, "or")
    if origin is tuple and arguments and arguments[-1] is not ...:
        text = join_words((words_for(item)[0] for item in arguments), "and")
    elif (origin in LISTS or origin is tuple) and arguments:
        text = words_for(arguments[0])[1]
    elif origin in TABLES and arguments and arguments[0] is str:
        text = words_for(arguments[1])[1]
        return f"a table of {text}", f"tables of {text}"
    else:
        raise UnsupportedTypeError(_why_unsupported(form))
    return f"a list of {text}", f"lists of {text}"


def _why_unsupported(form: TypeForm) -> str:
    if form is None:
        return "it has no type"
    if form in {list, tuple, set, frozenset}:
        return f"say of what: {_name_of(form)}[str]"
    if form is dict:
        return "say of what: dict[str, str]"
    return f"{_name_of(form)} is no type of options"


def options_of(cls: type) -> tuple[Option, ...]:
    """The options of an attrs class: its fields that ``__init__`` takes.

    Fields with ``init=False`` are the class's own business: their types need not even resolve.

    Raises:
        UnsupportedTypeError: an annotation names what the module does not have at run time.
    """
    return tuple(
        Option(key=field.alias or field.name, type=_resolve(cls, field), field=field)
        for field in attrs.fields(cls)
        if field.init
    )


def _resolve(cls: type, field: attrs.Attribute[Any]) -> TypeForm:
    if field.type is None:  # a field without an annotation
        return None
    owner = next((base for base in cls.__mro__ if field.name in inspect.get_annotations(base)), cls)
    # Not typing.get_type_hints of the class: it stops at the first annotation that fails, option or not.
    holder = types.SimpleNamespace(__annotations__={field.name: field.type})
    names = {**vars(sys.modules[owner.__module__])}
    try:
        return typing.get_type_hints(holder, names, dict(vars(owner)), include_extras=True)[field.name]
    except Exception as error:
        remedy = ""
        if isinstance(error, NameError):
            remedy = (
                '; options are read at run time: import it outside "if TYPE_CHECKING:" (if ruff\'s TC rules'
                ' moved it there, set runtime-evaluated-decorators = ["attrs.define"])'
            )
        raise UnsupportedTypeError(
            f"option {quote(field.alias or field.name)}: its type {quote(str(field.type))} cannot be "
            f"resolved: {one_line(error, named=False)}{remedy}"
        ) from error


def check_options(cls: type, *, reserved: Collection[str] = ()) -> tuple[str, ...]:
    """What is wrong with the options that a class declares: its author's mistakes, a line each.

    Args:
        cls: An attrs class; those that it nests are checked as well.
        reserved: Keys of the same table that mean something else; for the outermost class only.
    """
    keys = [field.alias or field.name for field in attrs.fields(cls) if field.init]
    collisions = [
        f"option {quote(key)} has the name of a reserved key; rename it" for key in keys if key in reserved
    ]
    return (*collisions, *_wrong_types(cls, set()))


def _wrong_types(cls: type, seen: set[type]) -> Iterator[str]:
    seen.add(cls)
    for field in attrs.fields(cls):
        if not field.init:
            continue
        try:
            form = _resolve(cls, field)
        except UnsupportedTypeError as error:
            yield str(error)
            continue
        try:
            words_for(form)
        except UnsupportedTypeError as error:
            yield f"option {quote(field.alias or field.name)} cannot be read from a file: {error}"
            continue
        for _, nested in _tables_in(form, ""):
            if nested not in seen:
                yield from _wrong_types(nested, seen)


def holds_secret(form: TypeForm) -> bool:
    """Whether a value meant for this type may be a secret that somebody wrote out."""
    form = plain_type(form)
    return form is Secret or any(holds_secret(argument) for argument in typing.get_args(form))


def describe_options(cls: type) -> tuple[OptionField, ...]:
    """What may stand in the table of a backend, beside the reserved keys.

    What stands in a table inside of it follows, as ``peers[].key`` or ``limits.most``.

    Raises:
        UnsupportedTypeError: an option has a type that it cannot have.
    """
    return tuple(_described(cls, "", ()))


def _described(cls: type, before: str, around: tuple[type, ...]) -> Iterator[OptionField]:
    meanings = _documented(cls.__doc__ or "")
    for option in options_of(cls):
        yield OptionField(
            name=before + option.key,
            type_text=words_for(option.type)[0],
            default_text=_default_text(option.field),
            meaning=option.field.metadata.get("meaning") or meanings.get(option.field.name, ""),
        )
        for place, nested in _tables_in(option.type, before + option.key):
            if nested not in (*around, cls):  # one that holds itself has been described
                yield from _described(nested, f"{place}.", (*around, cls))


def _tables_in(form: TypeForm, place: str) -> Iterator[tuple[str, type]]:
    """The attrs classes in a type, each with where its table stands."""
    form = plain_type(form)
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if _is_attrs_class(form) and not _is_scalar(form):
        yield place, form
    elif origin in TABLES:
        yield from _tables_in(arguments[1], f"{place}.*")
    elif origin in UNIONS or origin in LISTS or origin is tuple:
        inside = place if origin in UNIONS else f"{place}[]"
        for argument in dict.fromkeys(arguments):
            yield from _tables_in(argument, inside)


def _default_text(field: attrs.Attribute[Any]) -> str | None:
    try:
        default = default_of(field, None)
    except Exception:  # noqa: BLE001  # a backend's own code, which may want more than this to make a default
        return "made by the backend"
    return None if default is attrs.NOTHING else show_default(default)


def _documented(docstring: str) -> dict[str, str]:
    """What a docstring in Google's style says of each attribute."""
    meanings: dict[str, str] = {}
    name, inside = "", False
    for line in inspect.cleandoc(docstring).splitlines():
        text = line.strip()
        if text and not line.startswith(" "):
            name, inside = "", text in {"Attributes:", "Args:"}
        elif inside and (match := re.fullmatch(r"    (\w+)(?: \([^)]*\))?: (.+)", line)):
            name = match[1]
            meanings[name] = match[2]
        elif text and name in meanings:
            meanings[name] += " " + text
    return meanings


def _is_scalar(form: TypeForm) -> bool:
    try:
        return form in SCALARS
    except TypeError:  # what cannot be hashed, such as Annotated with a list
        return False


def _is_attrs_class(form: TypeForm) -> typing.TypeGuard[type]:
    # attrs.has takes a generic alias of such a class for it as well.
    return isinstance(form, type) and typing.get_origin(form) is None and attrs.has(form)


def _name_of(form: TypeForm) -> str:
    return form.__name__ if isinstance(form, type) else str(form).removeprefix("typing.")
