"""The identity is made once, read only when nobody else can, and never overwritten."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.errors import IdentityFileError
from peernet_core.keys import Identity
from peernet_core.storage.identity_file import load, load_or_create

EC_KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity.pem"


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    path.write_bytes(data)
    path.chmod(mode)


def test_the_first_use_makes_one_and_every_later_use_reads_it(path: Path) -> None:
    """0600, and the same key for ever."""
    identity = load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path).key == load(path).key == identity.key
    assert [entry.name for entry in path.parent.iterdir()] == ["identity.pem"]


def test_who_comes_second_takes_what_the_first_one_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process creates the file between our look and our writing."""
    theirs = Identity.generate()
    generate = Identity.generate

    def generate_late() -> Identity:
        write(path, theirs.to_pem())
        return generate()

    monkeypatch.setattr(Identity, "generate", generate_late)
    assert load_or_create(path).key == theirs.key
    assert load(path).key == theirs.key


def test_many_at_once_agree(path: Path) -> None:
    """Whoever wins, all have the same key."""
    barrier = Barrier(6)

    def use() -> bytes:
        barrier.wait(timeout=30)
        return bytes(load_or_create(path).key)

    with ThreadPoolExecutor(6) as pool:
        keys = {future.result() for future in [pool.submit(use) for _ in range(6)]}
    assert keys == {bytes(load(path).key)}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_get_at_is_refused(path: Path, mode: int) -> None:
    """With the command that mends it; we do not, because it may be copied already."""
    write(path, Identity.generate().to_pem(), mode)
    for read in (load, load_or_create):
        with pytest.raises(IdentityFileError, match=f"chmod 600 {path}"):
            read(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("read", [load, load_or_create])
@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 119, Identity.generate().to_pem()[:-30], EC_KEY, b"x" * 100_000],
    ids=["empty", "zeros", "cut", "another kind", "huge"],
)
def test_a_corrupt_file_is_refused_and_untouched(
    path: Path, read: Callable[[Path], Identity], data: bytes
) -> None:
    """The message names the file; nobody gets a new identity by accident."""
    write(path, data)
    with pytest.raises(IdentityFileError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert path.read_bytes() == data


@given(st.binary())
def test_any_bytes_load_or_raise_the_one_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """And stay as they are."""
    path = tmp_path_factory.mktemp("identity") / "identity.pem"
    write(path, data)
    with pytest.raises(IdentityFileError):
        load_or_create(path)
    assert path.read_bytes() == data


def test_without_a_file_load_says_so(path: Path) -> None:
    """And makes none."""
    with pytest.raises(IdentityFileError, match="no identity"):
        load(path)
    assert not path.exists()


def test_a_link_to_the_identity_is_followed_and_one_to_nowhere_refused(path: Path, tmp_path: Path) -> None:
    """A secret may be kept elsewhere; if it is not there now, we do not become somebody else."""
    path.symlink_to("secret")
    with pytest.raises(IdentityFileError, match="leads nowhere"):
        load_or_create(path)
    assert not (tmp_path / "secret").exists()
    identity = Identity.generate()
    write(tmp_path / "secret", identity.to_pem())
    assert load_or_create(path).key == identity.key


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    """With the identity's own error."""
    path.mkdir()
    with pytest.raises(IdentityFileError, match="folder"):
        load_or_create(path)
