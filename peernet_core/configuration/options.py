"""A backend's options: from a table of the configuration file to an instance of its attrs class, strictly.

Nothing is coerced but an integer to a float. Every mistake of a table is found before any is reported.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import re
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from peernet_core.addresses import Address
from peernet_core.configuration.construction import RefusedError, construct, refusals
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.configuration.option_types import (
    LISTS,
    SCALARS,
    TABLES,
    UNIONS,
    OptionField,
    Secret,
    TypeForm,
    check_options,
    choices_of,
    describe_options,
    holds_secret,
    options_of,
    plain_type,
    words_for,
)
from peernet_core.configuration.wording import closest, hint_for, one_line, quote, show_value
from peernet_core.errors import ConfigurationError, MalformedError
from peernet_core.keys import PeerKey

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["OptionField", "Secret", "describe_options", "sole_cause", "structure_options"]

_MAX_SECRET_BYTES: Final = 64 * 1024
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")

# Types whose values stand in a file as text.
_PARSERS: Final[Mapping[TypeForm, Callable[[str], object]]] = {
    PeerKey: PeerKey.parse,
    Address: Address.parse,
    ListenAddress: ListenAddress.parse,
    IPv4Address: IPv4Address,
    IPv6Address: IPv6Address,
    IPv4Network: IPv4Network,
    IPv6Network: IPv6Network,
}


def structure_options(
    cls: type,
    table: Mapping[str, object],
    *,
    where: str,
    base: Path,
    provider: str = "",
    reserved: Collection[str] = (),
) -> object:
    """Make an instance of an attrs class from a table.

    Args:
        cls: Its fields are the options; docs/configuration.md lists the types that they may have.
        table: As TOML reads it, without the reserved keys.
        where: What every message starts with, as ``peernet.toml [discovery.lan]``.
        base: The folder that relative paths start from.
        provider: Who refuses, when the class itself raises, as ``mdns (peernet-mdns 0.1.0)``.
        reserved: Further keys of the same table, to guess from when a key is unknown.

    Raises:
        ConfigurationError: holds every mistake; what the class itself raised is its cause.
    """
    provider = provider or cls.__name__
    wrong = check_options(cls)
    if wrong:
        raise ConfigurationError([f"{where}: {provider}: {text}" for text in wrong])
    try:
        return _Reader(base).read_table(table, cls, provider=provider, reserved=reserved)
    except _MistakesError as error:
        lines = [
            f"{where}{place and ' ' + place.removeprefix('.')}: {text}" for place, text in error.mistakes
        ]
        raise ConfigurationError(lines) from sole_cause(error.causes)


def sole_cause(causes: Sequence[BaseException]) -> BaseException | None:
    """One exception that stands for all of them: for ``raise … from``, so that none is lost."""
    if len(causes) > 1:
        return BaseExceptionGroup("each of these made the configuration unusable", causes)
    return causes[0] if causes else None


class _MistakesError(Exception):
    """What is wrong with one value.

    Attributes:
        mistakes: Each with its place inside of the value (as ``.peers[0]``) and what was wrong there.
        causes: Exceptions of the class's own code.
    """

    def __init__(self, mistakes: Iterable[tuple[str, str]], causes: Iterable[BaseException] = ()) -> None:
        self.mistakes = tuple(mistakes)
        self.causes = tuple(causes)
        super().__init__(self.mistakes)

    def at(self, place: str) -> _MistakesError:
        """The same mistakes, seen from the value that has this one at `place`."""
        return _MistakesError(((place + inner, text) for inner, text in self.mistakes), self.causes)


class _MistakeError(_MistakesError):
    """One mistake, in the value as a whole."""

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__([("", text)], [] if cause is None else [cause])


class _WrongKindError(_MistakeError):
    """The value is of another kind: a list for a string, say."""

    def __init__(self, form: TypeForm, value: object, hint: str = "") -> None:
        shown = "a string" if isinstance(value, str) and holds_secret(form) else show_value(value)
        super().__init__(f"expected {words_for(form)[0]}, got {shown}{hint}")


class _Parts:
    """All that is wrong with the parts of one value."""

    def __init__(self) -> None:
        self._errors: list[_MistakesError] = []

    def add(self, place: str, error: _MistakesError) -> None:
        self._errors.append(error.at(place))

    def __bool__(self) -> bool:
        return bool(self._errors)

    def finish(self) -> None:
        if self._errors:
            raise _MistakesError(
                (mistake for error in self._errors for mistake in error.mistakes),
                (cause for error in self._errors for cause in error.causes),
            )


class _Reader:
    """Reads values by type: a cattrs converter in which each supported type has a strict hook.

    Only for types that `check_options` has passed; others would meet cattrs' own, lenient hooks.

    Args:
        base: The folder that relative paths start from.
    """

    def __init__(self, base: Path) -> None:
        self._base = base

    @functools.cached_property
    def _converter(self) -> Converter:
        from cattrs import Converter  # noqa: PLC0415 - every start would pay, and few need it

        converter = Converter()
        # The predicate registered last is asked first.
        for predicate, hook in (
            (attrs.has, self.read_table),
            (lambda form: choices_of(form) is not None, self._read_choice),
            (_is_union, self._read_union),
            (_is_list, self._read_list),
            (_is_dict, self._read_dict),
            (SCALARS.__contains__, self._read_scalar),
            (lambda form: plain_type(form) is not form, self._read_plain),
        ):
            converter.register_structure_hook_func(predicate, hook)
        # cattrs asks for these, and for all their subclasses, before any predicate.
        for scalar in (int, float, str, Path):
            converter.register_structure_hook(scalar, self._read_scalar)
        return converter

    def _read(self, value: object, form: TypeForm) -> object:
        if isinstance(form, type) and form in SCALARS:
            return self._read_scalar(value, form)
        if _is_list(form):
            return self._read_list(value, form)
        return self._converter.structure(value, typing.cast("type[object]", form))

    def _read_plain(self, value: object, form: TypeForm) -> object:
        return self._read(value, plain_type(form))

    def _read_scalar(self, value: object, form: TypeForm) -> object:
        if choices_of(form) is not None:  # an IntEnum or StrEnum
            return self._read_choice(value, form)
        if form in {Any, object}:
            return copy.deepcopy(value)
        if form is Secret:
            return self._read_secret(value)
        if form is Path or form in _PARSERS:
            if type(value) is not str:
                raise _WrongKindError(form, value)
            return self._read_path(value) if form is Path else _parse(value, form)
        if form is float and type(value) is int:
            try:
                return float(value)
            except OverflowError:
                raise _WrongKindError(form, value) from None
        if type(value) is not form:
            raise _WrongKindError(form, value)
        if isinstance(value, float) and not math.isfinite(value):
            raise _MistakeError(f"expected a finite number, got {value}")
        return value

    def _read_path(self, text: str) -> Path:
        if not text or "\0" in text:
            raise _WrongKindError(Path, text)
        try:
            return self._base / Path(text).expanduser()
        except RuntimeError:  # no such user, or no home
            raise _MistakeError(f"{quote(text)}: there is no such home folder") from None

    def _read_secret(self, value: object) -> Secret:
        if not isinstance(value, Mapping):
            raise _MistakeError(
                "a secret does not stand in the file itself; "
                'write { env = "VARIABLE" } or { file = "path" } in its place'
            )
        unknown = [key for key in value if key not in {"env", "file"}]
        if unknown:
            raise _MistakesError(
                ("", f"unknown option {quote(key)}{hint_for(key, ('env', 'file'))}") for key in unknown
            )
        if len(value) != 1:
            raise _MistakeError('expected one of { env = "VARIABLE" } and { file = "path" }')
        [(kind, name)] = value.items()
        try:
            return self._read_secret_from(kind, name)
        except _MistakesError as error:
            raise error.at(f".{kind}") from None

    def _read_secret_from(self, kind: str, name: object) -> Secret:
        if kind == "file":
            return _secret_in(typing.cast("Path", self._read(name, Path)))
        if type(name) is not str or not name:
            raise _MistakeError(f"expected the name of a variable, got {show_value(name)}")
        text = os.environ.get(name)
        if not text:
            raise _MistakeError(
                f"the environment variable {quote(name)} is {'not set' if text is None else 'empty'}"
            )
        return Secret(text)

    def _read_choice(self, value: object, form: TypeForm) -> object:
        choices = choices_of(form) or ()
        for choice in choices:
            if type(choice) is type(value) and choice == value:
                return form(value) if isinstance(form, type) and issubclass(form, Enum) else choice
        texts = [choice for choice in choices if isinstance(choice, str)]
        guess = closest(value, texts) if isinstance(value, str) else None
        raise _WrongKindError(form, value, "" if guess is None else f"; did you mean {quote(guess)}?")

    def _read_union(self, value: object, form: TypeForm) -> object:
        members = [member for member in typing.get_args(form) if member is not type(None)]
        if value is None and len(members) < len(typing.get_args(form)):
            return None
        if len(members) == 1:
            return self._read(value, members[0])
        results: list[object] = []
        failures: list[_MistakesError] = []
        for member in members:
            try:
                results.append(self._read(value, member))
            except _MistakesError as error:
                failures.append(error)
        if results:
            # 3 is an integer where integers and floats may stand, whichever the author wrote first.
            return next((result for result in results if type(result) is type(value)), results[0])
        # A member of the right kind knows best what is wrong with the value.
        fitting = [failure for failure in failures if not isinstance(failure, _WrongKindError)]
        if len(fitting) == 1 or any(place for failure in fitting for place, _ in failure.mistakes):
            raise min(fitting, key=lambda failure: len(failure.mistakes))
        raise _WrongKindError(form, value)

    def _read_list(self, value: object, form: TypeForm) -> object:
        if not isinstance(value, list | tuple):  # tuples come from code, not from TOML
            raise _WrongKindError(form, value)
        origin: Any = typing.get_origin(form)
        forms = typing.get_args(form)
        if origin is not tuple or forms[-1] is ...:
            forms = (forms[0],) * len(value)
        elif len(value) != len(forms):
            raise _MistakeError(f"expected {words_for(form)[0]}, got a list of {len(value)}")
        items: list[object] = []
        parts = _Parts()
        for index, (item, item_form) in enumerate(zip(value, forms, strict=True)):
            try:
                items.append(self._read(item, item_form))
            except _MistakesError as error:
                parts.add(f"[{index}]", error)
        parts.finish()
        if origin in {set, frozenset}:
            try:
                return origin(items)
            except TypeError as error:  # items that cannot be hashed
                raise _MistakeError(one_line(error), error) from None
        return items if origin is list else tuple(items)

    def _read_dict(self, value: object, form: TypeForm) -> dict[str, object]:
        if not isinstance(value, Mapping):
            raise _WrongKindError(form, value)
        items: dict[str, object] = {}
        parts = _Parts()
        for key, item in value.items():
            try:
                items[key] = self._read(item, typing.get_args(form)[1])
            except _MistakesError as error:
                parts.add("." + (key if _BARE_KEY.fullmatch(key) else quote(key)), error)
        parts.finish()
        return items

    def read_table(
        self, value: object, cls: type, *, provider: str = "", reserved: Collection[str] = ()
    ) -> object:
        """Make an instance of an attrs class; see `structure_options`."""
        if not isinstance(value, Mapping):
            raise _WrongKindError(cls, value)
        options = {option.key: option for option in options_of(cls)}
        arguments: dict[str, object] = {}
        parts = _Parts()
        for key, item in value.items():
            if key not in options:
                hint = hint_for(key, options, also=reserved)
                parts.add("", _MistakeError(f"unknown option {quote(key)}{hint}"))
                continue
            try:
                arguments[key] = self._read(item, options[key].type)
            except _MistakesError as error:
                parts.add(f".{key}", error)
        for key, option in options.items():
            if key not in value and option.field.default is attrs.NOTHING:
                parts.add("", _MistakeError(f"missing option {quote(key)} ({words_for(option.type)[0]})"))
        if parts:
            # What can be validated already is: the reader wants all mistakes at once. Other exceptions than
            # ValueError may just come from what is missing.
            early = ((key, why) for key, why in refusals(cls, arguments) if isinstance(why, ValueError))
            parts.add("", _refused(early, provider))
            parts.finish()
        try:
            return construct(cls, arguments)
        except RefusedError as error:
            raise _refused(error.refusals, provider) from None


def _refused(refused: Iterable[tuple[str | None, BaseException]], provider: str) -> _MistakesError:
    mistakes: list[tuple[str, str]] = []
    causes: list[BaseException] = []
    for key, why in refused:
        text = one_line(why)
        if key is not None:
            # attrs' own validators name the field first.
            mistakes.append((f".{key}", re.sub(rf"\A'_*{key}' ", "", text)))
        else:
            mistakes.append(("", f"{provider} refused these options: {text}" if provider else text))
        causes.append(why)
    return _MistakesError(mistakes, causes)


def _is_union(form: TypeForm) -> bool:
    return typing.get_origin(form) in UNIONS


def _is_list(form: TypeForm) -> bool:
    origin: TypeForm = typing.get_origin(form)
    return origin is tuple or origin in LISTS


def _is_dict(form: TypeForm) -> bool:
    origin: TypeForm = typing.get_origin(form)
    return origin in TABLES


def _parse(text: str, form: TypeForm) -> object:
    try:
        return _PARSERS[form](text)
    except MalformedError as error:
        raise _MistakeError(str(error)) from None
    except ValueError:
        # No _WrongKindError: a text is the right kind, and among the members of a union that counts.
        raise _MistakeError(f"expected {words_for(form)[0]}, got {quote(text)}") from None


def _secret_in(path: Path) -> Secret:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise _MistakeError(f"{quote(str(path))} cannot be read: {reason}") from None
    if len(data) > _MAX_SECRET_BYTES:
        raise _MistakeError(f"{quote(str(path))} is too large to be a secret")
    try:
        text = data.decode()
    except UnicodeDecodeError:  # not kept as a cause: it carries what was read
        raise _MistakeError(f"{quote(str(path))} is not UTF-8 text") from None
    text = re.sub(r"\r?\n\Z", "", text)
    if not text:
        raise _MistakeError(f"{quote(str(path))} is empty")
    return Secret(text)
