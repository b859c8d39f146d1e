"""Options are read strictly: values of exactly the right types, or every mistake at once, with its place."""

from __future__ import annotations

import datetime as dt
import enum
import math
import string
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NewType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address
from peernet_core.configuration.listen_address import ListenAddress
from peernet_core.configuration.options import Secret, sole_cause, structure_options
from peernet_core.errors import ConfigurationError
from peernet_core.keys import PeerKey

WHERE = "peernet.toml [discovery.lan]"
BASE = Path("/etc/peernet")
KEY = PeerKey(bytes(range(1, 33)))
PLAIN_SECRET = (
    'secret: a secret does not stand in the file itself; write { env = "VARIABLE" } or { file = "path" } '
    "in its place"
)

Seconds = NewType("Seconds", float)


class Transport(enum.Enum):
    UDP = "udp"
    TCP = "tcp"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    FAST = "fast"
    SAFE = "safe"


@attrs.frozen
class Peer:
    key: PeerKey
    address: Address | None = None


@attrs.define(eq=False)
class Everything:
    flag: bool = False
    count: int = 0
    poll_s: float = 1.0
    text: str = ""
    path: Path = Path()
    names: list[str] = attrs.field(factory=list)
    numbers: tuple[float, ...] = ()
    pair: tuple[int, str] = (0, "")
    tags: frozenset[str] = frozenset()
    unique: set[int] = attrs.field(factory=set)
    items: Sequence[int] = ()
    table: dict[str, int] = attrs.field(factory=dict)
    mapping: Mapping[str, list[bool]] = attrs.field(factory=dict)
    choice: Literal["a", "b", 3] = "a"
    transport: Transport = Transport.UDP
    level: Level = Level.LOW
    mode: Mode = Mode.FAST
    optional: int | None = None
    either: float | int = 0
    texts: str | list[str] = ""
    key: PeerKey = KEY
    address: Address | None = None
    listen: ListenAddress | None = None
    ip: IPv4Address | IPv6Address | None = None
    network: IPv4Network | None = None
    peers: list[Peer] = attrs.field(factory=list)
    peer: Peer | None = None
    secret: Secret | None = None
    secrets: list[Secret] = attrs.field(factory=list)
    timeout_s: Annotated[Seconds, "in seconds"] = Seconds(1.0)
    at: dt.datetime | None = None
    day: dt.date | None = None
    anything: Any = None


def read(table: Mapping[str, object], cls: type = Everything) -> Any:
    return structure_options(cls, table, where=WHERE, base=BASE)


