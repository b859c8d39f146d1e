"""A configuration file says what it says, or every mistake in it is told at once."""

from __future__ import annotations

import os
import re
import tomllib
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address
from peernet_core.configuration.config import (
    RESERVED_KEYS,
    RESERVED_SOURCES,
    Config,
    ListenAddress,
    SourceConfig,
    find_config,
    parse_config,
    read_config,
    where_of,
)

FILE = Path("peernet.toml")
PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"


def parsed(text: str, path: Path = FILE) -> Config:
    config, problems = parse_config(text, path=path)
    assert problems == ()
    return config


def problems(text: str) -> tuple[str, ...]:
    return parse_config(text, path=FILE)[1]


def test_an_empty_file_is_all_defaults() -> None:
    """Only the path differs from a node without a file."""
    assert parsed("") == Config(path=FILE)
    assert [str(address) for address in Config().listen] == ["0.0.0.0:0", "[::]:0"]


def test_everything_of_a_node_is_read(tmp_path: Path) -> None:
    """Addresses become values, and the data directory starts from the file's folder."""
    text = """
        [node]
        name = "kitchen-pi"
        listen = ["127.0.0.1:7100"]
        data_dir = "state"
        advertise = ["203.0.113.7:7100", "[2001:db8::7]:7101"]
    """
    assert parsed(text, tmp_path / "peernet.toml") == Config(
        name="kitchen-pi",
        listen=(ListenAddress(IPv4Address("127.0.0.1"), 7100),),
        data_dir=tmp_path / "state",
        advertise=(Address.parse("203.0.113.7:7100"), Address.parse("[2001:db8::7]:7101")),
        path=tmp_path / "peernet.toml",
    )


def test_paths_start_from_the_file_even_when_it_is_named_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative file is made absolute when it is read, not when the path is used."""
    monkeypatch.chdir(tmp_path)
    assert parsed("[node]\ndata_dir = 'state'", Path("etc/peernet.toml")).data_dir == tmp_path / "etc/state"


def test_sources_keep_their_order_and_their_options() -> None:
    """What is not reserved belongs to the backend, untouched; the table's name is the default backend."""
    text = """
        [discovery.manual]
        peers = [{ key = "x" }]
        [discovery.lan]
        backend = "peernet-mdns:mdns"
        enabled = false
        required = false
        advertise = false
        restart = false
        start_timeout_s = 30
        stop_timeout_s = 0.5
        interfaces = ["eth0"]
    """
    assert parsed(text).sources == (
        SourceConfig("manual", "manual", options={"peers": [{"key": "x"}]}),
        SourceConfig(
            "lan",
            "peernet-mdns:mdns",
            enabled=False,
            required=False,
            advertise=False,
            restart=False,
            start_timeout_s=30.0,
            stop_timeout_s=0.5,
            options={"interfaces": ["eth0"]},
        ),
    )


@pytest.mark.parametrize("source", ["inbound", "known", "", "Lan", "living room", "a" * 33, "lan.eth0", "ö"])
def test_names_that_no_source_may_have(source: str) -> None:
    """Reserved ones, and those that would not fit in a log line, a path or a command."""
    quoted = source if re.fullmatch("[A-Za-z0-9_-]+", source) else f'"{source}"'
    [problem] = problems(f'[discovery."{source}"]\n')
    assert problem.startswith(f"peernet.toml [discovery.{quoted}]: the name ")


@pytest.mark.parametrize("source", ["a", "lan", "0", "my_lan-2", "a" * 32, "_"])
def test_names_that_a_source_may_have(source: str) -> None:
    """Lower case, digits, underscore and hyphen."""
    assert [each.source for each in parsed(f"[discovery.{source}]").sources] == [source]


def test_options_are_kept_beside_mistakes_in_reserved_keys() -> None:
    """Mistakes in the options shall be found in the same run, so the source stays."""
    config, found = parse_config(
        "[discovery.lan]\nrequired = 'no'\nstop_timeout_s = -1\ninterface = 3", path=FILE
    )
    assert found == (
        'peernet.toml [discovery.lan] required: expected true or false, got "no"',
        "peernet.toml [discovery.lan] stop_timeout_s: must be > 0: -1.0",
    )
    assert config.sources == (SourceConfig("lan", "lan", options={"interface": 3}),)


