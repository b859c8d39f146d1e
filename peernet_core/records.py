"""The record: a peer's own signed statement of where it listens.

A COSE_Sign1 message over a small CBOR map, at most 230 bytes. Everything but the payload and the signature
has one fixed form, so it is compared and not parsed. docs/protocol.md has the fields and test vectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import attrs
import cbor2

from peernet_core.addresses import Address, IPAddress, may_be_signed, normalize_ip
from peernet_core.errors import (
    BadSignatureError,
    MalformedAddressError,
    MalformedKeyError,
    MalformedRecordError,
)
from peernet_core.keys import Identity, PeerKey
from peernet_core.values import frozen

__all__ = [
    "MAX_NAME_BYTES",
    "MAX_RECORD_SIZE",
    "MAX_SEQUENCE",
    "Record",
    "SignedRecord",
    "decode_record",
    "encode_record",
    "fit_record",
]

MAX_RECORD_SIZE: Final = 230
MAX_NAME_BYTES: Final = 24
# Fits the signed 64-bit number of most languages and databases; in microseconds it lasts 290,000 years.
MAX_SEQUENCE: Final = 2**63 - 1

_MAX_PORT: Final = 65535
_MAX_HINT_KIND: Final = 65535
_MAX_FIELD: Final = 23
_MAX_DEPTH: Final = 4
_PORT_SIZE: Final = 2
_KEY, _SEQUENCE, _PORT, _ADDRESSES, _NAME, _HINTS = range(1, 7)

# Tag 18, an array of four, the protected header {1: -19} as a byte string, an empty unprotected header, and
# the head of a byte string of 24 to 255 bytes: a payload holds a key, so it is never shorter.
_PREFIX: Final = bytes.fromhex("d2 84 43 a10132 a0 58")
_PAYLOAD_AT: Final = len(_PREFIX) + 1
_SIGNATURE_HEAD: Final = bytes.fromhex("58 40")
_SIGNATURE_SIZE: Final = 64
_SIGNATURE_PART: Final = len(_SIGNATURE_HEAD) + _SIGNATURE_SIZE
# The head of the Sig_structure that is signed (RFC 9052 §4.4); the payload, as a byte string, follows. The
# external data keeps a signature made for another purpose from passing as a record.
_SIGNED_PREFIX: Final = (
    bytes.fromhex("84 6a") + b"Signature1" + bytes.fromhex("43 a10132 51") + b"peernet-record-v1"
)

# Control and format characters and line breaks, among them those that reverse the direction of the text after
# them. Listed, not taken from unicodedata: what is a record must not depend on the reader's Unicode version.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


@frozen
class Record:
    """What a record says; nothing here is proven.

    Attributes:
        key: Whose record it is.
        sequence: 1 to 2**63 - 1; of one key's records the higher one is the newer.
        port: Where it accepts links, 1 to 65535.
        addresses: In the signer's order of preference; a port that is not `port` is that address's own.
        name: For people, at most 24 bytes of UTF-8 without control or format characters.
        hints: Further ways to reach it, as pairs of a number and opaque bytes; none is defined yet.
        stopped: It accepts links no more, and has no addresses. A record without addresses that does not say
            so is that of a peer which has only such as never go in: it may be reached where it is heard.

    Raises:
        MalformedRecordError: the sequence or the port is out of its bounds, or a stopped one has addresses.
    """

    key: PeerKey
    sequence: int
    port: int
    addresses: tuple[Address, ...] = ()
    name: str = ""
    hints: tuple[tuple[int, bytes], ...] = ()
    stopped: bool = False

    def __attrs_post_init__(self) -> None:
        if type(self.sequence) is not int or not 1 <= self.sequence <= MAX_SEQUENCE:
            raise MalformedRecordError(f"the sequence is not a number from 1 to {MAX_SEQUENCE}")
        if type(self.port) is not int or not 1 <= self.port <= _MAX_PORT:
            raise MalformedRecordError(f"the port is not a number from 1 to {_MAX_PORT}")
        if self.stopped and self.addresses:
            raise MalformedRecordError("a peer that has stopped is nowhere, but the record has addresses")


@frozen
class SignedRecord:
    """A record as it was received; call `verify` before believing any of it.

    Attributes:
        record: What it says.
        data: The exact bytes.
    """

    record: Record
    data: bytes

    def verify(self) -> None:
        """Check that the record's key signed it.

        Raises:
            BadSignatureError: it did not.

        Source: RFC 9052 §4.4, RFC 9864 §2.2.
        """
        signed = _SIGNED_PREFIX + self.data[_PAYLOAD_AT - 2 : -_SIGNATURE_PART]
        if not self.record.key.verify(self.data[-_SIGNATURE_SIZE:], signed):
            raise BadSignatureError(f"not signed by {self.record.key}")


def fit_record(record: Record) -> Record:
    """Leave out of a record what cannot go in, so that it takes at most 230 bytes.

    The name loses unprintable characters and what goes beyond 24 bytes; addresses that mean nothing elsewhere
    go; then, while it is too long, the last address, and with no address left the last hint. A caller that
    compares the result with what it passed knows what to log. One that is left without addresses
    does not become that of a peer that has stopped.
    """
    name = _UNPRINTABLE.sub("", record.name).encode(errors="ignore")[:MAX_NAME_BYTES].decode(errors="ignore")
    addresses = tuple(
        dict.fromkeys(each.with_source("") for each in record.addresses if may_be_signed(each.ip))
    )
    fitted = attrs.evolve(record, name=name, addresses=addresses)
    while _PAYLOAD_AT + len(_encode_payload(fitted)) + _SIGNATURE_PART > MAX_RECORD_SIZE:
        if fitted.addresses:
            fitted = attrs.evolve(fitted, addresses=fitted.addresses[:-1])
        else:
            fitted = attrs.evolve(fitted, hints=fitted.hints[:-1])
    return fitted


def encode_record(record: Record, identity: Identity) -> bytes:
    """Encode what `fit_record` leaves of a record, and sign it.

    Args:
        record: Its key must be the identity's.
        identity: Who signs.

    Returns:
        At most 230 bytes.

    Raises:
        MalformedRecordError: a field is out of its bounds, or the key is not the identity's.
    """
    if record.key != identity.key:
        raise MalformedRecordError("a record is signed by the key that it names")
    payload = _encode_payload(fit_record(record))
    content = bytes((_PREFIX[-1], len(payload))) + payload
    signature = identity.sign(_SIGNED_PREFIX + content)
    data = _PREFIX[:-1] + content + _SIGNATURE_HEAD + signature
    # What no reader would take is not announced.
    decode_record(data)
    return data


def decode_record(data: bytes) -> SignedRecord:
    """Decode a record without checking its signature.

    Args:
        data: Anything at all.

    Returns:
        The claims, with addresses in the signer's order of preference. Fields that are not known are ignored,
        so that later versions can add some.

    Raises:
        MalformedRecordError: oversized, truncated or followed by more, another tag or algorithm, not
            deterministic CBOR, a tag or a float in the payload, or a field that is missing or out of bounds.

    Source: RFC 9052 §4.2, RFC 8949 §4.2.1; docs/protocol.md.
    """
    if len(data) > MAX_RECORD_SIZE:
        raise MalformedRecordError(f"a record is at most {MAX_RECORD_SIZE} bytes")
    if not data.startswith(_PREFIX):
        raise MalformedRecordError("not a COSE_Sign1 message signed with Ed25519")
    end = len(data) - _SIGNATURE_PART
    if end <= _PAYLOAD_AT or data[_PAYLOAD_AT - 1] != end - _PAYLOAD_AT:
        raise MalformedRecordError("truncated, or followed by more bytes")
    if data[end : end + len(_SIGNATURE_HEAD)] != _SIGNATURE_HEAD:
        raise MalformedRecordError("the signature is not a byte string of 64 bytes")
    fields = _decode_payload(data[_PAYLOAD_AT:end])
    try:
        port = _as_number(fields[_PORT])
        record = Record(
            _as_key(fields[_KEY]),
            _as_number(fields[_SEQUENCE]),
            port,
            _as_addresses(fields[_ADDRESSES], port) if _ADDRESSES in fields else (),
            _as_name(fields[_NAME]) if _NAME in fields else "",
            _as_hints(fields[_HINTS]) if _HINTS in fields else (),
            stopped=fields.get(_ADDRESSES) == [],
        )
    except KeyError as missing:
        raise MalformedRecordError(f"field {missing} is missing") from None
    except (MalformedKeyError, MalformedAddressError) as error:
        raise MalformedRecordError(str(error)) from error
    return SignedRecord(record, data)


def _encode_payload(record: Record) -> bytes:
    fields: dict[int, object] = {_KEY: record.key.raw, _SEQUENCE: record.sequence, _PORT: record.port}
    # Left out, it has none to tell; empty, it has stopped.
    if record.addresses or record.stopped:
        fields[_ADDRESSES] = [_pack(address, record.port) for address in record.addresses]
    if record.name:
        fields[_NAME] = record.name
    if record.hints:
        fields[_HINTS] = record.hints
    return cbor2.dumps(fields, canonical=True)


def _pack(address: Address, port: int) -> bytes:
    packed = address.ip.packed
    return packed if address.port == port else packed + address.port.to_bytes(_PORT_SIZE, "big")


def _decode_payload(payload: bytes) -> dict[int, object]:
    """Check that the payload is a map in its one spelling and of plain items only, then decode it.

    The check comes first because decoding is no harmless act: for tags cbor2 compiles regular expressions,
    builds sets, parses dates.
    """
    try:
        end = _item_end(payload, 0, _MAX_DEPTH)
    except IndexError:
        raise MalformedRecordError("the payload is truncated") from None
    if end != len(payload):
        raise MalformedRecordError("the payload is truncated, or followed by more bytes")
    try:
        fields = cbor2.loads(payload)
    except (cbor2.CBORError, ValueError) as error:
        raise MalformedRecordError("a text in the payload is not UTF-8") from error
    if type(fields) is not dict or not all(type(key) is int and 0 <= key <= _MAX_FIELD for key in fields):
        raise MalformedRecordError(f"the payload is not a map with keys from 0 to {_MAX_FIELD}")
    return fields


_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _OTHER = range(8)
_MAJOR_SHIFT: Final = 5
_INFO_MASK: Final = 0x1F
_DIRECT: Final = 23
# For each length of an argument that follows the head: how many bytes, and from which value on it is needed.
_ARGUMENT: Final = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}
_PLAIN_VALUES: Final = frozenset({20, 21, 22})  # false, true, null
# Other kinds of key are equal to each other in one language and not in the next (1 and true).
_KEY_MAJORS: Final = frozenset({_UNSIGNED, _NEGATIVE, _TEXT})


def _item_end(data: bytes, at: int, depth: int) -> int:
    """Where the item that starts at `at` ends; it may lie beyond the data.

    Raises:
        MalformedRecordError: the item, or one in it, is not deterministic or not plain.
        IndexError: the data ends within it.

    Source: RFC 8949 §3 and §4.2.1.
    """
    major, info = data[at] >> _MAJOR_SHIFT, data[at] & _INFO_MASK
    at += 1
    if info <= _DIRECT:
        argument = info
    elif info in _ARGUMENT:
        size, least = _ARGUMENT[info]
        argument = int.from_bytes(data[at : at + size], "big")
        at += size
        if argument < least:
            raise MalformedRecordError("the payload is not deterministic CBOR")
    else:
        raise MalformedRecordError("the payload is not deterministic CBOR")
    if major <= _NEGATIVE:
        return at
    if major <= _TEXT:
        return at + argument
    if major <= _MAP:
        if depth == 0:
            raise MalformedRecordError("the payload is nested too deep")
        return (_array_end if major == _ARRAY else _map_end)(data, at, argument, depth - 1)
    if major == _TAG or argument not in _PLAIN_VALUES:
        raise MalformedRecordError("the payload holds a tag, a float or an unassigned value")
    return at


def _array_end(data: bytes, at: int, count: int, depth: int) -> int:
    # A count that the data cannot hold ends in an IndexError, as each item takes a byte.
    for _ in range(count):
        at = _item_end(data, at, depth)
    return at


def _map_end(data: bytes, at: int, count: int, depth: int) -> int:
    previous = b""
    for _ in range(count):
        start = at
        if data[at] >> _MAJOR_SHIFT not in _KEY_MAJORS:
            raise MalformedRecordError("a key in the payload is neither a number nor text")
        at = _item_end(data, at, depth)
        if data[start:at] <= previous:
            raise MalformedRecordError("keys in the payload are repeated, or not in order")
        previous = data[start:at]
        at = _item_end(data, at, depth)
    return at


def _as_key(value: object) -> PeerKey:
    if type(value) is not bytes:
        raise MalformedRecordError("the key is not a byte string")
    return PeerKey(value)


def _as_number(value: object) -> int:
    if type(value) is not int:
        raise MalformedRecordError("the sequence or the port is not a number")
    return value


_SIZES: Final[Mapping[int, Callable[[bytes], IPAddress]]] = {4: IPv4Address, 16: IPv6Address}
_SIZES_WITH_PORT: Final = frozenset(size + _PORT_SIZE for size in _SIZES)


def _as_addresses(value: object, port: int) -> tuple[Address, ...]:
    if type(value) is not list:
        raise MalformedRecordError("the addresses are not an array")
    return tuple([_as_address(each, port) for each in value])


def _as_address(value: object, port: int) -> Address:
    if type(value) is not bytes:
        raise MalformedRecordError("an address is not a byte string")
    if len(value) in _SIZES_WITH_PORT:
        port = int.from_bytes(value[-_PORT_SIZE:], "big")
        value = value[:-_PORT_SIZE]
    make = _SIZES.get(len(value))
    if make is None:
        raise MalformedRecordError(f"an address of {len(value)} bytes")
    ip = make(value)
    if not may_be_signed(ip):
        ip = normalize_ip(ip)  # an IPv4-mapped address may be one that is good
        if not may_be_signed(ip):
            raise MalformedRecordError(f"{ip} means nothing, or something else, to other hosts")
    return Address(ip, port)


def _as_name(value: object) -> str:
    if type(value) is not str or not 1 <= len(value.encode()) <= MAX_NAME_BYTES:
        raise MalformedRecordError(f"the name is not a text of 1 to {MAX_NAME_BYTES} bytes")
    if _UNPRINTABLE.search(value) is not None:
        raise MalformedRecordError("the name holds control or format characters")
    return value


def _as_hints(value: object) -> tuple[tuple[int, bytes], ...]:
    if type(value) is not list or not value:
        raise MalformedRecordError("the hints are not an array with something in it")
    return tuple(map(_as_hint, value))


def _as_hint(value: object) -> tuple[int, bytes]:
    match value:
        case [kind, content] if type(kind) is int and type(content) is bytes and 0 <= kind <= _MAX_HINT_KIND:
            return kind, content
        case _:
            raise MalformedRecordError("a hint is not a pair of a number and a byte string")
