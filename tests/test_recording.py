"""A recording holds what was reported, comes back as it was, and says in which line it is wrong."""

from __future__ import annotations

import contextlib
import json
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address, IPAddress
from peernet_core.backends.recording import (
    MAX_LINE_BYTES,
    Entry,
    Header,
    Recording,
    encode_header,
    encode_missing,
    encode_reported,
    parse_recording,
)
from peernet_core.backends.reports import AddressReport, LossReport, RecordReport, Reported, WithdrawalReport
from peernet_core.contract import Sighting
from peernet_core.errors import MalformedError
from peernet_core.keys import Identity
from peernet_core.records import MAX_RECORD_SIZE

OWN, PEER = (Identity.generate().key for _ in range(2))
IP = IPv4Address("10.0.0.5")
ZONED = IPv6Address("fe80::1%eth0")
HERE = Address(IP, 7100, "lan")
SEEN = Sighting(7, PEER, "lan", (HERE,))
HEADER = Header(OWN, 1763862900.25, {"lan": "mdns (peernet-mdns 0.1.0)"})
FIRST = encode_header(HEADER)

ips = st.sampled_from([IP, IPv4Address("127.0.0.1"), IPv6Address("2001:db8::5"), ZONED])
leases = st.floats(0.001, 1e6)
reports = st.one_of(
    st.builds(
        RecordReport,
        st.binary(max_size=MAX_RECORD_SIZE),
        leases,
        st.booleans(),
        st.none() | st.sampled_from([(IP, "eth0"), (ZONED, "eth0"), (IP, "k\u00fcche \udc80")]),
    ),
    st.builds(
        AddressReport,
        st.just(PEER),
        st.builds(Address, ips, st.integers(1, 65535), st.just("lan")),
        st.none() | leases,
        st.booleans(),
    ),
    st.builds(LossReport, st.just(PEER), st.none() | ips, st.none() | st.integers(1, 65535)),
    st.just(WithdrawalReport(SEEN)),
)


def parse(*lines: str, end: str = "\n") -> Recording:
    data = ("\n".join(lines) + end).encode()
    return parse_recording(data.splitlines(keepends=True))


def entry_line(**changes: object) -> str:
    line = json.loads(encode_reported(Reported("lan", RecordReport(b"r", 9.0, True, None)), at_s=1.0))
    return json.dumps({name: value for name, value in (line | changes).items() if value != "leave out"})


@given(reports, st.booleans(), st.floats(0, 1e6))
def test_a_report_comes_back_as_it_was(
    report: RecordReport | AddressReport | LossReport | WithdrawalReport, seen: bool, at_s: float
) -> None:
    """Each kind, with all that the backend gave, and when; and the number of the sighting it led to."""
    handle = SEEN if seen and isinstance(report, RecordReport | AddressReport) else None
    line = encode_reported(Reported("lan", report, handle), at_s=at_s)
    assert len(line) < 1024
    (entry,) = parse(FIRST, line).entries
    expected = Entry(round(at_s, 6), "lan", None, SEEN.id)
    if not isinstance(report, WithdrawalReport):
        expected = Entry(round(at_s, 6), "lan", report, None if handle is None else SEEN.id)
    assert entry == expected


def test_the_header_comes_back_as_it_was() -> None:
    """Whose it is, when it began, and which backends there were."""
    assert parse(FIRST) == Recording(HEADER, ())


def test_too_many_bytes_for_a_record_stay_too_many() -> None:
    """A backend may report anything; of a film only as much is kept as shows that it is no record."""
    line = encode_reported(Reported("lan", RecordReport(b"x" * 10_000_000, 9.0, True, None)), at_s=0)
    (entry,) = parse(FIRST, line).entries
    assert isinstance(entry.report, RecordReport)
    assert entry.report.record == b"x" * (MAX_RECORD_SIZE + 1)


def test_missing_reports_are_counted() -> None:
    """Lines that say how many are missing are no reports."""
    recording = parse(FIRST, encode_missing(3, at_s=1.0), entry_line(), "", encode_missing(4, at_s=2.0))
    assert (recording.missing, len(recording.entries)) == (7, 1)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_last_line_without_its_end(end: str) -> None:
    """What a killed node left is cut off and passed over; a whole line counts, with its end or without."""
    assert parse(FIRST, entry_line(), end=end).cut_off is None
    recording = parse(FIRST, entry_line(), entry_line()[:20], end="")
    assert (recording.cut_off, len(recording.entries)) == (3, 1)


def test_what_a_later_version_adds_is_passed_over() -> None:
    """Unknown names in a line do no harm."""
    assert len(parse(FIRST[:-1] + ', "more": [1]}', entry_line(more={"a": 1})).entries) == 1


