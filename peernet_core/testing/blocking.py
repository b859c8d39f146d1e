"""Calls that block the event loop, noticed by what the interpreter says of them (PEP 578), not by a clock."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final, SupportsIndex

__all__ = ["blocking_calls"]

_CALLS: Final = frozenset(
    {
        "open",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "os.system",
        "shutil.copyfile",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "sqlite3.connect",
        "subprocess.Popen",
        "time.sleep",
    }
)
# What Python itself reads: modules when they are first used, source lines for a traceback.
_PYTHONS_OWN: Final = ("<frozen importlib", "/importlib/", "/linecache.py", "/tokenize.py", "/zipimport.py")
# Files in name only.
_NO_DISK: Final = ("/proc/", "/sys/", "/dev/")
_MOST: Final = 20
_STANDARD_LIBRARY: Final = contextlib.__file__.removesuffix("contextlib.py")

_watched: dict[int, list[str]] = {}


@contextlib.contextmanager
def blocking_calls() -> Iterator[list[str]]:
    """Collect the blocking calls that this thread makes meanwhile, each with the line that made it."""
    _install()
    thread = threading.get_ident()
    found = _watched[thread] = []
    sleep = time.sleep
    if sys.version_info < (3, 13):  # which says it itself

        def audited_sleep(seconds: SupportsIndex | float, /) -> None:
            sys.audit("time.sleep", seconds)
            sleep(seconds)

        time.sleep = audited_sleep
    try:
        yield found
    finally:
        time.sleep = sleep
        del _watched[thread]


def _install() -> None:
    # A hook cannot be taken away again, so there is one, and it does nothing where nobody watches.
    if not hasattr(_audit, "installed"):
        _audit.installed = True  # type: ignore[attr-defined]  # a function may have attributes
        sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or event not in _CALLS:
        return
    found = _watched.get(threading.get_ident())
    if found is None or len(found) >= _MOST or _is_harmless(event, arguments):
        return
    where = _caller(sys._getframe(1))  # noqa: SLF001 - documented, and there is no other way
    if where is not None:
        found.append(f"{event} in {where}")


def _is_harmless(event: str, arguments: tuple[object, ...]) -> bool:
    first = arguments[0] if arguments else None
    match event:
        case "open":
            return isinstance(first, int) or str(first).startswith(_NO_DISK)
        case "socket.connect":
            return isinstance(first, socket.socket) and first.gettimeout() == 0
        case "socket.getaddrinfo":
            return first is None
        case "time.sleep":
            return first == 0
    return False


def _caller(frame: FrameType | None) -> str | None:
    """The innermost line outside the standard library; None where Python reads for itself."""
    place = None
    while frame is not None:
        path = frame.f_code.co_filename
        if any(each in path for each in _PYTHONS_OWN):
            return None
        if path == __file__:
            frame = frame.f_back
            continue
        if place is None and not _is_standard_library(path):
            place = f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return place or "the standard library"


def _is_standard_library(path: str) -> bool:
    return path.startswith((_STANDARD_LIBRARY, "<frozen")) and "-packages" not in path
