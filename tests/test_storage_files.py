"""A file is replaced whole or not at all, whatever fails, and nothing is left lying about."""

from __future__ import annotations

import errno
import os
import resource
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.errors import StorageError
from peernet_core.storage.files import (
    create_file,
    explain,
    open_lock_file,
    read_file,
    remove_leftovers,
    replace_file,
    try_lock,
)

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which takes root")
as_user = pytest.mark.skipif(
    os.geteuid() == 0, reason="root ignores permissions; test_storage_faults covers it"
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Any write to any file fails, as on a full disk, for root and for users."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestReplace:
    """`replace_file`."""

    @given(st.binary(), st.binary())
    def test_what_was_written_last_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
    ) -> None:
        """Any bytes over any bytes."""
        path = tmp_path_factory.mktemp("replace") / "file"
        for data in (old, new):
            replace_file(path, data)
            found = read_file(path, max_bytes=1_000_000)
            assert found is not None
            assert found[0] == data
        assert names(path.parent) == ["file"]

    def test_the_mode_is_as_asked_whatever_the_umask(self, tmp_path: Path) -> None:
        """0600 unless said otherwise."""
        before = os.umask(0o077)
        try:
            replace_file(tmp_path / "ours", b"")
            replace_file(tmp_path / "open", b"", 0o644)
        finally:
            os.umask(before)
        assert mode_of(tmp_path / "ours") == 0o600
        assert mode_of(tmp_path / "open") == 0o644

    def test_who_has_the_old_file_open_still_reads_the_old_one(self, tmp_path: Path) -> None:
        """It is another file that takes the name, so nobody reads half of it."""
        path = tmp_path / "file"
        replace_file(path, b"old")
        with path.open("rb") as reader:
            replace_file(path, b"new!")
            assert reader.read() == b"old"

    def test_a_symbolic_link_stays_and_its_target_is_replaced(self, tmp_path: Path) -> None:
        """Also through several links, relative ones, and to a file that is not there yet."""
        (tmp_path / "dotfiles").mkdir()
        (tmp_path / "data").mkdir()
        (tmp_path / "second").symlink_to("dotfiles/trusted")
        link = tmp_path / "data" / "link"
        link.symlink_to("../second")
        for data in (b"created", b"replaced"):
            replace_file(link, data)
            assert link.is_symlink()
            assert (tmp_path / "second").is_symlink()
            assert not (tmp_path / "dotfiles" / "trusted").is_symlink()
            assert (tmp_path / "dotfiles" / "trusted").read_bytes() == data
        assert names(tmp_path / "data") == ["link"]
        assert names(tmp_path / "dotfiles") == ["trusted"]

    def test_links_in_a_circle_are_said_to_be_one(self, tmp_path: Path) -> None:
        """And stay."""
        path = tmp_path / "a"
        path.symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(StorageError, match="circle"):
            replace_file(path, b"new")
        assert names(tmp_path) == ["a", "b"]
        assert path.is_symlink()

    def test_a_full_disk_changes_nothing(self, tmp_path: Path) -> None:
        """The error names the file and what to do; the old file and the folder are as before."""
        path = tmp_path / "file"
        replace_file(path, b"old")
        with no_file_may_grow(), pytest.raises(StorageError, match="Nothing was changed") as caught:
            replace_file(path, b"new")
        assert caught.value.path == path
        assert "try again" in caught.value.reason
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("call", ["fsync", "fchmod", "rename"])
    @pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
    def test_a_failure_at_any_step_leaves_no_litter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
    ) -> None:
        """Until the new file has the name, the old one has it, and there is no third."""
        path = tmp_path / "file"
        replace_file(path, b"old")

        def fail(*_: object) -> None:
            raise error

        owner, name = (Path, "replace") if call == "rename" else (os, call)
        monkeypatch.setattr(owner, name, fail)
        with pytest.raises((StorageError, KeyboardInterrupt)):
            replace_file(path, b"new")
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["file"]

    def test_a_folder_that_cannot_be_made_durable_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The new file is there, and the message does not say that nothing was changed."""
        real = os.fsync

        def fail_for_folders(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EIO, "I/O error")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fail_for_folders)
        with pytest.raises(StorageError, match="power cut") as caught:
            replace_file(tmp_path / "file", b"new")
        assert "Nothing" not in caught.value.reason
        assert (tmp_path / "file").read_bytes() == b"new"

    def test_a_file_system_that_cannot_sync_folders_is_good_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has no way to do better."""
        real = os.fsync

        def fail_for_folders(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fail_for_folders)
        replace_file(tmp_path / "file", b"new")
        assert (tmp_path / "file").read_bytes() == b"new"

    def test_a_folder_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        """It is not made: only the data directory is."""
        with pytest.raises(StorageError, match="folder") as caught:
            replace_file(tmp_path / "none" / "file", b"")
        assert caught.value.path == tmp_path / "none" / "file"
        assert names(tmp_path) == []

    @as_user
    def test_a_folder_without_write_permission_is_an_error(self, tmp_path: Path) -> None:
        """The old file stays."""
        path = tmp_path / "file"
        replace_file(path, b"old")
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(StorageError, match="permission denied"):
                replace_file(path, b"new")
        finally:
            tmp_path.chmod(0o700)
        assert path.read_bytes() == b"old"

    @as_root
    def test_root_leaves_a_users_file_to_the_user(self, tmp_path: Path) -> None:
        """One that is replaced keeps its owner; a new one belongs to the owner of the folder."""
        os.chown(tmp_path, NOBODY, NOBODY)
        old = tmp_path / "old"
        old.write_bytes(b"")
        os.chown(old, 4711, 4712)
        replace_file(old, b"x")
        replace_file(tmp_path / "new", b"x")
        assert create_file(tmp_path / "created", b"x")
        os.close(open_lock_file(tmp_path / "lock"))
        owners = {name: (tmp_path / name).stat() for name in names(tmp_path)}
        assert {name: (status.st_uid, status.st_gid) for name, status in owners.items()} == {
            "old": (4711, 4712),
            "new": (NOBODY, NOBODY),
            "created": (NOBODY, NOBODY),
            "lock": (NOBODY, NOBODY),
        }

    def test_another_group_gets_no_access_that_the_old_one_had(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the group cannot be kept, its permissions go."""
        path = tmp_path / "file"
        path.write_bytes(b"old")
        status = list(path.stat())
        status[stat.ST_GID] += 1
        foreign = os.stat_result(status)

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(Path, "stat", lambda *_, **__: foreign)
        monkeypatch.setattr(os, "fchown", refuse)
        replace_file(path, b"new", 0o660)
        monkeypatch.undo()
        assert mode_of(path) == 0o600
        assert path.read_bytes() == b"new"


class TestCreate:
    """`create_file`."""

    def test_the_first_one_wins(self, tmp_path: Path) -> None:
        """The second is told so and changes nothing."""
        path = tmp_path / "file"
        assert create_file(path, b"first")
        assert not create_file(path, b"second")
        assert path.read_bytes() == b"first"
        assert mode_of(path) == 0o600
        assert path.stat().st_nlink == 1
        assert names(tmp_path) == ["file"]

    def test_a_link_that_leads_nowhere_is_something(self, tmp_path: Path) -> None:
        """Nothing is written where it points."""
        path = tmp_path / "file"
        path.symlink_to(tmp_path / "elsewhere")
        assert not create_file(path, b"new")
        assert names(tmp_path) == ["file"]

    def test_works_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on FAT: the first one still wins."""

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        path = tmp_path / "file"
        assert create_file(path, b"first")
        assert not create_file(path, b"second")
        assert path.read_bytes() == b"first"
        assert names(tmp_path) == ["file"]

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path) -> None:
        """No empty file that would be corrupt at the next start."""
        with no_file_may_grow(), pytest.raises(StorageError, match="Nothing was changed"):
            create_file(tmp_path / "file", b"new")
        assert names(tmp_path) == []


