"""Attacks on the handshake, each made for real with plain `ssl` and `cryptography` on the attacker's side.

Every attack runs with all of our defences, with every selection of them where several stand in its way, and
with none: that it then succeeds proves that it is an attack, and that a defence gone missing is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Container, Iterator
from ipaddress import IPv4Address

import anyio
import attrs
import pytest
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from peernet_core import keys
from peernet_core.addresses import Address
from peernet_core.errors import MalformedKeyError
from peernet_core.events import UnreachableReason
from peernet_core.keys import Identity, PeerKey
from peernet_core.links import certificates, transport
from peernet_core.links.certificates import TlsContexts, issue_leaf
from peernet_core.links.tcp import TcpStream
from peernet_core.links.transport import LINK_PROTOCOL, AcceptError, Connection, DialError, accept, dial

US, VICTIM, MALLORY, STRANGER = (Identity.generate() for _ in range(4))
REMOTE = Address(IPv4Address("127.0.0.1"), 9)
_SERIAL = 777


def everybody(_: PeerKey) -> bool:
    return True


# What the attacker makes


@attrs.frozen
class Shown:
    """Certificates to show, the leaf first, and the leaf's private key."""

    chain: tuple[x509.Certificate, ...]
    private_key: Ed25519PrivateKey

    def load_into(self, context: ssl.SSLContext) -> ssl.SSLContext:
        with tempfile.NamedTemporaryFile("wb", buffering=0) as file:
            file.write(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain))
            file.write(self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            context.load_cert_chain(file.name)
        return context


def name(text: object) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(text))])


def certificate(
    *,
    subject: object = "peernet",
    issuer: object,
    public_key: Ed25519PublicKey,
    signed_with: Ed25519PrivateKey,
    ca: bool = False,
    serial: int = 1,
    issued_by: tuple[object, int] | None = None,
) -> x509.Certificate:
    """Make any certificate; `issued_by` is the issuer and serial number of the CA that OpenSSL is led to."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(dt.datetime(1960, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if issued_by is not None:
        issuer_of_issuer, number = issued_by
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(name(issuer_of_issuer))], number),
            critical=False,
        )
    return builder.sign(signed_with, None)


def honest(identity: Identity) -> Shown:
    leaf = Ed25519PrivateKey.generate()
    return Shown(
        (certificate(issuer=identity.key, public_key=leaf.public_key(), signed_with=identity.private_key),),
        leaf,
    )


def intermediate_named_after(victim: PeerKey, mallory: Identity) -> Shown:
    """What a trusted peer can make: a leaf of the victim's, issued by a CA that bears the victim's name."""
    leaf, middle = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    return Shown(
        (
            certificate(
                issuer=victim,
                public_key=leaf.public_key(),
                signed_with=middle,
                issued_by=(mallory.key, _SERIAL),
            ),
            certificate(
                subject=victim,
                issuer=mallory.key,
                public_key=middle.public_key(),
                signed_with=mallory.private_key,
                ca=True,
                serial=_SERIAL,
            ),
        ),
        leaf,
    )


def self_issued_intermediate(mallory: Identity) -> Shown:
    """A CA with the trusted peer's own name and another key, which can be handed to somebody else."""
    leaf, middle = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    return Shown(
        (
            certificate(
                issuer=mallory.key,
                public_key=leaf.public_key(),
                signed_with=middle,
                issued_by=(mallory.key, _SERIAL),
            ),
            certificate(
                subject=mallory.key,
                issuer=mallory.key,
                public_key=middle.public_key(),
                signed_with=mallory.private_key,
                ca=True,
                serial=_SERIAL,
                issued_by=(mallory.key, 1),
            ),
        ),
        leaf,
    )


def forged_issuer(victim: PeerKey, attacker: Identity) -> Shown:
    """A leaf that names the victim as its issuer, and that the attacker signed."""
    leaf = Ed25519PrivateKey.generate()
    return Shown(
        (certificate(issuer=victim, public_key=leaf.public_key(), signed_with=attacker.private_key),), leaf
    )


def attacking_client(shown: Shown | None, protocols: tuple[str, ...] = (LINK_PROTOCOL,)) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context if shown is None else shown.load_into(context)


def attacking_server(shown: Shown, protocols: tuple[str, ...] = (LINK_PROTOCOL,)) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return shown.load_into(context)


