"""A key has one spelling as bytes and one as text, no small-order point is one, and no secret is printed."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from peernet_core import keys
from peernet_core.errors import MalformedKeyError
from peernet_core.keys import Identity, PeerKey

VECTORS = json.loads((Path(__file__).parent / "vectors" / "keys.json").read_text(encoding="ascii"))

# Curve arithmetic by the formulas of RFC 8032 §5.1, on affine points: slow, and nothing taken on trust.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def multiply(factor: int, point: Point) -> Point:
    result = NEUTRAL
    while factor:
        if factor & 1:
            result = add(result, point)
        point = add(point, point)
        factor >>= 1
    return result


def points_at(y: int) -> list[Point]:
    """The points of the curve with that y: none, one or two."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * pow(2, (P - 1) // 4, P) % P
    return [(x, y), (-x % P, y)] if (x * x - square) % P == 0 else []


def small_order_points() -> set[Point]:
    """All eight: what the prime order leaves of points, until a generator of the torsion group turns up."""
    for y in range(2, 100):
        for point in points_at(y):
            torsion = multiply(L, point)
            if multiply(4, torsion) != NEUTRAL:
                return {multiply(n, torsion) for n in range(8)}
    raise AssertionError("no point of order eight below y = 100")


def spellings(y: int) -> set[bytes]:
    """Every 32 bytes that a lenient reader takes for a point with that y: each sign, reduced and not."""
    numbers = (y + reduced * P for reduced in (0, 1) if y + reduced * P < 2**255)
    return {(number | sign << 255).to_bytes(32, "little") for number in numbers for sign in (0, 1)}


def test_every_spelling_of_every_small_order_point_is_refused() -> None:
    """The list in the source is the one that curve arithmetic gives, and no spelling gets past it."""
    points = small_order_points()
    assert len(points) == 8
    assert all(multiply(8, point) == NEUTRAL for point in points)
    ys = {y for _, y in points}
    assert ys == keys._SMALL_ORDER_Y
    every = set().union(*(spellings(y) for y in ys))
    assert len(every) == 14
    for raw in every:
        with pytest.raises(MalformedKeyError):
            PeerKey(raw)
        with pytest.raises(MalformedKeyError):
            PeerKey.parse(base64.b32encode(raw).decode().rstrip("="))


def test_a_small_order_key_would_let_anybody_in() -> None:
    """The reason for the list: one signature, made without any private key, passes for every message."""
    neutral = NEUTRAL[1].to_bytes(32, "little")
    forged = neutral + bytes(32)
    for message in (b"let me in", b"and me"):
        Ed25519PublicKey.from_public_bytes(neutral).verify(forged, message)


@pytest.mark.parametrize("y", [P, P + 1, P + 2, P + 18])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_that_is_not_reduced_is_refused(y: int, sign: int) -> None:
    """A second spelling of a point would be a second peer with the same private key."""
    with pytest.raises(MalformedKeyError):
        PeerKey((y | sign << 255).to_bytes(32, "little"))


def test_the_last_reduced_key_is_accepted() -> None:
    """The bound is exact: P - 2 is a coordinate like any other."""
    raw = (P - 2).to_bytes(32, "little")
    assert PeerKey(raw).raw == raw


@pytest.mark.parametrize("raw", [b"", b"\x05" * 31, b"\x05" * 33, bytearray(b"\x05" * 32), "5" * 32, None])
def test_a_key_is_32_bytes(raw: Any) -> None:
    """Any other length or type is refused when the key is made, not where it is used."""
    with pytest.raises(MalformedKeyError):
        PeerKey(raw)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_vectors_of_keys(vector: dict[str, str]) -> None:
    """Public key, text and alias follow from the private key as in the published vectors."""
    identity = Identity(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["private"])))
    key = PeerKey.parse(vector["text"])
    assert key == identity.key
    assert bytes(key).hex() == vector["public"]
    assert str(key) == vector["text"]
    assert key.alias == vector["alias"]
    assert key.short == vector["text"][:8]