class TestRead:
    """`read_file`."""

    def test_no_file_is_none(self, tmp_path: Path) -> None:
        """As is a link that leads nowhere."""
        (tmp_path / "link").symlink_to("nowhere")
        assert read_file(tmp_path / "file", max_bytes=10) is None
        assert read_file(tmp_path / "link", max_bytes=10) is None

    def test_the_largest_file_that_is_read(self, tmp_path: Path) -> None:
        """One byte more is refused and not cut."""
        path = tmp_path / "file"
        path.write_bytes(b"x" * 10)
        found = read_file(path, max_bytes=10)
        assert found is not None
        assert found[0] == b"x" * 10
        with pytest.raises(StorageError, match="larger than 9 bytes"):
            read_file(path, max_bytes=9)

    def test_a_pipe_does_not_keep_us_waiting(self, tmp_path: Path) -> None:
        """It is refused, as are folders and devices."""
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
            with pytest.raises(StorageError, match="move it away"):
                read_file(path, max_bytes=10)

    @as_user
    def test_a_file_without_permission_is_an_error(self, tmp_path: Path) -> None:
        """Not the same as no file."""
        path = tmp_path / "file"
        path.write_bytes(b"x")
        path.chmod(0)
        with pytest.raises(StorageError, match="permission denied"):
            read_file(path, max_bytes=10)


class TestLocks:
    """`open_lock_file` and `try_lock`."""

    def test_one_at_a_time(self, tmp_path: Path) -> None:
        """Also within one process; closing lets go."""
        path = tmp_path / "lock"
        first, second = open_lock_file(path), open_lock_file(path)
        assert try_lock(first, path)
        assert not try_lock(second, path)
        os.close(first)
        assert try_lock(second, path)
        os.close(second)
        assert mode_of(path) == 0o600

    def test_no_link_is_followed(self, tmp_path: Path) -> None:
        """A lock file is ours and nobody's dotfile."""
        (tmp_path / "lock").symlink_to("elsewhere")
        with pytest.raises(StorageError, match="symbolic link"):
            open_lock_file(tmp_path / "lock")
        assert names(tmp_path) == ["lock"]

    def test_a_file_system_without_locks_is_said_to_be_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rather than that somebody else holds it."""

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
        descriptor = open_lock_file(tmp_path / "lock")
        try:
            with pytest.raises(StorageError, match="offers no locks"):
                try_lock(descriptor, tmp_path / "lock")
        finally:
            os.close(descriptor)


def test_leftovers_of_a_killed_process_go_after_an_hour(tmp_path: Path) -> None:
    """Younger ones may be somebody's at work; other files are nobody's business."""
    leftover = ".identity.pem.0123456789abcdef.tmp"
    for name in (leftover, "x.tmp", ".notes.tmp", "identity.pem"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path)
    assert leftover in names(tmp_path)
    long_ago = time.time() - 3601
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".notes.tmp", "identity.pem", "x.tmp"]
    remove_leftovers(tmp_path / "none")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_reason_says_what_to_do(number: int) -> None:
    """Two parts: what is wrong; what to do."""
    wrong, remedy = explain(OSError(number, "as the system says it")).split(";")
    assert wrong
    assert remedy


def test_any_other_error_is_told_in_the_words_of_the_system() -> None:
    """With or without a number."""
    assert explain(OSError(errno.EXDEV, "Invalid cross-device link")) == "invalid cross-device link"
    assert explain(OSError("odd")) == "odd"