# Our side, with defences that can be taken out


class Defences:
    """Takes single defences out for the length of a test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def no_path_length(self) -> None:
        """Let anchors stand above intermediates."""
        self._patch.setattr(certificates, "_ANCHOR_PATH_LENGTH", None)
        certificates.anchor_for.cache_clear()

    def no_direct_signature(self) -> None:
        """Believe the issuer's name, as long as it is in the trust list."""

        def read_name(leaf_der: bytes, trusted: Container[PeerKey]) -> PeerKey:
            (attribute,) = x509.load_der_x509_certificate(leaf_der).issuer
            key = PeerKey.parse(str(attribute.value))
            assert key in trusted
            return key

        self._patch.setattr(transport, "authenticated_key", read_name)

    def no_exact_anchor(self) -> None:
        """Dial with every trusted key as an anchor, and not just the expected one."""
        client = TlsContexts.client

        def trusting_all(contexts: TlsContexts, key: PeerKey, protocol: str) -> ssl.SSLContext:
            context = client(contexts, key, protocol)
            for trusted in contexts._trusted:
                contexts._clients[key].load_verify_locations(cadata=certificates.anchor_for(trusted))
            return context

        self._patch.setattr(TlsContexts, "client", trusting_all)

    def no_chain(self) -> None:
        """Dial without OpenSSL's own verification."""
        client = TlsContexts.client

        def verifying_nothing(contexts: TlsContexts, key: PeerKey, protocol: str) -> ssl.SSLContext:
            context = client(contexts, key, protocol)
            context.verify_mode = ssl.CERT_NONE
            return context

        self._patch.setattr(TlsContexts, "client", verifying_nothing)

    def no_chain_when_accepting(self) -> None:
        """Accept as if OpenSSL did not verify: it finds the attacker's own key in every anchor.

        Python cannot make it ask for a certificate that it then leaves unverified.
        """
        real = certificates.anchor_for.__wrapped__

        def of_attacker(key: PeerKey) -> bytes:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(certificates, "Ed25519PublicKey", _OnlyStranger)
                return real(key)

        self._patch.setattr(certificates, "anchor_for", of_attacker)

    def no_demand_for_a_certificate(self) -> None:
        """Ask for a client's certificate, but do without."""
        server_for = TlsContexts._server_for

        def lenient(contexts: TlsContexts, trusted: frozenset[PeerKey]) -> ssl.SSLContext:
            context = server_for(contexts, trusted)
            context.verify_mode = ssl.CERT_OPTIONAL
            return context

        self._patch.setattr(TlsContexts, "_server_for", lenient)

    def no_authentication(self) -> None:
        """Take whoever is there for the victim."""
        self._patch.setattr(transport, "_authenticate", lambda *_: VICTIM.key)

    def no_protocol_check(self) -> None:
        """Take a connection without an agreed protocol for a link."""
        agreed = transport._agreed_protocol
        self._patch.setattr(transport, "_agreed_protocol", lambda tls: agreed(tls) or LINK_PROTOCOL)

    def no_small_order_check(self) -> None:
        """Take any point for a key."""
        self._patch.setattr(keys, "_SMALL_ORDER", frozenset())

    def no_minimum_version(self) -> None:
        """Speak older TLS as well."""
        self._patch.setattr(certificates, "_MINIMUM_VERSION", ssl.TLSVersion.TLSv1_2)

    def no_ban_on_tickets(self) -> None:
        """Hand out session tickets, as OpenSSL does by default."""
        self._patch.setattr(certificates, "_TICKETS", 2)

    def no_validity_for_all_time(self) -> None:
        """Issue certificates from now on, as seen by a device whose clock is behind by the age of Unix."""
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=20_000)
        self._patch.setattr(certificates, "_VALID_FROM", later)


class _OnlyStranger:
    @staticmethod
    def from_public_bytes(_: bytes) -> Ed25519PublicKey:
        return STRANGER.private_key.public_key()


@pytest.fixture
def defences(monkeypatch: pytest.MonkeyPatch) -> Iterator[Defences]:
    yield Defences(monkeypatch)
    monkeypatch.undo()
    certificates.anchor_for.cache_clear()


TakeOut = Callable[[Defences], None]


