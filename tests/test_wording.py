"""Messages show values on one line, shortened, and guess names within reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.configuration.wording import (
    closest,
    hint_for,
    join_words,
    one_line,
    quote,
    show_default,
    show_value,
)


@given(st.text())
def test_any_text_is_quoted_on_one_printable_line(text: str) -> None:
    """Control characters, separators and lone surrogates of a file never reach a terminal."""
    quoted = quote(text)
    assert quoted.isprintable()
    assert len(quoted) <= 2 + 80 * 8


def test_quoting_is_toml() -> None:
    """What is shown could be pasted into the file."""
    assert quote('a "b" \\ \n \x1b') == '"a \\"b\\" \\\\ \\n \\u001b"'
    assert quote("x" * 100) == '"' + "x" * 79 + '…"'


@given(
    st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()) | st.none() | st.datetimes()
)
def test_any_value_is_shown_on_one_line(value: object) -> None:
    """Whatever TOML holds can be told."""
    assert show_value(value).isprintable()
    assert show_default(value).isprintable()


def test_values_are_shown_as_toml_has_them() -> None:
    """Containers are only named: they may hold what should not be repeated."""
    shown = [show_value(value) for value in (True, 3, 10**5000, 1.5, [], [1], {}, {"a": 1}, None, b"x")]
    assert shown == [
        "true",
        "3",
        "a huge integer",
        "1.5",
        "an empty list",
        "a list",
        "an empty table",
        "a table",
        "nothing",
        "a Python bytes",
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("must be\n  above 0"), "must be above 0"),
        (ValueError("must be > 0", "attribute", 3), "must be > 0"),
        (KeyError("name"), "KeyError: name"),
        (OSError(2, "gone"), "FileNotFoundError: [Errno 2] gone"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("\x1b[31m"), "[31m"),
    ],
)
def test_exceptions_are_told_on_one_line(error: Exception, text: str) -> None:
    """Those raised with a text for users are not prefixed with their type."""
    assert one_line(error) == text


def test_the_type_of_an_exception_is_told_on_request() -> None:
    """Where the reader is looking for a bug it matters."""
    assert one_line(ValueError("x"), named=True) == "ValueError: x"
    assert one_line(KeyError("x"), named=False) == "x"


def test_names_are_guessed_by_likeness() -> None:
    """Case and hyphens do not count, and nothing is guessed from a name that is not alike."""
    names = ["interfaces", "poll_s", "manual", "mdns"]
    assert [closest(name, names) for name in ("Interface", "poll-s", "mdsn", "bluetooth", "x" * 100_000)] == [
        "interfaces",
        "poll_s",
        "mdns",
        None,
        None,
    ]


def test_a_hint_is_a_guess_or_the_list() -> None:
    """Names from `also` are guessed but not listed."""
    assert hint_for("nmae", ["name"], also=["required"]) == '; did you mean "name"?'
    assert hint_for("requird", ["name"], also=["required"]) == '; did you mean "required"?'
    assert hint_for("xyz", ["name"], also=["required"]) == "; possible: name"
    assert hint_for("xyz", []) == "; there are none"


def test_words_are_joined_as_in_a_sentence() -> None:
    """One, two, or more."""
    assert [join_words(words, "or") for words in ("a", "ab", "abc")] == ["a", "a or b", "a, b or c"]
