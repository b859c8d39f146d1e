"""The configuration file: what it may say, and every mistake in it at once.

docs/configuration.md is the same for people. Options of backends are only carried here; `entrypoints` hands
them to the backend's class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import attrs

from peernet_core.addresses import Address, may_be_signed
from peernet_core.configuration.config_search import CONFIG_FILE, find_config
from peernet_core.configuration.listen_address import ListenAddress, check_together
from peernet_core.configuration.options import structure_options
from peernet_core.configuration.wording import closest, one_line, quote, show_value
from peernet_core.errors import ConfigurationError, MalformedAddressError
from peernet_core.values import frozen

__all__ = [
    "RESERVED_KEYS",
    "RESERVED_SOURCES",
    "Config",
    "ListenAddress",
    "SourceConfig",
    "find_config",
    "parse_config",
    "read_config",
    "where_of",
]

RESERVED_SOURCES: Final[Mapping[str, str]] = {
    "inbound": "what peers that dial us say of themselves",
    "known": "remembered addresses",
}

_MAX_FILE_BYTES: Final = 1024 * 1024
_SOURCE: Final = re.compile(r"[a-z0-9_-]{1,32}")
_BACKEND: Final = re.compile(r"[^\s:]+(:[^\s:]+)?")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_PLACE: Final = re.compile(r" \(at (?:line (?P<line>[0-9]+), column (?P<column>[0-9]+)|end of document)\)")

_DEFAULT_LISTEN: Final = (ListenAddress(IPv4Address(0), 0), ListenAddress(IPv6Address(0), 0))

_T = TypeVar("_T")


@frozen
class SourceConfig:
    """One table ``[discovery.<source>]``.

    Attributes:
        source: The table's name.
        backend: As written: an entry point's name, or ``distribution:name``.
        enabled: False: as if the table were not there, but for its mistakes.
        required: Whether the node's start fails when the backend's does.
        advertise: Whether the backend is told about us.
        restart: Whether a backend that failed is started again.
        start_timeout_s: For the backend's `start`, in seconds.
        stop_timeout_s: For its `stop`.
        options: The backend's own keys, as TOML reads them.
    """

    source: str
    backend: str
    enabled: bool = True
    required: bool = True
    advertise: bool = True
    restart: bool = True
    start_timeout_s: float = 10.0
    stop_timeout_s: float = 5.0
    options: Mapping[str, object] = attrs.field(factory=dict)


@frozen
class Config:
    """What a configuration file says.

    Attributes:
        name: For people; its first 24 bytes travel in our record.
        listen: One port for all; 0 takes a free one.
        data_dir: None: the default.
        advertise: Addresses to put in our record, instead of those that this host's interfaces have.
        sources: In the file's order, the disabled ones too.
        path: The file, as it was given; None: there is none.
    """

    name: str = ""
    listen: tuple[ListenAddress, ...] = _DEFAULT_LISTEN
    data_dir: Path | None = None
    advertise: tuple[Address, ...] = ()
    sources: tuple[SourceConfig, ...] = ()
    path: Path | None = None


def _check_name(_: object, __: object, name: str) -> None:
    if not name.isprintable():
        raise ValueError("expected printable characters only")


def _check_listen(_: object, __: object, addresses: tuple[ListenAddress, ...]) -> None:
    check_together(addresses)


def _check_advertise(_: object, __: object, addresses: tuple[Address, ...]) -> None:
    for index, address in enumerate(addresses):
        if not may_be_signed(address.ip):
            raise MalformedAddressError(f"{address.ip} means nothing to peers on other hosts")
        if address in addresses[:index]:
            raise MalformedAddressError(f"{address} is there twice")


def _check_backend(_: object, __: object, backend: str) -> None:
    if _BACKEND.fullmatch(backend) is None:
        raise ValueError(f'expected "name" or "distribution:name", got {quote(backend)}')


@frozen
class _NodeTable:
    name: str = attrs.field(default="", validator=_check_name)
    listen: tuple[ListenAddress, ...] = attrs.field(default=_DEFAULT_LISTEN, validator=_check_listen)
    data_dir: Path | None = None
    advertise: tuple[Address, ...] = attrs.field(default=(), validator=_check_advertise)


@frozen
class _ReservedKeys:
    backend: str = attrs.field(validator=_check_backend)
    enabled: bool = True
    required: bool = True
    advertise: bool = True
    restart: bool = True
    start_timeout_s: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    stop_timeout_s: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))


RESERVED_KEYS: Final = tuple(field.name for field in attrs.fields(_ReservedKeys))
_NODE_KEYS: Final = tuple(field.name for field in attrs.fields(_NodeTable))


def read_config(path: Path) -> tuple[Config, tuple[str, ...]]:
    """Read a configuration file.

    Returns:
        What it says, with defaults for what is wrong, and its mistakes, a line each.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return Config(path=path), (f"{path}: there is no such file",)
    except IsADirectoryError:
        return Config(path=path), (f"{path}: this is a folder; name the file in it, as {path / CONFIG_FILE}",)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or one_line(error)
        return Config(path=path), (f"{path}: cannot be read: {reason.lower()}",)
    if len(data) > _MAX_FILE_BYTES:
        return Config(path=path), (f"{path}: larger than 1 MiB; this is no configuration file",)
    try:
        text = data.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Config(path=path), (f"{path} line {line}: not UTF-8 text",)
    return parse_config(text, path=path)