@pytest.mark.parametrize("backend", ["", "a b", ":", "a:", ":a", "a:b:c", "a\n"])
def test_a_backend_is_a_name_or_a_qualified_name(backend: str) -> None:
    """Other texts are told at once, not as something that is not installed."""
    [problem] = problems(f"[discovery.lan]\nbackend = {backend!r}".replace("'", '"'))
    assert problem.startswith(
        'peernet.toml [discovery.lan] backend: expected "name" or "distribution:name", got "'
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("node = 3", "peernet.toml: expected one table [node], got 3"),
        ("[[node]]", "peernet.toml: expected one table [node], got a list"),
        ("discovery = 3", "peernet.toml: expected tables [discovery.<source>], got 3 as discovery"),
        ("discovery.lan = 3", "peernet.toml [discovery.lan]: expected a table, got 3; write [discovery.lan]"),
        ("[discover.lan]", "peernet.toml: unknown table [discover]; did you mean [discovery]?"),
        ('[node]\nname = "a\\u001bb"', "peernet.toml [node] name: expected printable characters only"),
        ("[node]\nlisten = []", "peernet.toml [node] listen: expected at least one address to listen on"),
        (
            '[node]\nlisten = "::"',
            'peernet.toml [node] listen: expected a list of addresses (ip:port), got "::"',
        ),
        (
            '[node]\nadvertise = ["10.0.0.5:1", "10.0.0.5:1"]',
            "peernet.toml [node] advertise: 10.0.0.5:1 is there twice",
        ),
        (
            '[node]\nadvertise = ["0.0.0.0:7100"]',
            "peernet.toml [node] advertise[0]: 0.0.0.0 means every address, and cannot be connected to",
        ),
        ("a = [", "peernet.toml line 1, at the end: not valid TOML: Invalid value"),
        ("\n\n= 3", "peernet.toml line 3, column 1: not valid TOML: Invalid statement"),
        ("a = 1\na = 2", "peernet.toml line 2, at the end: not valid TOML: Cannot overwrite a value"),
        ("a = " + "[" * 5000, "peernet.toml: nested too deeply"),
        ("a = " + "9" * 5000, "peernet.toml: not valid TOML: Exceeds the limit"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_where_it_is(text: str, problem: str) -> None:
    """File, table, key; for what is not TOML, the line."""
    [found] = problems(text)
    assert found.startswith(problem)


def test_files_are_read(tmp_path: Path) -> None:
    """As UTF-8, also with the byte order mark that some editors write."""
    path = tmp_path / "peernet.toml"
    path.write_bytes('\ufeff[node]\nname = "küche"'.encode())
    assert read_config(path) == (Config(name="küche", path=path), ())


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """Each with its own message, and defaults in place of what they would have said."""
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"[node]\nname = '\xff'")
    large.write_bytes(b"#" * (1024 * 1024 + 1))
    gone = tmp_path / "gone"
    expected = {
        binary: f"{binary} line 2: not UTF-8 text",
        large: f"{large}: larger than 1 MiB; this is no configuration file",
        gone: f"{gone}: there is no such file",
        tmp_path: f"{tmp_path}: this is a folder; name the file in it, as {tmp_path}/peernet.toml",
        binary / "x": f"{binary / 'x'}: cannot be read: not a directory",
        Path("a\0b"): "a\0b: cannot be read: embedded null byte",
    }
    for path, problem in expected.items():
        assert read_config(path) == (Config(path=path), (problem,))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_we_may_not_read_is_told(tmp_path: Path) -> None:
    """The system's reason is enough here."""
    path = tmp_path / "peernet.toml"
    path.touch(mode=0)
    assert read_config(path)[1] == (f"{path}: cannot be read: permission denied",)


def test_the_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user names counts even when it is not there; the others only when they are."""
    home, here = tmp_path / "home", tmp_path / "here"
    own = home / "peernet.toml"
    home.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_args, **_options: home)
    assert find_config(None, {}) is None
    own.touch()
    assert find_config(None, {}) == own
    (here / "peernet.toml").touch()
    assert find_config(None, {}) == Path("peernet.toml")
    assert find_config(None, {"PEERNET_CONFIG": ""}) == Path("peernet.toml")
    assert find_config(None, {"PEERNET_CONFIG": "gone.toml"}) == Path("gone.toml")
    assert find_config(Path("other.toml"), {"PEERNET_CONFIG": "gone.toml"}) == Path("other.toml")


def test_a_home_folder_in_the_variable_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service managers pass ~ on as it is."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert find_config(None, {"PEERNET_CONFIG": "~/p.toml"}) == Path("/home/somebody/p.toml")
    assert find_config(None, {"PEERNET_CONFIG": "~nobody-here/p.toml"}) == Path("~nobody-here/p.toml")


def test_a_source_is_named_in_messages_as_in_the_file() -> None:
    """Also where there is no file."""
    assert where_of(FILE, "lan") == "peernet.toml [discovery.lan]"
    assert where_of(None, "lan") == "[discovery.lan]"


_DOCUMENTS = st.text(
    alphabet=st.sampled_from(list("[]{}=.,\"'\n #node-discovery_lan0123456789truefals")), max_size=80
)
_KEYS = st.sampled_from(
    ["node", "discovery", "lan", "name", "listen", "advertise", "data_dir", "backend", "required", "x y"]
)
_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


def toml(value: object) -> str:
    """Write a value as TOML, inline."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            escaped = "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000)
            return f'"{escaped}"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
        case int() | float():
            return str(value)
        case _:
            return str(value).replace(" ", "T")