KEY = str(PEER)
HINT = {"report": "peer_discovered", "key": KEY, "ip": "10.0.0.5", "port": 7100, "configured": True}
WRONG = [
    ([], "line 1: the file is empty"),
    ([FIRST[:20]], "line 1: it is no JSON: expecting ':' delimiter (character 21)"),
    (["{}"], 'line 1: this is no recording of peernet, which begins with {"peernet_recording": 1'),
    (['{"t": 1.0, "event": "node_started"}'], "line 1: this is no recording of peernet, which begins with"),
    (['{"peernet_recording": 2}'], "line 1: a recording of version 2; this peernet reads version 1"),
    (['{"peernet_recording": true}'], "line 1: a recording of version true; this peernet reads"),
    ([FIRST.replace('"key"', '"kee"')], 'line 1: "key" is missing'),
    ([FIRST.replace(str(OWN), "abc")], 'line 1: "key": a key has 52 characters; this has 3'),
    ([FIRST.replace("1763862900.25", "-1")], 'line 1: "started": expected a number of seconds, got -1'),
    (['{"peernet_recording": 1, "sources": []}'], 'line 1: "sources": expected an object of strings, got'),
    ([FIRST, "", "what?"], "line 3: it is no JSON: expecting value (character 1)"),
    ([FIRST, "7"], "line 2: expected an object, as {…}, got 7"),
    ([FIRST, "9" * 5000], "line 2: it is no JSON that anybody would write"),
    ([FIRST, "[" * 60_000], "line 2: it is no JSON that anybody would write"),
    ([FIRST, '"' + "x" * MAX_LINE_BYTES + '"'], "line 2: it has more than 65536 bytes"),
    ([FIRST, "{}"], 'line 2: "at_s" is missing'),
    ([FIRST, entry_line(at_s="1")], 'line 2: "at_s": expected a number of seconds, got "1"'),
    ([FIRST, entry_line(at_s=float("nan"))], 'line 2: "at_s": expected a number of seconds, got nan'),
    ([FIRST, entry_line(at_s=10**400)], "line 2: int too large to convert to float"),
    ([FIRST, entry_line(), entry_line(at_s=0.5)], 'line 3: "at_s": 0.5 comes after 1'),
    ([FIRST, entry_line(source="leave out")], 'line 2: "source" is missing'),
    ([FIRST, entry_line(report="peer_seen")], 'line 2: "report": there is no report "peer_seen"'),
    ([FIRST, entry_line(record="#")], 'line 2: "record": it is no base64'),
    ([FIRST, entry_line(ttl_s=0)], "line 2: record_received: ttl_s must be finite and more than 0, not 0"),
    ([FIRST, entry_line(ttl_s=10**400)], "line 2: int too large to convert to float"),
    ([FIRST, entry_line(renew=1)], "line 2: record_received: renew must be True or False, not int"),
    ([FIRST, entry_line(heard=7)], 'line 2: "heard": expected an object or null, got 7'),
    ([FIRST, entry_line(heard={"ip": "10.0.0.5"})], 'line 2: "interface" is missing'),
    ([FIRST, entry_line(heard={"ip": 7, "interface": ""})], 'line 2: "ip": expected an IP address, got 7'),
    ([FIRST, entry_line(heard={"ip": "x", "interface": ""})], 'line 2: "ip": expected an IP address, got'),
    ([FIRST, entry_line(sighting=-1)], 'line 2: "sighting": expected a number, got -1'),
    ([FIRST, entry_line(sighting="leave out")], 'line 2: "sighting" is missing'),
    ([FIRST, entry_line(**HINT | {"port": 0})], "line 2: peer_discovered: "),
    ([FIRST, entry_line(**HINT | {"key": "x"})], 'line 2: "key": '),
    ([FIRST, '{"at_s": 1, "missing": -2}'], 'line 2: "missing": expected a number, got -2'),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "said"), WRONG, ids=[said[:60] for _, said in WRONG])
def test_what_is_wrong_is_said_with_its_line(lines: list[str], said: str) -> None:
    """One sentence that begins with the number of the line."""
    with pytest.raises(MalformedError) as caught:
        parse(*lines, end="\n" if lines else "")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_what_is_no_text() -> None:
    """Bytes that are no UTF-8."""
    with pytest.raises(MalformedError, match=r"^line 2: it is no UTF-8 text$"):
        parse_recording([FIRST.encode() + b"\n", b"\xff\xfe\n"])


def test_a_header_that_is_cut_off() -> None:
    """Then there is nothing to play."""
    with pytest.raises(MalformedError, match=r"^line 1: it is cut off$"):
        parse(FIRST[:20], end="")


@given(st.lists(st.binary(max_size=60).map(lambda data: data + b"\n"), max_size=4), st.booleans())
def test_any_bytes_are_a_recording_or_the_one_error(lines: list[bytes], headed: bool) -> None:
    """Nothing else comes out of it."""
    with contextlib.suppress(MalformedError):
        parse_recording([FIRST.encode() + b"\n", *lines] if headed else lines)


ENTRY_NAMES = {"at_s", "missing", *json.loads(entry_line()), *HINT}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(KEY),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["ip", "interface"]), inner),
    max_leaves=4,
)


@given(
    st.sampled_from(["record_received", "peer_discovered", "peer_lost"]),
    st.dictionaries(
        st.sampled_from(sorted(ENTRY_NAMES)),
        _JSON,
    ),
)
def test_any_values_are_a_report_or_the_one_error(kind: str, values: dict[str, object]) -> None:
    """A line of the right form may hold anything."""
    plain: dict[str, IPAddress | object] = {"at_s": 1, "source": "lan", "report": kind, "sighting": 1}
    with contextlib.suppress(MalformedError):
        parse(FIRST, json.dumps(plain | values))
