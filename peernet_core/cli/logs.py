"""The log of a running node: every logger's lines, one line each, to wherever the view shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from peernet_core.cli.output import escape

__all__ = ["logging_to"]


@contextmanager
def logging_to(show: Callable[[str], object], *, debug: bool) -> Iterator[None]:
    """Show what is logged inside.

    Args:
        show: Takes one line; called from any thread.
        debug: Everything, with tracebacks; otherwise warnings and errors.
    """
    handler = _Handler(show, debug=debug)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, show: Callable[[str], object], *, debug: bool) -> None:
        super().__init__()
        self._show = show
        self._debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for line in self._lines(record):
                self._show(line)
        except Exception:  # noqa: BLE001 - logging's own way with a record that cannot be written
            self.handleError(record)

    def _lines(self, record: logging.LogRecord) -> Iterator[str]:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if self._debug:
            text = f"{record.name} {text}"
        trace = record.exc_info
        error = trace[1] if trace else None
        if error is not None and not self._debug:
            text = f"{text} ({type(error).__name__}: {error})"
        yield escape(text)
        if trace and self._debug:
            for line in logging.Formatter().formatException(trace).splitlines():
                yield escape(line)
