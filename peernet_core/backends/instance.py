"""One instance of a backend: made, registered with pluggy, and its hooks called one at a time."""

from __future__ import annotations

import asyncio
import inspect

import pluggy

from peernet_core.backends.containment import ContainedTask, Ending, describe
from peernet_core.backends.contexts import HostContext
from peernet_core.configuration.entrypoints import Backend
from peernet_core.contract import PROJECT, DiscoverySpec
from peernet_core.errors import BackendError

__all__ = ["BackendInstance", "failed", "plugin_manager"]


def plugin_manager() -> pluggy.PluginManager:
    """Make a plugin manager that knows the hooks; each node has its own."""
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(DiscoverySpec)
    return plugins


class BackendInstance:
    """One instance of a backend, with its context. A retry makes another of both."""

    def __init__(self, backend: Backend, context: HostContext, plugins: pluggy.PluginManager) -> None:
        self.context = context
        self.plugin: object | None = None
        self.entered = False
        self.left_running: list[str] = []
        self._backend = backend
        self._plugins = plugins

    def make(self) -> BackendError | None:
        """Make the instance, and register it; what is wrong. `discard` undoes it, also when it went wrong."""
        try:
            plugin = self._backend.make()
        except BaseException as error:  # noqa: BLE001 - a backend's constructor may raise anything
            return failed(self._backend, f"it cannot be made: {describe(error)}", error)
        cls = type(plugin)
        if isinstance(plugin, type):
            return failed(self._backend, f"it is the class {plugin.__name__} and no instance of it")
        if plugin is None:
            return failed(self._backend, "nothing was made")
        if (cls.__eq__, cls.__hash__) != (object.__eq__, object.__hash__):
            # pluggy tells plugins apart by ==
            return failed(self._backend, f"{cls.__name__} needs @attrs.define(eq=False)")
        self.plugin = plugin
        try:
            self._plugins.register(plugin, name=self._backend.source)
            self._plugins.check_pending()
            problem = self._check_hooks()
        except BaseException as error:  # noqa: BLE001 - 1.6 evaluates the plugin's properties
            return failed(self._backend, f"it does not fit the contract: {describe(error)}", error)
        return None if problem is None else failed(self._backend, problem)

    def _check_hooks(self) -> str | None:
        # An instance that an application made has passed no check before.
        impls = [
            (caller.name, impl)
            for caller in self._plugins.get_hookcallers(self.plugin) or ()
            for impl in caller.get_hookimpls()
            if impl.plugin is self.plugin and not impl.optionalhook
        ]
        if "start" not in dict(impls):
            return "it has no start, the one hook that must be there"
        for name, impl in impls:
            if not inspect.iscoroutinefunction(impl.function):
                return f"{name} is no coroutine function; write async def {name}"
        return None

    def discard(self) -> None:
        """Let go of the instance."""
        if self.plugin is not None and self._plugins.is_registered(self.plugin):
            self._plugins.unregister(self.plugin)
        self.plugin = None

    async def call(
        self,
        hook: str,
        timeout_s: float,
        *,
        unless: tuple[asyncio.Future[None], ...] = (),
        **arguments: object,
    ) -> BackendError | None:
        """Call a hook of this backend alone, if it has it; what went wrong.

        Args:
            hook: Its name.
            timeout_s: Then it is cancelled.
            unless: Any of these, when done, cancels it as well, which is no failure.
            arguments: The hook's.
        """
        if not self.has(hook):
            return None
        task = ContainedTask(self._enter(hook, arguments), name=f"{self._backend.source}: {hook}")
        try:
            await task.wait(timeout_s, unless=unless)
        finally:
            in_time = task.outcome is not None
            ending = await task.end()
            if ending is Ending.NEVER:
                self.left_running.append(task.name)
        error = task.outcome.error if task.outcome is not None else None
        if in_time:
            if error is None:
                return None
            return failed(self._backend, f"{hook} raised {describe(error)}", error)
        unwanted = any(future.done() for future in unless)
        if unwanted and ending is Ending.WILLING:
            return None
        return failed(self._backend, _lateness(hook, timeout_s, ending, unwanted=unwanted), error)

    def has(self, hook: str) -> bool:
        """Whether the backend has this hook."""
        return bool(self._caller(hook).get_hookimpls())

    def _caller(self, hook: str) -> pluggy.HookCaller:
        # Only good until the next registration: with no others there, pluggy hands out the caller of all.
        others = [plugin for plugin in self._plugins.get_plugins() if plugin is not self.plugin]
        return self._plugins.subset_hook_caller(hook, others)

    async def _enter(self, hook: str, arguments: dict[str, object]) -> None:
        self.entered = True
        for result in self._caller(hook)(**arguments):
            value = await result if inspect.isawaitable(result) else result
            if value is not None:
                self.context.log.warning("%s returned %s; it is ignored", hook, type(value).__name__)
                if inspect.iscoroutine(value):
                    value.close()  # it would warn that it was never awaited


def failed(backend: Backend, reason: str, cause: BaseException | None = None) -> BackendError:
    """Attribute a failure to a backend."""
    failure = BackendError(backend.source, backend.provider, reason)
    failure.__cause__ = cause
    return failure


def _lateness(hook: str, timeout_s: float, ending: Ending, *, unwanted: bool) -> str:
    late = f"{hook} was cancelled" if unwanted else f"{hook} did not return within {timeout_s:g} s"
    match ending:
        case Ending.WILLING:
            return late
        case Ending.FORCED:
            return f"{late}, swallowed the cancellation, and was ended by force"
        case Ending.NEVER:
            return f"{late}, swallowed the cancellation, and was abandoned"
