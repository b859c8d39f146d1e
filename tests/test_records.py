"""A record has one spelling; whatever arrives is decoded within bounds, or refused with the one error."""

from __future__ import annotations

import json
import math
import unicodedata
from datetime import UTC
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import attrs
import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from peernet_core import records
from peernet_core.addresses import Address, may_be_signed
from peernet_core.errors import BadSignatureError, MalformedRecordError
from peernet_core.keys import Identity
from peernet_core.records import (
    MAX_NAME_BYTES,
    MAX_RECORD_SIZE,
    MAX_SEQUENCE,
    Record,
    SignedRecord,
    decode_record,
    encode_record,
    fit_record,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "records.json").read_text(encoding="ascii"))
IDENTITY = Identity(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
BASE = Record(IDENTITY.key, 1_760_000_000_000_000, 7100)


def with_addresses(*texts: str, **changes: Any) -> Record:
    addresses = tuple(Address.parse(text) for text in texts)
    fields: dict[str, Any] = {"key": IDENTITY.key, "sequence": 5, "port": 7100, "addresses": addresses}
    return Record(**fields | changes)


def enclose(payload: bytes) -> bytes:
    """A payload in the form of a record, with a signature that nobody made."""
    return bytes.fromhex("d28443a10132a0") + cbor2.dumps(payload) + b"\x58\x40" + bytes(64)


def deterministic(item: Any) -> bytes:
    """Encode by RFC 8949 §4.2.1; independent of the code under test but for numbers and strings."""
    if isinstance(item, dict):
        pairs = sorted((deterministic(key), deterministic(value)) for key, value in item.items())
        head = cbor2.dumps(dict.fromkeys(range(len(pairs))))[: len(cbor2.dumps(len(pairs)))]
        return head + b"".join(key + value for key, value in pairs)
    if isinstance(item, list):
        head = cbor2.dumps([None] * len(item))[: len(cbor2.dumps(len(item)))]
        return head + b"".join(map(deterministic, item))
    return cbor2.dumps(item)


def fields_as_in_vectors(record: Record) -> dict[str, object]:
    return {
        "key": str(record.key),
        "sequence": record.sequence,
        "port": record.port,
        "addresses": [str(address) for address in record.addresses],
        "name": record.name,
        "hints": [[kind, content.hex()] for kind, content in record.hints],
        "stopped": record.stopped,
    }


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_vectors_of_records(vector: dict[str, Any]) -> None:
    """Each decodes to its fields and verifies; those in our own spelling encode to the same bytes."""
    data = bytes.fromhex(vector["record"])
    signed = decode_record(data)
    signed.verify()
    assert signed.data == data
    assert fields_as_in_vectors(signed.record) == vector["fields"]
    identity = Identity(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["private"])))
    assert (encode_record(signed.record, identity) == data) is vector["encodes_to_this"]


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda vector: vector["name"])
def test_vectors_of_what_is_no_record(vector: dict[str, str]) -> None:
    """Each is refused before its signature is looked at; most are properly signed."""
    with pytest.raises(MalformedRecordError) as caught:
        decode_record(bytes.fromhex(vector["record"]))
    assert not isinstance(caught.value, BadSignatureError)


@pytest.mark.parametrize("vector", VECTORS["bad_signature"], ids=lambda vector: vector["name"])
def test_vectors_of_records_that_their_key_did_not_sign(vector: dict[str, str]) -> None:
    """Each decodes, and fails to verify."""
    signed = decode_record(bytes.fromhex(vector["record"]))
    with pytest.raises(BadSignatureError):
        signed.verify()


ports = st.integers(1, 65535)
ips = st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.builds(IPv6Address, st.integers(0, 2**128 - 1))
addresses = st.builds(
    Address,
    ips.filter(lambda ip: may_be_signed(ip) or ip.is_loopback or ip.is_link_local),
    ports | st.just(7100),
    st.sampled_from(["", "lan"]),
)
any_text = st.text(st.characters(), max_size=40)
some_records = st.builds(
    Record,
    st.just(IDENTITY.key),
    st.integers(1, MAX_SEQUENCE),
    ports | st.just(7100),
    st.lists(addresses, max_size=30).map(tuple),
    any_text,
    st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=60)), max_size=4).map(tuple),
)
some_records |= some_records.map(lambda record: attrs.evolve(record, addresses=(), stopped=True))


