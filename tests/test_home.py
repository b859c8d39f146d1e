"""What a node keeps: in a directory, or in memory only."""

from __future__ import annotations

from pathlib import Path

import pytest

from peernet_core.errors import ConfigurationError, DataDirectoryInUseError, IdentityFileError
from peernet_core.home import Home
from peernet_core.keys import Identity
from peernet_core.trust import TrustedPeer


def test_a_directory_gives_the_same_identity_again(tmp_path: Path) -> None:
    """And only one home at a time."""
    home = Home.open(tmp_path)
    key = home.identity.key
    with pytest.raises(DataDirectoryInUseError):
        Home.open(tmp_path)
    home.close()
    again = Home.open(tmp_path)
    assert again.identity.key == key
    again.close()


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two homes have two identities."""
    monkeypatch.chdir(tmp_path)
    friend = Identity.generate().key
    one, other = Home.open(None, trust=[TrustedPeer(friend, "friend")]), Home.open(None)
    assert one.identity.key != other.identity.key
    assert friend in one.trust
    one.keep_port(7100)
    assert one.last_port() == 0
    assert (one.trust_file, one.watcher, one.control_path) == (None, None, None)
    one.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_the_port_is_kept_and_a_damaged_note_is_no_obstacle(tmp_path: Path) -> None:
    """The node then takes another port."""
    home = Home.open(tmp_path)
    assert home.last_port() == 0
    home.keep_port(7123)
    assert home.last_port() == 7123
    for damage in (b"", b"99999\n", b"7x\n", b"\xff" * 8, b"1" * 4000):
        (tmp_path / "port").write_bytes(damage)
        assert home.last_port() == 0
    home.close()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("identity.pem", b"garbage", IdentityFileError),
        ("trusted_peers", b"not a key\n", ConfigurationError),
    ],
)
def test_a_broken_file_is_refused_left_alone_and_the_directory_let_go(
    tmp_path: Path, name: str, content: bytes, error: type[Exception]
) -> None:
    """The next try finds the directory free."""
    path = tmp_path / name
    path.write_bytes(content)
    path.chmod(0o600)
    for _ in range(2):
        with pytest.raises(error, match=name):
            Home.open(tmp_path)
    assert path.read_bytes() == content


def test_a_trust_list_from_the_application_leaves_the_file_alone(tmp_path: Path) -> None:
    """It is neither read nor written nor followed."""
    (tmp_path / "trusted_peers").write_text("not a key\n")
    home = Home.open(tmp_path, trust=[])
    assert (home.trust_file, home.watcher) == (None, None)
    assert len(home.trust) == 0
    home.close()
