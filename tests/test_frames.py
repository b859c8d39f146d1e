"""Frames: one spelling each, bounds held, anything else refused."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peernet_core.decisions.frames import (
    MAX_FRAME_SIZE,
    Bye,
    Dialback,
    Frame,
    FrameDecoder,
    Hello,
    No,
    Open,
    Ping,
    Pong,
    RecordUpdate,
    Unknown,
    Up,
    decode_frame,
    encode_frame,
)
from peernet_core.errors import MalformedFrameError

u64 = st.integers(0, 2**64 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=30)
frames = st.one_of(
    st.builds(Hello, st.binary(max_size=230), st.binary(min_size=16, max_size=16), u64),
    st.sampled_from([Open(), Up(), Up(0), Up(7), No()]),
    st.builds(Ping, u64),
    st.builds(Pong, u64),
    st.builds(RecordUpdate, st.binary(max_size=230)),
    st.builds(Dialback, st.binary(min_size=16, max_size=16), texts),
    st.builds(Bye, texts),
)


@given(frames, st.lists(st.integers(1, 40), max_size=50))
def test_a_frame_survives_the_wire_however_it_is_cut(frame: Frame, cuts: list[int]) -> None:
    """Encoding, cutting at any place and decoding gives the same frame."""
    data = encode_frame(frame) * 2
    decoder = FrameDecoder()
    decoded: list[Frame | Unknown] = []
    for cut in cuts:
        decoded += decoder.feed(data[:cut])
        data = data[cut:]
    decoded += decoder.feed(data)
    assert decoded == [frame, frame]


@given(st.binary(max_size=200))
@example(bytes.fromhex("a100c2410 1".replace(" ", "")))
@example(b"\xd8\x23\x63(((")
def test_any_bytes_decode_or_are_refused_with_the_one_error(body: bytes) -> None:
    """Nothing but MalformedFrameError comes out, and what decodes has one spelling."""
    try:
        frame = decode_frame(body)
    except MalformedFrameError:
        return
    if not isinstance(frame, Unknown):
        assert decode_frame(encode_frame(frame)[2:]) == frame


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({0: 5}, "field 1 is missing"),
        ({1: 5}, "field 0 is missing"),
        ({0: True}, "field 0"),
        ({0: 5, 1: -1}, "field 1"),
        ({0: 5, 1: 1.0}, "field 1"),
        ({0: 9, 1: "x" * 121}, "field 1"),
        ({0: 8, 1: b"short", 2: "chat/1"}, "5 bytes, not 16"),
        ({"0": 5}, "integer keys"),
        ({0: 5, -1: 5}, "unsigned integer keys"),
        ({0: 5, 1: 5, 9: {1: 2}}, "a map in a map"),
        ([0, 5], "not a map"),
    ],
)
def test_a_wrong_field_is_named(fields: object, told: str) -> None:
    """The error says which field was wrong."""
    with pytest.raises(MalformedFrameError, match=told):
        decode_frame(cbor2.dumps(fields, canonical=True))


@pytest.mark.parametrize("number", [0, 2, 28, 35, 258, 4242])
def test_a_tag_is_refused_before_its_content_is_interpreted(number: int) -> None:
    """Not even the tags that cbor2 knows are decoded."""
    body = b"\xa1\x00" + cbor2.dumps(cbor2.CBORTag(number, "(a+)+"))
    with pytest.raises(MalformedFrameError, match="tag"):
        decode_frame(body)


def test_trailing_bytes_and_long_forms_are_refused() -> None:
    """Each frame has one spelling."""
    body = encode_frame(Ping(7))[2:]
    for spelling in (body + b"\x00", body[:-1] + b"\x18\x07"):
        with pytest.raises(MalformedFrameError):
            decode_frame(spelling)


def test_types_and_fields_of_a_later_version_are_ignored() -> None:
    """An unknown type is reported as such; unknown fields of a known one do no harm."""
    assert decode_frame(cbor2.dumps({0: 99, 1: "later"}, canonical=True)) == Unknown(99)
    assert decode_frame(cbor2.dumps({0: 5, 1: 7, 9: [1]}, canonical=True)) == Ping(7)


@pytest.mark.parametrize("size", [0, MAX_FRAME_SIZE + 1, 65535])
def test_a_length_out_of_bounds_ends_the_stream(size: int) -> None:
    """An empty or oversized frame is refused at its length, before its bytes are awaited."""
    with pytest.raises(MalformedFrameError, match="limit is 4096"):
        FrameDecoder().feed(size.to_bytes(2, "big"))


def test_what_could_not_be_read_is_not_sent() -> None:
    """Encoding checks the same bounds as decoding."""
    with pytest.raises(MalformedFrameError):
        encode_frame(Bye("x" * 121))
    with pytest.raises(MalformedFrameError):
        encode_frame(RecordUpdate(b"x" * MAX_FRAME_SIZE))