@given(some_records)
def test_what_is_encoded_decodes_to_what_fits(record: Record) -> None:
    """Whatever we have to say, what goes out takes at most 230 bytes, verifies, and is what fits."""
    data = encode_record(record, IDENTITY)
    assert len(data) <= MAX_RECORD_SIZE
    signed = decode_record(data)
    signed.verify()
    assert signed == SignedRecord(fit_record(record), data)
    assert encode_record(signed.record, IDENTITY) == data


@given(some_records)
def test_fitting_keeps_what_is_first(record: Record) -> None:
    """Of the addresses that mean something elsewhere the first stay, and of the name its beginning."""
    fitted = fit_record(record)
    assert fit_record(fitted) == fitted
    assert (fitted.key, fitted.sequence, fitted.port) == (record.key, record.sequence, record.port)
    assert fitted.stopped is record.stopped
    usable = list(dict.fromkeys(a.endpoint for a in record.addresses if may_be_signed(a.ip)))
    assert [a.endpoint for a in fitted.addresses] == usable[: len(fitted.addresses)]
    assert all(a.source == "" for a in fitted.addresses)
    assert len(fitted.name.encode()) <= MAX_NAME_BYTES
    assert fitted.hints == record.hints[: len(fitted.hints)]
    if fitted.hints != record.hints:
        assert fitted.addresses == ()


def test_the_last_addresses_go_and_as_few_as_possible() -> None:
    """Of ten addresses as many stay as fill the 230 bytes."""
    texts = [f"10.0.0.{n}:7100" for n in range(1, 30)]
    record = with_addresses(*texts, name="kitchen-pi", sequence=BASE.sequence)
    data = encode_record(record, IDENTITY)
    kept = decode_record(data).record.addresses
    assert [str(a) for a in kept] == texts[: len(kept)]
    assert MAX_RECORD_SIZE - 5 < len(data) <= MAX_RECORD_SIZE


def test_four_and_three_addresses_with_a_long_name_fit() -> None:
    """The size that media were chosen for: four IPv4 and three IPv6 addresses, a name of 24 bytes: 225."""
    texts = [f"10.0.0.{n}:7100" for n in range(1, 5)] + [f"[2001:db8::{n}]:7100" for n in range(1, 4)]
    record = with_addresses(*texts, name="n" * 24, sequence=BASE.sequence)
    data = encode_record(record, IDENTITY)
    assert len(data) == 225
    assert decode_record(data).record == record


def test_addresses_that_mean_nothing_elsewhere_never_go_in() -> None:
    """Loopback, link-local, and IPv4 addresses in IPv6 clothes; a double goes in once."""
    texts = [
        "127.0.0.1:7100",
        "[::1]:7100",
        "169.254.7.7:7100",
        "[fe80::1%eth0]:7100",
        "[64:ff9b::a00:5]:7100",
    ]
    record = with_addresses(*texts, "10.0.0.5:7100", "[2002:a00:5::1]:7100", "10.0.0.5:7100")
    assert [str(a) for a in decode_record(encode_record(record, IDENTITY)).record.addresses] == [
        "10.0.0.5:7100"
    ]


def test_a_record_left_without_addresses_is_not_that_of_a_stopped_peer() -> None:
    """Field 4 is left out: the peer runs, and can be reached where it is heard."""
    data = encode_record(with_addresses("127.0.0.1:7100", "[fe80::1%eth0]:7100"), IDENTITY)
    record = decode_record(data).record
    assert (record.addresses, record.stopped) == ((), False)
    assert 4 not in cbor2.loads(data[9:-66])


def test_a_stopped_peer_has_an_empty_array_of_addresses() -> None:
    """That, and nothing else, is the one spelling."""
    data = encode_record(with_addresses(stopped=True), IDENTITY)
    assert decode_record(data).record == with_addresses(stopped=True)
    assert cbor2.loads(data[9:-66])[4] == []


