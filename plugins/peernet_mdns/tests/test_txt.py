"""A TXT record holds one signed record; whatever else arrives in one is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_mdns.txt import MAX_RECORD_BYTES, MAX_TXT_BYTES, encode_txt, record_in


def strings(*values: bytes) -> bytes:
    """Each string after its length."""
    return b"".join(bytes([len(value)]) + value for value in values)


@given(st.binary(min_size=1, max_size=MAX_RECORD_BYTES))
def test_any_record_is_read_back(record: bytes) -> None:
    """The value is binary: zero bytes, equal signs and all."""
    assert record_in(encode_txt(record)) == record


def test_the_version_comes_first() -> None:
    """As RFC 6763 §6.7 asks; the bytes are fixed, other readers rely on them."""
    assert encode_txt(b"=\0x") == b"\x09txtvers=1\x0arecord==\0x"


def test_a_record_that_does_not_fit_is_not_encoded() -> None:
    """The limit is exact."""
    assert len(encode_txt(bytes(MAX_RECORD_BYTES))) == 10 + 255
    with pytest.raises(ValueError, match="at most 247 bytes; this has 248"):
        encode_txt(bytes(MAX_RECORD_BYTES + 1))


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (strings(b"record=x"), b"x"),
        (strings(b"Record=x"), b"x"),
        (strings(b"RECORD=x", b"TXTVERS=1"), b"x"),
        (strings(b"record=x", b"record=y"), b"x"),
        (strings(b"Record=x", b"record=y"), b"x"),
        (strings(b"record=a=b"), b"a=b"),
        (strings(b"", b"record=x", b""), b"x"),
        (strings(b"=x", b"=", b"record=x"), b"x"),
        (strings(b"other", b"path=/", b"record=x"), b"x"),
        (strings(b"txtvers=1", b"txtvers=2", b"record=x"), b"x"),
        (strings(b"record=\xff\x00\x1b\n"), b"\xff\x00\x1b\n"),
        (strings(b"record=" + bytes(range(1, 248))), bytes(range(1, 248))),
    ],
)
def test_a_record_is_found_among_whatever_else(text: bytes, record: bytes) -> None:
    """Keys are read in any case, the first of a key counts, unknown keys and strings without one do not."""
    assert record_in(text) == record


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0",
        bytes(100),
        strings(b"txtvers=1"),
        strings(b"record"),
        strings(b"record="),
        strings(b"record", b"record=x"),
        strings(b"record=", b"record=x"),
        strings(b" record=x"),
        strings(b"records=x"),
        strings(b"txtvers=2", b"record=x"),
        strings(b"record=x", b"txtvers=2"),
        strings(b"txtvers=2", b"txtvers=1", b"record=x"),
        strings(b"txtvers=", b"record=x"),
        strings(b"txtvers", b"record=x"),
        strings(b"txtvers=one", b"record=x"),
        strings(b"record=" + bytes(248)),
        strings(b"record=x") + b"\x05abcd",
        strings(b"record=x") + b"\xff",
        b"\x09record=x",
    ],
)
def test_what_holds_no_record_of_ours_is_nothing(text: bytes) -> None:
    """Another version, no value, one too long, and strings that overrun wherever they stand."""
    assert record_in(text) is None


def test_a_txt_is_read_up_to_its_limit() -> None:
    """One byte more and nothing of it is read."""
    text = strings(b"record=x")
    assert record_in(text + bytes(MAX_TXT_BYTES - len(text))) == b"x"
    assert record_in(text + bytes(MAX_TXT_BYTES - len(text) + 1)) is None


@given(
    st.binary(max_size=1400) | st.lists(st.binary(max_size=255), max_size=6).map(lambda each: strings(*each))
)
def test_any_bytes_hold_a_record_within_bounds_or_none(text: bytes) -> None:
    """And it stands in them as it is."""
    record = record_in(text)
    assert record is None or (1 <= len(record) <= MAX_RECORD_BYTES and record in text)
