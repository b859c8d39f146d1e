"""Which backends are installed, and how a configuration's tables become backends.

The index reads metadata only. What a configuration does not name is never imported.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from peernet_core.configuration import contract_check
from peernet_core.configuration.config import (
    RESERVED_KEYS,
    Config,
    SourceConfig,
    find_config,
    read_config,
    where_of,
)
from peernet_core.configuration.extras import missing_requirements
from peernet_core.configuration.installed import InstalledDistributions, read_entry_points
from peernet_core.configuration.option_types import OptionField, describe_options
from peernet_core.configuration.options import sole_cause, structure_options
from peernet_core.configuration.releases import Release, admits, canonical, read_release
from peernet_core.configuration.wording import closest, join_words, one_line, quote
from peernet_core.contract import ENTRY_POINT_GROUP
from peernet_core.errors import ConfigurationError
from peernet_core.values import frozen

__all__ = ["Backend", "BackendIndex", "Inspection", "InstalledBackend", "check_class", "load_configuration"]

_log: Final = logging.getLogger(__name__)

_CORE: Final = "peernet-core"
_TARGET: Final = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+))?\s*(?:\[(?P<extras>.*)\])?")
_REQUIRES_CORE: Final = re.compile(r"\s*peernet[-_.]+core\b", re.IGNORECASE)
# Without extras, marker, address or parentheses: what nearly every backend writes.
_PLAIN_REQUIREMENT: Final = re.compile(
    r"\s*peernet[-_.]+core\s*(?P<versions>([<>=!~][^;@()[\]]*)?)", re.IGNORECASE
)
_INSTALLABLE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@frozen
class InstalledBackend:
    """One entry point in the group ``peernet.discovery``.

    Attributes:
        name: The entry point's name, which a configuration uses.
        distribution: Who provides it.
        version: The distribution's.
        module: What would be imported.
        requirement_problem: None: it fits this core; else what does not, as
            ``needs peernet-core<0.2,>=0.1 but 0.2.0 is running``.
        attribute: Where in the module the class is.
        extra_problem: None, or what is not installed of the extra that it belongs to, and the remedy.
    """

    name: str
    distribution: str
    version: str
    module: str
    requirement_problem: str | None = None
    attribute: str = ""
    extra_problem: str | None = None

    @property
    def provider(self) -> str:
        """For messages: ``mdns (peernet-mdns 0.1.0)``."""
        return f"{self.name} ({self.release})"

    @property
    def release(self) -> str:
        """The distribution with its version."""
        return f"{self.distribution} {self.version}"


@frozen
class Backend:
    """One configured backend, ready to be made as often as the supervisor needs it.

    Attributes:
        source: Its name in the configuration.
        provider: Who made it, for messages; may be empty.
        name: The entry point's name.
        make: Makes a new instance; raises ConfigurationError when a secret's file is gone, say.
        required: Whether the node's start fails when this one's does.
        advertise: Whether it is told about us.
        restart: Whether it is started again after a failure.
        start_timeout_s: For its `start`, in seconds.
        stop_timeout_s: For its `stop`.
    """

    source: str
    provider: str
    name: str
    make: Callable[[], object]
    required: bool = True
    advertise: bool = True
    restart: bool = True
    start_timeout_s: float = 10.0
    stop_timeout_s: float = 5.0


def check_class(cls: object) -> tuple[str, ...]:
    """Say how a class breaks the contract with backends, a line each; empty: it keeps it."""
    return contract_check.check_class(cls, reserved=RESERVED_KEYS)


@frozen
class Inspection:
    """What a backend is, found out by importing it.

    Attributes:
        installed: Who provides it.
        problems: Why it cannot be used, a line each; empty: it keeps the contract.
        hooks: Those that it has.
        options: Its options; none where it cannot be used.
    """

    installed: InstalledBackend
    problems: tuple[str, ...]
    hooks: tuple[str, ...] = ()
    options: tuple[OptionField, ...] = ()


@frozen
class BackendIndex:
    """Every installed backend, by its metadata.

    Attributes:
        installed: Sorted by name.
        incomplete: Those that belong to an extra which is not installed; they are no choice, and are not
            imported.
    """

    installed: tuple[InstalledBackend, ...] = ()
    incomplete: tuple[InstalledBackend, ...] = ()

    @classmethod
    def scan(cls) -> BackendIndex:
        """Read the metadata of all installed distributions, once; imports none of them."""
        installed = InstalledDistributions()
        core = _running_core(installed)
        found: dict[str, list[InstalledBackend]] = {}
        for each in installed:
            try:
                entries = read_entry_points(each, ENTRY_POINT_GROUP)
                if not entries:
                    continue
                release = read_release(each)
                # The first on sys.path counts: an editable install is found again as its source folder.
                if (name := canonical(release.name)) not in found:
                    found[name] = [_installed(*entry, release, installed, core) for entry in entries]
            except Exception:  # noqa: BLE001  # metadata of any installed distribution may be damaged in any way
                _log.warning("the metadata of a distribution cannot be read; passing it over", exc_info=True)
        # dict.fromkeys: an entry point that is declared twice in the same words is one.
        backends = sorted(dict.fromkeys(each for those in found.values() for each in those), key=_order)
        return cls(
            tuple(each for each in backends if each.extra_problem is None),
            tuple(each for each in backends if each.extra_problem is not None),
        )

    def conflicts(self, installed: InstalledBackend) -> tuple[InstalledBackend, ...]:
        """The others that provide a backend of the same name; a configuration must say which it means."""
        return tuple(
            each for each in self.installed if each != installed and _same_name(each, installed.name)
        )

    def selected(self, config: Config) -> dict[InstalledBackend, tuple[str, ...]]:
        """Which backends the enabled sources of a configuration name, each with those sources."""
        found: dict[InstalledBackend, tuple[str, ...]] = {}
        for source in config.sources:
            if source.enabled:
                with contextlib.suppress(ConfigurationError):  # `load` says what is wrong with that one
                    installed = self.find(source.backend)
                    found[installed] = (*found.get(installed, ()), source.source)
        return found

    def inspect(self, reference: str) -> Inspection:
        """Import one backend, and say what it is.

        Args:
            reference: Its name, with its distribution's before it where two have one of that name.

        Raises:
            ConfigurationError: there is no such backend, or there are several.
        """
        installed = self.find(reference)
        try:
            cls = _class_of(installed, f"backend {quote(installed.name)}")
        except ConfigurationError as error:
            return Inspection(installed, error.problems)
        hooks = tuple(name for name in contract_check.HOOKS if contract_check.has_hook(cls, name))
        return Inspection(installed, (), hooks, describe_options(cls))

    def load(self, config: Config) -> tuple[tuple[Backend, ...], tuple[str, ...]]:
        """Import the backends that a configuration names, and check their options.

        One instance of each is made, to see whether its class takes the options, and dropped.

        Returns:
            A backend for each enabled source that has no problem, and all problems, a line each.
            `load_configuration` also keeps the exceptions behind them.
        """
        backends, errors = self._load(config)
        return backends, tuple(problem for error in errors for problem in error.problems)

    def _load(self, config: Config) -> tuple[tuple[Backend, ...], list[ConfigurationError]]:
        base = Path.cwd() if config.path is None else config.path.parent.absolute()
        backends: list[Backend] = []
        errors: list[ConfigurationError] = []
        for source in config.sources:
            if source.enabled:
                try:
                    backends.append(self._load_source(source, where_of(config.path, source.source), base))
                except ConfigurationError as error:
                    errors.append(error)
        return tuple(backends), errors

    def _load_source(self, source: SourceConfig, where: str, base: Path) -> Backend:
        installed = self.find(source.backend, where)
        cls = _class_of(installed, where)
        make = partial(
            structure_options,
            cls,
            dict(source.options),
            where=where,
            base=base,
            provider=installed.provider,
            reserved=RESERVED_KEYS,
        )
        make()
        return Backend(
            source=source.source,
            provider=installed.provider,
            name=installed.name,
            make=make,
            required=source.required,
            advertise=source.advertise,
            restart=source.restart,
            start_timeout_s=source.start_timeout_s,
            stop_timeout_s=source.stop_timeout_s,
        )

    def find(self, reference: str, where: str = "") -> InstalledBackend:
        """The one backend that a name means.

        Args:
            reference: As in a configuration: ``mdns``, or ``peernet-mdns:mdns``.
            where: What the message starts with, as ``peernet.toml [discovery.lan]``.

        Raises:
            ConfigurationError: there is none, or there are several.
        """
        where = where and f"{where}: "
        distribution, _, name = reference.rpartition(":")
        named = [each for each in self.installed if _same_name(each, name)]
        if distribution:
            named = [each for each in named if _is_from(each, distribution)]
        if len(named) == 1:
            return named[0]
        if not named:
            raise ConfigurationError([f"{where}{self._why_missing(reference)}"])
        first = named[0]
        if all(_is_from(each, first.distribution) for each in named):
            targets = join_words((f"{each.module}:{each.attribute}" for each in named), "and")
            problem = f"{first.release} declares {quote(first.name)} more than once: {targets}"
        else:
            releases = join_words(dict.fromkeys(each.release for each in named), "and")
            qualified = quote(f"{first.distribution}:{first.name}")
            problem = f"{quote(name)} is provided by {releases}; write backend = {qualified}"
        raise ConfigurationError([f"{where}{problem}"])

    def _why_missing(self, reference: str) -> str:
        distribution, _, name = reference.rpartition(":")
        for each in self.incomplete:
            if _same_name(each, name) and (not distribution or _is_from(each, distribution)):
                return f"backend {quote(each.name)} {each.extra_problem}"
        provided = [each for each in self.installed if _is_from(each, distribution)]
        if provided:
            others = ", ".join(each.name for each in provided)
            return f"{provided[0].release} provides no backend {quote(name)}. It provides: {others}"
        names = list(dict.fromkeys(each.name for each in self.installed))
        guess = None if distribution else closest(name, names)
        package = canonical(distribution or f"peernet-{name}")
        if guess is None and _INSTALLABLE.fullmatch(package):
            return f"backend {quote(reference)} is not installed; perhaps: pip install {package}"
        listed = f"no backend {quote(reference)} is installed. Installed: {', '.join(names) or 'none'}."
        return listed if guess is None else f"{listed} Did you mean {quote(guess)}?"


def load_configuration(
    path: Path | None, index: BackendIndex | None = None
) -> tuple[Config, tuple[Backend, ...]]:
    """Read a configuration and load the backends that it names.

    Args:
        path: The file; None: where `find_config` finds one, else the defaults without any backend.
        index: What is installed; None: scan.

    Raises:
        ConfigurationError: holds every mistake of the file. Its cause is the exception that a backend's code
            raised, a BaseExceptionGroup when there were several.
    """
    if path is None:
        path = find_config(None, os.environ)
        if path is None:
            return Config(), ()
    config, problems = read_config(path)
    if index is None:
        index = BackendIndex.scan() if config.sources else BackendIndex()
    backends, errors = index._load(config)  # noqa: SLF001  # load would lose the causes
    if problems or errors:
        causes = [error.__cause__ for error in errors if error.__cause__ is not None]
        found = [problem for error in errors for problem in error.problems]
        raise ConfigurationError([*problems, *found]) from sole_cause(causes)
    return config, backends


def _running_core(installed: InstalledDistributions) -> str | None:
    with contextlib.suppress(ValueError):
        core = installed.release(_CORE)
        if core is not None:
            return core.version
    return None  # used from a source folder, say; then nothing can be checked


def _installed(
    name: str, value: str, release: Release, installed: InstalledDistributions, core: str | None
) -> InstalledBackend:
    target = _TARGET.fullmatch(value)
    extras = (target["extras"] or "") if target else ""
    return InstalledBackend(
        name=name,
        distribution=release.name,
        version=release.version,
        module=target["module"] if target else value,
        requirement_problem=None if core is None else next(_requirement_problems(release, core), None),
        attribute=(target["attribute"] or "") if target else "",
        extra_problem=_extra_problem(installed, release, extras),
    )


def _extra_problem(installed: InstalledDistributions, release: Release, extras: str) -> str | None:
    names = [name.strip() for name in extras.split(",") if name.strip()]
    missing = missing_requirements(installed, release, names)
    if not missing:
        return None
    wanted = f"{release.name}[{','.join(names)}]"
    return f"belongs to {wanted}, and {join_words(missing, 'and')} is not installed: pip install '{wanted}'"


def _requirement_problems(release: Release, core: str) -> Iterator[str]:
    for text in release.requires:
        if _REQUIRES_CORE.match(text) is None:
            continue
        try:
            needed = _needed_versions(text)
            if not admits(needed, core):
                yield f"needs {_CORE}{needed} but {core} is running"
        except ValueError:  # each of packaging's errors is one
            yield f"has a requirement on {_CORE} that cannot be read, {quote(text)}"


def _needed_versions(text: str) -> str:
    """Which versions of the core a requirement names; empty: any will do."""
    plain = _PLAIN_REQUIREMENT.fullmatch(text)
    if plain is not None:
        return plain["versions"].replace(" ", "")
    from packaging.requirements import Requirement  # noqa: PLC0415 - every start would pay for it

    requirement = Requirement(text)
    # Which extras were asked for at installation is written nowhere; without any is what must fit.
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    return str(requirement.specifier) if applies and canonical(requirement.name) == _CORE else ""


def _order(installed: InstalledBackend) -> tuple[str, bool, str]:
    # Of several that provide one name, the one that is named after it comes first in messages.
    named_after = canonical(installed.distribution) == f"peernet-{canonical(installed.name)}"
    return canonical(installed.name), not named_after, canonical(installed.distribution)


def _is_from(installed: InstalledBackend, distribution: str) -> bool:
    return canonical(installed.distribution) == canonical(distribution)


def _same_name(installed: InstalledBackend, name: str) -> bool:
    return canonical(installed.name) == canonical(name)


def _class_of(installed: InstalledBackend, where: str) -> type:
    """Import a backend's class, if it fits this core, and check that it keeps the contract."""
    if installed.requirement_problem is not None:
        problem = f"{installed.release} {installed.requirement_problem}; it was not imported"
        raise ConfigurationError([f"{where}: {problem}"])
    cls = _import(installed, where)
    problems = check_class(cls)
    if problems or not isinstance(cls, type):
        broken = f"{where}: {installed.provider} breaks the contract"
        raise ConfigurationError([f"{broken}: {problem}" for problem in problems])
    return cls


def _import(installed: InstalledBackend, where: str) -> object:
    failed = f"{where}: importing {installed.module} ({installed.release}) failed"
    if _TARGET.fullmatch(installed.module) is None:
        raise ConfigurationError([f"{failed}: its entry point is not written module:Class"])
    try:
        target: object = importlib.import_module(installed.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody else's module; it must not end the process either
        raise ConfigurationError([f"{failed}: {_why_import_failed(error, installed)}"]) from error
    if not installed.attribute:
        raise ConfigurationError([f"{failed}: its entry point names no class in the module"])
    try:
        for part in installed.attribute.split("."):
            target = getattr(target, part)
    except Exception as error:  # a module may have a __getattr__ of its own
        problem = f"{failed}: the module has no {quote(installed.attribute)}, which its entry point names"
        raise ConfigurationError([problem]) from error
    return target


def _why_import_failed(error: BaseException, installed: InstalledBackend) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        if f"{installed.module}.".startswith(f"{error.name}."):
            return f"the module is not there; install {installed.distribution} again"
        return f"no module named {error.name!r}"
    if isinstance(error, SystemExit):
        return f"it tried to end the process, {one_line(error, named=True)}"
    return one_line(error, named=True)
