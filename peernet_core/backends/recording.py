"""A recording: what the backends of a node reported, as JSON lines.

Pure: lines in, values out. The first line is the header; each other one is a report, or says how many are
missing. docs/record-and-replay.md lists what stands in them. What a reader does not know it passes over,
unless the version is another one.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

import attrs

from peernet_core.addresses import IPAddress
from peernet_core.backends.reports import (
    AddressReport,
    LossReport,
    RecordReport,
    Report,
    Reported,
    WithdrawalReport,
)
from peernet_core.configuration.wording import show_value
from peernet_core.errors import MalformedError
from peernet_core.keys import PeerKey
from peernet_core.records import MAX_RECORD_SIZE

__all__ = [
    "MAX_LINE_BYTES",
    "VERSION",
    "Entry",
    "Header",
    "Recording",
    "encode_header",
    "encode_missing",
    "encode_reported",
    "parse_recording",
]

VERSION: Final = 1
MAX_LINE_BYTES: Final = 64 * 1024
"""Of a line with its end. What core writes has less than 1 KiB."""

_MARK: Final = "peernet_recording"


@attrs.frozen
class Header:
    """Whose recording it is.

    Attributes:
        key: Of the node that recorded.
        started: When it began, in Unix seconds.
        sources: The backends that were configured, by source, with their distribution and version.
    """

    key: PeerKey
    started: float
    sources: Mapping[str, str]


@attrs.frozen
class Entry:
    """One report.

    Attributes:
        at_s: Seconds since the recording began.
        source: Which backend instance made it.
        report: What it said; None: it ended the sighting that is named.
        sighting: The number of the sighting that came of it, or that ended; None: none did.
    """

    at_s: float
    source: str
    report: Report | None
    sighting: int | None


@attrs.frozen
class Recording:
    """A whole recording.

    Attributes:
        entries: In their order.
        missing: How many reports were not recorded, because the disk was too slow.
        cut_off: The number of the last line, if its end is missing; it is no entry then.
    """

    header: Header
    entries: tuple[Entry, ...]
    missing: int = 0
    cut_off: int | None = None


def encode_header(header: Header) -> str:
    """The first line, without its end."""
    return json.dumps(
        {
            _MARK: VERSION,
            "key": str(header.key),
            "started": header.started,
            "sources": dict(header.sources),
        }
    )


def encode_reported(reported: Reported, *, at_s: float) -> str:
    """A report's line, without its end.

    Of bytes that are too many for a record only as many are kept as show that.
    """
    line: dict[str, object] = {"at_s": round(at_s, 6), "source": reported.source}
    match reported.report:
        case RecordReport(record, ttl_s, renew, heard):
            line |= {"report": "record_received", "ttl_s": ttl_s, "renew": renew}
            line["heard"] = None if heard is None else {"ip": str(heard[0]), "interface": heard[1]}
            line["record"] = base64.b64encode(record[: MAX_RECORD_SIZE + 1]).decode()
            if reported.sighting is not None:
                line["of"] = str(reported.sighting.key)
            line["sighting"] = None if reported.sighting is None else reported.sighting.id
        case AddressReport(key, address, ttl_s, configured):
            line |= {"report": "peer_discovered", "key": str(key), "ip": str(address.ip)}
            line |= {"port": address.port, "ttl_s": ttl_s, "configured": configured}
            line["sighting"] = None if reported.sighting is None else reported.sighting.id
        case LossReport(key, ip, port):
            line |= {"report": "peer_lost", "key": str(key), "ip": None if ip is None else str(ip)}
            line["port"] = port
        case WithdrawalReport(sighting):
            line |= {"report": "peer_lost", "sighting": sighting.id}
    return json.dumps(line)


def encode_missing(count: int, *, at_s: float) -> str:
    """The line that says how many reports are missing before it."""
    return json.dumps({"at_s": round(at_s, 6), "missing": count})


def parse_recording(lines: Iterable[bytes]) -> Recording:
    """Read a recording.

    Args:
        lines: With their ends, as a file gives them; none needs to be longer than `MAX_LINE_BYTES` and one
            byte. The end of the last one may be missing: a node that is killed cuts it off.

    Raises:
        MalformedError: with the number of the line, and what is wrong in it.
    """
    header: Header | None = None
    entries: list[Entry] = []
    missing, latest_s, cut_off = 0, 0.0, None
    for number, raw in enumerate(lines, 1):
        if raw.isspace():
            continue
        try:
            line = _object(raw)
        except _CutOffError:
            cut_off = number
            break
        except MalformedError as error:
            raise MalformedError(f"line {number}: {error}") from None
        try:
            if header is None:
                header = _header(line)
                continue
            at_s = _at_s(line, latest_s)
            if "missing" in line:
                missing += _whole_number(line, "missing")
            else:
                entries.append(_entry(line, at_s))
            latest_s = at_s
        except (TypeError, ValueError, OverflowError) as error:  # also of the reports, which check theirs
            raise MalformedError(f"line {number}: {error}") from None
    if header is None:
        raise MalformedError("line 1: it is cut off" if cut_off else "line 1: the file is empty")
    return Recording(header, tuple(entries), missing, cut_off)


class _CutOffError(MalformedError):
    """A last line without its end."""


def _object(raw: bytes) -> Mapping[str, object]:
    if len(raw) > MAX_LINE_BYTES:
        raise MalformedError(f"it has more than {MAX_LINE_BYTES} bytes")
    try:
        value = json.loads(raw.decode().rstrip())
    except UnicodeDecodeError:
        text = "it is no UTF-8 text"
    except json.JSONDecodeError as error:
        text = f"it is no JSON: {error.msg.lower()} (character {error.pos + 1})"
    except (ValueError, RecursionError):  # a number with thousands of digits, lists in lists in lists
        text = "it is no JSON that anybody would write"
    else:
        if isinstance(value, dict):
            return value
        text = f"expected an object, as {{…}}, got {show_value(value)}"
    if not raw.endswith(b"\n"):
        raise _CutOffError(text)
    raise MalformedError(text)


def _header(line: Mapping[str, object]) -> Header:
    if _MARK not in line:
        raise MalformedError(f'this is no recording of peernet, which begins with {{"{_MARK}": {VERSION}')
    if line[_MARK] != VERSION or isinstance(line[_MARK], bool):
        raise MalformedError(
            f"a recording of version {show_value(line[_MARK])}; this peernet reads version {VERSION}"
        )
    sources = _get(line, "sources")
    if not isinstance(sources, dict) or not all(isinstance(each, str) for each in sources.values()):
        raise MalformedError(f'"sources": expected an object of strings, got {show_value(sources)}')
    return Header(_key(line), _seconds(line, "started"), sources)


def _entry(line: Mapping[str, object], at_s: float) -> Entry:
    source, kind = _text(line, "source"), _get(line, "report")
    match kind:
        case "record_received":
            heard = None
            if (place := _get(line, "heard")) is not None:
                if not isinstance(place, dict):
                    raise MalformedError(f'"heard": expected an object or null, got {show_value(place)}')
                heard = (_ip(place), _text(place, "interface"))
            record, ttl_s, renew = _bytes(line), _get(line, "ttl_s"), _get(line, "renew")
            return Entry(at_s, source, RecordReport.of(record, ttl_s, renew, heard), _sighting(line))
        case "peer_discovered":
            ttl_s, configured = _get(line, "ttl_s"), _get(line, "configured")
            report = AddressReport.of(source, _key(line), _ip(line), _get(line, "port"), ttl_s, configured)
            return Entry(at_s, source, report, _sighting(line))
        case "peer_lost" if "key" in line:
            ip = None if _get(line, "ip") is None else _ip(line)
            return Entry(at_s, source, LossReport.of(_key(line), ip, _get(line, "port")), None)
        case "peer_lost":
            return Entry(at_s, source, None, _whole_number(line, "sighting"))
    raise MalformedError(f'"report": there is no report {show_value(kind)}')


def _get(line: Mapping[str, object], name: str) -> object:
    if name not in line:
        raise MalformedError(f'"{name}" is missing')
    return line[name]


def _text(line: Mapping[str, object], name: str) -> str:
    value = _get(line, name)
    if not isinstance(value, str):
        raise MalformedError(f'"{name}": expected a string, got {show_value(value)}')
    return value


def _seconds(line: Mapping[str, object], name: str) -> float:
    value = _get(line, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedError(f'"{name}": expected a number of seconds, got {show_value(value)}')
    if not (math.isfinite(value) and value >= 0):
        raise MalformedError(f'"{name}": expected a number of seconds, got {show_value(value)}')
    return float(value)


def _at_s(line: Mapping[str, object], latest_s: float) -> float:
    at_s = _seconds(line, "at_s")
    if at_s < latest_s:
        raise MalformedError(f'"at_s": {at_s:g} comes after {latest_s:g}')
    return at_s


def _whole_number(line: Mapping[str, object], name: str) -> int:
    value = _get(line, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedError(f'"{name}": expected a number, got {show_value(value)}')
    return value


def _sighting(line: Mapping[str, object]) -> int | None:
    return None if _get(line, "sighting") is None else _whole_number(line, "sighting")


def _key(line: Mapping[str, object]) -> PeerKey:
    text = _text(line, "key")
    try:
        return PeerKey.parse(text)
    except ValueError as error:
        raise MalformedError(f'"key": {error}') from None


def _ip(line: Mapping[str, object]) -> IPAddress:
    try:
        return ip_address(_text(line, "ip"))
    except ValueError:
        raise MalformedError(f'"ip": expected an IP address, got {show_value(line["ip"])}') from None


def _bytes(line: Mapping[str, object]) -> bytes:
    try:
        return base64.b64decode(_text(line, "record"), validate=True)
    except binascii.Error:
        raise MalformedError('"record": it is no base64') from None