def problems(table: Mapping[str, object], cls: type = Everything, **options: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        structure_options(cls, table, where=WHERE, base=BASE, **options)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flag", True, True),
        ("count", 7, 7),
        ("poll_s", 2, 2.0),
        ("poll_s", 0.5, 0.5),
        ("text", "eth0", "eth0"),
        ("path", "peers", BASE / "peers"),
        ("path", "/srv/peers", Path("/srv/peers")),
        ("path", "../peers", BASE / "../peers"),
        ("names", ["eth0", "eth1"], ["eth0", "eth1"]),
        ("names", [], []),
        ("numbers", [1, 2.5], (1.0, 2.5)),
        ("pair", [1, "x"], (1, "x")),
        ("tags", ["a", "b", "a"], frozenset({"a", "b"})),
        ("unique", [1, 2], {1, 2}),
        ("items", [1, 2], (1, 2)),
        ("table", {"a": 1}, {"a": 1}),
        ("mapping", {"a": [True]}, {"a": [True]}),
        ("choice", "b", "b"),
        ("choice", 3, 3),
        ("transport", "tcp", Transport.TCP),
        ("level", 2, Level.HIGH),
        ("mode", "safe", Mode.SAFE),
        ("optional", 3, 3),
        ("optional", None, None),
        ("either", 3, 3),
        ("either", 3.5, 3.5),
        ("texts", "a", "a"),
        ("texts", ["a"], ["a"]),
        ("key", str(KEY), KEY),
        ("key", str(KEY).upper(), KEY),
        ("address", "10.0.0.5:7100", Address(IPv4Address("10.0.0.5"), 7100)),
        ("address", "[fe80::1%eth0]:7100", Address(IPv6Address("fe80::1%eth0"), 7100)),
        ("listen", "0.0.0.0:0", ListenAddress(IPv4Address(0), 0)),
        ("ip", "::1", IPv6Address("::1")),
        ("ip", "10.0.0.1", IPv4Address("10.0.0.1")),
        ("network", "10.0.0.0/8", IPv4Network("10.0.0.0/8")),
        ("peers", [{"key": str(KEY)}], [Peer(KEY)]),
        ("peer", {"key": str(KEY), "address": "10.0.0.5:7100"}, Peer(KEY, Address.parse("10.0.0.5:7100"))),
        ("timeout_s", 3, 3.0),
        ("at", dt.datetime(2030, 1, 1, tzinfo=dt.UTC), dt.datetime(2030, 1, 1, tzinfo=dt.UTC)),
        ("day", dt.date(2030, 1, 1), dt.date(2030, 1, 1)),
        ("anything", {"a": [1]}, {"a": [1]}),
    ],
)
def test_a_right_value_is_taken_as_it_is(name: str, value: object, expected: object) -> None:
    """Each supported type takes its own values, of exactly the type that was annotated."""
    result = getattr(read({name: value}), name)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("flag", "no", 'flag: expected true or false, got "no"'),
        ("flag", 1, "flag: expected true or false, got 1"),
        ("count", True, "count: expected an integer, got true"),
        ("count", 3.0, "count: expected an integer, got 3.0"),
        ("count", "3", 'count: expected an integer, got "3"'),
        ("poll_s", True, "poll_s: expected a number, got true"),
        ("poll_s", "1", 'poll_s: expected a number, got "1"'),
        ("poll_s", math.nan, "poll_s: expected a finite number, got nan"),
        ("poll_s", -math.inf, "poll_s: expected a finite number, got -inf"),
        ("poll_s", 10**400, "poll_s: expected a number, got a huge integer"),
        ("text", 3, "text: expected a string, got 3"),
        ("text", ["a"], "text: expected a string, got a list"),
        ("text", {}, "text: expected a string, got an empty table"),
        ("text", None, "text: expected a string, got nothing"),
        ("path", "", 'path: expected a path, got ""'),
        ("path", "a\0b", 'path: expected a path, got "a\\u0000b"'),
        ("path", 3, "path: expected a path, got 3"),
        ("path", "~no-such-user-here/x", 'path: "~no-such-user-here/x": there is no such home folder'),
        ("names", "eth0", 'names: expected a list of strings, got "eth0"'),
        ("names", {"a": 1}, "names: expected a list of strings, got a table"),
        ("names", ["a", 3], "names[1]: expected a string, got 3"),
        ("numbers", [1, math.nan], "numbers[1]: expected a finite number, got nan"),
        ("numbers", 1.0, "numbers: expected a list of numbers, got 1.0"),
        ("pair", [1], "pair: expected a list of an integer and a string, got a list of 1"),
        ("pair", ["x", ""], 'pair[0]: expected an integer, got "x"'),
        ("tags", "a", 'tags: expected a list of strings, got "a"'),
        ("table", [], "table: expected a table of integers, got an empty list"),
        ("table", {"a": "b"}, 'table.a: expected an integer, got "b"'),
        ("table", {"a b": "b"}, 'table."a b": expected an integer, got "b"'),
        ("mapping", {"a": [1]}, "mapping.a[0]: expected true or false, got 1"),
        ("choice", "c", 'choice: expected "a", "b" or 3, got "c"'),
        ("choice", 3.0, 'choice: expected "a", "b" or 3, got 3.0'),
        ("transport", "tpc", 'transport: expected "udp" or "tcp", got "tpc"; did you mean "tcp"?'),
        ("transport", 1, 'transport: expected "udp" or "tcp", got 1'),
        ("level", True, "level: expected 1 or 2, got true"),
        ("level", 3, "level: expected 1 or 2, got 3"),
        ("mode", "slow", 'mode: expected "fast" or "safe", got "slow"'),
        ("optional", "x", 'optional: expected an integer, got "x"'),
        ("either", "x", 'either: expected a number or an integer, got "x"'),
        ("texts", 3, "texts: expected a string or a list of strings, got 3"),
        ("texts", [3], "texts[0]: expected a string, got 3"),
        ("key", 3, "key: expected a key, got 3"),
        ("key", "mfrgg", "key: a key has 52 characters; this has 5"),
        ("address", 7100, "address: expected an address (ip:port), got 7100"),
        ("address", "10.0.0.5", "address: '10.0.0.5' has no port; write it as '10.0.0.5:7100'"),
        ("ip", "localhost", 'ip: expected an IPv4 address or an IPv6 address, got "localhost"'),
        ("ip", 1, "ip: expected an IPv4 address or an IPv6 address, got 1"),
        ("network", "10.0.0.5/8", 'network: expected an IPv4 network, got "10.0.0.5/8"'),
        ("peers", "x", 'peers: expected a list of tables, got "x"'),
        ("peers", ["x"], 'peers[0]: expected a table, got "x"'),
        ("peers", [{}], 'peers[0]: missing option "key" (a key)'),
        ("peer", {"key": str(KEY), "adress": "x"}, 'peer: unknown option "adress"; did you mean "address"?'),
        ("timeout_s", "1", 'timeout_s: expected a number, got "1"'),
        ("at", dt.date(2030, 1, 1), "at: expected a date and time, got 2030-01-01"),
        (
            "day",
            dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
            "day: expected a date, got 2030-01-01T00:00:00+00:00",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(name: str, value: object, message: str) -> None:
    """Nothing is coerced; the message says where, what was expected and what was there."""
    assert problems({name: value}) == [f"{WHERE} {message}"]


def test_all_mistakes_of_a_table_are_told_at_once_in_its_order() -> None:
    """One run shows every mistake, nested ones too."""
    table = {
        "falg": True,
        "peers": [{"key": "x"}, {"address": "10.0.0.5:7100", "kye": 1}],
        "names": [1, 2],
        "count": "x",
    }
    assert problems(table) == [
        f'{WHERE}: unknown option "falg"; did you mean "flag"?',
        f"{WHERE} peers[0].key: a key has 52 characters; this has 1",
        f'{WHERE} peers[1]: unknown option "kye"; did you mean "key"?',
        f'{WHERE} peers[1]: missing option "key" (a key)',
        f"{WHERE} names[0]: expected a string, got 1",
        f"{WHERE} names[1]: expected a string, got 2",
        f'{WHERE} count: expected an integer, got "x"',
    ]


@attrs.define
class Folder:
    path: Path
    poll_s: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    _token: str = ""
    renamed: str = attrs.field(default="", alias="name")
    started: bool = attrs.field(default=False, init=False)
    limit: int = attrs.field(default=1)

    @limit.validator
    def _check_limit(self, _attribute: object, value: int) -> None:
        if value > 10:
            raise ValueError("at most 10")


def test_a_missing_option_is_told_with_its_type() -> None:
    """A required option that is not there is named with what it should be."""
    assert problems({}, Folder) == [f'{WHERE}: missing option "path" (a path)']


def test_options_go_by_the_names_of_their_arguments() -> None:
    """Private fields lose their underscore, aliases count, and init=False fields are no options."""
    folder = read({"path": "x", "token": "t", "name": "n"}, Folder)
    assert (folder._token, folder.renamed) == ("t", "n")
    assert problems({"path": "x", "_token": "t", "renamed": "n", "started": True}, Folder) == [
        f'{WHERE}: unknown option "_token"; did you mean "token"?',
        f'{WHERE}: unknown option "renamed"; did you mean "name"?',
        f'{WHERE}: unknown option "started"; possible: path, poll_s, token, name, limit',
    ]


def test_guesses_include_the_reserved_keys_of_the_table() -> None:
    """A slip in a key that core reads itself is told as such; the list holds the backend's own options."""
    table = {"path": "x", "requird": True, "zzz": 1}
    assert problems(table, Folder, reserved=("required",)) == [
        f'{WHERE}: unknown option "requird"; did you mean "required"?',
        f'{WHERE}: unknown option "zzz"; possible: path, poll_s, token, name, limit',
    ]


def test_a_class_without_options_says_so() -> None:
    """There is nothing to list then."""

    @attrs.define
    class Empty:
        pass

    assert problems({"x": 1}, Empty) == [f'{WHERE}: unknown option "x"; there are none']


def test_failing_validators_name_their_fields() -> None:
    """The first that fails is all that attrs tells, and not whose it is; here all are named."""
    table = {"path": "x", "poll_s": 0, "limit": 11}
    assert problems(table, Folder) == [f"{WHERE} poll_s: must be > 0: 0.0", f"{WHERE} limit: at most 10"]


def test_validators_run_beside_other_mistakes() -> None:
    """A wrong type elsewhere, or a missing option, hides no failing validator."""
    assert problems({"limit": 11, "token": 3}, Folder) == [
        f"{WHERE} token: expected a string, got 3",
        f'{WHERE}: missing option "path" (a path)',
        f"{WHERE} limit: at most 10",
    ]


@attrs.define
class Choosy:
    low: int
    high: int

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is\nabove high")
        if self.low == 0:
            raise KeyError("zero")
        if self.low == 1:
            raise SystemExit(3)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"low": 3, "high": 2}, "low is above high"),
        ({"low": 0, "high": 2}, "KeyError: zero"),
        ({"low": 1, "high": 2}, "SystemExit: 3"),
    ],
)
def test_a_class_that_refuses_is_told_with_its_provider(table: Mapping[str, object], reason: str) -> None:
    """What __attrs_post_init__ raises is one line with the provider, and the exception is kept."""
    with pytest.raises(ConfigurationError) as caught:
        structure_options(Choosy, table, where=WHERE, base=BASE, provider="mdns (peernet-mdns 0.1.0)")
    assert caught.value.problems == (f"{WHERE}: mdns (peernet-mdns 0.1.0) refused these options: {reason}",)
    assert caught.value.__cause__ is not None
    assert type(caught.value.__cause__).__name__ in {"ValueError", "KeyError", "SystemExit"}