def test_a_stopped_record_has_no_addresses() -> None:
    """It would say two things at once."""
    with pytest.raises(MalformedRecordError, match="has stopped"):
        with_addresses("10.0.0.5:7100", stopped=True)


@pytest.mark.parametrize("stopped", ["04f4", "04f6", "0400", "0440", "04a0", "049800", "049fff", "04f7"])
def test_a_stop_has_no_other_spelling(stopped: str) -> None:
    """Neither another empty value nor a longer form of the empty array."""
    with pytest.raises(MalformedRecordError):
        decode_record(enclose(b"\xa4" + deterministic(known)[1:] + bytes.fromhex(stopped)))


@pytest.mark.parametrize(
    ("name", "fitted"),
    [
        ("kitchen-pi", "kitchen-pi"),
        ("x" * 25, "x" * 24),
        ("x" * 23 + "é", "x" * 23),
        ("☕" * 9, "☕" * 8),
        ("x" + "😀" * 6, "x" + "😀" * 5),
        ("tab\there\x1b[31m", "tabhere[31m"),
        ("\u202eevil\u2066\u200b\ufeff", "evil"),
        ("\udc80lone", "lone"),
        ("\x00", ""),
    ],
)
def test_a_name_is_made_to_fit(name: str, fitted: str) -> None:
    """Control characters go, then what exceeds 24 bytes, at a character's boundary."""
    assert fit_record(with_addresses(name=name)).name == fitted
    assert decode_record(encode_record(with_addresses(name=name), IDENTITY)).record.name == fitted


def test_no_control_or_format_character_is_taken_for_printable() -> None:
    """The list in the protocol covers every such character that this Python's Unicode knows."""
    every = map(chr, range(0x110000))
    unprintable = {c for c in every if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}}
    assert not {c for c in unprintable if records._UNPRINTABLE.search(c) is None}


@pytest.mark.parametrize("name", ["küche", "厨房", "مطبخ", "מטבח", "☕ café", "a b", "<b>&amp;'\"\\"])
def test_a_name_is_in_any_script(name: str) -> None:
    """Everything that prints is kept as it is."""
    assert decode_record(encode_record(with_addresses(name=name), IDENTITY)).record.name == name


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"sequence": -1},
        {"sequence": MAX_SEQUENCE + 1},
        {"sequence": True},
        {"sequence": 5.0},
        {"port": 0},
        {"port": 65536},
        {"port": True},
        {"port": 7100.0},
    ],
)
def test_a_record_out_of_bounds_cannot_be_made(changes: dict[str, Any]) -> None:
    """What no reader would take is refused before it is signed."""
    with pytest.raises(MalformedRecordError):
        with_addresses(**changes)


@pytest.mark.parametrize("hint", [(-1, b""), (65536, b""), (True, b""), (1, "text"), (1,), (1, b"", b"")])
def test_a_hint_out_of_bounds_is_not_signed(hint: Any) -> None:
    """What no reader would take is refused before it is announced."""
    with pytest.raises(MalformedRecordError):
        encode_record(with_addresses(hints=(hint,)), IDENTITY)


def test_only_its_own_key_signs_a_record() -> None:
    """A record for another key would never verify, so it is not made."""
    with pytest.raises(MalformedRecordError, match="signed by the key"):
        encode_record(BASE, Identity.generate())


def test_a_record_is_signed_the_same_each_time() -> None:
    """Equal bytes are what lets a receiver refresh a lease without verifying."""
    assert encode_record(BASE, IDENTITY) == encode_record(BASE, IDENTITY)


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    """No other error comes out, whatever goes in."""
    with pytest.raises(MalformedRecordError):
        decode_record(data)


