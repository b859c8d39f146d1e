"""Making an instance of an attrs class whose arguments may be refused, and finding out which of them were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

__all__ = ["RefusedError", "construct", "default_of", "refusals"]


class RefusedError(Exception):
    """The class, or code that it names for its fields, raised.

    Attributes:
        refusals: Each exception with the argument that caused it; None: it was no single one.
    """

    def __init__(self, refusals: Iterable[tuple[str | None, BaseException]]) -> None:
        self.refusals = tuple(refusals)
        super().__init__(self.refusals)


def construct(cls: type, arguments: Mapping[str, object]) -> object:
    """Call a class.

    Raises:
        RefusedError: whatever a validator, a converter or the class itself raised, all of them at once.
    """
    try:
        return cls(**arguments)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the class is somebody else's code
        found: list[tuple[str | None, BaseException]] = list(refusals(cls, arguments))
        raise RefusedError(found or [(None, error)]) from None


def refusals(cls: type, arguments: Mapping[str, object]) -> Iterator[tuple[str, Exception]]:
    """Try the fields one by one: attrs stops at the first that fails, and does not say which it is.

    Args:
        cls: An attrs class.
        arguments: Those of its ``__init__``; where some are missing, what needs them fails as well.
    """
    try:
        instance: object = object.__new__(cls)
    except TypeError:  # an abstract class; no field is to blame
        return
    validated = []
    for field in attrs.fields(cls):
        key = field.alias or field.name
        try:
            given = field.init and key in arguments
            value = arguments[key] if given else default_of(field, instance)
            if value is attrs.NOTHING:
                continue
            value = _converted(field, value, instance)
            object.__setattr__(instance, field.name, value)
        except Exception as error:  # noqa: BLE001  # a default's or a converter's code
            yield key, error
        else:
            validated.append((key, field, value))
    for key, field, value in validated:
        if field.validator is not None:
            try:
                field.validator(instance, field, value)
            except Exception as error:  # noqa: BLE001  # a validator's code
                yield key, error


def default_of(field: attrs.Attribute[Any], instance: object) -> object:
    """The value that a field has when it is not given; attrs.NOTHING: it must be."""
    default: Any = field.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, for which attrs' stub has a function
        return default
    return default.factory(instance) if default.takes_self else default.factory()


def _converted(field: attrs.Attribute[Any], value: object, instance: object) -> object:
    converter: Any = field.converter
    if converter is None:
        return value
    if isinstance(converter, attrs.Converter):
        return converter(value, instance, field)  # type: ignore[operator]  # attrs' stub leaves out __call__
    return converter(value)
