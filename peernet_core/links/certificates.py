"""Certificates and TLS contexts: how an identity key proves itself inside standard TLS.

A process makes one fresh leaf key and has its identity key issue the certificate. A trusted key is a trust
anchor. What OpenSSL accepts is then checked again here, because a chain is more than we mean: between an
anchor and a leaf it lets intermediates stand, and who is named in one is its maker's free choice.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import os
import ssl
import sys
from collections import OrderedDict
from collections.abc import Container, Iterable
from typing import Final
from weakref import WeakKeyDictionary

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from peernet_core.errors import MalformedKeyError, PeerNetError, PeerNotTrustedError
from peernet_core.keys import Identity, PeerKey
from peernet_core.values import frozen

__all__ = [
    "DIALBACK_PROTOCOL",
    "LINK_PROTOCOL",
    "MAX_PROTOCOL_BYTES",
    "SERVER_NAME",
    "Leaf",
    "TlsContexts",
    "WrongKeyError",
    "anchor_for",
    "authenticated_key",
    "issue_leaf",
]

LINK_PROTOCOL: Final = "peernet/1"
DIALBACK_PROTOCOL: Final = "peernet/dialback/1"
"""A stream whose opener asked the other end to dial."""
"""The ALPN name of a link; every other name is an application's stream."""
SERVER_NAME: Final = "peernet"
"""The server name that every dial sends, and the subject of every leaf: it says nothing about anybody."""
MAX_PROTOCOL_BYTES: Final = 255
_MAX_ALPN_BYTES: Final = 65535

# A device without a real-time clock wakes in 1970, one with a dead battery anywhere. 9999-12-31 is RFC 5280
# §4.1.2.5's "no well-defined expiration date", and 1950 the first year that its UTCTime can write.
_VALID_FROM: Final = dt.datetime(1950, 1, 1, tzinfo=dt.UTC)
_VALID_UNTIL: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)

# RFC 5280 §6.1.1 takes only name and key from a trust anchor, but OpenSSL (tried with 3.0.19) minds the
# anchor's pathLenConstraint all the same. With 0, a chain with an intermediate between anchor and leaf fails
# with X509_V_ERR_PATH_LENGTH_EXCEEDED (25), one named after another trusted peer included. Without it such a
# chain passes: OpenSSL prefers a trusted issuer of the right name, but an authority key identifier in the
# leaf, which the attacker writes, leads it to the attacker's intermediate. And even with 0 a *self-issued*
# intermediate (subject and issuer are the anchor's own name) is not counted, as RFC 5280 §4.2.1.9 has it,
# and passes. So this is the second wall, and `authenticated_key` the first; tests/test_tls_attacks.py shows
# each of these.
_ANCHOR_PATH_LENGTH: Final[int | None] = 0
_ANCHOR_SERIAL: Final = 1
_ANCHORS_KEPT: Final = 4096
_CLIENT_CONTEXTS_KEPT: Final = 128  # 18 kB each; more than are dialed at a time

_MINIMUM_VERSION: Final = ssl.TLSVersion.TLSv1_3
# Without tickets nothing can be resumed, so each connection proves its key anew, and a removed one cannot.
_TICKETS: Final = 0
# Some Pythons set this option by default. With it OpenSSL takes a bare end of the TCP stream, which anybody
# on the path can forge, for the peer's own goodbye.
_IGNORE_UNEXPECTED_EOF: Final = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", ssl.Options(0))


class WrongKeyError(PeerNetError):
    """A leaf certificate that the key it names did not sign, or no such certificate at all.

    PeerNotTrustedError is its neighbour: there the key that the leaf names is not one we accept.
    """


@frozen
class Leaf:
    """The certificate that this process shows, and the key that goes with it.

    Attributes:
        certificate: DER, signed by the identity.
        private_key_pem: PKCS#8; lives as long as the process, and is on no disk where that can be helped.
    """

    certificate: bytes
    private_key_pem: bytes = attrs.field(repr=False)


def issue_leaf(identity: Identity) -> Leaf:
    """Make a fresh key, and a certificate for it that the identity issues."""
    private_key = Ed25519PrivateKey.generate()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(SERVER_NAME))
        .issuer_name(_name(str(identity.key)))
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        # The same leaf answers and dials.
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(identity.private_key, None)
    )
    return Leaf(
        certificate.public_bytes(Encoding.DER),
        private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


@functools.lru_cache(maxsize=_ANCHORS_KEPT)
def anchor_for(key: PeerKey) -> bytes:
    """Write a key as the trust anchor that OpenSSL wants: a CA certificate (DER) with its name and that key.

    Nobody but the key's owner could sign it, and nothing needs to: an anchor is trusted for standing in the
    store. So the signature is made with a key that nobody keeps.

    Source: RFC 5280 §6.1.1 (d).
    """
    name = _name(str(key))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(Ed25519PublicKey.from_public_bytes(key.raw))
        .serial_number(_ANCHOR_SERIAL)
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=_ANCHOR_PATH_LENGTH), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .sign(_any_key(), None)
    )
    return certificate.public_bytes(Encoding.DER)


