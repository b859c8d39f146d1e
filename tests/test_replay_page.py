"""What docs/record-and-replay.md shows is what works."""

from __future__ import annotations

import re
import types
from ipaddress import ip_address
from pathlib import Path

import anyio
import attrs
import pytest

from peernet_core.addresses import Address
from peernet_core.backends.recording import Entry, Header, encode_header, encode_reported, parse_recording
from peernet_core.backends.reports import AddressReport, Reported
from peernet_core.keys import Identity
from peernet_core.testing.replay import ReplayDiscovery

PAGE = Path(__file__).parents[1] / "docs/record-and-replay.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


async def test_the_test_on_the_page_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a recording in which the kitchen falls silent; one in which it does not makes it fail."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("documented_replay")
    exec(compile(block("python"), str(PAGE), "exec"), module.__dict__)
    header = encode_header(Header(Identity.generate().key, 1763862900.0, {"lan": "mdns", "radio": "radio"}))
    for ttl_s in (120.0, None):
        report = AddressReport(module.KITCHEN, Address(ip_address("10.0.0.5"), 7100, "lan"), ttl_s, False)
        line = encode_reported(Reported("lan", report), at_s=0.5)
        await anyio.Path("bug.jsonl").write_text(f"{header}\n{line}\n")
        test = module.test_the_kitchen_is_lost_when_it_falls_silent(tmp_path, None)
        if ttl_s is None:
            with pytest.raises(AssertionError):
                await test
        else:
            await test


def test_the_lines_on_the_page_are_a_recording() -> None:
    """Each kind of line is there, and each name in them is explained."""
    text = block("json")
    recording = parse_recording(text.encode().splitlines(keepends=True))
    assert [type(each.report).__name__ for each in recording.entries] == [
        "AddressReport",
        "RecordReport",
        "LossReport",
        "NoneType",
    ]
    assert recording.missing == 3
    _, _, table = PAGE.read_text("utf-8").partition("## The format")
    explained = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE))))
    used = set(re.findall(r'"([a-z_]+)":', text)) - {*recording.header.sources, "interface"}
    assert explained - {"of"} == used
    assert {field.name for field in attrs.fields(Entry)} == {"at_s", "source", "report", "sighting"}


def test_the_options_on_the_page_are_the_options() -> None:
    """All of them, with their defaults."""
    rows = re.findall(
        r"^\| `(\w+)` \|([^|]*)\|", PAGE.read_text("utf-8").partition("## The format")[0], re.MULTILINE
    )
    fields = [field for field in attrs.fields(ReplayDiscovery) if field.init]
    assert [name for name, _ in rows] == [field.name for field in fields]
    assert dict(rows)["speed"].strip() == str(attrs.fields(ReplayDiscovery).speed.default)