def standing(**takeouts: TakeOut) -> pytest.MarkDecorator:
    """Run with every selection of these defences taken out; the attack succeeds only without all of them."""
    cases = []
    for count in range(len(takeouts) + 1):
        for gone in itertools.combinations(takeouts, count):
            left = [each for each in takeouts if each not in gone]
            case = "with " + " and ".join(left) if left else "with none"
            cases.append(pytest.param([takeouts[each] for each in gone], not left, id=case))
    return pytest.mark.parametrize(("taken_out", "succeeds"), cases)


@pytest.fixture
async def listening() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


async def incoming(listening: socket.socket) -> socket.socket:
    connection, _ = await asyncio.get_running_loop().sock_accept(listening)
    return connection


async def attack_acceptor(
    listening: socket.socket, attacker: ssl.SSLContext, trusted: tuple[PeerKey, ...]
) -> Connection | AcceptError:
    """Connect as a client to a node that trusts `trusted`; what does the node take it for?"""
    contexts = TlsContexts(US, trusted, ["chat/1"])

    async def connect() -> None:
        async with await anyio.connect_tcp(*listening.getsockname()) as stream:
            with contextlib.suppress(ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
                tls = await TLSStream.wrap(
                    stream, server_side=False, hostname="x", ssl_context=attacker, standard_compatible=False
                )
                await tls.receive()

    result: Connection | AcceptError
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        stream = TcpStream(await incoming(listening))
        try:
            connection = await accept(stream, contexts, is_trusted=lambda key: key in trusted, remote=REMOTE)
        except AcceptError as error:
            result = error
        else:
            connection.abort()
            result = connection
    return result


async def attack_dial(
    listening: socket.socket, attacker: ssl.SSLContext, trusted: tuple[PeerKey, ...]
) -> Connection | DialError:
    """Answer as a server where a node dials the victim; what does the node take it for?"""
    contexts = TlsContexts(US, trusted)
    address = Address(IPv4Address("127.0.0.1"), listening.getsockname()[1])

    async def answer() -> None:
        async with await SocketStream.from_socket(await incoming(listening)) as stream:
            with contextlib.suppress(ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
                tls = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=attacker, standard_compatible=False
                )
                await tls.receive()

    result: Connection | DialError
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        try:
            connection = await dial(address, VICTIM.key, contexts, is_trusted=lambda key: key in trusted)
        except DialError as error:
            result = error
        else:
            connection.abort()
            result = connection
    return result


def let_in_as(result: Connection | AcceptError | DialError) -> PeerKey | None:
    return result.peer if isinstance(result, Connection) else None


async def test_honest_peers_get_through_all_of_this(listening: socket.socket) -> None:
    """The attacker's tools work: what they make for an honest peer is accepted, both ways."""
    both = (VICTIM.key, MALLORY.key)
    assert let_in_as(await attack_acceptor(listening, attacking_client(honest(MALLORY)), both)) == MALLORY.key
    assert let_in_as(await attack_dial(listening, attacking_server(honest(VICTIM)), both)) == VICTIM.key


@standing(path_length=Defences.no_path_length, direct_signature=Defences.no_direct_signature)
async def test_an_intermediate_named_after_another_peer_does_not_connect_as_it(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool
) -> None:
    """A trusted peer cannot pass for another trusted peer when it dials us."""
    for take_out in taken_out:
        take_out(defences)
    client = attacking_client(intermediate_named_after(VICTIM.key, MALLORY))
    result = await attack_acceptor(listening, client, (VICTIM.key, MALLORY.key))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)


@standing(
    exact_anchor=Defences.no_exact_anchor,
    path_length=Defences.no_path_length,
    direct_signature=Defences.no_direct_signature,
)
async def test_an_intermediate_named_after_another_peer_does_not_answer_for_it(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool
) -> None:
    """Nor when we dial the other one and the trusted peer answers."""
    for take_out in taken_out:
        take_out(defences)
    server = attacking_server(intermediate_named_after(VICTIM.key, MALLORY))
    result = await attack_dial(listening, server, (VICTIM.key, MALLORY.key))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)
    if not succeeds:
        assert isinstance(result, DialError)
        assert result.reason is UnreachableReason.WRONG_KEY


