"""Leaves, anchors and contexts: whose certificate it is is proven, and trust changes while others connect."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import os
import ssl
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.errors import PeerNotTrustedError
from peernet_core.keys import Identity, PeerKey
from peernet_core.links import certificates
from peernet_core.links.certificates import (
    LINK_PROTOCOL,
    Leaf,
    TlsContexts,
    WrongKeyError,
    anchor_for,
    authenticated_key,
    issue_leaf,
)

ALICE, BOB, CAROL, DAVE = (Identity.generate() for _ in range(4))
BOBS_LEAF = issue_leaf(BOB).certificate


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Connect two contexts in memory; raises what either end raised."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname="peernet")
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (near, far, near, far):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return near, far


def gets_in(identity: Identity, server: TlsContexts, server_key: PeerKey) -> bool:
    """Whether OpenSSL alone lets `identity` in."""
    try:
        handshake(TlsContexts(identity).client(server_key, LINK_PROTOCOL), server.server)
    except ssl.SSLCertVerificationError:
        return False
    return True


def forged(issuer: x509.Name, private_key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """Make a leaf that names `issuer` and is signed by `private_key`."""
    algorithm = None if isinstance(private_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name("peernet"))
        .issuer_name(issuer)
        .public_key(private_key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
    )
    return builder.sign(private_key, algorithm).public_bytes(Encoding.DER)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def test_a_leaf_proves_the_key_that_issued_it() -> None:
    """The key comes back from the leaf, where it is trusted."""
    assert authenticated_key(BOBS_LEAF, {ALICE.key, BOB.key}) == BOB.key


def test_a_leaf_of_a_stranger_is_refused_with_the_key_it_names() -> None:
    """That key is not in the list, which is another error than a bad signature."""
    with pytest.raises(PeerNotTrustedError) as caught:
        authenticated_key(BOBS_LEAF, {ALICE.key})
    assert caught.value.key == BOB.key


def test_a_leaf_that_the_named_key_did_not_sign_is_refused() -> None:
    """The issuer's name alone is worth nothing."""
    leaf = forged(common_name(str(BOB.key)), ALICE.private_key)
    with pytest.raises(WrongKeyError, match="not signed by"):
        authenticated_key(leaf, {ALICE.key, BOB.key})


def test_a_leaf_signed_with_another_algorithm_is_refused() -> None:
    """Only Ed25519 is checked, so nothing else may claim to have been."""
    leaf = forged(common_name(str(BOB.key)), ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(WrongKeyError, match="not signed by"):
        authenticated_key(leaf, {BOB.key})


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param(common_name("bob"), id="no key"),
        pytest.param(common_name(str(BOB.key) + " "), id="white space"),
        pytest.param(x509.Name([]), id="empty"),
        pytest.param(x509.Name([*common_name(str(BOB.key)), *common_name(str(ALICE.key))]), id="two names"),
        pytest.param(
            x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, str(BOB.key))]), id="no common name"
        ),
    ],
)
def test_a_leaf_whose_issuer_is_not_exactly_a_key_is_refused(issuer: x509.Name) -> None:
    """Also where that very key signed it."""
    with pytest.raises(WrongKeyError, match="issuer"):
        authenticated_key(forged(issuer, BOB.private_key), {BOB.key})


@given(st.binary(max_size=600))
def test_any_bytes_are_no_leaf(data: bytes) -> None:
    """Whatever is shown as a certificate, the one error comes of it."""
    with pytest.raises(WrongKeyError):
        authenticated_key(data, {BOB.key})


@given(st.integers(0, len(BOBS_LEAF) - 1), st.integers(1, 255))
def test_a_leaf_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    """No part of the certificate can be altered, its envelope included."""
    leaf = bytearray(BOBS_LEAF)
    leaf[position] ^= change
    with pytest.raises((WrongKeyError, PeerNotTrustedError)):
        authenticated_key(bytes(leaf), {BOB.key})


def test_a_leaf_says_nothing_but_the_key_and_is_valid_at_any_time() -> None:
    """A device that wakes in 1970, or in 2200, links."""
    leaf = x509.load_der_x509_certificate(BOBS_LEAF)
    assert leaf.subject == common_name("peernet")
    assert leaf.issuer == common_name(str(BOB.key))
    assert (leaf.not_valid_before_utc.year, leaf.not_valid_after_utc.year) == (1950, 9999)


