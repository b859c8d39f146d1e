"""`identity.pem`: who we are. Created once, never overwritten, refused when others can read it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from peernet_core.errors import IdentityFileError, MalformedKeyError, StorageError
from peernet_core.keys import Identity
from peernet_core.storage.files import create_file, read_file

__all__ = ["load", "load_or_create"]

_MAX_BYTES: Final = 65_536
_REMEDY: Final = (
    "Put back a copy of it; or move it away, and a new identity is made, which every peer must then be told "
    "to trust"
)


def load(path: Path) -> Identity:
    """Read the identity.

    Raises:
        IdentityFileError: there is none, it cannot be read, others can get at it, or it is not an Ed25519
            key in PKCS#8.
    """
    identity = _load(path)
    if identity is None:
        reason = "a symbolic link that leads nowhere" if path.is_symlink() else "there is no identity"
        raise IdentityFileError(path, f"{reason}. {_REMEDY}")
    return identity


def load_or_create(path: Path) -> Identity:
    """Read the identity, or make one on first use; processes that do so at once agree on one.

    Raises:
        IdentityFileError: see `load`; what is there is untouched.
        StorageError: a new one cannot be written.
    """
    identity = _load(path)
    if identity is not None:
        return identity
    identity = Identity.generate()
    if create_file(path, identity.to_pem()):
        return identity
    return load(path)


def _load(path: Path) -> Identity | None:
    try:
        found = read_file(path, max_bytes=_MAX_BYTES)
    except StorageError as error:
        raise IdentityFileError(path, error.reason) from error
    if found is None:
        return None
    data, status = found
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        reason = f"others can get at this private key (mode {mode:04o}); run: chmod 600 {path}"
        raise IdentityFileError(path, reason)
    try:
        return Identity.from_pem(data)
    except MalformedKeyError as error:
        raise IdentityFileError(path, f"{error}. {_REMEDY}") from error