def test_a_nested_class_that_refuses_is_told_with_its_place() -> None:
    """There is no provider inside of a list, but a place."""

    @attrs.define
    class Outer:
        pairs: list[Choosy]

    assert problems({"pairs": [{"low": 1, "high": 2}, {"low": 3, "high": 2}]}, Outer) == [
        f"{WHERE} pairs[0]: SystemExit: 3",
        f"{WHERE} pairs[1]: low is above high",
    ]


def test_several_causes_are_kept_in_a_group() -> None:
    """No exception of a backend's code is lost, however many there are."""
    with pytest.raises(ConfigurationError) as caught:
        read({"path": "x", "poll_s": 0, "limit": 11}, Folder)
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [type(error) for error in cause.exceptions] == [ValueError, ValueError]
    assert sole_cause([]) is None


def test_a_validator_that_needs_a_field_which_is_wrong_is_not_blamed() -> None:
    """Beside other mistakes only a ValueError counts: an AttributeError comes from what is missing."""

    @attrs.define
    class Range:
        low: int
        high: int = attrs.field()

        @high.validator
        def _check(self, _attribute: object, value: int) -> None:
            if value < self.low:
                raise ValueError("below low")

    assert problems({"low": "x", "high": 3}, Range) == [f'{WHERE} low: expected an integer, got "x"']
    assert problems({"low": 4, "high": 3}, Range) == [f"{WHERE} high: below low"]