def test_every_leaf_is_fresh() -> None:
    """A process start takes nothing over from the one before."""
    again = x509.load_der_x509_certificate(issue_leaf(BOB).certificate)
    before = x509.load_der_x509_certificate(BOBS_LEAF)
    assert again.public_key() != before.public_key()
    assert again.serial_number != before.serial_number


def test_a_leaf_never_prints_its_private_key() -> None:
    """Neither as PEM nor as bytes."""
    assert repr(Leaf(b"certificate", b"private")) == "Leaf(certificate=b'certificate')"


def test_an_anchor_is_the_key_and_its_name() -> None:
    """A CA certificate that allows no intermediates, for all time."""
    anchor = x509.load_der_x509_certificate(anchor_for(BOB.key))
    public_key = anchor.public_key()
    assert isinstance(public_key, ed25519.Ed25519PublicKey)
    assert public_key.public_bytes_raw() == BOB.key.raw
    assert anchor.subject == anchor.issuer == common_name(str(BOB.key))
    assert anchor.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        ca=True, path_length=0
    )
    assert (anchor.not_valid_before_utc.year, anchor.not_valid_after_utc.year) == (1950, 9999)


def test_two_nodes_that_trust_each_other_agree_on_tls_1_3_and_the_protocol() -> None:
    """OpenSSL accepts what is made here, both ways."""
    client = TlsContexts(ALICE).client(BOB.key, LINK_PROTOCOL)
    near, far = handshake(client, TlsContexts(BOB, [ALICE.key]).server)
    assert near.version() == far.version() == "TLSv1.3"
    assert near.selected_alpn_protocol() == far.selected_alpn_protocol() == LINK_PROTOCOL
    assert authenticated_key(near.getpeercert(binary_form=True) or b"", {BOB.key}) == BOB.key
    assert authenticated_key(far.getpeercert(binary_form=True) or b"", {ALICE.key}) == ALICE.key


def test_a_connection_has_the_context_of_its_key_for_the_handshake_alone() -> None:
    """That costs 18 kB; so no link and no stream keeps it, and each offers its own protocol all the same."""
    contexts = TlsContexts(ALICE)
    server = TlsContexts(BOB, [ALICE.key], ["chat/1"]).server
    link, _ = handshake(contexts.client(BOB.key, LINK_PROTOCOL), server)
    stream, _ = handshake(contexts.client(BOB.key, "chat/1"), server)
    assert link.context is stream.context is contexts._dialing
    assert (link.selected_alpn_protocol(), stream.selected_alpn_protocol()) == (LINK_PROTOCOL, "chat/1")
    lent = weakref.ref(contexts._clients[BOB.key])
    contexts.client(CAROL.key, LINK_PROTOCOL)
    contexts._clients.clear()
    gc.collect()
    assert lent() is None


def test_what_a_connection_keeps_trusts_nobody_and_has_nothing_to_show() -> None:
    """Should it ever be used as it is, it lets nobody in."""
    contexts = TlsContexts(ALICE)
    dialing = contexts.client(BOB.key, LINK_PROTOCOL)
    dialing.sslobject_class = ssl.SSLObject
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(dialing, TlsContexts(BOB, [ALICE.key]).server)


def test_a_failed_handshake_leaves_the_next_one_its_own_key() -> None:
    """Each connection trusts the key that was asked for last before it began, and no other."""
    contexts = TlsContexts(ALICE)
    bob, carol = (TlsContexts(each, [ALICE.key]).server for each in (BOB, CAROL))
    for key, server, answers in (
        (BOB.key, carol, False),
        (CAROL.key, carol, True),
        (CAROL.key, bob, False),
        (BOB.key, bob, True),
    ):
        dialing = contexts.client(key, LINK_PROTOCOL)
        if answers:
            handshake(dialing, server)
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                handshake(dialing, server)


def test_the_contexts_that_are_kept_are_bounded() -> None:
    """Ten thousand dialed peers leave 128 behind, those of the last."""
    contexts = TlsContexts(ALICE)
    keys = [Identity.generate().key for _ in range(140)]
    for key in keys:
        contexts.client(key, LINK_PROTOCOL)
    assert list(contexts._clients) == keys[-128:]
    kept = contexts._clients[keys[-128]]
    contexts.client(keys[-128], "chat/1")
    assert list(contexts._clients.items())[-1] == (keys[-128], kept)


