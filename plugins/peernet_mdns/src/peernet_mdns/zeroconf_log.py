"""zeroconf's log: what it repeats of the network is escaped before anybody shows it."""

from __future__ import annotations

import logging
from traceback import TracebackException
from types import TracebackType
from typing import Final

__all__ = ["LOGGER_NAME", "escape_log"]

LOGGER_NAME: Final = "zeroconf"
_FRAME: Final = "  File "

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def escape_log() -> None:
    """Let nothing unprintable out of zeroconf's logger, from now on; any number of times.

    At debug it repeats names as they arrived: with escape codes, line breaks, and marks that turn the
    direction of writing. What is printable stays as it is, and so do levels.
    """
    logging.getLogger(LOGGER_NAME).addFilter(_escape_record)


def _escape_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = _escape(_message(record)), ()
    match record.exc_info:
        case (kind, error, trace) if kind is not None and error is not None:
            # Whoever formats records in a way of their own must not find the exception itself.
            record.exc_text = _exception_text((kind, error, trace))
    record.exc_info = None
    return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - what cannot be shown is no reason to stop what is under way
        return f"{record.msg} (its arguments cannot be shown: {type(error).__name__})"


def _exception_text(info: _ExceptionInfo) -> str:
    """The traceback as the standard library formats it; only between its own lines are there line breaks."""
    lines = list[str]()
    for piece in TracebackException(*info).format():
        shown = piece.strip("\n")
        lines += shown.split("\n") if shown.startswith(_FRAME) else [shown]
    return "\n".join(map(_escape, lines))


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