def test_every_reading_makes_new_values() -> None:
    """Two instances made from one table share no list, not even one of any value."""
    table = {"names": ["a"], "anything": {"a": []}}
    one, other = read(table), read(table)
    one.names.append("b")
    one.anything["a"].append(1)
    assert (other.names, other.anything, table["anything"]) == (["a"], {"a": []}, {"a": []})


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that starts with ~ does not start from the file's folder."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert read({"path": "~/peers"}).path == Path("/home/somebody/peers")


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is read when the options are."""
    monkeypatch.setenv("PEERNET_TEST_TOKEN", "hunter2")
    secret = read({"secret": {"env": "PEERNET_TEST_TOKEN"}}).secret
    assert secret.reveal() == "hunter2"


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"hunter2\n", "hunter2"), (b"hunter2\r\n", "hunter2"), (b"hunter2\n\n", "hunter2\n"), (b" x", " x")],
)
def test_a_secret_comes_from_a_file_without_one_last_newline(tmp_path: Path, data: bytes, text: str) -> None:
    """What editors add is taken off, and nothing else; the path starts from the configuration's folder."""
    (tmp_path / "token").write_bytes(data)
    options: Any = structure_options(Everything, {"secret": {"file": "token"}}, where=WHERE, base=tmp_path)
    assert options.secret == Secret(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hunter2", PLAIN_SECRET),
        (["hunter2"], PLAIN_SECRET),
        ({}, 'secret: expected one of { env = "VARIABLE" } and { file = "path" }'),
        ({"env": "A", "file": "b"}, 'secret: expected one of { env = "VARIABLE" } and { file = "path" }'),
        ({"enw": "A"}, 'secret: unknown option "enw"; did you mean "env"?'),
        ({"env": "PEERNET_UNSET"}, 'secret.env: the environment variable "PEERNET_UNSET" is not set'),
        ({"env": "PEERNET_EMPTY"}, 'secret.env: the environment variable "PEERNET_EMPTY" is empty'),
        ({"env": 3}, "secret.env: expected the name of a variable, got 3"),
        ({"env": "a\0b"}, 'secret.env: the environment variable "a\\u0000b" is not set'),
        ({"file": 3}, "secret.file: expected a path, got 3"),
        ({"file": "gone"}, 'secret.file: "BASE/gone" cannot be read: no such file or directory'),
        ({"file": "."}, 'secret.file: "BASE" cannot be read: is a directory'),
        ({"file": "empty"}, 'secret.file: "BASE/empty" is empty'),
        ({"file": "binary"}, 'secret.file: "BASE/binary" is not UTF-8 text'),
        ({"file": "large"}, 'secret.file: "BASE/large" is too large to be a secret'),
    ],
)
def test_a_secret_that_cannot_be_had_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, message: str
) -> None:
    """Each way to have no secret has its message; none shows what was written in place of one."""
    monkeypatch.setattr("peernet_core.configuration.wording._MAX_SHOWN", 1000)
    monkeypatch.setenv("PEERNET_EMPTY", "")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    with pytest.raises(ConfigurationError) as caught:
        structure_options(Everything, {"secret": value}, where=WHERE, base=tmp_path)
    assert caught.value.problems == (f"{WHERE} {message.replace('BASE', str(tmp_path))}",)