def authenticated_key(leaf_der: bytes, trusted: Container[PeerKey]) -> PeerKey:
    """Find out whose leaf this is: the trusted key that directly signed it.

    Call it with the certificate of a finished handshake; that the other end holds the leaf's private key is
    what TLS has shown. The issuer's name only says which key to try.

    Args:
        leaf_der: The other end's own certificate; any bytes are safe.
        trusted: The keys that may be there.

    Raises:
        PeerNotTrustedError: the key that the leaf names is not among `trusted` (and was not verified).
        WrongKeyError: that key did not sign it, or it is no certificate that names a key.
    """
    try:
        leaf = x509.load_der_x509_certificate(leaf_der)
        (attribute,) = leaf.issuer
        key = PeerKey.parse(str(attribute.value) if attribute.oid == NameOID.COMMON_NAME else "")
        algorithm, signature, signed = (
            leaf.signature_algorithm_oid,
            leaf.signature,
            leaf.tbs_certificate_bytes,
        )
    except MalformedKeyError as error:
        raise WrongKeyError(f"the certificate's issuer is no key: {error}") from None
    except (ValueError, TypeError, x509.InvalidVersion):
        raise WrongKeyError("not a certificate that names one key as its issuer") from None
    if key not in trusted:
        raise PeerNotTrustedError(key)
    if algorithm != SignatureAlgorithmOID.ED25519 or not key.verify(signature, signed):
        raise WrongKeyError(f"the certificate was not signed by {key} itself")
    return key


_lent: Final[WeakKeyDictionary[ssl.SSLContext, ssl.SSLContext]] = WeakKeyDictionary()
"""What the next connection of a context for dialing borrows for its handshake."""


class _Dialed(ssl.SSLObject):
    """A connection that we begin: it has the context of the key that it expects for its handshake alone.

    OpenSSL never lets go of the context that a connection begins with. Were that the peer's own, it would
    cost 18 kB for each link; so it is one for all, which trusts nobody, and has no leaf to show.
    """

    _own: ssl.SSLContext | None = None

    def do_handshake(self) -> None:
        """Go on with the handshake; see `SSLObject.do_handshake`."""
        if self._own is None:
            self._own = self.context
            self.context = _lent[self._own]
        super().do_handshake()
        self.context = self._own