@given(st.binary(max_size=160))
def test_any_payload_decodes_or_is_refused(payload: bytes) -> None:
    """The same where the bytes around the payload are in order."""
    assert_decodes_or_is_refused(payload)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=12)
    | st.text(max_size=8),
    lambda items: (
        st.lists(items, max_size=3)
        | st.dictionaries(st.integers(-30, 300) | st.text(max_size=3), items, max_size=3)
    ),
    max_leaves=8,
)
odd = plain | st.floats() | st.just(cbor2.undefined) | st.integers() | st.datetimes(timezones=st.just(UTC))
odd_keys = (
    st.integers(-2, 26)
    | st.booleans()
    | st.floats()
    | st.none()
    | st.binary(max_size=2)
    | st.text(max_size=2)
)
known = {1: IDENTITY.key.raw, 2: 7, 3: 7100}


@given(st.dictionaries(st.integers(7, 23), plain, max_size=3))
def test_unknown_fields_are_ignored(unknown: dict[int, object]) -> None:
    """Later versions may add fields of plain items; our reading of the rest is the same."""
    data = enclose(deterministic(known | unknown))
    if depth(unknown) <= 4 and len(data) <= MAX_RECORD_SIZE:
        assert decode_record(data).record == Record(IDENTITY.key, 7, 7100)
    else:
        with pytest.raises(MalformedRecordError):
            decode_record(data)


def depth(item: object) -> int:
    if isinstance(item, dict):
        return 1 + max(map(depth, item.values()), default=0)
    if isinstance(item, list):
        return 1 + max(map(depth, item), default=0)
    return 0


@given(
    st.dictionaries(odd_keys, odd, max_size=4),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 160), st.integers(0, 255)), max_size=2),
)
def test_a_payload_of_odd_items_decodes_or_is_refused(
    fields: dict[Any, Any], canonical: bool, changes: list[tuple[int, int]]
) -> None:
    """Floats, tags, true for 1, other orders, and bytes changed anywhere."""
    payload = bytearray(cbor2.dumps(known | fields, canonical=canonical))
    for at, value in changes:
        payload[at % len(payload)] = value
    assert_decodes_or_is_refused(bytes(payload))


def assert_decodes_or_is_refused(payload: bytes) -> None:
    data = enclose(payload)
    try:
        record = decode_record(data).record
    except MalformedRecordError:
        return
    decoded = cbor2.loads(payload)
    assert deterministic(decoded) == payload, "two spellings of one record"
    assert all(type(key) is int and 0 <= key <= 23 for key in decoded)
    assert not any(map(holds_odd_items, decoded.values()))
    assert (record.key.raw, record.sequence, record.port) == (decoded[1], decoded[2], decoded[3])
    assert record.stopped is (4 in decoded and not record.addresses)
    assert all(may_be_signed(address.ip) for address in record.addresses)


def holds_odd_items(item: object) -> bool:
    if isinstance(item, dict):
        return any(type(key) not in {int, str} for key in item) or any(map(holds_odd_items, item.values()))
    if isinstance(item, list):
        return any(map(holds_odd_items, item))
    return type(item) not in {int, str, bytes, bool, type(None)}