async def test_contexts_for_many_keys_are_made_one_in_each_turn_of_the_loop() -> None:
    """Each takes a millisecond: a crowd that appears at once does not stop the loop for all of them."""
    contexts = TlsContexts(ALICE)
    keys = [Identity.generate().key for _ in range(20)]
    made_at_once = []

    async def watch() -> None:
        made = 0
        while made < len(keys):
            await anyio.lowlevel.checkpoint()
            made_at_once.append(len(contexts._clients) - made)
            made = len(contexts._clients)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for key in [*keys, *keys]:
            tasks.start_soon(contexts.prepare, key)
    assert max(made_at_once) == 1
    assert list(contexts._clients) == keys


@pytest.mark.parametrize("name", ["", "x" * 256, "čaj/1"])
def test_a_name_that_alpn_cannot_carry_is_refused_at_once(name: str) -> None:
    """By the caller's own mistake, and with nothing changed."""
    contexts = TlsContexts(ALICE)
    with pytest.raises(ValueError, match="protocol's name"):
        contexts.client(BOB.key, name)
    with pytest.raises(ValueError, match="protocol's name"):
        contexts.set_protocols([name])
    with pytest.raises(ValueError, match="protocol's name"):
        TlsContexts(ALICE, (), [name])


def test_more_names_than_alpn_can_carry_are_refused() -> None:
    """65,535 bytes is all there is."""
    with pytest.raises(ValueError, match="all protocols"):
        TlsContexts(ALICE).set_protocols(f"{number:0250}" for number in range(300))


def test_protocols_can_be_added_and_removed_while_running() -> None:
    """The next connection finds them; the link's protocol is always there."""
    server = TlsContexts(BOB, [ALICE.key], ["chat/1"])

    def agreed(protocol: str) -> str | None:
        near, _ = handshake(TlsContexts(ALICE).client(BOB.key, protocol), server.server)
        return near.selected_alpn_protocol()

    assert (agreed("chat/1"), agreed("files/1")) == ("chat/1", None)
    server.set_protocols(["files/1"])
    assert (agreed("chat/1"), agreed("files/1"), agreed(LINK_PROTOCOL)) == (None, "files/1", LINK_PROTOCOL)


def test_an_added_key_gets_in_at_once_and_costs_little() -> None:
    """Adding is incremental: the time of a hundred guards against a rebuild for each."""
    contexts = TlsContexts(BOB, [ALICE.key])
    assert not gets_in(CAROL, contexts, BOB.key)
    keys = [Identity.generate().key for _ in range(100)]
    started = time.process_time()
    for key in keys:
        contexts.trust(key)
    assert time.process_time() - started < 100 * 0.010  # ten times the aim of 1 ms each
    contexts.trust(CAROL.key)
    contexts.trust(CAROL.key)
    assert gets_in(CAROL, contexts, BOB.key)
    assert gets_in(ALICE, contexts, BOB.key)


async def test_a_removed_key_is_out_and_the_others_stay() -> None:
    """Removing an unknown key, or one twice, changes nothing; adding it again lets it in."""
    contexts = TlsContexts(BOB, [ALICE.key, CAROL.key], ["chat/1"])
    await contexts.distrust(CAROL.key)
    await contexts.distrust(CAROL.key)
    await contexts.distrust(DAVE.key)
    assert not gets_in(CAROL, contexts, BOB.key)
    near, _ = handshake(TlsContexts(ALICE).client(BOB.key, "chat/1"), contexts.server)
    assert near.selected_alpn_protocol() == "chat/1"
    contexts.trust(CAROL.key)
    assert gets_in(CAROL, contexts, BOB.key)
    await contexts.distrust(CAROL.key)
    assert not gets_in(CAROL, contexts, BOB.key)


