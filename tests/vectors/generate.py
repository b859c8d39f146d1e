"""Make the test vectors from fixed private keys: ``python tests/vectors/generate.py``.

Written from docs/protocol.md and against none of peernet's own code, so that an error there cannot repeat
itself here. Ed25519 signatures are deterministic: the same files come out each time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE: Final = Path(__file__).parent
Item: TypeAlias = "int | bytes | str | Sequence[Item] | dict[int, Item]"

PRIME: Final = 2**255 - 19
ORDER_EIGHT_Y: Final = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
OTHER_ORDER_EIGHT_Y: Final = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"

SEEDS: Final = {"one": bytes(range(32)), "two": bytes(range(32, 64)), "three": b"\x2a" * 32}


def head(major: int, argument: int) -> bytes:
    first = major << 5
    if argument < 24:
        return bytes((first | argument,))
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes((first | info,)) + argument.to_bytes(size, "big")
    raise ValueError(argument)


def cbor(item: Item) -> bytes:
    """RFC 8949 §4.2.1, as much of it as a record needs."""
    if isinstance(item, int):
        return head(0, item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    if isinstance(item, dict):
        pairs = sorted((cbor(key), cbor(value)) for key, value in item.items())
        return head(5, len(pairs)) + b"".join(key + value for key, value in pairs)
    return head(4, len(item)) + b"".join(map(cbor, item))


def public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def alias(key: bytes) -> str:
    return base32(hashlib.sha256(b"peernet-alias-v1" + key).digest()[:16])


def signed(
    payload: bytes,
    seed: bytes = SEEDS["one"],
    *,
    external: bytes = b"peernet-record-v1",
    protected: bytes = b"\xa1\x01\x32",
) -> bytes:
    """COSE_Sign1 over a payload, with its tag."""
    to_sign = cbor(("Signature1", protected, external, payload))
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(to_sign)
    return b"\xd2\x84" + cbor(protected) + b"\xa0" + cbor(payload) + cbor(signature)


def packed(text: str) -> bytes:
    """An address, with its own port after a space where it has one."""
    ip, _, port = text.partition(" ")
    return ip_address(ip).packed + (int(port).to_bytes(2, "big") if port else b"")


KEY: Final = public(SEEDS["one"])
FULL: Final[dict[int, Item]] = {
    1: KEY,
    2: 1_760_000_000_000_000,
    3: 7100,
    4: [packed(text) for text in ("10.0.0.5", "203.0.113.7 443", "2001:db8::5", "fd00::5 7101")],
    5: "kitchen-pi",
}
FIVE_AND_THREE: Final = [
    *(packed(f"192.0.2.{n}") for n in range(1, 6)),
    *(packed(f"2001:db8::{n}") for n in range(1, 4)),
]
SMALLEST: Final[dict[int, Item]] = {1: KEY, 2: 1, 3: 1}


def with_fields(*without: int, **fields: Item) -> bytes:
    """FULL, changed: ``_4=…`` replaces field 4."""
    changed = FULL | {int(name[1:]): value for name, value in fields.items()}
    return cbor({number: value for number, value in changed.items() if number not in without})


def make_keys() -> dict[str, object]:
    valid = [
        {
            "name": f"key/{name}",
            "private": seed.hex(),
            "public": public(seed).hex(),
            "text": base32(public(seed)),
            "alias": alias(public(seed)),
        }
        for name, seed in SEEDS.items()
    ]
    text = base32(KEY)
    bad_texts = {
        "too short": text[:-1],
        "too long": text + "a",
        "padded": text + "====",
        "padding bits that are not zero": text[:-1] + "b",
        "white space before": " " + text,
        "white space after": text + "\n",
        "a digit that base32 has not": "1" + text[1:],
        "a letter whose upper case is S": "\N{LATIN SMALL LETTER LONG S}" + text[1:],
        "hexadecimal": KEY.hex(),
    }
    small = {
        "order 1": "01" + "00" * 31,
        "order 2": "ec" + "ff" * 30 + "7f",
        "order 4": "00" * 32,
        "order 4, the other": "00" * 31 + "80",
        "order 8": ORDER_EIGHT_Y,
        "order 8, the second": ORDER_EIGHT_Y[:-2] + "85",
        "order 8, the third": OTHER_ORDER_EIGHT_Y,
        "order 8, the fourth": OTHER_ORDER_EIGHT_Y[:-2] + "fa",
        "order 1, negative zero": "01" + "00" * 30 + "80",
        "order 2, negative zero": "ec" + "ff" * 31,
        "order 4, not reduced": "ed" + "ff" * 30 + "7f",
        "order 1, not reduced": "ee" + "ff" * 30 + "7f",
        "not reduced": "f0" + "ff" * 30 + "7f",
        "not reduced, with a sign": "ff" * 32,
    }
    return {
        "valid": valid,
        "invalid_text": [{"name": name, "text": text} for name, text in bad_texts.items()],
        "invalid_public": [
            {"name": name, "public": raw, "text": base32(bytes.fromhex(raw))} for name, raw in small.items()
        ],
    }


def make_valid_records() -> list[dict[str, object]]:
    expected: dict[str, object] = {
        "key": base32(KEY),
        "sequence": FULL[2],
        "port": 7100,
        "addresses": ["10.0.0.5:7100", "203.0.113.7:443", "[2001:db8::5]:7100", "[fd00::5]:7101"],
        "name": "kitchen-pi",
        "hints": [],
        "stopped": False,
    }
    smallest = {"sequence": 1, "port": 1, "addresses": [], "name": ""}
    largest = {
        "sequence": 2**63 - 1,
        "port": 65535,
        "addresses": [f"192.0.2.{n}:65535" for n in range(1, 6)]
        + [f"[2001:db8::{n}]:65535" for n in range(1, 4)],
        "name": "Küche (Erdgeschoss) ☕",
    }
    cases: dict[str, tuple[bytes, dict[str, object], bool]] = {
        "full": (cbor(FULL), {}, True),
        "smallest": (cbor(SMALLEST), smallest, True),
        "stopped": (
            with_fields(_2=1_760_000_000_000_001, _4=[]),
            {"sequence": 1_760_000_000_000_001, "addresses": [], "stopped": True},
            True,
        ),
        "no addresses": (with_fields(4), {"addresses": []}, True),
        "largest": (
            cbor({1: KEY, 2: 2**63 - 1, 3: 65535, 4: FIVE_AND_THREE, 5: "Küche (Erdgeschoss) ☕"}),
            largest,
            True,
        ),
        "hints": (
            with_fields(4, 5, _6=[[1, b"\x01\x02"], [1, b""]]),
            {"addresses": [], "name": "", "hints": [[1, "0102"], [1, ""]]},
            True,
        ),
        "mapped address": (
            with_fields(_4=[packed("::ffff:10.0.0.5")]),
            {"addresses": ["10.0.0.5:7100"]},
            False,
        ),
        "port spelt out": (
            with_fields(_4=[packed("10.0.0.5 7100")]),
            {"addresses": ["10.0.0.5:7100"]},
            False,
        ),
        "unknown fields": (
            cbor(FULL | {7: [1, {0: "later"}], 23: b"\x00"}),
            {},
            False,
        ),
    }
    return [
        {
            "name": f"record/{name}",
            "private": SEEDS["one"].hex(),
            "fields": expected | fields,
            # Others may write what we read but would write in another way.
            "encodes_to_this": encodes,
            "record": signed(payload).hex(),
        }
        for name, (payload, fields, encodes) in cases.items()
    ]


def make_invalid_records() -> list[dict[str, str]]:
    full = signed(cbor(FULL))
    payload = cbor(FULL)
    key_field = b"\x01" + cbor(KEY)
    # SMALLEST, as a map that says that it holds one pair more.
    and_one = b"\xa4" + cbor(SMALLEST)[1:]
    cases = {
        "empty": b"",
        "cut by a byte": full[:-1],
        "a byte more": full + b"\x00",
        "231 bytes": signed(
            with_fields(_4=FIVE_AND_THREE[1:], _5="a name of 24 bytes, full", _6=[[1, b"\x00"]])
        ),
        "a payload length that is wrong": full[:8] + bytes((full[8] - 1,)) + full[9:],
        "a signature of 63 bytes": full[:-66] + b"\x58\x3f" + full[-63:],
        "a signature as text": full[:-66] + b"\x78\x40" + full[-64:],
        "no tag": full[1:],
        "tag 98 (COSE_Sign)": b"\xd8\x62" + full[1:],
        "tag 18 spelt with two bytes": b"\xd8\x12" + full[1:],
        "tag 18 twice": b"\xd2" + full,
        "algorithm -8 (EdDSA)": signed(payload, protected=b"\xa1\x01\x27"),
        "empty protected header": signed(payload, protected=b""),
        "a key identifier in the unprotected header": full.replace(b"\xa0\x58", b"\xa1\x04\x40\x58", 1),
        "payload of indefinite length": signed(b"\xbf" + payload[1:] + b"\xff"),
        "payload that is no map": signed(cbor([KEY, 1, 1])),
        "bytes after the payload's map": signed(payload + b"\x00"),
        "a map that is shorter than it says": signed(b"\xa6" + payload[1:]),
        "keys out of order": signed(b"\xa3" + key_field + cbor(3) + cbor(1) + cbor(2) + cbor(1)),
        "a key twice": signed(
            b"\xa4" + key_field + cbor(2) + cbor(1) + cbor(2) + cbor(2) + cbor(3) + cbor(1)
        ),
        "true for the key 1": signed(b"\xa3\xf5" + cbor(KEY) + cbor(2) + cbor(1) + cbor(3) + cbor(1)),
        "true for the sequence 1": signed(b"\xa3" + key_field + cbor(2) + b"\xf5" + cbor(3) + cbor(1)),
        "true for the port 1": signed(b"\xa3" + key_field + cbor(2) + cbor(1) + cbor(3) + b"\xf5"),
        "a float for the port": signed(b"\xa3" + key_field + cbor(2) + cbor(1) + b"\x03\xf9\x3c\x00"),
        "a float for a key": signed(b"\xa4" + key_field + cbor(2) + cbor(1) + b"\x03\x01\xf9\x44\x00\x01"),
        "a number longer than needed": signed(b"\xa3" + key_field + b"\x02\x18\x01" + cbor(3) + cbor(1)),
        "a length longer than needed": signed(b"\xa3\x01\x59\x00\x20" + KEY + b"\x02\x01\x03\x01"),
        "a negative key": signed(and_one + b"\x20\x01"),
        "a text key": signed(and_one + b"\x61a\x01"),
        "a key above 23": signed(cbor(SMALLEST | {24: 1})),
        "a tag in a known field": signed(b"\xa3" + key_field + b"\x02\xc2\x41\x01" + cbor(3) + cbor(1)),
        "a tag in an unknown field": signed(and_one + b"\x07\xd8\x23\x61a"),
        "undefined in an unknown field": signed(and_one + b"\x07\xf7"),
        "an unknown field nested too deep": signed(cbor(SMALLEST | {7: [[[[]]]]})),
        "a map in an unknown field with keys out of order": signed(and_one + b"\x07\xa2\x20\x01\x18\x18\x01"),
        "no key": signed(with_fields(1)),
        "no sequence": signed(with_fields(2)),
        "no port": signed(with_fields(3)),
        "a key of 31 bytes": signed(with_fields(_1=KEY[:31])),
        "a small-order key": signed(with_fields(_1=b"\x01" + bytes(31))),
        "a key that is not reduced": signed(with_fields(_1=(PRIME + 3).to_bytes(32, "little"))),
        "sequence 0": signed(with_fields(_2=0)),
        "a sequence of 64 bits": signed(with_fields(_2=2**63)),
        "port 0": signed(with_fields(_3=0)),
        "port 65536": signed(with_fields(_3=65536)),
        "stopped, as an empty map": signed(with_fields(_4={})),
        "stopped, as an empty byte string": signed(with_fields(_4=b"")),
        "stopped, as false": signed(and_one + b"\x04\xf4"),
        "stopped, as null": signed(and_one + b"\x04\xf6"),
        "stopped, spelt with two bytes": signed(and_one + b"\x04\x98\x00"),
        "stopped, of indefinite length": signed(and_one + b"\x04\x9f\xff"),
        "addresses as a number": signed(with_fields(_4=4)),
        "addresses as a map": signed(with_fields(_4={0: packed("10.0.0.5")})),
        "an address as text": signed(with_fields(_4=["10.0.0.5"])),
        "an address of 5 bytes": signed(with_fields(_4=[packed("10.0.0.5") + b"\x00"])),
        "an address with port 0": signed(with_fields(_4=[packed("10.0.0.5 0")])),
        **{
            f"the address {ip}": signed(with_fields(_4=[packed(ip)]))
            for ip in (
                *("0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.251", "255.255.255.255"),
                *("::", "::1", "fe80::1", "ff02::fb", "::ffff:127.0.0.1"),
                *("::10.0.0.5", "64:ff9b::10.0.0.5", "64:ff9b:1::10.0.0.5", "2002:a00:5::1"),
            )
        },
        "a name that is empty": signed(with_fields(_5="")),
        "a name of 25 bytes": signed(with_fields(_5="abcdefghijklmnopqrstuvwxy")),
        "a name of 24 characters in 25 bytes": signed(with_fields(_5="k\u00fcche-im-erdgeschoss-123")),
        "a name as bytes": signed(with_fields(_5=b"kitchen-pi")),
        "a name that is not UTF-8": signed(
            with_fields(5)[:1].replace(b"\xa4", b"\xa5") + with_fields(5)[1:] + b"\x05\x61\xff"
        ),
        "a name with an escape": signed(with_fields(_5="\x1b[31mred")),
        "a name that runs backwards": signed(with_fields(_5="\u202etxt.exe")),
        "hints that are empty": signed(with_fields(4, _6=[])),
        "hints as a number": signed(with_fields(4, _6=4)),
        "a hint of one": signed(with_fields(4, _6=[[1]])),
        "a hint whose number is text": signed(with_fields(4, _6=[["1", b""]])),
        "a hint whose number has 17 bits": signed(with_fields(4, _6=[[65536, b""]])),
    }
    return [{"name": f"malformed/{name}", "record": data.hex()} for name, data in cases.items()]


def make_badly_signed_records() -> list[dict[str, str]]:
    full = signed(cbor(FULL))
    cases = {
        "by another key": signed(cbor(FULL), SEEDS["two"]),
        "without the external data": signed(cbor(FULL), external=b""),
        "a bit of the signature changed": full[:-1] + bytes((full[-1] ^ 1,)),
        "a bit of the sequence changed": signed(cbor(FULL))[:52] + bytes((full[52] ^ 1,)) + full[53:],
    }
    return [{"name": f"bad signature/{name}", "record": data.hex()} for name, data in cases.items()]


def make_records() -> dict[str, object]:
    return {
        "valid": make_valid_records(),
        "malformed": make_invalid_records(),
        "bad_signature": make_badly_signed_records(),
    }


BOOT_ID: Final = bytes.fromhex("b0075700000000000000000000000001")
TOKEN: Final = bytes.fromhex("d1a1bac4000000000000000000000002")


def frame(body: bytes) -> bytes:
    """A frame: its length, then its body."""
    return len(body).to_bytes(2, "big") + body


def make_frames() -> dict[str, object]:
    record = signed(cbor(SMALLEST))
    valid: dict[str, dict[int, Item]] = {
        "HELLO": {0: 1, 1: record, 2: BOOT_ID, 3: 1_760_000_000_000_000},
        "OPEN": {0: 2},
        "UP": {0: 3},
        "UP with its number": {0: 3, 1: 2},
        "NO": {0: 4},
        "PING": {0: 5, 1: 2**64 - 1},
        "PONG": {0: 6, 1: 7},
        "RECORD": {0: 7, 1: record},
        "DIALBACK": {0: 8, 1: TOKEN, 2: "chat/1"},
        "BYE": {0: 9, 1: "stopping"},
    }
    ignored: dict[str, dict[int, Item]] = {
        "an unknown type": {0: 99, 1: [1, "later"]},
        "an unknown field": {0: 5, 1: 7, 2: "later"},
    }
    malformed = {
        "length 0": b"\x00\x00",
        "length 4097": b"\x10\x01",
        "no map": frame(cbor([5, 7])),
        "no type": frame(cbor({1: 7})),
        "a type as text": frame(cbor({0: "5", 1: 7})),
        "a field that is missing": frame(cbor({0: 5})),
        "a field of another kind": frame(cbor({0: 5, 1: "7"})),
        "a negative number": frame(b"\xa2\x00\x05\x01\x20"),
        "true for the number 1": frame(b"\xa2\x00\x05\x01\xf5"),
        "a boot id of 15 bytes": frame(cbor({0: 1, 1: record, 2: BOOT_ID[:15], 3: 0})),
        "a reason of 121 bytes": frame(cbor({0: 9, 1: "x" * 121})),
        "bytes after the map": frame(cbor({0: 2}) + b"\x00"),
        "cut": frame(cbor({0: 5, 1: 1000})[:-1]),
        "keys out of order": frame(b"\xa2\x01\x07\x00\x05"),
        "a key twice": frame(b"\xa3\x00\x05\x01\x07\x01\x08"),
        "a number longer than needed": frame(b"\xa2\x00\x05\x01\x18\x07"),
        "a map of indefinite length": frame(b"\xbf\x00\x02\xff"),
        "a tag": frame(b"\xa2\x00\x05\x01\xc2\x41\x07"),
    }
    return {
        "valid": [
            {"name": f"frame/{name}", "type": fields[0], "frame": frame(cbor(fields)).hex()}
            for name, fields in valid.items()
        ],
        "ignored": [
            {"name": f"frame/{name}", "frame": frame(cbor(fields)).hex()} for name, fields in ignored.items()
        ],
        "malformed": [
            {"name": f"malformed frame/{name}", "frame": data.hex()} for name, data in malformed.items()
        ],
    }


def make_files() -> dict[str, str]:
    """Each file's name and text."""
    made = {"keys.json": make_keys(), "records.json": make_records(), "frames.json": make_frames()}
    return {name: json.dumps(content, indent=1, ensure_ascii=True) + "\n" for name, content in made.items()}


if __name__ == "__main__":
    for name, text in make_files().items():
        (HERE / name).write_text(text, encoding="ascii")
