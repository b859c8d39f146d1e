"""Plain output: aligned, and harmless to the terminal whatever stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.cli.output import align, escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("kitchen pi", "kitchen pi"),
        ("Küche 厨房", "Küche 厨房"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u202eevil", r"\u202eevil"),
        ("\x9b31m", r"\x9b31m"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_nothing_that_a_terminal_obeys_gets_through(text: str, shown: str) -> None:
    """Control characters, line ends, changes of direction and lone surrogates are shown as their escapes."""
    assert escape(text) == shown


@given(st.text())
def test_what_is_escaped_is_printable(text: str) -> None:
    """Whatever comes in, what goes out is one printable line; printable text is left as it is."""
    shown = escape(text)
    assert shown.isprintable()
    assert (shown == text) == text.isprintable()


def test_columns_line_up_also_with_wide_and_combining_characters() -> None:
    """A cell's width is what it takes on the screen."""
    assert align([("厨房", "a"), ("e\u0301", "b"), ("abcd", "c"), ("", "")]) == [
        "厨房  a",
        "e\u0301     b",
        "abcd  c",
        "",
    ]


def test_no_rows_no_lines() -> None:
    """A table without rows is no table."""
    assert align([]) == []


def test_a_cell_cannot_break_the_table() -> None:
    """A label with a line end stays in its row."""
    assert align([("a\nb", "c")]) == [r"a\nb  c"]