class TlsContexts:
    """What OpenSSL needs for each connection: our leaf, and whom to trust.

    One server context holds an anchor for each trusted key (about 2 kB each), and each dialed key has one
    context of its own (about 18 kB), which is lent for handshakes. These are kept up to a bound, the least
    recently used going first.

    Not thread safe. Making it with 1,000 trusted keys takes about 0.4 s, and the time grows quadratically.

    Args:
        identity: Issues the leaf, once.
        trusted: Who may connect to us.
        protocols: The application's protocols; the link's own is always there.
    """

    def __init__(
        self, identity: Identity, trusted: Iterable[PeerKey] = (), protocols: Iterable[str] = ()
    ) -> None:
        self._leaf = issue_leaf(identity)
        self._trusted = set(trusted)
        self._protocols = _alpn_names(protocols)
        self._server = self._server_for(frozenset(self._trusted))
        self._server.set_alpn_protocols(self._protocols)
        self._anchored = set(self._trusted)
        self._rebuilding = asyncio.Lock()
        self._dialing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._dialing.sslobject_class = _Dialed
        _be_strict(self._dialing)
        self._clients: OrderedDict[PeerKey, ssl.SSLContext] = OrderedDict()
        self._making = asyncio.Lock()

    @property
    def server(self) -> ssl.SSLContext:
        """The context for accepting; take it anew for each connection, `distrust` replaces it."""
        return self._server

    async def prepare(self, key: PeerKey) -> None:
        """Make what `client` lends for this key, if it is not there; of many one in each turn of the loop.

        That takes more than a millisecond, and where a crowd appears, many connections begin in one turn.
        """
        if key not in self._clients:
            async with self._making:
                self._of(key)
                await asyncio.sleep(0)  # the next one in the next turn

    def client(self, key: PeerKey, protocol: str) -> ssl.SSLContext:
        """Return the context for dialing: it trusts exactly `key` and offers exactly `protocol`.

        It is one object for all keys and protocols, with both set on it: begin the handshake before anything
        else asks for it.

        Args:
            key: Whom to expect; it need not be trusted otherwise.
            protocol: 1 to 255 ASCII characters.

        Raises:
            ValueError: the protocol's name cannot stand in ALPN.
        """
        self._dialing.set_alpn_protocols([_alpn_name(protocol)])
        _lent[self._dialing] = self._of(key)
        return self._dialing

    def trust(self, key: PeerKey) -> None:
        """Let this key connect from now on; takes half a millisecond where 1,000 are trusted."""
        if key in self._trusted:
            return
        self._trusted.add(key)
        if key not in self._anchored:
            self._anchored.add(key)
            self._server.load_verify_locations(cadata=anchor_for(key))

    async def distrust(self, key: PeerKey) -> None:
        """Take this key's anchor away.

        There is no way to remove one, so a new context is built in a thread: about 0.2 s for 1,000 remaining
        keys, 10 s and more for 10,000, growing quadratically. Until it is done, and if this is cancelled, the
        key is kept out by the check after the handshake (`authenticated_key` with the list of that time).
        """
        self._trusted.discard(key)
        self._clients.pop(key, None)
        async with self._rebuilding:
            if key in self._trusted or key not in self._anchored:
                return  # trusted again meanwhile, or gone with a rebuild for another key
            wanted = frozenset(self._trusted)
            import anyio.to_thread  # noqa: PLC0415 - it brings all of anyio, and no start waits for it

            server = await anyio.to_thread.run_sync(self._server_for, wanted, abandon_on_cancel=True)
            for late in self._trusted - wanted:
                server.load_verify_locations(cadata=anchor_for(late))
            server.set_alpn_protocols(self._protocols)
            self._anchored = set(wanted | self._trusted)
            self._server = server

    def set_protocols(self, names: Iterable[str]) -> None:
        """Replace the application's protocols, for connections from now on.

        Args:
            names: Each of 1 to 255 ASCII characters.

        Raises:
            ValueError: a name cannot stand in ALPN, or all of them do not fit; nothing was changed.
        """
        protocols = _alpn_names(names)
        self._server.set_alpn_protocols(protocols)
        self._protocols = protocols

    def _of(self, key: PeerKey) -> ssl.SSLContext:
        context = self._clients.get(key)
        if context is None:
            context = self._clients[key] = self._new_context(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=anchor_for(key))
        self._clients.move_to_end(key)
        if len(self._clients) > _CLIENT_CONTEXTS_KEPT:
            self._clients.popitem(last=False)
        return context

    def _server_for(self, trusted: frozenset[PeerKey]) -> ssl.SSLContext:
        context = self._new_context(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = _TICKETS
        # One by one: a single call with all of them would hold the interpreter's lock throughout.
        for key in trusted:
            context.load_verify_locations(cadata=anchor_for(key))
        return context

    def _new_context(self, side: int) -> ssl.SSLContext:
        # Not create_default_context: that trusts the system's authorities and honours SSLKEYLOGFILE.
        context = ssl.SSLContext(side)
        _be_strict(context)
        _load_leaf(context, self._leaf)
        return context


def _be_strict(context: ssl.SSLContext) -> None:
    context.minimum_version = _MINIMUM_VERSION
    context.check_hostname = False  # every leaf has the same subject; `authenticated_key` says whose it is
    context.verify_mode = ssl.CERT_REQUIRED
    context.options &= ~_IGNORE_UNEXPECTED_EOF


def _load_leaf(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Hand the leaf over; `ssl` reads it only from a path, so give it one that leads to memory."""
    pem = ssl.DER_cert_to_PEM_cert(leaf.certificate).encode("ascii") + leaf.private_key_pem
    if sys.platform == "linux":
        try:
            with os.fdopen(os.memfd_create("peernet-leaf"), "wb", buffering=0) as file:
                file.write(pem)
                context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        except OSError:  # no memfd, or no /proc here
            pass
        else:
            return
    import tempfile  # noqa: PLC0415 - not where there is /proc

    with tempfile.NamedTemporaryFile("wb", prefix="peernet-", buffering=0) as file:  # made with mode 0600
        file.write(pem)
        context.load_cert_chain(file.name)


@functools.cache
def _any_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alpn_name(name: str) -> str:
    if not name.isascii() or not 1 <= len(name) <= MAX_PROTOCOL_BYTES:
        raise ValueError(f"a protocol's name is 1 to {MAX_PROTOCOL_BYTES} ASCII characters, not {name!a}")
    return name


def _alpn_names(names: Iterable[str]) -> list[str]:
    protocols = list(dict.fromkeys([LINK_PROTOCOL, DIALBACK_PROTOCOL, *map(_alpn_name, names)]))
    if sum(len(name) + 1 for name in protocols) > _MAX_ALPN_BYTES:
        raise ValueError("the names of all protocols together exceed what ALPN can carry (65,535 bytes)")
    return protocols
