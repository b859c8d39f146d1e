"""What an error looks like to a person, and the exit status that it means."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import click

from peernet_core.cli.output import note
from peernet_core.errors import BackendError, ConfigurationError, PeerNetError

__all__ = ["DONE", "FAILED", "MISUSED", "report"]

DONE = 0
FAILED = 1
MISUSED = 2
"""Bad usage, or a configuration that cannot be used."""


def report(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what went wrong, a line for each reason.

    Args:
        error: What ended the command.
        debug: Show where it came from as well.

    Returns:
        The exit status.
    """
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    status = DONE
    for each in _flatten(error):
        status = max(status, MISUSED if isinstance(each, ConfigurationError) else FAILED)
        for line in _lines(each):
            note(line)
    return status


def _flatten(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _flatten(each)
    else:
        yield error


def _lines(error: BaseException) -> tuple[str, ...]:
    match error:
        case ConfigurationError():
            return error.problems
        case BackendError():
            return (str(error),)
        case PeerNetError():
            return (f"peernet: {error}",)
        case OSError() if error.filename is not None:
            return (f"peernet: {error.filename}: {error.strerror}",)
        case OSError():
            return (f"peernet: {error.strerror or error}",)
        case _:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return (f"peernet: unexpected {what} (a mistake in peernet; --debug shows where)",)
