"""Asking the running node for a listing."""

from __future__ import annotations

import time

from peernet_core.cli.invocation import Invocation
from peernet_core.cli.places import data_directory
from peernet_core.errors import NodeClosedError

__all__ = ["ago", "answer_of", "objects_in", "span"]

Answer = dict[str, object]
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def answer_of(invocation: Invocation, what: str, **arguments: str) -> Answer:
    """What the node that runs on the data directory answers.

    Args:
        invocation: Says which data directory.
        what: What it is asked for.
        arguments: About what.

    Raises:
        NodeClosedError: none runs there, or it cannot say.
    """
    from peernet_core.control import ask  # noqa: PLC0415 - brings anyio, which the help does not need

    with data_directory(invocation) as directory:
        answer = dict(ask(directory.socket_path(), {"ask": what, **arguments}))
    if answer.pop("ok", None) is not True:
        raise NodeClosedError(f"the running node cannot say: {answer.get('error')}")
    return answer


def objects_in(answer: Answer, name: str) -> list[dict[str, object]]:
    """The list of objects that an answer holds under a name."""
    found = answer.get(name)
    if not isinstance(found, list):
        raise NodeClosedError(f"the running node is of another version: it does not tell its {name}")
    return [each for each in found if isinstance(each, dict)]


def ago(since: object, *, now: float | None = None) -> str:
    """A Unix time as a span until now, in its largest unit: for people."""
    return span((time.time() if now is None else now) - float(str(since)))


def span(length_s: object) -> str:
    """A length of time in its largest unit; a negative one is none."""
    seconds = max(0.0, float(str(length_s)))
    for unit, unit_s in _UNITS:
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
