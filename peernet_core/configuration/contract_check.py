"""Whether a class keeps the contract with backends, found out before any of its hooks is called.

pluggy passes a misspelt hook and one without a decorator in silence; here each is an error that says so.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType
from typing import Final

import attrs
import pluggy

from peernet_core.configuration.option_types import check_options
from peernet_core.configuration.wording import hint_for, join_words, quote
from peernet_core.contract import PROJECT, DiscoverySpec

__all__ = ["HOOKS", "check_class", "has_hook"]

_FORBIDDEN: Final = ("wrapper", "hookwrapper", "specname", "tryfirst", "trylast")

# How alike a name is to a hook's. Slips: `anounce_self` 0.95, `stopp` 0.89. Names in their own right:
# `restart` and `started` 0.83, `step` 0.75, `announce_peer` 0.73.
_SLIP: Final = 0.85
# Swapped letters cost much in so short a name: `strat` 0.8, `sotp` 0.75; `post` 0.5.
_SWAP: Final = 0.7

_plugins: Final = pluggy.PluginManager(PROJECT)


def _parameters_of_hooks() -> dict[str, tuple[str, ...]]:
    hooks = {}
    for name, function in vars(DiscoverySpec).items():
        if _plugins.parse_hookspec_opts(DiscoverySpec, name) is not None:
            hooks[name] = tuple(inspect.signature(function).parameters)[1:]
    return hooks


HOOKS: Final[Mapping[str, tuple[str, ...]]] = _parameters_of_hooks()
"""Every hook with the names of its parameters, without ``self``."""


def check_class(cls: object, *, reserved: Collection[str] = ()) -> tuple[str, ...]:
    """Say how a class breaks the contract with backends.

    Args:
        cls: What an entry point names.
        reserved: Keys that none of its options may have.

    Returns:
        What is wrong, a line each; empty: nothing is.
    """
    if not isinstance(cls, type):
        return (f"the entry point names an object of type {type(cls).__name__}, not a class",)
    if not attrs.has(cls):
        return ("it is no attrs class; decorate it with @attrs.define(eq=False)",)
    hooks = [problem for name in HOOKS for problem in _check_hook(cls, name)]
    others = [problem for name in dir(cls) if name not in HOOKS for problem in _check_other(cls, name)]
    return (*_check_shape(cls), *hooks, *others, *check_options(cls, reserved=reserved))


def has_hook(cls: type, name: str) -> bool:
    """Whether a class that keeps the contract has this hook."""
    hook = inspect.getattr_static(cls, name, None)
    return hook is not None and hook is not inspect.getattr_static(DiscoverySpec, name)


def _check_shape(cls: type) -> Iterator[str]:
    if "__attrs_attrs__" not in vars(cls):
        annotations = inspect.get_annotations(cls)
        lost = [name for name, form in annotations.items() if "ClassVar" not in str(form)]
        if lost:
            names = join_words(map(quote, lost), "and")
            yield f"{names} would be no options: decorate the subclass too, with @attrs.define(eq=False)"
    if inspect.isabstract(cls):
        names = join_words(sorted(cls.__abstractmethods__), "and")  # type: ignore[attr-defined]  # isabstract says so
        yield f"it is abstract: {names}"
    if any(inspect.getattr_static(cls, name) is not vars(object)[name] for name in ("__eq__", "__hash__")):
        yield "two instances with the same options would be taken for one: use @attrs.define(eq=False)"
    refresh_s = inspect.getattr_static(cls, "refresh_s", None)
    if refresh_s is not None and "refresh_s" not in attrs.fields_dict(cls):
        number = type(refresh_s) in {int, float} and math.isfinite(refresh_s) and refresh_s > 0
        if not number:
            yield "refresh_s is a number of seconds above 0"


def _check_hook(cls: type, name: str) -> Iterator[str]:
    if name in attrs.fields_dict(cls):
        yield f"the field {quote(name)} has the name of a hook"
        return
    hook = inspect.getattr_static(cls, name, None)
    if not has_hook(cls, name):
        if name == "start":
            yield "it has no start, the one hook that must be there"
        return
    if not inspect.isfunction(hook):
        yield f"{name} must be a method, not of type {type(hook).__name__}"
        return
    options = _plugins.parse_hookimpl_opts(cls, name)
    if options is None:
        yield f"{name} lacks @hookimpl, so it would never be called"
    else:
        yield from _check_decorator(name, options)
    if inspect.isasyncgenfunction(hook):
        yield f"{name} yields; a hook is a plain coroutine function"
    elif not inspect.iscoroutinefunction(hook):
        yield f"{name} is no coroutine function; write async def {name}"
    yield from _check_parameters(name, inspect.signature(hook))


def _check_decorator(name: str, options: Mapping[str, object]) -> Iterator[str]:
    for option in _FORBIDDEN:
        if options.get(option):
            yield f"@hookimpl({option}=…) on {name} is not supported"


def _check_parameters(name: str, signature: inspect.Signature) -> Iterator[str]:
    found = list(signature.parameters.values())
    expected = ("self", *HOOKS[name])
    # pluggy passes what it finds by name: 1.6 leaves out a parameter with a default, 1.7 does not.
    if (
        len(found) != len(expected)
        or tuple(parameter.name for parameter in found[1:]) != HOOKS[name]
        or any(parameter.kind is not parameter.POSITIONAL_OR_KEYWORD for parameter in found[1:])
        or any(parameter.default is not parameter.empty for parameter in found)
    ):
        plain = [parameter.replace(annotation=parameter.empty) for parameter in found]
        shown = str(inspect.Signature(plain))
        yield f"{name} takes {shown}; it must take ({', '.join(expected)})"


def _check_other(cls: type, name: str) -> Iterator[str]:
    if name.startswith("__"):
        return
    member = inspect.getattr_static(cls, name, None)
    if not isinstance(member, FunctionType | staticmethod | classmethod):
        return  # pluggy takes nothing else for a hook, and 1.6 would run a descriptor to find out
    options = _plugins.parse_hookimpl_opts(cls, name)
    if options is not None:
        yield from _check_decorator(name, options)
        # A hook that a later core may have; an older one passes it over.
        if not options.get("optionalhook"):
            yield f"{quote(name)} is no hook{hint_for(name, HOOKS)}"
    elif inspect.isfunction(member) and not name.startswith("_"):
        meant = next((hook for hook in HOOKS if _is_slip(name, hook)), None)
        if meant is not None:
            yield (
                f"{quote(name)} looks like the hook {quote(meant)} but lacks @hookimpl; if it is none, "
                "give it another name or a leading underscore"
            )


def _is_slip(name: str, hook: str) -> bool:
    written, meant = (text.replace("_", "").casefold() for text in (name, hook))
    ratio = difflib.SequenceMatcher(a=written, b=meant).ratio()
    return ratio >= _SLIP or (ratio >= _SWAP and sorted(written) == sorted(meant))
