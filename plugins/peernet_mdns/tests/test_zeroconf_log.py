"""zeroconf's log holds nothing that a terminal would obey, and is otherwise what it was."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_mdns.zeroconf_log import LOGGER_NAME, escape_log

CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LOG: Final = logging.getLogger(LOGGER_NAME)
EVIL: Final = "\x1b[31mred\nERROR all is lost\r\x9b2J\u202eevil\u2066\u200f"
SHOWN: Final = r"\x1b[31mred\nERROR all is lost\r\x9b2J\u202eevil\u2066\u200f"


class Output:
    """What the standard formatter makes of zeroconf's log, and the records as they are passed on."""

    def __init__(self) -> None:
        self.records = list[logging.LogRecord]()
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        self.handler.addFilter(self._keep)

    def _keep(self, record: logging.LogRecord) -> bool:
        self.records.append(record)
        return True

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def output() -> Iterator[Output]:
    before, level, propagate = LOG.filters[:], LOG.level, LOG.propagate
    LOG.filters.clear()
    escape_log()
    output = Output()
    LOG.addHandler(output.handler)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    yield output
    LOG.removeHandler(output.handler)
    LOG.setLevel(level)
    LOG.propagate = propagate
    LOG.filters[:] = before


def test_what_is_printable_stays(output: Output) -> None:
    """Words, signs, letters of any language; level and logger as well."""
    LOG.warning("%s has 100%% of %d, ü, 日本", "küche", 3)
    LOG.debug("without arguments: 100%")
    assert output.text == (
        "WARNING zeroconf küche has 100% of 3, ü, 日本\nDEBUG zeroconf without arguments: 100%\n"
    )


@pytest.mark.parametrize("way", ["in an argument", "in the message"])
def test_what_is_unprintable_is_escaped(output: Output, way: str) -> None:
    """One line stays one line, and moves no cursor."""
    if way == "in an argument":
        LOG.debug("skipping record for %s", EVIL)
    else:
        LOG.debug("skipping record for " + EVIL)  # noqa: G003 - zeroconf does that as well
    assert output.text == f"DEBUG zeroconf skipping record for {SHOWN}\n"


def test_an_exception_is_shown_escaped_and_not_handed_on(output: Output) -> None:
    """Its traceback stands in lines of its own, its words in one, the cause's too."""
    try:
        try:
            raise KeyError(EVIL)  # noqa: TRY301 - the case
        except KeyError as error:
            raise ValueError(f"too long: {EVIL}") from error
    except ValueError as error:
        LOG.debug("failed", exc_info=error)
    lines = output.text.splitlines()
    assert lines[:2] == ["DEBUG zeroconf failed", "Traceback (most recent call last):"]
    assert lines[-1] == f"ValueError: too long: {SHOWN}"
    assert "The above exception was the direct cause of the following exception:" in lines
    assert any(line.startswith('  File "') and "test_zeroconf_log" in line for line in lines)
    assert not any(CONTROL.search(line) for line in output.text.split("\n"))
    assert [record.exc_info for record in output.records] == [None]


def test_no_exception_is_none(output: Output) -> None:
    """As when zeroconf asks for the current one and there is none."""
    LOG.debug("failed", exc_info=True)  # noqa: LOG014 - the case
    assert output.text == "DEBUG zeroconf failed\n"


def test_what_cannot_be_shown_raises_nothing(output: Output) -> None:
    """Neither arguments that do not fit nor such as fail to say what they are."""

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    LOG.debug("one %s and two %s", EVIL)  # noqa: PLE1206 - the case
    LOG.debug("one %s", Mute())
    assert output.text == (
        "DEBUG zeroconf one %s and two %s (its arguments cannot be shown: TypeError)\n"
        "DEBUG zeroconf one %s (its arguments cannot be shown: RuntimeError)\n"
    )


def test_asking_twice_is_asking_once(output: Output) -> None:
    """The second time changes nothing: what was escaped is not escaped again."""
    escape_log()
    assert len(LOG.filters) == 1
    LOG.debug("%s", EVIL)
    assert output.text == f"DEBUG zeroconf {SHOWN}\n"


def test_what_is_not_shown_costs_nothing(output: Output) -> None:
    """A line below the level is not even formatted."""

    class Costly:
        def __str__(self) -> str:
            raise AssertionError

    LOG.setLevel(logging.WARNING)
    LOG.debug("%s", Costly())
    assert output.text == ""


@given(st.text())
def test_whatever_text_comes_nothing_unprintable_gets_out(text: str) -> None:
    """By message, argument, and exception."""
    escape_log()
    record = LOG.makeRecord(
        LOGGER_NAME, 10, "", 0, f"{text} %s", (text,), (ValueError, ValueError(text), None)
    )
    LOG.filter(record)
    shown = logging.Formatter().format(record)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert shown.count("\n") <= 1
