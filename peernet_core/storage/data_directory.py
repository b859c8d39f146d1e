"""The data directory: where its files are, and the lock that keeps it to one node.

The control socket lives in a folder that only this user can enter: ``run`` in the data directory, or, where
that path is too long for a socket's address, a folder of the user's runtime directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from peernet_core.errors import DataDirectoryInUseError, StorageError
from peernet_core.storage.files import explain, open_lock_file, remove_leftovers, try_lock

__all__ = ["DataDirectory", "default_data_dir"]

_APPLICATION: Final = "peernet"
_SOCKET: Final = "control.sock"
# sockaddr_un.sun_path with its closing zero byte.
_SOCKET_PATH_BYTES: Final = 103 if sys.platform == "darwin" else 107
_REMEDY: Final = "make it writable, or choose another directory with --data-dir"


def default_data_dir(environ: Mapping[str, str], *, configured: Path | None = None) -> Path:
    """Where the data directory is when the command line does not say.

    Args:
        environ: `PEERNET_DATA_DIR` comes first, unless it is empty.
        configured: What the configuration file says; it comes second, the user's data folder last.
    """
    named = environ.get("PEERNET_DATA_DIR", "")
    if named:
        return Path(named).expanduser()
    if configured is not None:
        return configured
    import platformdirs  # noqa: PLC0415 - where the directory is named, nobody needs it

    return platformdirs.user_data_path(_APPLICATION, appauthor=False)


class DataDirectory:
    """An open data directory; close it, or use it as a context manager. Made by `open`."""

    def __init__(self, path: Path, lock_descriptor: int | None) -> None:
        self._path = path
        self._lock_descriptor = lock_descriptor

    @classmethod
    def open(cls, path: Path | str, *, lock: bool = True) -> Self:
        """Open a data directory, and create it (0700) if it is not there.

        Args:
            path: The folder; ``~`` is expanded.
            lock: Keep it to ourselves, as a running node must; False for commands that only read the
                identity or edit the trust list.

        Raises:
            DataDirectoryInUseError: another node holds the lock.
            StorageError: it cannot be created, or, with `lock`, it cannot be written.
        """
        folder = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - Path.resolve would follow links
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StorageError(folder, "this is no folder, and the data directory is one") from error
        except OSError as error:
            raise StorageError(folder, f"cannot be created: {explain(error)}") from error
        if not lock:
            return cls(folder, None)
        _check_writable(folder)
        directory = cls(folder, _lock(folder))
        remove_leftovers(folder)
        directory._remove_stale_sockets()
        return directory

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return self._path

    @property
    def identity_path(self) -> Path:
        """See identity_file."""
        return self._path / "identity.pem"

    @property
    def trust_path(self) -> Path:
        """See trust_file."""
        return self._path / "trusted_peers"

    @property
    def sequence_path(self) -> Path:
        """See sequence_file."""
        return self._path / "sequence"

    @property
    def known_addresses_path(self) -> Path:
        """Addresses that authenticated."""
        return self._path / "known_addresses"

    def socket_path(self) -> Path | None:
        """Where the control socket is.

        Returns:
            With the lock: where to bind it; its folder exists, and nothing is there unless this process put
            it there. Without: the socket of the node that runs here, or ran here until it was killed. None
            where there is no such place: a node runs without.
        """
        for folder in self._socket_folders():
            path = folder / _SOCKET
            if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
                continue
            if self._lock_descriptor is not None:
                if _make_private(folder):
                    return path
            elif _is_private(folder, self._owners()) and _is_socket(path):
                return path
        return None

    def close(self) -> None:
        """Let go of the lock; closing again does nothing."""
        if self._lock_descriptor is None:
            return
        for folder in self._socket_folders():
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where it is empty: whoever bound a socket unlinks it
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock_descriptor, 0)
        os.close(self._lock_descriptor)
        self._lock_descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _socket_folders(self) -> Iterator[Path]:
        yield self._path / "run"
        name = hashlib.sha256(os.fsencode(os.path.realpath(self._path))).hexdigest()[:16]
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        for folder in (Path(runtime), Path(f"/run/user/{os.geteuid()}")):
            if folder.is_absolute() and _is_private(folder, {os.geteuid()}):
                yield folder / _APPLICATION / name
        import tempfile  # noqa: PLC0415 - loads much, and short commands do not come here

        yield Path(tempfile.gettempdir()) / f"{_APPLICATION}-{os.geteuid()}" / name

    def _owners(self) -> set[int]:
        return {os.geteuid(), self._path.stat().st_uid}

    def _remove_stale_sockets(self) -> None:
        for folder in self._socket_folders():
            if _is_private(folder, {os.geteuid()}) and _is_socket(folder / _SOCKET):
                with contextlib.suppress(OSError):
                    (folder / _SOCKET).unlink()


def _check_writable(folder: Path) -> None:
    # Asked before anything is tried, because a lock file that is there could be locked all the same.
    effective = os.access in os.supports_effective_ids
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        return
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    why = "the file system is read-only" if read_only else "permission denied"
    raise StorageError(
        folder,
        f"cannot be written ({why}): a node keeps its lock, its sequence numbers and known addresses here; "
        f"{_REMEDY}",
    )


def _lock(folder: Path) -> int:
    path = folder / "lock"
    descriptor = open_lock_file(path)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(os.close, descriptor)
        if not try_lock(descriptor, path):
            raise _in_use(folder, descriptor)
        with contextlib.suppress(OSError):  # only a help for whoever finds the directory locked
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        on_failure.pop_all()
    return descriptor


def _in_use(folder: Path, descriptor: int) -> DataDirectoryInUseError:
    holder = os.pread(descriptor, 20, 0).strip()
    who = f" (process {int(holder)})" if holder.isdigit() else ""
    reason = f"another node{who} runs on this data directory; stop it, or choose another one with --data-dir"
    return DataDirectoryInUseError(folder, reason)


def _make_private(folder: Path) -> bool:
    # The parent first: in a shared folder for temporary files somebody else may have made it.
    try:
        if folder.name != "run":
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(folder.parent, {os.geteuid()}):
                return False
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError:
        return False
    return _is_private(folder, {os.geteuid()})


def _is_private(folder: Path, owners: set[int]) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid in owners and not status.st_mode & 0o077


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