def test_a_secret_written_where_a_list_belongs_is_not_shown() -> None:
    """A message about the container would otherwise repeat the secret."""
    assert problems({"secrets": "hunter2"}) == [f"{WHERE} secrets: expected a list of secrets, got a string"]


def test_a_secret_is_never_printed() -> None:
    """No common way to print an object shows it."""
    secret = Secret("hunter2")
    holder = Everything(secret=secret)
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        repr(holder),
        repr(attrs.asdict(holder)),
    ):
        assert "hunter2" not in text
    assert secret == Secret("hunter2")
    assert secret != Secret("other")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2")}) == 1


def test_a_mistake_of_the_author_is_told_before_any_value() -> None:
    """A type that no value can become is reported for what it is, not as a mistake in the file."""

    @attrs.define
    class Odd:
        what: complex

    assert problems({"what": 1}, Odd, provider="odd 1.0") == [
        f'{WHERE}: odd 1.0: option "what" cannot be read from a file: complex is no type of options'
    ]


_LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.sampled_from(["udp", "a", "127.0.0.1", "::1", str(KEY), "10.0.0.5:7100"])
)
_VALUES: Final = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(string.ascii_lowercase, max_size=4) | st.sampled_from(["key", "env"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
_NAMES: Final = st.sampled_from([field.name for field in attrs.fields(Everything)])


def is_of(value: object, form: object) -> bool:
    """A naive second opinion on whether a value has a type exactly."""
    match form:
        case type() if form in {
            bool,
            int,
            str,
            PeerKey,
            Address,
            ListenAddress,
            Secret,
            dt.date,
            dt.datetime,
        }:
            return type(value) is form
        case type() if form is float:
            return type(value) is float and math.isfinite(value)
        case type() if form is Path:
            return isinstance(value, Path) and value.is_absolute()
        case _:
            return True


@given(st.dictionaries(_NAMES | st.text(max_size=6), _VALUES, max_size=5))
def test_any_table_becomes_options_or_the_one_error(table: dict[str, object]) -> None:
    """Whatever TOML can hold is either structured with exact types or refused line by line."""
    try:
        options = read(table)
    except ConfigurationError as error:
        options, lines = None, error.problems
    else:
        lines = ()
    if options is None:
        assert lines
        assert all(line.startswith(WHERE) and line.isprintable() for line in lines)
        return
    for name in table:
        form = attrs.fields_dict(Everything)[name].type
        plain = {"bool": bool, "int": int, "str": str, "float": float, "Path": Path, "PeerKey": PeerKey}
        assert is_of(getattr(options, name), plain.get(str(form), form))
    for text in options.names:
        assert type(text) is str
    assert all(type(number) is float for number in options.numbers)


_RIGHT: Final = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "count": st.integers(),
        "poll_s": st.floats(allow_nan=False, allow_infinity=False),
        "text": st.text(),
        "names": st.lists(st.text()),
        "table": st.dictionaries(st.text(), st.integers()),
        "optional": st.integers() | st.none(),
        "texts": st.text() | st.lists(st.text()),
        "mapping": st.dictionaries(st.text(), st.lists(st.booleans())),
    },
)


@given(_RIGHT)
def test_right_tables_round_trip(table: dict[str, object]) -> None:
    """Values that need no conversion come through unchanged."""
    options = read(table)
    assert {name: getattr(options, name) for name in table} == table