@standing(direct_signature=Defences.no_direct_signature)
async def test_a_self_issued_intermediate_is_no_way_to_pass_a_key_on(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool
) -> None:
    """OpenSSL does not count it against pathLenConstraint; who has been removed could still come in by it."""
    for take_out in taken_out:
        take_out(defences)
    client = attacking_client(self_issued_intermediate(MALLORY))
    result = await attack_acceptor(listening, client, (MALLORY.key,))
    assert let_in_as(result) == (MALLORY.key if succeeds else None)


@pytest.mark.parametrize("attacker", [STRANGER, MALLORY], ids=["stranger", "trusted peer"])
@standing(chain=Defences.no_chain, direct_signature=Defences.no_direct_signature)
async def test_a_leaf_with_a_forged_issuer_does_not_answer_for_it(
    listening: socket.socket,
    defences: Defences,
    taken_out: list[TakeOut],
    succeeds: bool,
    attacker: Identity,
) -> None:
    """A name can be written by anybody, when we dial."""
    for take_out in taken_out:
        take_out(defences)
    server = attacking_server(forged_issuer(VICTIM.key, attacker))
    result = await attack_dial(listening, server, (VICTIM.key, MALLORY.key))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)


@standing(chain=Defences.no_chain_when_accepting, direct_signature=Defences.no_direct_signature)
async def test_a_leaf_with_a_forged_issuer_does_not_connect_as_it(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool
) -> None:
    """Nor when it dials us."""
    for take_out in taken_out:
        take_out(defences)
    client = attacking_client(forged_issuer(VICTIM.key, STRANGER))
    result = await attack_acceptor(listening, client, (VICTIM.key,))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)


@standing(demand=Defences.no_demand_for_a_certificate, authentication=Defences.no_authentication)
async def test_a_client_without_a_certificate_is_refused(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool
) -> None:
    """Twice: OpenSSL demands one, and without one nobody is authenticated."""
    for take_out in taken_out:
        take_out(defences)
    result = await attack_acceptor(listening, attacking_client(None), (VICTIM.key,))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)


@pytest.mark.parametrize("offered", [(), ("http/1.1",)], ids=["missing", "wrong"])
@standing(protocol_check=Defences.no_protocol_check)
async def test_a_client_that_speaks_another_protocol_is_refused(
    listening: socket.socket,
    defences: Defences,
    taken_out: list[TakeOut],
    succeeds: bool,
    offered: tuple[str, ...],
) -> None:
    """OpenSSL itself completes the handshake with no protocol at all."""
    for take_out in taken_out:
        take_out(defences)
    result = await attack_acceptor(listening, attacking_client(honest(VICTIM), offered), (VICTIM.key,))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)
    if not succeeds:
        assert isinstance(result, AcceptError)
        assert result.peer == VICTIM.key


@pytest.mark.parametrize("offered", [(), ("http/1.1",)], ids=["missing", "wrong"])
@standing(protocol_check=Defences.no_protocol_check)
async def test_a_server_that_speaks_another_protocol_is_refused(
    listening: socket.socket,
    defences: Defences,
    taken_out: list[TakeOut],
    succeeds: bool,
    offered: tuple[str, ...],
) -> None:
    """The same from the other side."""
    for take_out in taken_out:
        take_out(defences)
    result = await attack_dial(listening, attacking_server(honest(VICTIM), offered), (VICTIM.key,))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)
    if not succeeds:
        assert isinstance(result, DialError)
        assert result.reason is UnreachableReason.PROTOCOL


IDENTITY_POINT = b"\1" + bytes(31)


def universal_leaf() -> Shown:
    """A leaf 'signed' by the neutral point of the curve: with S = 0 and R = A any message is."""
    leaf = Ed25519PrivateKey.generate()
    issuer = keys._base32(IDENTITY_POINT)
    made = certificate(issuer=issuer, public_key=leaf.public_key(), signed_with=leaf)
    der = made.public_bytes(Encoding.DER).replace(made.signature, IDENTITY_POINT + bytes(32))
    return Shown((x509.load_der_x509_certificate(der),), leaf)


@standing(small_order_check=Defences.no_small_order_check)
async def test_a_small_order_key_in_the_trust_list_lets_nobody_in(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool
) -> None:
    """OpenSSL takes a signature that nobody made; so such a key cannot be written down in the first place."""
    for take_out in taken_out:
        take_out(defences)
    if not succeeds:
        with pytest.raises(MalformedKeyError):
            PeerKey(IDENTITY_POINT)
        with pytest.raises(MalformedKeyError):
            PeerKey.parse(keys._base32(IDENTITY_POINT))
        return
    trusted = PeerKey(IDENTITY_POINT)
    assert (
        let_in_as(await attack_acceptor(listening, attacking_client(universal_leaf()), (trusted,))) == trusted
    )


