"""Keys: a peer is its Ed25519 public key; an identity is our own private one.

A key has one spelling as bytes and one as text, and a few points of the curve are no keys at all: for a
small-order 'key' anybody can make signatures, so trusting one lets everybody in.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from peernet_core.errors import MalformedKeyError
from peernet_core.values import frozen

__all__ = ["KEY_BYTES", "KEY_CHARACTERS", "Identity", "PeerKey"]

KEY_BYTES: Final = 32
KEY_CHARACTERS: Final = 52

_ALIAS_CONTEXT: Final = b"peernet-alias-v1"
_ALIAS_HASH_BYTES: Final = 16
_SHORT_BYTES: Final = 5
"""As many as fill eight characters."""
_FIELD_PRIME: Final = 2**255 - 19
_Y_MASK: Final = 2**255 - 1
# Characters are listed and not matched by re.IGNORECASE, which takes U+017F and U+212A for 's' and 'k'.
_TEXT: Final = re.compile("[A-Za-z2-7]{52}")
_NOT_BASE32: Final = re.compile("[^A-Za-z2-7]")
# 52 characters carry 260 bits: the last four must be zero, else one key has sixteen spellings.
_LAST_CHARACTERS: Final = "aqAQ"
# The y coordinates of the eight points whose order divides eight; x does not matter, so neither does its sign
# bit, and the spellings with a negative zero for x fall under the same test. The tests compute these.
_ORDER_EIGHT_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_EIGHT_Y, _FIELD_PRIME - _ORDER_EIGHT_Y})
_SMALL_ORDER: Final = frozenset(
    (y | sign << 255).to_bytes(KEY_BYTES, "little") for y in _SMALL_ORDER_Y for sign in (0, 1)
)


@frozen(order=False, repr=False)
class PeerKey:
    """The public key that names a peer: 32 bytes, hashable, ordered by its bytes.

    Whether the point lies on the curve is not checked: a key that does not verifies no signature.

    Args:
        raw: The key as RFC 8032 encodes it.

    Raises:
        MalformedKeyError: not 32 bytes, not the one spelling of its point, or of small order.

    Source: RFC 8032 §5.1.2 and §5.1.3.
    """

    raw: bytes

    def __attrs_post_init__(self) -> None:
        raw = self.raw
        if type(raw) is not bytes or len(raw) != KEY_BYTES:
            raise MalformedKeyError(f"a key is {KEY_BYTES} bytes")
        if raw in _SMALL_ORDER:
            raise MalformedKeyError("this is a small-order point: anybody could sign for it")
        if int.from_bytes(raw, "little") & _Y_MASK >= _FIELD_PRIME:
            raise MalformedKeyError("this is not the canonical spelling of a key")

    @classmethod
    def parse(cls, text: str) -> PeerKey:
        """Read a key from its text.

        Args:
            text: 52 characters of RFC 4648 base32 without padding, in upper or lower case.

        Raises:
            MalformedKeyError: anything else, white space included; the message never repeats the text.
        """
        if _TEXT.fullmatch(text) is None:
            odd = _NOT_BASE32.search(text)
            if odd is not None:
                raise MalformedKeyError(f"a key is made of a to z and 2 to 7; found {odd[0]!a}")
            raise MalformedKeyError(f"a key has {KEY_CHARACTERS} characters; this has {len(text)}")
        if text[-1] not in _LAST_CHARACTERS:
            raise MalformedKeyError("the last character of a key is a or q")
        return cls(base64.b32decode(text.upper() + "===="))

    @property
    def short(self) -> str:
        """The first 8 characters, for logs; they identify nobody."""
        return _base32(self.raw[:_SHORT_BYTES])

    @property
    def alias(self) -> str:
        """What a medium that needs a name calls this peer: 26 characters of lower-case base32."""
        digest = hashlib.sha256(_ALIAS_CONTEXT + self.raw).digest()
        return _base32(digest[:_ALIAS_HASH_BYTES])

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether this key made `signature` over `data`; False for a signature of any other shape."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):  # ValueError: where the library refuses the point itself
            return False
        return True

    def __bytes__(self) -> bytes:
        return self.raw

    def __str__(self) -> str:
        return _base32(self.raw)

    def __repr__(self) -> str:
        return f"PeerKey({self})"

    # Keys are looked up far more often than made, and bytes remember their hash.
    def __hash__(self) -> int:
        return hash(self.raw)

    def __lt__(self, other: PeerKey) -> bool:
        return self.raw < other.raw

    def __le__(self, other: PeerKey) -> bool:
        return self.raw <= other.raw

    def __gt__(self, other: PeerKey) -> bool:
        return self.raw > other.raw

    def __ge__(self, other: PeerKey) -> bool:
        return self.raw >= other.raw


class Identity:
    """Our private key. Nothing that prints it shows more than the public key.

    Args:
        private_key: As the cryptography package holds it.
    """

    __slots__ = ("_key", "_private_key")

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self._key = PeerKey(private_key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Identity:
        """Make a new identity from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, data: bytes) -> Identity:
        """Read an identity.

        Args:
            data: One unencrypted PKCS#8 private key in PEM.

        Raises:
            MalformedKeyError: not PKCS#8, encrypted, not Ed25519, or corrupt; the message holds none of it.
        """
        try:
            private_key = load_pem_private_key(data, password=None)
        except TypeError:
            reason = "the private key is encrypted, which is not supported"
        except (ValueError, UnsupportedAlgorithm):
            reason = "not a private key in PEM, or corrupt"
        else:
            if isinstance(private_key, Ed25519PrivateKey):
                return cls(private_key)
            reason = "a private key, but not an Ed25519 one"
        # Raised outside the handler: the library's message may quote what it read.
        raise MalformedKeyError(reason)

    def to_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 in PEM."""
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def key(self) -> PeerKey:
        """The public key."""
        return self._key

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The private key, for issuing certificates."""
        return self._private_key

    def sign(self, data: bytes) -> bytes:
        """Sign `data`: 64 bytes."""
        return self._private_key.sign(data)

    def __repr__(self) -> str:
        return f"Identity({self._key})"


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()
