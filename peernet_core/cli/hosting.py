"""A node in a process of its own: its configuration, its signals, its view, its control socket."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from peernet_core.cli.failures import FAILED
from peernet_core.cli.greeting import GREETING, Greeter
from peernet_core.cli.invocation import Invocation
from peernet_core.cli.logs import logging_to
from peernet_core.cli.output import note
from peernet_core.cli.places import configuration_path
from peernet_core.cli.stopping import Stopping
from peernet_core.cli.views import JsonView, LogView, TableView, View
from peernet_core.configuration.config import Config, SourceConfig
from peernet_core.configuration.entrypoints import Backend, BackendIndex, load_configuration
from peernet_core.errors import ConfigurationError
from peernet_core.node import Node
from peernet_core.storage.data_directory import default_data_dir

if TYPE_CHECKING:
    from peernet_core.backends.reports import Reported
    from peernet_core.cli.recorder import Recorder

__all__ = ["Setting", "host", "read_setting", "run_node"]

DEFAULT_BACKEND: Final = "mdns"

_DRAIN_S: Final = 1.0
_EVENTS: Final = 4096
_COMMANDS_AFTER_S: Final = 0.05
"""Until the control socket is there: the first links come first, and a command takes longer to start."""
_COMMANDS_RETRY_S: Final = 1.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""No descriptor is left, not even to read a module that is imported."""

_log = logging.getLogger(__name__)


def run_node(invocation: Invocation, *, as_json: bool, record: Path | None = None) -> None:
    """Run a node until somebody asks it to stop.

    Args:
        invocation: Says which configuration and data directory.
        as_json: Show events as JSON lines.
        record: Where to write what the backends report.

    Raises:
        ConfigurationError: nothing was started.
        StorageError: the data directory cannot be used.
        ExceptionGroup: required backends failed to start, each a BackendError; what had started is stopped.
    """
    setting = read_setting(invocation)
    recorder = None if record is None else _start_recording(record, setting)

    def witness(reported: Reported) -> None:
        begin()
        if recorder is not None:
            recorder.take(reported)

    def begin() -> None:
        if recorder is not None:
            recorder.begin(node.key)

    def make_view(stopping: Stopping) -> View:
        loop = asyncio.get_running_loop()
        return _view(as_json=as_json, on_broken=lambda: loop.call_soon_threadsafe(stopping.ask))

    node = Node(
        setting.config,
        backends=setting.backends,
        data_dir=setting.data_dir,
        witness=None if recorder is None else witness,
    )
    try:
        host(node, make_view, debug=invocation.debug, on_running=begin)
    finally:
        if recorder is not None:
            note(recorder.close())


def _start_recording(path: Path, setting: Setting) -> Recorder:
    from peernet_core.cli.recorder import Recorder  # noqa: PLC0415 - few starts need it

    recorder = Recorder(path, sources={each.source: each.provider or each.name for each in setting.backends})
    note(f"recording: {path}")
    return recorder


@attrs.frozen
class Setting:
    """What a node is to be made of.

    Attributes:
        config: The settings.
        backends: What discovers peers.
        data_dir: Where identity, trust list and state are.
    """

    config: Config
    backends: tuple[Backend, ...]
    data_dir: Path


def read_setting(invocation: Invocation) -> Setting:
    """Read the configuration, and say on stderr which one it is.

    Args:
        invocation: Says which configuration and data directory.

    Raises:
        ConfigurationError: every mistake in it.
    """
    config, backends = _configuration(configuration_path(invocation))
    data_dir = invocation.data_dir or default_data_dir(os.environ, configured=config.data_dir)
    _announce(config, data_dir, anything_enabled=bool(backends))
    return Setting(config, backends, data_dir)


def host(
    node: Node,
    make_view: Callable[[Stopping], View],
    *,
    debug: bool,
    on_running: Callable[[], object] = lambda: None,
) -> None:
    """Run a node in this process, with its signals and its control socket, until somebody asks it to stop.

    Args:
        node: Not started yet.
        make_view: Makes what shows its events, on the loop.
        debug: Show everything that is logged.
        on_running: Called when the node has started.

    Raises:
        StorageError: the data directory cannot be used.
        ExceptionGroup: required backends failed to start, each a BackendError; what had started is stopped.
    """
    _raise_descriptor_limit()
    gc.freeze()  # what was imported stays for good: the collector need not stop us to look through it again
    gc.enable()  # `peernet run` imports without it
    asyncio.run(_host(node, make_view, debug=debug, on_running=on_running))