@pytest.mark.parametrize("vector", VECTORS["invalid_text"], ids=lambda vector: vector["name"])
def test_vectors_of_texts_that_are_no_keys(vector: dict[str, str]) -> None:
    """A key has one spelling in letters, but for their case."""
    with pytest.raises(MalformedKeyError):
        PeerKey.parse(vector["text"])


@pytest.mark.parametrize("vector", VECTORS["invalid_public"], ids=lambda vector: vector["name"])
def test_vectors_of_bytes_that_are_no_keys(vector: dict[str, str]) -> None:
    """Neither their bytes nor their text make a key."""
    with pytest.raises(MalformedKeyError):
        PeerKey(bytes.fromhex(vector["public"]))
    with pytest.raises(MalformedKeyError):
        PeerKey.parse(vector["text"])


raw_keys = st.builds(
    lambda y, sign: (y | sign << 255).to_bytes(32, "little"),
    st.integers(2, P - 2).filter(lambda y: y not in keys._SMALL_ORDER_Y),
    st.integers(0, 1),
)


@given(raw_keys, st.data())
def test_text_of_a_key_reads_back_in_any_case(raw: bytes, data: st.DataObject) -> None:
    """Text is 52 lower-case characters; upper case, and any mixture, reads as the same key."""
    key = PeerKey(raw)
    text = str(key)
    assert len(text) == 52
    assert text == text.lower()
    upper = data.draw(st.lists(st.booleans(), min_size=52, max_size=52))
    mixed = "".join(letter.upper() if up else letter for letter, up in zip(text, upper, strict=True))
    assert PeerKey.parse(mixed) == key
    assert str(PeerKey.parse(mixed)) == text


@given(st.text() | st.text("abcdefghijklmnopqrstuvwxyz234567AQ", min_size=52, max_size=52))
def test_any_text_is_a_key_in_its_own_spelling_or_refused(text: str) -> None:
    """No two texts, but for case, are one key."""
    try:
        key = PeerKey.parse(text)
    except MalformedKeyError:
        return
    assert str(key) == text.lower()


@given(raw_keys)
def test_each_key_has_exactly_one_text(raw: bytes) -> None:
    """Of the 32 last characters one alone is accepted: the padding bits are zero."""
    text = str(PeerKey(raw))
    accepted = []
    for last in "abcdefghijklmnopqrstuvwxyz234567":
        try:
            if PeerKey.parse(text[:-1] + last) == PeerKey(raw):
                accepted.append(last)
        except MalformedKeyError:
            continue
    assert accepted == [text[-1]]


@given(raw_keys, raw_keys)
def test_keys_compare_by_their_bytes(one: bytes, two: bytes) -> None:
    """Equality, order and hash are those of the bytes: the smaller key decides about a link."""
    a, b = PeerKey(one), PeerKey(two)
    assert (a == b, a < b, a <= b, a > b, a >= b) == (
        one == two,
        one < two,
        one <= two,
        one > two,
        one >= two,
    )
    assert a == PeerKey(one)
    assert hash(a) == hash(PeerKey(one))
    assert len({a, b, PeerKey(one)}) == (1 if one == two else 2)


def test_a_key_cannot_be_changed_and_survives_copying() -> None:
    """It is a value: frozen, and equal after copying and pickling."""
    key = Identity.generate().key
    with pytest.raises(AttributeError):
        key.raw = b"\x05" * 32  # type: ignore[misc]  # the very thing that must fail
    assert copy.deepcopy(key) == key
    assert pickle.loads(pickle.dumps(key)) == key


def test_the_message_about_a_bad_text_does_not_repeat_it() -> None:
    """What was pasted may be a secret, and messages go to logs."""
    secret = Identity.generate().to_pem().decode()
    with pytest.raises(MalformedKeyError) as caught:
        PeerKey.parse(secret)
    assert not any(line in str(caught.value) for line in secret.splitlines())