class HeldRebuild:
    """Stops the rebuilding thread until it is let go, so that a test can act meanwhile."""

    def __init__(self, contexts: TlsContexts, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = asyncio.Event()
        self.go = threading.Event()
        self.count = 0
        build, loop = contexts._server_for, asyncio.get_running_loop()

        def held(trusted: frozenset[PeerKey]) -> ssl.SSLContext:
            self.count += 1
            loop.call_soon_threadsafe(self.begun.set)
            assert self.go.wait(10)
            return build(trusted)

        monkeypatch.setattr(contexts, "_server_for", held)


async def test_what_is_added_during_a_rebuild_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and protocols that come while the thread works hold before it ends, and after."""
    contexts = TlsContexts(BOB, [ALICE.key, CAROL.key])
    rebuild = HeldRebuild(contexts, monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(contexts.distrust, CAROL.key)
        await rebuild.begun.wait()
        contexts.trust(DAVE.key)
        assert gets_in(DAVE, contexts, BOB.key)
        contexts.set_protocols(["chat/1"])
        rebuild.go.set()
    assert not gets_in(CAROL, contexts, BOB.key)
    near, _ = handshake(TlsContexts(DAVE).client(BOB.key, "chat/1"), contexts.server)
    assert near.selected_alpn_protocol() == "chat/1"
    await contexts.distrust(DAVE.key)
    assert not gets_in(DAVE, contexts, BOB.key)


async def test_what_is_removed_during_a_rebuild_goes_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood in the first one, which was begun before."""
    contexts = TlsContexts(BOB, [ALICE.key, CAROL.key])
    rebuild = HeldRebuild(contexts, monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(contexts.distrust, CAROL.key)
        await rebuild.begun.wait()
        tasks.start_soon(contexts.distrust, ALICE.key)
        await anyio.wait_all_tasks_blocked()
        rebuild.go.set()
    assert not gets_in(CAROL, contexts, BOB.key)
    assert not gets_in(ALICE, contexts, BOB.key)


async def test_removals_that_wait_share_one_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing many at once costs two rebuilds and not one each; one taken back costs none."""
    contexts = TlsContexts(BOB, [ALICE.key, CAROL.key, DAVE.key])
    rebuild = HeldRebuild(contexts, monkeypatch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(contexts.distrust, ALICE.key)
        await rebuild.begun.wait()
        for key in (CAROL.key, DAVE.key):
            tasks.start_soon(contexts.distrust, key)
        await anyio.wait_all_tasks_blocked()
        contexts.trust(CAROL.key)
        rebuild.go.set()
    assert rebuild.count == 2
    assert gets_in(CAROL, contexts, BOB.key)
    assert not gets_in(DAVE, contexts, BOB.key)


async def test_a_cancelled_removal_is_made_good_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting task is not held up by the thread, and the anchor goes with the next rebuild."""
    contexts = TlsContexts(BOB, [ALICE.key, CAROL.key])
    with monkeypatch.context() as patch:
        rebuild = HeldRebuild(contexts, patch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(contexts.distrust, ALICE.key)
            await rebuild.begun.wait()
            tasks.cancel_scope.cancel()
        rebuild.go.set()
    assert gets_in(ALICE, contexts, BOB.key)
    await contexts.distrust(CAROL.key)
    assert not gets_in(ALICE, contexts, BOB.key)


def _no_memfd(*_: object) -> int:
    raise OSError(38, "Function not implemented")


@pytest.mark.parametrize("memfd", [None, _no_memfd], ids=["memfd", "file"])
def test_the_leaf_s_private_key_stays_on_no_disk_and_in_no_descriptor(
    memfd: Callable[..., int] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It passes through memory, or where there is none through a file of mode 0600 that is gone at once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if memfd is not None:
        monkeypatch.setattr(os, "memfd_create", memfd, raising=False)
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(context: ssl.SSLContext, path: str) -> None:
        modes.extend(file.stat().st_mode & 0o777 for file in tmp_path.iterdir())
        load(context, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    descriptors = len(list(Path("/dev/fd").iterdir()))
    assert gets_in(ALICE, TlsContexts(BOB, [ALICE.key]), BOB.key)
    assert modes == ([] if memfd is None else [0o600] * 3)
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/dev/fd").iterdir())) == descriptors


def test_a_forged_end_is_told_from_a_goodbye_whatever_python_s_defaults_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some make OpenSSL take a bare end of the stream for a goodbye."""
    make = ssl.SSLContext.__new__

    def make_lenient(cls: type[ssl.SSLContext], protocol: int) -> ssl.SSLContext:
        context = make(cls, protocol)
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        return context

    monkeypatch.setattr(ssl.SSLContext, "__new__", make_lenient)
    contexts = TlsContexts(ALICE)
    for context in (contexts.server, contexts.client(BOB.key, LINK_PROTOCOL)):
        assert not context.options & ssl.OP_IGNORE_UNEXPECTED_EOF


def test_secrets_of_sessions_are_not_logged_on_demand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment cannot make a node write its session keys down."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert gets_in(ALICE, TlsContexts(BOB, [ALICE.key]), BOB.key)
    assert list(tmp_path.iterdir()) == []


def test_anchors_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild of a thousand keys makes no certificates again."""
    anchor = anchor_for(BOB.key)
    monkeypatch.setattr(certificates, "_any_key", lambda: pytest.fail("made again"))
    assert anchor_for(PeerKey(BOB.key.raw)) is anchor
