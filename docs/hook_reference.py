"""The page docs/backends/hooks.md, made from the contract's signatures and docstrings.

    uv run python docs/hook_reference.py

writes it anew; a test holds that this was done.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from peernet_core.configuration.contract_check import HOOKS
from peernet_core.contract import (
    Announcement,
    Clock,
    Context,
    DiscoverySpec,
    NetworkMonitor,
    Sighting,
    ThreadContext,
)

__all__ = ["PAGE", "render", "undocumented"]

PAGE: Final = Path(__file__).parent / "backends/hooks.md"
GIVEN: Final = (Announcement, Context, ThreadContext, Sighting, NetworkMonitor, Clock)
_WIDTH: Final = 100
_SECTIONS: Final = frozenset({"Args:", "Attributes:", "Returns:", "Raises:"})

_INTRODUCTION: Final = """\
# Hook reference

Everything that core and a backend say to each other. When what is called, and in which order, says
[the life cycle](life-cycle.md). All names can be imported from `peernet_core`, but `Clock`, which is in
`peernet_core.contract`.

This page is made by `python docs/hook_reference.py` from the docstrings in
[`peernet_core/contract.py`](../../peernet_core/contract.py).

## The hooks

"""
_REFRESH: Final = """\
A class may also have an attribute `refresh_s: ClassVar[float]`, for media that store: core then signs and
announces anew every so many seconds at the latest. See [media that store](life-cycle.md#media-that-store).

"""


@attrs.frozen
class Docstring:
    """A docstring in Google's style, taken apart.

    Attributes:
        text: What stands before the sections.
        sections: Of each section the entries: name, or nothing, and text.
    """

    text: str
    sections: dict[str, list[tuple[str, str]]]

    @classmethod
    def of(cls, documented: object) -> Docstring:
        """Read that of a class or function."""
        lines = inspect.cleandoc(getattr(documented, "__doc__", None) or "").splitlines()
        text: list[str] = []
        sections: dict[str, list[tuple[str, str]]] = {}
        entries: list[tuple[str, str]] | None = None
        for line in lines:
            if line in _SECTIONS:
                entries = sections.setdefault(line.rstrip(":"), [])
            elif entries is None:
                text.append(line)
            elif match := re.fullmatch(r"    (\w+): (.+)", line):
                entries.append((match[1], match[2]))
            elif line.strip() and entries:
                entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
            elif line.strip():
                entries.append(("", line.strip()))
        return cls("\n".join(text).strip().replace("``", "`"), sections)


def undocumented(*classes: type) -> list[str]:
    """What of these classes has no words in a docstring: calls, parameters, attributes."""
    missing = []
    for cls in classes:
        missing += [cls.__name__] * (not Docstring.of(cls).text)
        missing += [
            f"{cls.__name__}.{name}" for name in sorted(_attributes(cls).keys() ^ _meanings(cls).keys())
        ]
        for name, function in _calls(cls).items():
            docstring = Docstring.of(function)
            label = f"{cls.__name__}.{name}"
            missing += [label] * (not docstring.text)
            if not docstring.text.startswith("See "):
                parameters = set(inspect.signature(function).parameters) - {"self"}
                described = dict(docstring.sections.get("Args", [])).keys()
                missing += [f"{label}({each})" for each in sorted(parameters ^ described)]
    return missing


def render() -> str:
    """The page.

    Raises:
        ValueError: something of the contract has no words.
    """
    missing = undocumented(DiscoverySpec, *GIVEN)
    if missing:
        raise ValueError(f"without a word in a docstring, or with one too many: {', '.join(missing)}")
    parts = [_INTRODUCTION, Docstring.of(DiscoverySpec).text + "\n\n", _REFRESH]
    parts += [_describe_call(name, _calls(DiscoverySpec)[name]) for name in HOOKS]
    for cls in GIVEN:
        parts += [f"## `{cls.__name__}`\n\n", *_describe_class(cls)]
    return _link("".join(parts)).rstrip() + "\n"


def _describe_class(cls: type) -> Iterator[str]:
    yield Docstring.of(cls).text + "\n\n"
    types = _attributes(cls)
    if types:
        yield "| attribute | type | |\n| --- | --- | --- |\n"
        for name, text in _meanings(cls).items():
            shown = types[name].replace("|", "\\|")
            yield f"| `{name}` | `{shown}` | {text} |\n"
        yield "\n"
    for name, function in _calls(cls).items():
        yield _describe_call(f"{cls.__name__}.{name}", function)


def _describe_call(title: str, function: Callable[..., Any]) -> str:
    about = Docstring.of(function)
    parts = [f"### `{title}`\n\n```py\n{_signature(function)}\n```\n\n{about.text}\n\n"]
    parts += [f"- `{name}`: {text}\n" for name, text in about.sections.get("Args", [])]
    for section in ("Returns", "Raises"):
        for name, text in about.sections.get(section, []):
            what = f"`{name}`: {text}" if name else text
            parts.append(f"- *{section.lower()}* {what}\n")
    if len(parts) > 1:
        parts.append("\n")
    return "".join(parts)


def _meanings(cls: type) -> dict[str, str]:
    """What is said of the attributes: in the class's docstring, and in those of its properties."""
    properties = {
        name: Docstring.of(member).text for name, member in vars(cls).items() if isinstance(member, property)
    }
    return {**dict(Docstring.of(cls).sections.get("Attributes", [])), **properties}


def _attributes(cls: type) -> dict[str, str]:
    """The public attributes with their types, as they are written."""
    written = {name: str(form) for name, form in inspect.get_annotations(cls).items()}
    properties = {
        name: str(inspect.get_annotations(member.fget)["return"])
        for name, member in vars(cls).items()
        if isinstance(member, property) and member.fget is not None
    }
    return {name: form for name, form in (written | properties).items() if not name.startswith("_")}


def _calls(cls: type) -> dict[str, Callable[..., Any]]:
    """The public functions that the class itself defines; ``__call__`` is one."""
    made = {each for each in vars(cls) if attrs.has(cls) and each.startswith("__")}
    return {
        name: member
        for name, member in vars(cls).items()
        if inspect.isfunction(member)
        and name not in made
        and (name == "__call__" or not name.startswith("_"))
    }


def _signature(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    parameters, is_keyword_only = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            parameters.append("*")
            is_keyword_only = True
        text = parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            text += f" = {parameter.default!r}"
        parameters.append(text)
    kind = "async def" if inspect.iscoroutinefunction(function) else "def"
    line = f"{kind} {function.__name__}({', '.join(parameters)}) -> {signature.return_annotation}"
    if len(line) <= _WIDTH:
        return line
    inside = "".join(f"    {each},\n" for each in parameters)
    return f"{kind} {function.__name__}(\n{inside}) -> {signature.return_annotation}"


def _link(text: str) -> str:
    """Let what the page describes lead to where it does."""
    places = {
        title: re.sub(r"[^\w]", "", title).lower() for title in re.findall(r"^#+ `(.+)`$", text, re.MULTILINE)
    }

    def link(match: re.Match[str]) -> str:
        place = places.get(match[1])
        return match[0] if place is None else f"[{match[0]}](#{place})"

    return re.sub(r"(?<!# )(?<![`\[])`([\w.]+)`(?!`)", link, text)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
