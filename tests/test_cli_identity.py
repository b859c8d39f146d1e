"""`peernet id`: one key, the same each time, and nothing else on stdout."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from peernet_core.cli.app import invoke
from peernet_core.cli.qr_code import qr_code
from peernet_core.keys import PeerKey
from peernet_core.storage.identity_file import load


@pytest.fixture(autouse=True)
def away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("PEERNET_CONFIG", "PEERNET_DATA_DIR", "PEERNET_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def id_of(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert invoke([*arguments, "id"]) == 0
    return capsys.readouterr().out


def test_the_identity_is_made_on_first_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is alone on stdout; the next call prints the same; the file is private."""
    first = id_of(["--data-dir", "data"], capsys)
    path = tmp_path / "data" / "identity.pem"
    assert first == f"{load(path).key}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert id_of(["--data-dir", "data"], capsys) == first


def test_the_other_machines_command_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """What to type elsewhere is there, and out of a script's way."""
    assert invoke(["--data-dir", "data", "id"]) == 0
    said = capsys.readouterr()
    assert said.err == f"On the other machine: peernet trust add {said.out}"


def test_a_qr_code_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The picture is for the person; stdout still is the key."""
    assert invoke(["--data-dir", "data", "id", "--qr"]) == 0
    said = capsys.readouterr()
    key = PeerKey.parse(said.out.removesuffix("\n"))
    assert qr_code(str(key)) in said.err
    assert len(said.err.splitlines()) > 15


def test_where_the_data_directory_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option comes before the variable, that before the file, and the user's folder comes last."""
    (tmp_path / "peernet.toml").write_text('[node]\ndata_dir = "of-file"\n')
    monkeypatch.setenv("PEERNET_DATA_DIR", "of-variable")
    id_of(["--data-dir", "of-option"], capsys)
    id_of([], capsys)
    monkeypatch.delenv("PEERNET_DATA_DIR")
    id_of([], capsys)
    (tmp_path / "peernet.toml").unlink()
    id_of([], capsys)
    folders = ["of-option", "of-variable", "of-file"]
    found = [path.parent for path in sorted(tmp_path.rglob("identity.pem"))]
    assert {str(path.relative_to(tmp_path)) for path in found} >= set(folders)
    assert len(found) == 4
    assert len({load(path / "identity.pem").key for path in found}) == 4


def test_a_broken_configuration_makes_no_identity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The directory is the file's to say: guessing would make a second identity in the wrong place."""
    (tmp_path / "peernet.toml").write_text('[node]\ndata_dir = 5\nnaem = "x"\n')
    assert invoke(["id"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not list(tmp_path.rglob("identity.pem"))


def test_a_corrupt_identity_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the file, status 1, and the file as it was."""
    path = tmp_path / "data" / "identity.pem"
    path.parent.mkdir()
    path.write_text("rubbish")
    path.chmod(0o600)
    assert invoke(["--data-dir", "data", "id"]) == 1
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith(f"peernet: {path}: ")
    assert said.err.count("\n") == 1
    assert path.read_text() == "rubbish"