def test_a_signature_holds_for_its_key_and_data_alone() -> None:
    """Another key, other data, a changed or mis-sized signature: False, and never an exception."""
    identity, other = Identity.generate(), Identity.generate()
    signature = identity.sign(b"data")
    assert identity.key.verify(signature, b"data")
    assert identity.key.verify(identity.sign(b""), b"")
    assert not other.key.verify(signature, b"data")
    assert not identity.key.verify(signature, b"Data")
    assert not identity.key.verify(signature[:-1] + bytes((signature[-1] ^ 1,)), b"data")
    for wrong_size in (b"", signature[:-1], signature + b"\x00"):
        assert not identity.key.verify(wrong_size, b"data")


def test_a_key_off_the_curve_verifies_nothing() -> None:
    """Such a key can be made, as that is not checked, and lets nobody in."""
    off_curve = next(y for y in range(2, 100) if not points_at(y))
    assert not PeerKey(off_curve.to_bytes(32, "little")).verify(bytes(64), b"data")


def test_an_identity_reads_back_from_its_pem() -> None:
    """The file holds the same private key, as PKCS#8."""
    identity = Identity.generate()
    pem = identity.to_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = Identity.from_pem(pem)
    assert again.key == identity.key
    assert again.private_key.private_bytes_raw() == identity.private_key.private_bytes_raw()


def test_two_identities_are_different() -> None:
    """Each is made from fresh randomness."""
    assert Identity.generate().key != Identity.generate().key


def pem_of(private_key: Any, encryption: Any = None) -> bytes:
    encoded = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    assert isinstance(encoded, bytes)
    return encoded


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "corrupt"),
        (b"\xff\xfe", "corrupt"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "corrupt"),
        (pem_of(Ed25519PrivateKey.from_private_bytes(bytes(32)))[:-40], "corrupt"),
        (pem_of(ed448.Ed448PrivateKey.generate()), "not an Ed25519"),
        (pem_of(x25519.X25519PrivateKey.generate()), "not an Ed25519"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519"),
        (pem_of(rsa.generate_private_key(65537, 2048)), "not an Ed25519"),
        (pem_of(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"password")), "encrypted"),
        (
            Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "corrupt",
        ),
    ],
    ids=["empty", "binary", "short", "cut", "Ed448", "X25519", "P-256", "RSA", "encrypted", "public"],
)
def test_what_is_no_identity_is_refused_with_the_reason(pem: bytes, reason: str) -> None:
    """Another kind of key, an encrypted one, or a damaged file."""
    with pytest.raises(MalformedKeyError, match=reason):
        Identity.from_pem(pem)


@given(st.binary(max_size=200), st.integers(0, 118), st.integers(0, 3))
def test_any_damage_to_an_identity_file_is_one_error_or_a_key(noise: bytes, at: int, cut: int) -> None:
    """Bytes overwritten or lost anywhere; a changed letter may well make another valid private key."""
    pem = pem_of(Ed25519PrivateKey.from_private_bytes(b"\x17" * 32))
    for damaged in (noise, pem[:at] + noise[:cut] + pem[at + cut :], pem[:at]):
        try:
            Identity.from_pem(damaged).sign(b"data")
        except MalformedKeyError:
            continue


def test_no_text_of_an_identity_shows_the_private_key() -> None:
    """Neither repr nor str; and the error about a bad file quotes nothing and is chained to nothing."""
    identity = Identity.generate()
    secret = identity.private_key.private_bytes_raw()
    for shown in (repr(identity), str(identity), f"{identity}"):
        assert shown == f"Identity({identity.key})"
        assert secret.hex() not in shown
    with pytest.raises(MalformedKeyError) as caught:
        Identity.from_pem(identity.to_pem()[:-40])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
