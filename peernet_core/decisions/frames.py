"""The frames of a link: a u16 length, big endian, then a CBOR map ``{0: type, …}`` of at most 4096 bytes.

Pure: bytes in, frames out. docs/protocol.md has the table and test vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs
import cbor2

from peernet_core.errors import MalformedFrameError
from peernet_core.values import frozen

__all__ = [
    "BOOT_ID_SIZE",
    "MAX_FRAME_SIZE",
    "MAX_PROTOCOL_BYTES",
    "MAX_REASON_BYTES",
    "TOKEN_SIZE",
    "Bye",
    "Dialback",
    "Frame",
    "FrameDecoder",
    "Hello",
    "No",
    "Open",
    "Ping",
    "Pong",
    "RecordUpdate",
    "Unknown",
    "Up",
    "decode_frame",
    "encode_frame",
]

MAX_FRAME_SIZE: Final = 4096
BOOT_ID_SIZE: Final = 16
TOKEN_SIZE: Final = 16
MAX_REASON_BYTES: Final = 120
MAX_PROTOCOL_BYTES: Final = 255
_LENGTH_SIZE: Final = 2
_MAX_U64: Final = 2**64 - 1
_MAX_DEPTH: Final = 8


@frozen
class Hello:
    """The first frame of both ends.

    Attributes:
        record: The sender's own signed record.
        boot_id: 16 random bytes, new with each start of the node.
        held: The highest sequence that the sender holds of the receiver; 0: none.
    """

    record: bytes
    boot_id: bytes
    held: int


@frozen
class Open:
    """From the dialer: of the connections raced, this is the one meant."""


@frozen
class Up:
    """From the deciding end: this connection is the link.

    Attributes:
        number: Grows with each UP to this peer since the sender's start; None: the sender does not count.
    """

    number: int | None = None


@frozen
class No:
    """From the deciding end: the link that there is stays."""


@frozen
class Ping:
    """Asks for a Pong with the same number."""

    nonce: int


@frozen
class Pong:
    """The answer to a Ping."""

    nonce: int


@frozen
class RecordUpdate:
    """The sender's new record; it wins whatever its sequence."""

    record: bytes


@frozen
class Dialback:
    """Asks the receiver, which the sender cannot dial, to dial and open this stream."""

    token: bytes
    protocol: str


@frozen
class Bye:
    """A clean end and why, at most 120 bytes of UTF-8."""

    reason: str


@frozen
class Unknown:
    """A frame of a type that is not known here; ignored."""

    type: int


Frame = Hello | Open | Up | No | Ping | Pong | RecordUpdate | Dialback | Bye
_T = TypeVar("_T")


def encode_frame(frame: Frame) -> bytes:
    """Encode one frame with its length.

    Raises:
        MalformedFrameError: a field is out of its bounds, or the frame is over 4096 bytes.
    """
    number = _NUMBERS[type(frame)]
    fields = {0: number}
    values = enumerate(attrs.astuple(frame, recurse=False), start=1)
    fields.update((place, value) for place, value in values if value is not None)
    body = cbor2.dumps(fields, canonical=True)
    if len(body) > MAX_FRAME_SIZE:
        raise MalformedFrameError(f"a frame of {len(body)} bytes; the limit is {MAX_FRAME_SIZE}")
    decode_frame(body)
    return len(body).to_bytes(_LENGTH_SIZE, "big") + body