@standing(minimum_version=Defences.no_minimum_version)
async def test_a_tls_1_2_client_is_refused(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool
) -> None:
    """There certificates travel in the clear, and sessions can be renegotiated."""
    for take_out in taken_out:
        take_out(defences)
    client = attacking_client(honest(VICTIM))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    result = await attack_acceptor(listening, client, (VICTIM.key,))
    assert let_in_as(result) == (VICTIM.key if succeeds else None)


@pytest.mark.parametrize("side", ["dialing", "accepting"])
@standing(validity=Defences.no_validity_for_all_time)
async def test_a_device_without_a_clock_links(
    listening: socket.socket, defences: Defences, taken_out: list[TakeOut], succeeds: bool, side: str
) -> None:
    """It wakes in 1970, when a certificate issued 'now' has not begun: nobody could link with it."""
    for take_out in taken_out:
        take_out(defences)
    issued = ours(VICTIM)
    leaf = issued.chain[0]
    assert (leaf.not_valid_before_utc > dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) is succeeds
    if side == "dialing":
        result: Connection | AcceptError | DialError = await attack_dial(
            listening, attacking_server(issued), (VICTIM.key,)
        )
    else:
        result = await attack_acceptor(listening, attacking_client(issued), (VICTIM.key,))
    assert let_in_as(result) == (None if succeeds else VICTIM.key)


def ours(identity: Identity) -> Shown:
    leaf = issue_leaf(identity)
    private_key = Identity.from_pem(leaf.private_key_pem).private_key
    return Shown((x509.load_der_x509_certificate(leaf.certificate),), private_key)


def connect_in_memory(
    client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLObject:
    """Handshake, and let the client read what the server still had to say, tickets among it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname="x", session=session)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (near, far, near, far):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    far.write(b"x")
    assert near.read(1) == b"x"
    for end in (near, far, near):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.unwrap()  # OpenSSL forgets sessions that did not end well
    return near


@standing(tickets=Defences.no_ban_on_tickets)
def test_no_session_is_resumed(defences: Defences, taken_out: list[TakeOut], succeeds: bool) -> None:
    """A resumed session would let a removed key in with the proof that it gave before."""
    for take_out in taken_out:
        take_out(defences)
    server = TlsContexts(US, [VICTIM.key]).server
    client = attacking_client(honest(VICTIM))
    session = connect_in_memory(client, server).session
    assert session is not None
    assert session.has_ticket is succeeds
    assert connect_in_memory(client, server, session).session_reused is succeeds


async def test_the_server_name_says_nothing(listening: socket.socket) -> None:
    """It travels in the clear, so it is one constant and not whom we look for."""
    server = attacking_server(honest(VICTIM))
    names: list[str | None] = []
    server.sni_callback = lambda _, server_name, __: names.append(server_name)
    for trusted in ((VICTIM.key,), (VICTIM.key, MALLORY.key)):
        await attack_dial(listening, server, trusted)
    assert names == ["peernet", "peernet"]


@pytest.mark.parametrize("option", [False, True], ids=["with the defence", "with none"])
async def test_a_forged_end_of_the_stream_is_no_goodbye(listening: socket.socket, option: bool) -> None:
    """Whoever can inject one packet could otherwise cut a message short unnoticed."""
    contexts = TlsContexts(US, [VICTIM.key])
    if option:
        contexts.server.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    async with anyio.create_task_group() as tasks:

        async def send_and_cut() -> None:
            async with await anyio.connect_tcp(*listening.getsockname()) as stream:
                tls = await TLSStream.wrap(
                    stream, server_side=False, hostname="x", ssl_context=attacking_client(honest(VICTIM))
                )
                await tls.send(b"half")

        tasks.start_soon(send_and_cut)
        connection = await accept(
            TcpStream(await incoming(listening)), contexts, is_trusted=everybody, remote=REMOTE
        )
        assert await connection.receive() == b"half"
        with pytest.raises(anyio.EndOfStream if option else anyio.BrokenResourceError):
            await connection.receive()
        connection.abort()