@given(some_records, st.integers(0, 230), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(record: Record, at: int, change: int) -> None:
    """Any byte changed: it does not decode, or does not verify."""
    data = bytearray(encode_record(record, IDENTITY))
    data[at % len(data)] ^= change
    with pytest.raises(MalformedRecordError):
        decode_record(bytes(data)).verify()


@given(some_records, st.binary(min_size=1, max_size=8))
def test_no_longer_record_is_read(record: Record, more: bytes) -> None:
    """Bytes before or after a record make it none."""
    whole = encode_record(record, IDENTITY)
    for damaged in (whole + more, more + whole):
        with pytest.raises(MalformedRecordError):
            decode_record(damaged)


@pytest.mark.parametrize(
    "record", [BASE, with_addresses("10.0.0.5:7100", name="kitchen-pi")], ids=["bare", "full"]
)
def test_no_cut_record_is_read(record: Record) -> None:
    """A record that lost its end is none, wherever it was cut; nor is one whose payload was."""
    whole = encode_record(record, IDENTITY)
    payload = whole[9:-66]
    damaged = [whole[:cut] for cut in range(len(whole))]
    damaged += [enclose(payload[:cut]) for cut in range(len(payload))]
    for data in damaged:
        with pytest.raises(MalformedRecordError):
            decode_record(data)


@pytest.mark.parametrize(
    "item",
    [
        "c001",  # a date
        "c482 1b7fffffffffffffff 01",  # a decimal fraction with an exponent that fills all memory
        "d81c81d81d00",  # a list that holds itself
        "d823 6461612b24",  # a regular expression
        "d90102 8101",  # a set
        "d9d9f701",  # the tag of CBOR itself
        "f97e00",  # not a number
        "f93c00",  # 1.0
        "f7",  # undefined
        "e0",  # simple value 0
        "f8ff",  # simple value 255
        "f814",  # false, spelt long
        "9f01ff",  # a list without a length
        "5f4101ff",  # a byte string in pieces
        "7f6161ff",  # a text in pieces
        "ff",  # a break
        "1c",  # a reserved length
        "1800",  # 0, spelt long
        "190001",
        "1a00000001",
        "1b0000000000000001",
        "5801 00",  # a length, spelt long
        "61ff",  # not UTF-8
        "a1 61ff 00",
        "63 eda080",  # half of a surrogate pair
        "9b7fffffffffffffff",  # a list of more items than there are bytes
        "bb7fffffffffffffff",
        "5b7fffffffffffffff",
        "a2 0000 0000",  # a key twice
        "a2 0100 0000",  # keys out of order
        "a2 2000 181800",  # keys in the order of RFC 7049
        "a1 f5 00",  # a key that equals 1 in some languages
        "a1 f93c00 00",
        "a1 40 00",
        "a1 80 00",
        "81818181 00",  # too deep
        "a100a100a100a10000",
    ],
)
def test_an_unknown_field_is_plain_and_in_its_one_spelling(item: str) -> None:
    """What is ignored is checked all the same: no tag is run, no second spelling of a record exists."""
    payload = b"\xa4" + deterministic(known)[1:] + b"\x07" + bytes.fromhex(item)
    with pytest.raises(MalformedRecordError):
        decode_record(enclose(payload))


@pytest.mark.parametrize(
    "number", [*range(40), 43, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799, 2**64 - 1]
)
def test_a_tag_is_refused_as_a_tag(number: int) -> None:
    """It is seen before anything is decoded, also where its number is that of true among plain values."""
    tag = bytearray(cbor2.dumps(number))
    tag[0] |= 0xC0
    for item in (tag + b"\x00", b"\x81" + tag + b"\x00", b"\x82" + tag + b"\x00"):
        payload = b"\xa4" + deterministic(known)[1:] + b"\x07" + item
        with pytest.raises(MalformedRecordError, match="a tag"):
            decode_record(enclose(payload))


def test_a_record_as_deep_as_permitted_is_read() -> None:
    """The bound on nesting is exact."""
    assert decode_record(enclose(deterministic(known | {7: [[[]]]}))).record.port == 7100


def test_an_own_port_belongs_to_its_address_alone() -> None:
    """Addresses with the record's port are written short; others carry theirs."""
    record = with_addresses("10.0.0.5:7100", "10.0.0.5:7101", "[2001:db8::5]:443")
    signed = decode_record(encode_record(record, IDENTITY))
    assert signed.record == record
    assert [len(packed) for packed in cbor2.loads(signed.data[9:-66])[4]] == [4, 6, 18]


def test_a_mapped_address_comes_out_as_ipv4() -> None:
    """An IPv4 address has one form, whatever form the signer gave it."""
    packed = ip_address("::ffff:10.0.0.5").packed
    record = decode_record(enclose(deterministic(known | {4: [packed]}))).record
    assert record.addresses == (Address(IPv4Address("10.0.0.5"), 7100),)


def test_floats_in_the_test_encoder_are_floats() -> None:
    """Guards the tests above: Hypothesis' floats do reach the decoder as floats."""
    assert math.isnan(cbor2.loads(deterministic(math.nan)))
    assert deterministic({1: 1.0}) != deterministic({1: 1})