def decode_frame(body: bytes) -> Frame | Unknown:
    """Decode one frame without its length.

    Fields that are not known are ignored, so that later versions can add some.

    Raises:
        MalformedFrameError: not deterministic CBOR, not such a map, a field is missing or of a wrong kind.
    """
    if len(body) > MAX_FRAME_SIZE:
        raise MalformedFrameError(f"a frame of {len(body)} bytes; the limit is {MAX_FRAME_SIZE}")
    try:
        fields = cbor2.loads(
            body,
            tag_hook=_refuse_tag,
            semantic_decoders=_NO_TAGS,
            max_depth=_MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
        # One spelling only: catches trailing bytes, long forms, and unsorted keys.
        deterministic = cbor2.dumps(fields, canonical=True) == body
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise MalformedFrameError(f"not CBOR within bounds: {error}") from error
    if not deterministic:
        raise MalformedFrameError("not deterministic CBOR")
    if not isinstance(fields, dict) or not all(type(name) is int and name >= 0 for name in fields):
        raise MalformedFrameError("not a map with unsigned integer keys")
    if any(isinstance(value, dict) for value in fields.values()):
        raise MalformedFrameError("a map in a map")  # cbor2 would not hold it to one order of keys
    number = _field(fields, 0, _as_u64)
    build = _BUILDERS.get(number)
    return Unknown(number) if build is None else build(fields)


class FrameDecoder:
    """Cuts a byte stream into frames; feed it what arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame | Unknown]:
        """Take bytes and return every frame that they complete.

        Raises:
            MalformedFrameError: the stream cannot be followed any more; close the connection.
        """
        self._buffer += data
        frames: list[Frame | Unknown] = []
        while len(self._buffer) >= _LENGTH_SIZE:
            size = int.from_bytes(self._buffer[:_LENGTH_SIZE], "big")
            if not 0 < size <= MAX_FRAME_SIZE:
                raise MalformedFrameError(f"a frame of {size} bytes; the limit is {MAX_FRAME_SIZE}")
            end = _LENGTH_SIZE + size
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[_LENGTH_SIZE:end])
            del self._buffer[:end]
            frames.append(decode_frame(body))
        return frames


def _refuse_tag(*_: object) -> None:
    raise MalformedFrameError("a CBOR tag")


# cbor2's own decoders of these tags compile regular expressions, parse mail and more; frames have no tags.
_BUILT_IN_TAGS: Final = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799),
)
_NO_TAGS: Final[Mapping[int, Callable[..., Any]]] = dict.fromkeys(_BUILT_IN_TAGS, _refuse_tag)


def _field(fields: dict[int, object], number: int, convert: Callable[[object], _T]) -> _T:
    if number not in fields:
        raise MalformedFrameError(f"field {number} is missing")
    try:
        return convert(fields[number])
    except ValueError as error:
        raise MalformedFrameError(f"field {number}: {error}") from None


def _as_u64(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_U64:
        raise ValueError("not an unsigned 64-bit number")
    return value


def _as_bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise ValueError("not a byte string")
    return value


def _of_size(size: int) -> Callable[[object], bytes]:
    def convert(value: object) -> bytes:
        data = _as_bytes(value)
        if len(data) != size:
            raise ValueError(f"{len(data)} bytes, not {size}")
        return data

    return convert


def _text_of(most: int) -> Callable[[object], str]:
    def convert(value: object) -> str:
        if type(value) is not str or len(value.encode()) > most:
            raise ValueError(f"not a text of at most {most} bytes")
        return value

    return convert


_BUILDERS: Final[Mapping[int, Callable[[dict[int, object]], Frame]]] = {
    1: lambda f: Hello(_field(f, 1, _as_bytes), _field(f, 2, _of_size(BOOT_ID_SIZE)), _field(f, 3, _as_u64)),
    2: lambda _: Open(),
    3: lambda f: Up(_field(f, 1, _as_u64) if 1 in f else None),
    4: lambda _: No(),
    5: lambda f: Ping(_field(f, 1, _as_u64)),
    6: lambda f: Pong(_field(f, 1, _as_u64)),
    7: lambda f: RecordUpdate(_field(f, 1, _as_bytes)),
    8: lambda f: Dialback(_field(f, 1, _of_size(TOKEN_SIZE)), _field(f, 2, _text_of(MAX_PROTOCOL_BYTES))),
    9: lambda f: Bye(_field(f, 1, _text_of(MAX_REASON_BYTES))),
}
_NUMBERS: Final[Mapping[type, int]] = {
    Hello: 1,
    Open: 2,
    Up: 3,
    No: 4,
    Ping: 5,
    Pong: 6,
    RecordUpdate: 7,
    Dialback: 8,
    Bye: 9,
}
