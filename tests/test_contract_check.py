"""A class that breaks the contract is refused before any of its hooks is called, and never in silence."""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import attrs
import pytest

from peernet_core.configuration.contract_check import HOOKS, check_class
from peernet_core.contract import Announcement, Context, DiscoverySpec, hookimpl
from peernet_core.keys import PeerKey

# Much below is on purpose what a type checker would refuse.
mark: Any = hookimpl


class Touchy:
    """Something that must not be looked at on the class."""

    def __get__(self, instance: object, owner: type) -> object:
        raise AssertionError("looked at during the check")


@attrs.define(eq=False)
class Minimal:
    """The smallest backend."""

    @hookimpl
    async def start(self, context: Context) -> None: ...


@attrs.define(eq=False)
class Complete(DiscoverySpec):
    """Every hook, options, helpers, and names that resemble hooks but are none."""

    path: str = ""
    poll_s: float = 1.0
    refresh_s: ClassVar[float] = 60
    touchy: ClassVar[Touchy] = Touchy()
    _context: Context | None = attrs.field(default=None, init=False)

    @hookimpl
    async def start(self, context: Context) -> None:
        self._context = context

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None: ...

    @mark(optionalhook=True)  # type: ignore[untyped-decorator]  # see mark
    async def resolve(self, key: PeerKey) -> None: ...

    @hookimpl
    async def stop(self) -> None: ...

    @mark(optionalhook=True)  # type: ignore[untyped-decorator]  # see mark
    async def network_changed(self, network: object) -> None: ...

    def announce_peer(self) -> None: ...

    def lose_peer(self) -> None: ...

    async def restart(self) -> None: ...

    def step(self) -> None: ...

    def post(self) -> None: ...

    def _stopp(self) -> None: ...

    @property
    def resolved(self) -> bool:
        raise AssertionError("looked at during the check")


def test_the_hooks_are_those_of_the_spec() -> None:
    """Their parameters are known by name, since pluggy passes them so."""
    assert dict(HOOKS) == {
        "start": ("context",),
        "announce_self": ("announcement",),
        "resolve": ("key",),
        "stop": (),
    }


@pytest.mark.parametrize("cls", [Minimal, Complete])
def test_backends_that_keep_the_contract_pass(cls: type) -> None:
    """With or without the spec as a base, with helpers of their own."""
    assert check_class(cls) == ()


def test_a_subclass_of_a_backend_passes() -> None:
    """Undecorated when it adds no options, and its hooks may be inherited."""

    class Sub(Complete):
        async def helper(self) -> None: ...

        limit: ClassVar[int] = 3

    assert check_class(Sub) == ()


def backend(**members: Any) -> type:
    """A backend with a start and these members."""
    namespace: dict[str, Any] = {"start": Minimal.start, **members}
    return attrs.define(eq=False, slots=False)(type("Backend", (), namespace))


async def _stop(self: object) -> None: ...


def _sync(self: object) -> None: ...


async def _yielding(_self: object) -> AsyncIterator[None]:
    yield


async def _other_name(self: object, k: PeerKey) -> None: ...


async def _one_more(self: object, key: PeerKey, deep: bool) -> None: ...


async def _with_default(self: object, key: PeerKey | None = None) -> None: ...


async def _keyword_only(self: object, *, key: PeerKey) -> None: ...


async def _positional_only(self: object, key: PeerKey, /) -> None: ...


async def _anything(self: object, *args: object, **kwargs: object) -> None: ...


async def _no_self() -> None: ...