def parse_config(text: str, *, path: Path) -> tuple[Config, tuple[str, ...]]:
    """Read a configuration from its text; nothing that stands in it makes this raise.

    Args:
        text: TOML.
        path: Every message starts with it; relative paths in the text start from its folder.

    Returns:
        What the text says, with defaults for what is wrong, and its mistakes, a line each.
    """
    import tomllib  # noqa: PLC0415 - a start without a file has none to read

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # plain ValueError: an integer of thousands of digits
        return Config(path=path), (_syntax_problem(error, text, path),)
    problems = [_unknown_top_level(path, key, value) for key, value in document.items() if key not in _TABLES]
    node = _read_node(document.get("node", {}), path, problems)
    sources = tuple(_read_sources(document.get("discovery", {}), path, problems))
    config = Config(
        name=node.name,
        listen=node.listen,
        data_dir=node.data_dir,
        advertise=node.advertise,
        sources=sources,
        path=path,
    )
    return config, tuple(problems)


_TABLES: Final = ("node", "discovery")


def _syntax_problem(error: Exception, text: str, path: Path) -> str:
    if isinstance(error, RecursionError):
        return f"{path}: nested too deeply"
    message = one_line(error)
    match = _PLACE.search(message)
    if match is None:
        return f"{path}: not valid TOML: {message}"
    place = (
        f"line {match['line']}, column {match['column']}"
        if match["line"]
        else f"line {len(text.splitlines()) or 1}, at the end"
    )
    return f"{path} {place}: not valid TOML: {message[: match.start()]}"


def _unknown_top_level(path: Path, key: str, value: object) -> str:
    if not isinstance(value, Mapping):
        if key in _NODE_KEYS:
            return f"{path}: {quote(key)} belongs under [node]"
        return (
            f"{path}: unknown key {quote(key)}; every key stands in a table, [node] or [discovery.<source>]"
        )
    guess = closest(key, _TABLES)
    if guess is None:
        return f"{path}: unknown table [{_key(key)}]; a backend's table is [discovery.{_key(key)}]"
    return f"{path}: unknown table [{_key(key)}]; did you mean [{guess}]?"


def _read_node(table: object, path: Path, problems: list[str]) -> _NodeTable:
    if not isinstance(table, Mapping):
        problems.append(f"{path}: expected one table [node], got {show_value(table)}")
        return _NodeTable()
    return _structured(_NodeTable, table, f"{path} [node]", path, problems) or _NodeTable()


def _read_sources(tables: object, path: Path, problems: list[str]) -> Iterator[SourceConfig]:
    if not isinstance(tables, Mapping):
        problems.append(
            f"{path}: expected tables [discovery.<source>], got {show_value(tables)} as discovery"
        )
        return
    for source, table in tables.items():
        where = where_of(path, source)
        if not isinstance(table, Mapping):
            problems.append(f"{where}: {_why_no_table(source, table)}")
            continue
        problem = _source_problem(source)
        if problem is not None:
            problems.append(f"{where}: {problem}")
            if "backend" not in table:
                continue
        reserved = {"backend": source, **{key: table[key] for key in RESERVED_KEYS if key in table}}
        read = _structured(_ReservedKeys, reserved, where, path, problems)
        if read is None:
            # With the backend alone, so that mistakes in its options are found in the same run.
            read = _structured(_ReservedKeys, {"backend": reserved["backend"]}, where, path, [])
        if read is not None:
            options = {key: value for key, value in table.items() if key not in RESERVED_KEYS}
            yield SourceConfig(source=source, options=options, **attrs.asdict(read))


def _why_no_table(source: str, value: object) -> str:
    if isinstance(value, list):
        return f"this table may stand there once; write [discovery.{_key(source)}] with single brackets"
    remedy = f"[discovery.{_key(source)}]"
    if isinstance(value, str):
        remedy += f" and in it backend = {quote(value)}"
    return f"expected a table, got {show_value(value)}; write {remedy}"


def _source_problem(source: str) -> str | None:
    if source in RESERVED_SOURCES:
        return f"the name {quote(source)} is reserved for {RESERVED_SOURCES[source]}; choose another one"
    if _SOURCE.fullmatch(source) is None:
        return 'the name of a source is 1 to 32 characters of a-z, 0-9, "_" and "-"'
    return None


def _structured(
    cls: type[_T], table: Mapping[str, Any], where: str, path: Path, problems: list[str]
) -> _T | None:
    try:
        return cast("_T", structure_options(cls, table, where=where, base=path.parent.absolute()))
    except ConfigurationError as error:
        problems += error.problems
        return None


def where_of(path: Path | None, source: str) -> str:
    """What every message about a source's table starts with."""
    table = f"[discovery.{_key(source)}]"
    return table if path is None else f"{path} {table}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else quote(name)
