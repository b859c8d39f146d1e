"""Reading and replacing one small file so that after a crash it is the old one or the new one.

Every `OSError` becomes a `StorageError` here, with a reason that says what to do about it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from pathlib import Path
from typing import Final

from peernet_core.errors import StorageError

__all__ = [
    "create_file",
    "explain",
    "open_lock_file",
    "read_file",
    "remove_leftovers",
    "replace_file",
    "try_lock",
]

_WRITABLE: Final = "make it writable, or choose another directory with --data-dir"
_REASONS: Final = {
    errno.ENOSPC: "no space is left on the device; free some and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the limit on file sizes is reached; raise it (ulimit -f) and try again",
    errno.EROFS: f"the file system is read-only; {_WRITABLE}",
    errno.EACCES: "permission denied; look at the owner and mode of it and of its folder",
    errno.EPERM: "not permitted; look at the owner, mode and attributes of it and of its folder",
    errno.ENOENT: "the folder that it belongs in does not exist",
    errno.ENOTDIR: "a part of the path is a file and not a folder",
    errno.EISDIR: "this is a folder, and a file belongs here; move it away",
    errno.ELOOP: "symbolic links lead in a circle; mend them",
    errno.ENAMETOOLONG: "the path is too long; choose a shorter one with --data-dir",
    errno.EBUSY: "it is a mount point and cannot be replaced; mount the folder around it instead",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open on this machine",
    errno.EIO: "the device reports an input/output error; look after the disk",
    errno.ENOLCK: "the file system offers no locks; choose another directory with --data-dir",
    errno.EOPNOTSUPP: "the file system lacks what is needed here; choose another directory with --data-dir",
}
_BUSY: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES, errno.EBADF})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
_LEFTOVER_AGE_S: Final = 3600.0


def explain(error: OSError) -> str:
    """What went wrong and what to do about it, in words for whoever runs the node; without the path."""
    reason = _REASONS.get(error.errno or 0)
    return reason or (error.strerror or str(error)).lower()


def read_file(path: Path, *, max_bytes: int) -> tuple[bytes, os.stat_result] | None:
    """Read a small file; symbolic links are followed, anything but a regular file is refused.

    Returns:
        The bytes and what `fstat` said after they were read; None when there is no such file.

    Raises:
        StorageError: it cannot be read, is no regular file, or is larger than `max_bytes`.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(path, explain(error)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise StorageError(path, _REASONS[errno.EISDIR])
        if not stat.S_ISREG(mode):
            raise StorageError(path, "not a regular file; move it away")
        data = bytearray()
        while len(data) <= max_bytes and (chunk := os.read(descriptor, max_bytes + 1 - len(data))):
            data += chunk
        status = os.fstat(descriptor)
    except OSError as error:
        raise StorageError(path, explain(error)) from error
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise StorageError(path, f"larger than {max_bytes} bytes: not what belongs here; move it away")
    return bytes(data), status


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file, or create it, durably and in one step.

    A symbolic link stays: what it leads to is replaced. An existing file keeps its owner and group as far as
    this process may give files away.

    Args:
        path: Its folder must exist.
        data: The whole new content.
        mode: Permissions of the new file, whatever the umask.

    Raises:
        StorageError: it could not be written; the old file is untouched and nothing is left behind.
    """
    target = path
    try:
        try:
            owner = path.stat()
        except FileNotFoundError:
            owner = None
        target = Path(os.path.realpath(path))
        temporary = _write_temporary(target, data, mode, owner)
        try:
            temporary.replace(target)
        except BaseException:
            _discard(temporary)
            raise
    except OSError as error:
        raise StorageError(target, f"{explain(error)}. Nothing was changed") from error
    _sync_folder(target)


def create_file(path: Path, data: bytes, mode: int = 0o600) -> bool:
    """Create a file with all its content at once, unless something of that name exists.

    Returns:
        False when something was there (it is untouched): of two processes at once, one gets True.

    Raises:
        StorageError: it could not be written; nothing is left behind.
    """
    try:
        temporary = _write_temporary(path, data, mode, None)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # No hard links here (FAT, some network and FUSE file systems): the name is still taken only once.
            try:
                _write(path, data, mode, None)
            except FileExistsError:
                return False
        finally:
            _discard(temporary)
    except OSError as error:
        raise StorageError(path, f"{explain(error)}. Nothing was changed") from error
    _sync_folder(path)
    return True


def open_lock_file(path: Path) -> int:
    """Open (and create) a file to lock; the caller closes the descriptor, which lets the lock go.

    Raises:
        StorageError: it cannot be opened for writing.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        _give_to_owner_of_folder(descriptor, path.parent)
    except OSError as error:
        raise StorageError(path, explain(error)) from error
    return descriptor


def try_lock(descriptor: int, path: Path) -> bool:
    """Take the exclusive lock, without waiting; returns whether it is ours.

    Raises:
        StorageError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise StorageError(path, explain(error)) from error
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left here more than an hour ago."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age_s > _LEFTOVER_AGE_S:
                    _discard(Path(entry.path))


def _write_temporary(target: Path, data: bytes, mode: int, owner: os.stat_result | None) -> Path:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    _write(temporary, data, mode, owner)
    return temporary


def _write(path: Path, data: bytes, mode: int, owner: os.stat_result | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is None:
                _give_to_owner_of_folder(descriptor, path.parent)
            elif not _give(descriptor, owner.st_uid, owner.st_gid):
                mode &= ~0o070  # what was for the old file's group is not for ours
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        _discard(path)
        raise


def _give(descriptor: int, user: int, group: int) -> bool:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) == (user, group):
        return True
    for new_user in (user, -1):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, new_user, group)
            return True
    return False


def _give_to_owner_of_folder(descriptor: int, folder: Path) -> None:
    # After `sudo peernet …` in a user's data directory that user's own node must still get at its files.
    if os.geteuid() == 0:
        status = folder.stat()
        if status.st_uid != 0:
            _give(descriptor, status.st_uid, status.st_gid)


def _sync_folder(path: Path) -> None:
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some file systems cannot do it, and a folder may be writable without being readable.
        if error.errno not in _NO_FOLDER_SYNC:
            reason = f"it is written, but may not survive a power cut: {explain(error)}"
            raise StorageError(path, reason) from error


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
