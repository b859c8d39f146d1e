"""What Linux tells by a descriptor, so that nobody has to wake up to look: a folder's and a clock's news.

A wake-up of an idle node costs it about a millisecond of processor time, whatever it then does. Python has
no call for either of these (`os.timerfd_create` is there from 3.13 on only), so the C library's are called.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from ctypes import CDLL

__all__ = ["ClockMessages", "FolderMessages", "Messages", "open_clock_messages", "open_folder_messages"]

_log = logging.getLogger(__name__)

# <sys/inotify.h>
_FILE_CHANGED: Final = 0x2 | 0x4 | 0x8  # written to, other rights or times, closed after that
_FILE_MOVED: Final = 0x40 | 0x80 | 0x100 | 0x200  # from here, to here, made, removed
_FOLDER_MOVED: Final = 0x800
_UNMOUNTED: Final = 0x2000
_IGNORED: Final = 0x8000
_ONLY_FOLDER: Final = 0x1000000
_OVER: Final = _FOLDER_MOVED | _UNMOUNTED | _IGNORED
_EVENT: Final = struct.Struct("=iIII")

# <linux/magic.h>, and ZFS's: those on which nobody but this host's kernel can change a file.
_LOCAL: Final = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs",
    0x2FC12FC1: "zfs",
    0x794C7630: "overlay",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x4D44: "vfat",
}
_STATFS_SIZE: Final = 256  # longer than any

# <sys/timerfd.h>
_ABSOLUTE: Final = 0x1
_CANCEL_ON_SET: Final = 0x2

_READ_SIZE: Final = 65536
_MOST_READS: Final = 64


class Messages(Protocol):
    """Something that tells that there may be news, and not what."""

    async def wait(self) -> None:
        """Return when there is a message.

        Raises:
            OSError: there will be no more.
        """
        ...

    def clear(self) -> None:
        """Forget the messages that are there; never blocks, never raises."""
        ...

    def close(self) -> None:
        """Listen no more."""
        ...


class _Descriptor:
    """A descriptor that is readable when there is a message."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._over = False

    async def wait(self) -> None:
        """See `Messages`."""
        if self._over:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._descriptor)

    def clear(self) -> None:
        """See `Messages`."""
        for _ in range(_MOST_READS):
            try:
                self._take(os.read(self._descriptor, _READ_SIZE))
            except OSError:
                return  # nothing is left, or the clock was set: that was the message

    def close(self) -> None:
        """See `Messages`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._over = -1, True

    def _take(self, data: bytes) -> None:
        """Look at what was read."""


class FolderMessages(_Descriptor):
    """Linux's messages about the files in one folder, from inotify.

    They end when the folder is removed, renamed or unmounted: its path may then lead to another one.

    Args:
        folder: Which; of what lies deeper or elsewhere, as the target of a symbolic link, nothing is told.

    Raises:
        OSError: there are none here; also where others can change the files without this kernel, as on a
            network's file system, or where it is not known that they cannot.
    """

    def __init__(self, folder: Path) -> None:
        libc = _libc()
        path = os.fsencode(folder)
        events = _FILE_CHANGED | _FILE_MOVED | _FOLDER_MOVED | _ONLY_FOLDER
        _check_local(libc, path)
        super().__init__(_called(libc.inotify_init1, os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            _called(libc.inotify_add_watch, self._descriptor, path, events)
        except BaseException:
            self.close()
            raise

    def _take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, at)
            self._over = self._over or bool(mask & _OVER)
            at += _EVENT.size + length


class ClockMessages(_Descriptor):
    """Linux's messages that the time of day has jumped: the host woke up, or somebody set the clock.

    A timer of the time of day, which never comes, is cancelled whenever that jumps against the monotonic
    clock, which stands still during a suspension.

    Raises:
        OSError: there are none here.

    Source: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; the kernel's timekeeping_resume() calls
        timerfd_resume().
    """

    def __init__(self) -> None:
        libc = _libc()
        super().__init__(_called(libc.timerfd_create, time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            never = 2 ** (8 * struct.calcsize("l") - 1) - 1
            when = struct.pack("llll", 0, 0, never, 0)
            _called(libc.timerfd_settime, self._descriptor, _ABSOLUTE | _CANCEL_ON_SET, when, None)
        except BaseException:
            self.close()
            raise


def open_folder_messages(folder: Path) -> Messages | None:
    """Listen to what happens in a folder; None where nobody tells of everything that does."""
    try:
        return FolderMessages(folder)
    except OSError as error:
        _log.debug("nothing tells of changes in %a: %s", str(folder), ascii(str(error)))
        return None


def open_clock_messages() -> Messages | None:
    """Listen to the clock; None where it says nothing."""
    try:
        return ClockMessages()
    except OSError as error:
        _log.debug("nothing tells that the clock has jumped: %s", ascii(str(error)))
        return None


def _libc() -> CDLL:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "only Linux has it")
    import ctypes  # noqa: PLC0415 - not for those who are not on Linux, and not before a node runs

    return ctypes.CDLL(None, use_errno=True)


def _called(function: Callable[..., int], *arguments: object) -> int:
    import ctypes  # noqa: PLC0415 - as above

    result = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _check_local(libc: CDLL, path: bytes) -> None:
    import ctypes  # noqa: PLC0415 - as above

    found = ctypes.create_string_buffer(_STATFS_SIZE)
    _called(libc.statfs, path, found)
    kind = int.from_bytes(found.raw[: struct.calcsize("l")], sys.byteorder) & 0xFFFFFFFF
    if kind not in _LOCAL:
        raise OSError(errno.EREMOTE, f"on a file system of kind {kind:#x} others might make changes")