@given(_DOCUMENTS | st.dictionaries(_KEYS, _VALUES, max_size=3).map(
    lambda document: "\n".join(f"{toml(key)} = {toml(value)}" for key, value in document.items())
))  # fmt: skip
def test_no_text_makes_the_parser_raise(text: str) -> None:
    """Anything at all is a configuration and a list of mistakes, each on a line that a terminal can show."""
    config, found = parse_config(text, path=FILE)
    assert config.path == FILE
    assert all(problem.startswith("peernet.toml") and problem.isprintable() for problem in found)
    if not found:
        sources: Any = tomllib.loads(text).get("discovery", {})
        assert [source.source for source in config.sources] == list(sources)


def blocks() -> list[tuple[str, str | None]]:
    """Each TOML block of the page, with the messages that stand below it if any do."""
    page = PAGE.read_text()
    found = re.findall(r"```toml\n(.*?)```\n(?:\n```text\n(.*?)```)?", page, re.DOTALL)
    return [(text, messages or None) for text, messages in found]


def test_the_page_has_examples() -> None:
    """Right ones and wrong ones; else the tests below would test nothing."""
    assert len([text for text, messages in blocks() if messages is None]) >= 5
    assert len([text for text, messages in blocks() if messages is not None]) >= 4


@pytest.mark.parametrize(("text", "messages"), blocks())
def test_the_examples_of_the_page_do_what_it_says(text: str, messages: str | None) -> None:
    """A block without messages has no mistake; the others have exactly those that stand below them."""
    assert problems(text) == tuple((messages or "").splitlines())


def documented(heading: str) -> dict[str, str]:
    """The keys of a section's first table, with their defaults."""
    section = PAGE.read_text().split(f"## `{heading}`\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", section, re.MULTILINE)
    return {key: default.strip("` ") for key, default in rows}


def test_the_page_lists_every_key_with_its_default() -> None:
    """A key or default that changes in the code changes there."""
    node, table = documented("[node]"), documented("[discovery.<source>]")
    config, source = Config(), SourceConfig("lan", "lan")
    assert list(node) == [each.name for each in attrs.fields(Config) if each.name not in {"sources", "path"}]
    assert node["name"] == '"' + config.name + '"'
    assert tomllib.loads(f"listen = {node['listen']}")["listen"] == [
        str(address) for address in config.listen
    ]
    assert node["advertise"] == "[]"
    assert config.advertise == ()
    assert tuple(table) == RESERVED_KEYS
    for key in RESERVED_KEYS[1:]:
        assert tomllib.loads(f"{key} = {table[key]}")[key] == getattr(source, key)


def test_the_page_has_the_messages_about_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody sees them who starts a node in the file's folder."""
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text().splitlines()
    assert read_config(FILE)[1][0] in page
    FILE.write_bytes(b"[node]\nname = '\xff'")
    assert read_config(FILE)[1][0] in page
    FILE.write_bytes(b"#" * (1024 * 1024 + 1))
    assert read_config(FILE)[1][0] in page
    FILE.unlink()
    FILE.mkdir()
    assert read_config(FILE)[1][0] in page


def test_the_page_names_the_reserved_sources() -> None:
    """Each in the section that says what a source may be called."""
    assert all(f"`{source}`" in PAGE.read_text() for source in RESERVED_SOURCES)