async def _host(
    node: Node,
    make_view: Callable[[Stopping], View],
    *,
    debug: bool,
    on_running: Callable[[], object],
) -> None:
    stopping = Stopping(force=_leave_at_once)
    view = make_view(stopping)
    try:
        with (
            logging_to(view.note, debug=debug),
            stopping.on_signals(),
            stopping.on_reader_gone(sys.stdout.fileno()),
        ):
            await _run_and_show(node, view, stopping, on_running)
    finally:
        view.close()


def _configuration(path: Path | None) -> tuple[Config, tuple[Backend, ...]]:
    index = BackendIndex.scan()
    if path is not None:
        return load_configuration(path, index)
    if all(installed.name != DEFAULT_BACKEND for installed in index.installed):
        problem = (
            f"no configuration file is here, and the backend {DEFAULT_BACKEND}, which does without one, "
            f"is not installed: pip install peernet-{DEFAULT_BACKEND}"
        )
        raise ConfigurationError([problem])
    config = Config(sources=(SourceConfig(source=DEFAULT_BACKEND, backend=DEFAULT_BACKEND),))
    backends, problems = index.load(config)
    if problems:
        raise ConfigurationError(problems)
    return config, backends


def _announce(config: Config, data_dir: Path, *, anything_enabled: bool) -> None:
    if config.path is None:
        note(f"configuration: none, so discovery is {DEFAULT_BACKEND} alone")
    else:
        note(f"configuration: {config.path}")
    note(f"data directory: {data_dir}")
    if not anything_enabled:
        note(
            f"{config.path}: no discovery backend is enabled, so this node only waits to be found; "
            "add a table such as [discovery.mdns]"
        )


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS names a hard limit that it does not allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _view(*, as_json: bool, on_broken: Callable[[], object]) -> View:
    if as_json:
        return JsonView(on_broken)
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from peernet_core.cli.live_table import LiveTable  # noqa: PLC0415 - only here is rich needed

        return TableView(LiveTable())
    return LogView(on_broken)


async def _run_and_show(
    node: Node, view: View, stopping: Stopping, on_running: Callable[[], object] = lambda: None
) -> None:
    failure: Exception | None = None
    async with node.events(buffer=_EVENTS) as events, asyncio.TaskGroup() as tasks:
        viewing = tasks.create_task(view.follow(node, events))
        try:
            await _run(node, stopping, on_running)
        except Exception as error:  # noqa: BLE001 - raised again when what led to it has been shown
            failure = error
        await asyncio.wait({viewing}, timeout=_DRAIN_S)
        viewing.cancel()  # whoever reads too slowly misses the rest
    if failure is not None:
        raise failure


async def _run(node: Node, stopping: Stopping, on_running: Callable[[], object]) -> None:
    greeter = Greeter(node)
    node.protocol(GREETING)(greeter.answer)
    with stopping.cancelling_start():
        async with node, asyncio.TaskGroup() as tasks:
            on_running()
            answering = tasks.create_task(_answer_commands(node, greeter))
            await stopping.wait()
            answering.cancel()


async def _answer_commands(node: Node, greeter: Greeter) -> None:
    path = node.control_path
    if path is None:
        _log.warning("no place for a control socket: commands cannot ask this node")
        return
    wait_s = _COMMANDS_AFTER_S
    while True:
        await asyncio.sleep(wait_s)
        try:
            from peernet_core.cli.answers import handlers  # noqa: PLC0415 - see `_COMMANDS_AFTER_S`
            from peernet_core.control import ControlServer  # noqa: PLC0415 - the same

            await ControlServer(path, handlers(node, greeter)).serve()
        except OSError as error:
            if error.errno in _EXHAUSTED:  # a flood, say: it passes
                wait_s = _COMMANDS_RETRY_S
                continue
            _log.warning("no control socket, so commands cannot ask this node: %s: %s", path, error.strerror)
        return


def _leave_at_once() -> None:
    with suppress(OSError):
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the table hides the cursor
    os._exit(FAILED)
