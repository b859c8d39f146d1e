"""Self-signed certificates for those who bring TLS and no identity of their own."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

__all__ = ["make_identity", "write_trust"]

_VALID = dt.timedelta(days=1)


def make_identity(folder: Path, register: Path) -> str:
    """Write ``own.pem`` and ``name`` into a folder, the certificate into a register, and return the name.

    The key is Ed25519, as a peernet node's is.
    """
    key = Ed25519PrivateKey.generate()
    # A name of its own: by the name OpenSSL looks for who signed it, and finds itself.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, secrets.token_hex(16))])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
        .sign(key, None)
    )
    name = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()[:26]
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "own.pem").touch(mode=0o600)
    (folder / "own.pem").write_bytes(private + pem)
    (folder / "name").write_text(name, encoding="ascii")
    register.mkdir(exist_ok=True)
    (register / name).write_bytes(pem)
    return name


def write_trust(folder: Path, register: Path, names: Sequence[str]) -> None:
    """Write ``trusted.pem``: those of the register that have these names."""
    (folder / "trusted.pem").write_bytes(b"".join((register / name).read_bytes() for name in names))
