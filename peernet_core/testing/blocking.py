"""Calls that block, noticed by what the interpreter says of them (PEP 578), not by a clock.

For what it does not tell of, waits for a thread, an event, a queue or a socket, the functions are wrapped.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, SupportsIndex

import attrs

__all__ = ["Moment", "before_access", "blocking_calls"]

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
        "peernet.recv",
        "peernet.wait",
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

# Whose calls are nobody's business: those of the runner of the tests, and core's own, which are short.
_CORES_OWN: Final = f"{Path(__file__).parents[1] / 'backends'}/"
_RUNNERS_OWN: Final = ("/_pytest/", "/anyio/pytest_plugin.py", str(Path(__file__).with_name("conformance")))

_watched: dict[int, list[str]] = {}
_moments: list[Moment] = []


@attrs.define(eq=False)
class Moment:
    """When something is to be done.

    Attributes:
        where: The access before which it was done, with its line; None: it has not come so far.
    """

    _accesses: int
    _act: Callable[[], object]
    where: str | None = None

    def _pass(self, event: str, where: str) -> None:
        if self.where is not None:
            return
        self._accesses -= 1
        if self._accesses == 0:
            self.where = f"{event} in {where}"
            self._act()


@contextlib.contextmanager
def before_access(number: int, act: Callable[[], object]) -> Iterator[Moment]:
    """Do something right before the `number`-th call that would block, in whichever thread it is made.

    Args:
        number: From 1; of the calls meanwhile, but those of pytest and of core.
        act: What to do; in that thread. If it raises, so does the call.
    """
    _install()
    moment = Moment(number, act)
    _moments.append(moment)
    try:
        yield moment
    finally:
        _moments.remove(moment)


@contextlib.contextmanager
def blocking_calls() -> Iterator[list[str]]:
    """Collect the blocking calls that this thread makes meanwhile, each with the line that made it."""
    _install()
    thread = threading.get_ident()
    found = _watched[thread] = []
    with _told_waits():
        try:
            yield found
        finally:
            del _watched[thread]


@contextlib.contextmanager
def _told_waits() -> Iterator[None]:
    """Let the interpreter tell of waits as well."""
    with contextlib.ExitStack() as stack:
        if sys.version_info < (3, 13):  # which says it itself
            stack.enter_context(_wrapped(time, "sleep", _tell_sleep))
        stack.enter_context(_wrapped(threading.Condition, "wait", _tell_wait))
        stack.enter_context(_wrapped(threading.Thread, "join", _tell_join))
        for name in ("accept", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg"):
            stack.enter_context(_wrapped(socket.socket, name, _tell_receive))
        yield


@contextlib.contextmanager
def _wrapped(owner: Any, name: str, tell: Callable[..., None]) -> Iterator[None]:  # noqa: ANN401 - a module or a class
    inherited, function = name not in vars(owner), getattr(owner, name)

    @functools.wraps(function)
    def telling(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        tell(*arguments, **options)
        return function(*arguments, **options)

    setattr(owner, name, telling)
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, function)


def _tell_sleep(seconds: SupportsIndex | float) -> None:
    sys.audit("time.sleep", seconds)


def _tell_wait(_: threading.Condition, timeout: float | None = None) -> None:
    sys.audit("peernet.wait", timeout)


def _tell_join(thread: threading.Thread, timeout: float | None = None) -> None:
    if thread.is_alive():
        sys.audit("peernet.wait", timeout)


def _tell_receive(receiver: socket.socket, *_: object, **__: object) -> None:
    sys.audit("peernet.recv", receiver)


def _install() -> None:
    # A hook cannot be taken away again, so there is one, and it does nothing where nobody watches.
    if not hasattr(_audit, "installed"):
        _audit.installed = True  # type: ignore[attr-defined]  # a function may have attributes
        sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    found = _watched.get(threading.get_ident())
    if (found is None and not _moments) or event not in _CALLS or _is_harmless(event, arguments):
        return
    where = _caller(sys._getframe(1))  # noqa: SLF001 - documented, and there is no other way
    if where is None:
        return
    if found is not None and len(found) < _MOST:
        found.append(f"{event.removeprefix('peernet.')} in {where}")
    for moment in _moments:
        moment._pass(event, where)  # noqa: SLF001 - two halves of one thing


def _is_harmless(event: str, arguments: tuple[object, ...]) -> bool:
    first = arguments[0] if arguments else None
    match event:
        case "open":
            return isinstance(first, int) or str(first).startswith(_NO_DISK)
        case "socket.connect":
            return isinstance(first, socket.socket) and first.gettimeout() == 0
        case "socket.getaddrinfo":
            return first is None
        case "peernet.recv":
            return isinstance(first, socket.socket) and first.gettimeout() == 0
        case "time.sleep" | "peernet.wait":
            return first == 0
    return False


def _caller(frame: FrameType | None) -> str | None:
    """The innermost line outside the standard library; None where Python reads for itself."""
    place = None
    while frame is not None:
        path = frame.f_code.co_filename
        if any(each in path for each in _PYTHONS_OWN):
            return None
        if path == threading.__file__ and frame.f_code.co_name == "start":
            return None  # until the new thread runs
        if place is None and path != __file__ and not _is_standard_library(path):
            if path.startswith(_CORES_OWN) or any(each in path for each in _RUNNERS_OWN):
                return None
            place = f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return place or "the standard library"


def _is_standard_library(path: str) -> bool:
    return path.startswith((_STANDARD_LIBRARY, "<frozen")) and "-packages" not in path
