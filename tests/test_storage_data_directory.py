"""One node keeps one data directory; its socket has a place where only its user comes."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from peernet_core.errors import DataDirectoryInUseError, StorageError
from peernet_core.storage.data_directory import DataDirectory, default_data_dir
from peernet_core.storage.identity_file import load_or_create
from peernet_core.storage.trust_file import TrustFile

HOLD = """
import sys
from peernet_core.storage.data_directory import DataDirectory
with DataDirectory.open(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def short_runtime_folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test finds the real ones; the paths are short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pn") as folder:
        runtime = Path(folder) / "xdg"
        runtime.mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        yield runtime


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pn") as folder:
        yield Path(folder)


def long_path(tmp_path: Path) -> Path:
    """A data directory whose path has 200 characters or a few more."""
    path = tmp_path
    while len(str(path)) < 200:
        path /= "x" * min(50, max(1, 199 - len(str(path))))
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


class TestOpening:
    """`DataDirectory.open`."""

    def test_a_new_one_is_for_its_user_alone(self, tmp_path: Path) -> None:
        """With the folders above it; an existing one keeps its mode."""
        with DataDirectory.open(tmp_path / "a" / "b") as directory:
            assert directory.path == tmp_path / "a" / "b"
            assert mode_of(directory.path) == 0o700
        (tmp_path / "old").mkdir(mode=0o750)
        with DataDirectory.open(str(tmp_path / "old")):
            assert mode_of(tmp_path / "old") == 0o750

    def test_the_path_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """So that a later change of folder does not matter; the tilde is the user's home."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for path in ("data", "~/data", "x/../data"):
            with DataDirectory.open(path) as directory:
                assert directory.path == tmp_path / "data"

    def test_a_second_node_is_told_who_is_there(self, tmp_path: Path) -> None:
        """Also in the same process; afterwards it may have it."""
        with DataDirectory.open(tmp_path):
            with pytest.raises(DataDirectoryInUseError, match=f"process {os.getpid()}") as caught:
                DataDirectory.open(tmp_path)
            assert str(caught.value).startswith(f"{tmp_path}: ")
            assert "--data-dir" in caught.value.reason
        with DataDirectory.open(tmp_path):
            pass

    def test_the_lock_of_a_killed_process_is_nobodys(self, tmp_path: Path) -> None:
        """While it runs its number is told, also through another path to the same folder."""
        (tmp_path / "link").symlink_to("data")
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"open\n"
                with pytest.raises(DataDirectoryInUseError, match=f"process {process.pid}"):
                    DataDirectory.open(tmp_path / "link")
            finally:
                process.kill()
        with DataDirectory.open(tmp_path / "data"):
            assert (tmp_path / "data" / "lock").read_bytes() == b"%d\n" % os.getpid()

    def test_commands_that_edit_need_no_lock(self, tmp_path: Path) -> None:
        """The identity and the trust list are there for them while a node runs."""
        with DataDirectory.open(tmp_path), DataDirectory.open(tmp_path, lock=False) as directory:
            key = load_or_create(directory.identity_path).key
            assert TrustFile(directory.trust_path).add(key)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [
            "identity.pem",
            "lock",
            "trusted_peers",
            "trusted_peers.lock",
        ]

    def test_a_file_in_its_place_is_refused(self, tmp_path: Path) -> None:
        """And untouched."""
        (tmp_path / "data").write_bytes(b"mine")
        for path in (tmp_path / "data", tmp_path / "data" / "below"):
            with pytest.raises(StorageError, match="folder") as caught:
                DataDirectory.open(path)
            assert caught.value.path == path
        assert (tmp_path / "data").read_bytes() == b"mine"

    def test_a_path_that_the_system_cannot_hold_is_refused(self, tmp_path: Path) -> None:
        """With a hint to choose a shorter one."""
        with pytest.raises(StorageError, match="too long"):
            DataDirectory.open(tmp_path / ("x" * 300))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root ignores permissions; test_storage_faults covers it")
    def test_one_without_write_permission_is_for_reading(self, tmp_path: Path) -> None:
        """A node is told what it could not write; the identity and the trust list can still be read."""
        with DataDirectory.open(tmp_path) as directory:
            key = load_or_create(directory.identity_path).key
            TrustFile(directory.trust_path).add(key)
        before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(StorageError, match=r"permission denied.*sequence numbers"):
                DataDirectory.open(tmp_path)
            directory = DataDirectory.open(tmp_path, lock=False)
            assert load_or_create(directory.identity_path).key == key
            trust = TrustFile(directory.trust_path)
            assert [peer.key for peer in trust.load().peers] == [key]
            with pytest.raises(StorageError, match="permission denied"):
                trust.remove(key)
        finally:
            tmp_path.chmod(0o700)
        assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before

    def test_leftovers_of_a_killed_process_are_removed(self, tmp_path: Path) -> None:
        """By the node, which has the lock, and not by a command."""
        leftover = tmp_path / ".sequence.0123456789abcdef.tmp"
        leftover.write_bytes(b"1")
        os.utime(leftover, (time.time() - 7200, time.time() - 7200))
        DataDirectory.open(tmp_path, lock=False)
        assert leftover.exists()
        with DataDirectory.open(tmp_path):
            assert not leftover.exists()

    def test_closing_again_does_nothing(self, tmp_path: Path) -> None:
        """And does not close a descriptor that is somebody else's by then."""
        directory = DataDirectory.open(tmp_path)
        directory.close()
        other = os.open(tmp_path, os.O_RDONLY)
        directory.close()
        os.close(other)

    def test_a_refused_open_leaves_no_descriptor(self, tmp_path: Path) -> None:
        """However often it is tried."""
        if not Path("/proc/self/fd").exists():
            pytest.skip("no list of open files on this system")
        with DataDirectory.open(tmp_path):
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names do not matter
            for _ in range(5):
                with pytest.raises(DataDirectoryInUseError):
                    DataDirectory.open(tmp_path)
            assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - the names do not matter


class TestSocket:
    """`DataDirectory.socket_path`."""

    def test_it_is_in_a_private_folder_of_the_data_directory(self, short: Path) -> None:
        """A command finds it only while it is there."""
        with DataDirectory.open(short) as directory:
            path = directory.socket_path()
            assert path == short / "run" / "control.sock"
            assert mode_of(short / "run") == 0o700
            command = DataDirectory.open(short, lock=False)
            assert command.socket_path() is None
            with listening(path):
                assert command.socket_path() == path
            path.unlink()
        assert not (short / "run").exists()

    def test_a_long_path_falls_back_to_the_runtime_folder(
        self, tmp_path: Path, short_runtime_folders: Path
    ) -> None:
        """The node works with a path of 200 characters, and a command finds its socket."""
        path = long_path(tmp_path)
        assert len(str(path)) >= 200
        with DataDirectory.open(path) as directory:
            place = directory.socket_path()
            assert place is not None
            assert place.is_relative_to(short_runtime_folders)
            assert mode_of(place.parent) == 0o700
            with listening(place):
                assert DataDirectory.open(path, lock=False).socket_path() == place
            place.unlink()
        assert not place.parent.exists()

    def test_two_long_paths_have_two_sockets(self, tmp_path: Path) -> None:
        """Two nodes do not meet in the runtime folder."""
        paths = [long_path(tmp_path / "a"), long_path(tmp_path / "b")]
        with ExitStack() as stack:
            places = {stack.enter_context(DataDirectory.open(path)).socket_path() for path in paths}
        assert len(places) == 2
        assert None not in places

    def test_without_a_runtime_folder_it_is_in_the_one_for_temporary_files(
        self, tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a folder of this user; one that belongs to others or lets them in is not used."""
        monkeypatch.setenv("XDG_RUNTIME_DIR", "")
        monkeypatch.setattr(tempfile, "tempdir", str(short))
        if Path(f"/run/user/{os.geteuid()}").exists():
            pytest.skip("this user has a runtime folder")
        ours = short / f"peernet-{os.geteuid()}"
        path = long_path(tmp_path)
        with DataDirectory.open(path) as directory:
            place = directory.socket_path()
            assert place is not None
            assert place.is_relative_to(ours)
            assert mode_of(ours) == 0o700
        ours.chmod(0o777)
        with DataDirectory.open(path) as directory:
            assert directory.socket_path() is None
        ours.rmdir()
        ours.symlink_to(tmp_path)
        with DataDirectory.open(path) as directory:
            assert directory.socket_path() is None

    def test_the_longest_path_that_fits_is_used(self, short: Path) -> None:
        """The bound is what the system can bind, in bytes."""
        limit = 103 if sys.platform == "darwin" else 107
        rest = limit - len(os.fsencode(short / "run" / "control.sock")) - 1
        for length, fits in ((rest, True), (rest + 1, False)):
            data = short / ("x" * length)
            with DataDirectory.open(data) as directory:
                path = directory.socket_path()
                assert path is not None
                assert path.is_relative_to(data) is fits
                with listening(path):
                    pass
                path.unlink()

    def test_a_stale_socket_is_removed_under_the_lock(self, short: Path) -> None:
        """A command does not remove it; a file of that name is not ours to remove."""
        with DataDirectory.open(short) as directory:
            path = directory.socket_path()
            assert path is not None
            with listening(path):
                pass
        assert path.exists()
        assert DataDirectory.open(short, lock=False).socket_path() == path
        with DataDirectory.open(short) as directory:
            assert not path.exists()
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"mine")
        with DataDirectory.open(short):
            assert path.read_bytes() == b"mine"

    def test_a_folder_that_others_may_enter_is_closed_to_them(self, short: Path) -> None:
        """It is ours, so its mode is too."""
        (short / "run").mkdir()
        (short / "run").chmod(0o755)
        with DataDirectory.open(short) as directory:
            assert directory.socket_path() == short / "run" / "control.sock"
            assert mode_of(short / "run") == 0o700

    def test_what_is_no_folder_sends_us_elsewhere(self, short: Path, short_runtime_folders: Path) -> None:
        """A file or a link in the place of `run` is left alone."""
        (short / "elsewhere").mkdir(mode=0o700)
        for is_link in (True, False):
            if is_link:
                (short / "run").symlink_to("elsewhere")
            else:
                (short / "run").write_bytes(b"")
            with DataDirectory.open(short) as directory:
                path = directory.socket_path()
                assert path is not None
                assert path.is_relative_to(short_runtime_folders)
            (short / "run").unlink()


class TestDefault:
    """`default_data_dir`."""

    def test_the_environment_comes_before_the_file_and_the_file_before_the_users_folder(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An empty variable is none; the tilde is the user's home."""
        monkeypatch.setenv("HOME", "/home/somebody")
        monkeypatch.setenv("XDG_DATA_HOME", "/home/somebody/share")
        configured = Path("/srv/peernet")
        assert default_data_dir({"PEERNET_DATA_DIR": "~/x"}, configured=configured) == Path(
            "/home/somebody/x"
        )
        assert default_data_dir({"PEERNET_DATA_DIR": ""}, configured=configured) == configured
        assert re.search("peernet$", str(default_data_dir({})))
