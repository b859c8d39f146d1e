"""Run `peernet` and note when each step of its start began and ended, and what every import took.

Run by `benchmarks.startup` inside of a fresh Python, by its path: the program that is measured need not have
this package. Nothing of the product knows of it: functions are wrapped from outside as their modules are
loaded, and the import system itself is asked when. What is noted is written as JSON at the first link.

Usage: ``probe.py REPORT ARGUMENT…``, the arguments being those of `peernet`.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()

import functools  # noqa: E402 - everything after the first look at the clock
import importlib._bootstrap as importing  # noqa: E402 - as above
import sys  # noqa: E402 - as above
from collections.abc import Callable  # noqa: E402 - as above
from types import ModuleType  # noqa: E402 - as above
from typing import Any  # noqa: E402 - as above

# Where each step is, as a function of a module.
STEPS = {
    "peernet_core.configuration.entrypoints": {
        "BackendIndex.scan": "installed backends",
        "_import": "modules: backend",
    },
    "peernet_core.configuration.config": {"read_config": "configuration"},
    "peernet_core.home": {"Home.open": "identity, trust list"},
    "peernet_core.network_watch": {"NetworkWatch.__init__": "interfaces"},
    "peernet_core.links.certificates": {"TlsContexts.__init__": "certificates, TLS contexts"},
    "peernet_core.links.sockets": {"bind": "bind"},
    "peernet_core.engine": {"Engine._sign": "signed record"},
    "peernet_core.backends.supervisor": {"Supervisor.start": "backends start"},
    "peernet_core.links.transport": {"reach": "TCP", "_secure": "TLS handshake"},
    "peernet_mdns.medium": {"Medium.ask": "first query"},
}
MODULES = {"peernet_core.cli.app": "modules: command line", "peernet_core.cli.hosting": "modules: node"}

spans: list[tuple[str, float, float]] = []
loads: list[tuple[str, float, float]] = []
marks: dict[str, float] = {}
_inside: list[float] = []


def main() -> None:
    """Run the command with what follows the report's path."""
    report = sys.argv[1]
    sys.argv = ["peernet", *sys.argv[2:]]
    load = importing._find_and_load  # type: ignore[attr-defined]  # where every import passes; it has no stub

    def noting(name: str, import_: object) -> ModuleType:
        if name in sys.modules:  # another thread loads it just now
            module: ModuleType = load(name, import_)
            return module
        _inside.append(0.0)
        began = time.monotonic()
        try:
            module = load(name, import_)
        finally:
            ended = time.monotonic()
            nested = _inside.pop()
            if _inside:
                _inside[-1] += ended - began
            loads.append((name, ended, ended - began - nested))
        if name in MODULES:
            spans.append((MODULES[name], began, ended))
        for path, step in STEPS.get(name, {}).items():
            _wrap(module, path, step)
        if name == "peernet_core.node":
            _follow_events(module, report)
        return module

    importing._find_and_load = noting  # type: ignore[attr-defined]  # the same
    from peernet_core.cli import main as peernet  # noqa: PLC0415 - measured

    peernet()


def _wrap(module: ModuleType, path: str, step: str) -> None:
    owner: Any = module
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each, None)
    if not hasattr(owner, name):
        return  # another version of the program; the step is missing in its budget
    plain = vars(owner)[name]
    wrapped = _timed(getattr(owner, name), step)
    setattr(owner, name, staticmethod(wrapped) if isinstance(plain, classmethod) else wrapped)


def _timed(function: Callable[..., Any], step: str) -> Callable[..., Any]:
    # Not inspect.iscoroutinefunction: its module may be what is measured.
    if function.__code__.co_flags & 0x80:

        @functools.wraps(function)
        async def waited(*arguments: object, **options: object) -> object:
            began = time.monotonic()
            try:
                return await function(*arguments, **options)
            finally:
                spans.append((step, began, time.monotonic()))

        return waited

    @functools.wraps(function)
    def called(*arguments: object, **options: object) -> object:
        began = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            spans.append((step, began, time.monotonic()))

    return called


def _follow_events(module: ModuleType, report: str) -> None:
    node: Any = module.__dict__["Node"]
    publish = node._publish

    def noting(self: object, event: object) -> None:
        name = type(event).__name__
        marks.setdefault(name, time.monotonic())
        if name == "PeerConnected":
            _write(report)
        publish(self, event)

    node._publish = noting


def _write(report: str) -> None:
    processor_s = time.process_time()
    import json  # noqa: PLC0415 - not before what is measured
    from pathlib import Path  # noqa: PLC0415 - the same

    found = {"began": BEGAN, "spans": spans, "loads": loads, "marks": marks, "processor_s": processor_s}
    path = Path(report)
    path.with_suffix(".part").write_text(json.dumps(found), encoding="utf-8")
    path.with_suffix(".part").rename(path)


if __name__ == "__main__":
    main()
