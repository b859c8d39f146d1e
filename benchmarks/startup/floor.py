"""The floor: a Python process that imports only what is needed and makes one TLS handshake.

The same library, the same kind of certificates and the same protocol as a node; nothing discovers anything,
and what follows the handshake is not waited for. Run by `benchmarks.startup`, by its path.

Usage: ``floor.py IDENTITY PEER_KEY ADDRESS PORT``, the first a node's ``identity.pem``.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
import ssl
import sys

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

FROM, UNTIL = dt.datetime(1950, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, tzinfo=dt.UTC)


async def main() -> None:
    """Shake hands, say so, and leave."""
    path, peer, address, port = sys.argv[1:]
    with open(path, "rb") as file:  # noqa: PTH123, ASYNC230 - pathlib is one more import, and nothing else runs
        identity = load_pem_private_key(file.read(), None)
    assert isinstance(identity, Ed25519PrivateKey)
    raw = identity.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    us = base64.b32encode(raw).decode().rstrip("=").lower()
    there = Ed25519PublicKey.from_public_bytes(base64.b32decode(f"{peer.upper()}===="))
    key = Ed25519PrivateKey.generate()
    leaf = certificate("peernet", us, key.public_key(), identity, ca=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.set_alpn_protocols(["peernet/1"])
    context.load_verify_locations(
        cadata=certificate(peer, peer, there, Ed25519PrivateKey.generate(), ca=True).public_bytes(
            Encoding.DER
        )
    )
    memory = os.memfd_create("leaf")
    os.write(memory, leaf.public_bytes(Encoding.PEM))
    os.write(memory, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context.load_cert_chain(f"/proc/self/fd/{memory}")
    await asyncio.open_connection(address, int(port), ssl=context, server_hostname="peernet")
    sys.stdout.write("done\n")
    sys.stdout.flush()
    os._exit(0)


def certificate(
    subject: str, issuer: str, key: Ed25519PublicKey, signer: Ed25519PrivateKey, *, ca: bool
) -> x509.Certificate:
    """Issue a certificate of the kind that nodes show, or take for an anchor."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .sign(signer, None)
    )


asyncio.run(main())