def impl(function: Any, **options: bool | str) -> Any:
    """A decorated copy, so that the tests do not see each other's marks."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return mark(**options)(copy)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"stop": _stop}, "stop lacks @hookimpl, so it would never be called"),
        ({"stop": impl(_sync)}, "stop is no coroutine function; write async def stop"),
        ({"stop": impl(_yielding)}, "stop yields; a hook is a plain coroutine function"),
        ({"stop": impl(_no_self)}, "stop takes (); it must take (self)"),
        ({"resolve": impl(_other_name)}, "resolve takes (self, k); it must take (self, key)"),
        ({"resolve": impl(_stop)}, "resolve takes (self); it must take (self, key)"),
        ({"resolve": impl(_one_more)}, "resolve takes (self, key, deep); it must take (self, key)"),
        ({"resolve": impl(_with_default)}, "resolve takes (self, key=None); it must take (self, key)"),
        ({"resolve": impl(_keyword_only)}, "resolve takes (self, *, key); it must take (self, key)"),
        ({"resolve": impl(_positional_only)}, "resolve takes (self, key, /); it must take (self, key)"),
        ({"resolve": impl(_anything)}, "resolve takes (self, *args, **kwargs); it must take (self, key)"),
        ({"stop": staticmethod(impl(_stop))}, "stop must be a method, not of type staticmethod"),
        ({"stop": classmethod(impl(_stop))}, "stop must be a method, not of type classmethod"),
        ({"stop": property(impl(_sync))}, "stop must be a method, not of type property"),
        ({"stop": 3}, "stop must be a method, not of type int"),
        ({"stop": impl(_stop, tryfirst=True)}, "@hookimpl(tryfirst=…) on stop is not supported"),
        ({"stop": impl(_stop, trylast=True)}, "@hookimpl(trylast=…) on stop is not supported"),
        ({"stop": impl(_stop, wrapper=True)}, "@hookimpl(wrapper=…) on stop is not supported"),
        ({"stop": impl(_stop, hookwrapper=True)}, "@hookimpl(hookwrapper=…) on stop is not supported"),
        ({"stop": impl(_stop, specname="resolve")}, "@hookimpl(specname=…) on stop is not supported"),
        ({"anounce_self": impl(_stop)}, '"anounce_self" is no hook; did you mean "announce_self"?'),
        ({"stopp": staticmethod(impl(_stop))}, '"stopp" is no hook; did you mean "stop"?'),
        ({"_stopp": impl(_stop)}, '"_stopp" is no hook; did you mean "stop"?'),
        (
            {"discover": impl(_stop)},
            '"discover" is no hook; possible: start, announce_self, resolve, stop',
        ),
        ({"refresh_s": 0}, "refresh_s is a number of seconds above 0"),
        ({"refresh_s": True}, "refresh_s is a number of seconds above 0"),
        ({"refresh_s": float("inf")}, "refresh_s is a number of seconds above 0"),
        ({"refresh_s": "60"}, "refresh_s is a number of seconds above 0"),
        (
            {"required": attrs.field(default=1, type=int)},
            'option "required" has the name of a reserved key; rename it',
        ),
        ({"stop": attrs.field(default=1, type=int)}, 'the field "stop" has the name of a hook'),
        (
            {"odd": attrs.field(default=1, type=complex)},
            'option "odd" cannot be read from a file: complex is no type of options',
        ),
        ({"start": None}, "it has no start, the one hook that must be there"),
    ],
)
def test_each_breach_is_told(members: dict[str, Any], problem: str) -> None:
    """One line that says what to change."""
    assert check_class(backend(**members), reserved=("required",)) == (problem,)


def slip(name: str, hook: str) -> str:
    return (
        f'"{name}" looks like the hook "{hook}" but lacks @hookimpl; if it is none, '
        "give it another name or a leading underscore"
    )


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("anounce_self", "announce_self"),
        ("announceself", "announce_self"),
        ("announceSelf", "announce_self"),
        ("annouce_self", "announce_self"),
        ("announce_slef", "announce_self"),
        ("strat", "start"),
        ("starts", "start"),
        ("stopp", "stop"),
        ("sotp", "stop"),
        ("resovle", "resolve"),
        ("resolv", "resolve"),
    ],
)
def test_an_undecorated_slip_is_told(name: str, hook: str) -> None:
    """It would be a silent no-op; the message also says what to do if it is meant so."""
    assert check_class(backend(**{name: _stop})) == (slip(name, hook),)


@pytest.mark.parametrize(
    "name",
    [
        "announce_peer",
        "lose_peer",
        "announce",
        "restart",
        "started",
        "stopped",
        "step",
        "post",
        "resolve_peer",
    ],
)
def test_methods_with_names_of_their_own_are_allowed(name: str) -> None:
    """Even where they share a word with a hook."""
    assert check_class(backend(**{name: _stop})) == ()


def test_all_breaches_are_told_at_once() -> None:
    """An author mends them in one go."""
    cls = attrs.define(
        type("Backend", (), {"stop": impl(_sync), "anounce_self": impl(_stop), "starts": _sync})
    )
    assert check_class(cls) == (
        "two instances with the same options would be taken for one: use @attrs.define(eq=False)",
        "it has no start, the one hook that must be there",
        "stop is no coroutine function; write async def stop",
        '"anounce_self" is no hook; did you mean "announce_self"?',
        slip("starts", "start"),
    )


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        (3, "the entry point names an object of type int, not a class"),
        (_stop, "the entry point names an object of type function, not a class"),
        (Minimal(), "the entry point names an object of type Minimal, not a class"),
        (object, "it is no attrs class; decorate it with @attrs.define(eq=False)"),
        (DiscoverySpec, "it is no attrs class; decorate it with @attrs.define(eq=False)"),
    ],
)
def test_what_is_no_attrs_class_is_told(thing: object, problem: str) -> None:
    """There is nothing more to say of it then."""
    assert check_class(thing) == (problem,)


def test_instances_must_differ_by_identity() -> None:
    """Two equal instances would be one to pluggy; attrs compares by value unless told otherwise."""
    problem = "two instances with the same options would be taken for one: use @attrs.define(eq=False)"
    assert check_class(attrs.define(type("Backend", (), {"start": Minimal.start}))) == (problem,)
    assert check_class(backend(__eq__=lambda _self, _other: True)) == (problem,)
    assert check_class(backend(__hash__=lambda _self: 1)) == (problem,)


def test_options_that_a_subclass_would_lose_are_told() -> None:
    """Without the decorator its annotations are no fields, and the options would be unknown."""

    class Sub(Complete):
        limit: int = 3
        other: str

    assert check_class(Sub) == (
        '"limit" and "other" would be no options: decorate the subclass too, with @attrs.define(eq=False)',
    )


def test_an_abstract_class_is_told() -> None:
    """It could not be made."""

    @attrs.define(eq=False)
    class Base(Complete, ABC):
        @abstractmethod
        async def fetch(self) -> bytes: ...

    assert check_class(Base) == ("it is abstract: fetch",)
