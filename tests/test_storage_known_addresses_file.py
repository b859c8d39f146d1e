"""Where peers were reached before: kept within bounds, and never a reason to stop."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.addresses import Address
from peernet_core.errors import StorageError
from peernet_core.keys import Identity
from peernet_core.storage import known_addresses_file as module
from peernet_core.storage.known_addresses_file import (
    MAX_PLACES,
    KnownAddress,
    KnownAddressesFile,
    parse_known_addresses,
)

KEY, OTHER = (Identity.generate().key for _ in range(2))
DAY_S = 24 * 3600


def place(number: int = 1, port: int = 7100, source: str = "lan") -> Address:
    return Address(IPv4Address("10.0.0.0") + number, port, source)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known_addresses"


def loaded(path: Path) -> KnownAddressesFile:
    file = KnownAddressesFile(path)
    file.load()
    return file


def test_what_worked_is_there_in_the_next_run(path: Path) -> None:
    """With its source and time; of one key the latest first."""
    file = loaded(path)
    assert file.note(KEY, place(1), worked_at=100)
    assert file.note(KEY, Address.parse("[2001:db8::7]:7200", source="dht"), worked_at=200)
    file.save()
    assert loaded(path).places() == (
        KnownAddress(KEY, Address.parse("[2001:db8::7]:7200", source="dht"), 200),
        KnownAddress(KEY, place(1), 100),
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_worked_within_a_day_is_not_written_again(path: Path) -> None:
    """A link that comes and goes costs no writing."""
    file = loaded(path)
    file.note(KEY, place(), worked_at=0)
    assert not file.note(KEY, place(), worked_at=DAY_S - 1)
    assert file.note(KEY, place(), worked_at=DAY_S)


def test_memory_keeps_the_source_that_named_it_first(path: Path) -> None:
    """That it worked from memory says nothing about who knew it."""
    file = loaded(path)
    file.note(KEY, place(source="lan"), worked_at=0)
    file.note(KEY, place(source="known"), worked_at=DAY_S)
    assert [known.address.source for known in file.places()] == ["lan"]


@pytest.mark.parametrize("text", ["127.0.0.1:7100", "[fe80::1%eth0]:7100", "169.254.1.1:7100"])
def test_what_may_not_be_dialed_from_memory_is_not_kept(path: Path, text: str) -> None:
    """Loopback and link-local addresses are dialed only where the peer is heard."""
    assert not loaded(path).note(KEY, Address.parse(text), worked_at=0)


def test_of_each_key_a_few_are_kept(path: Path) -> None:
    """Those that worked last."""
    file = loaded(path)
    for number in range(1, 20):
        file.note(KEY, place(number), worked_at=number * DAY_S)
    file.save()
    assert [known.address for known in loaded(path).places()] == [
        place(number) for number in range(19, 19 - MAX_PLACES, -1)
    ]


def test_keys_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was reached longest ago goes."""
    monkeypatch.setattr(module, "MAX_KEYS", 3)
    file = loaded(path)
    keys = [Identity.generate().key for _ in range(5)]
    for at, key in enumerate(keys):
        file.note(key, place(), worked_at=at)
    assert {known.key for known in file.places()} == set(keys[2:])


def test_who_is_not_trusted_any_more_falls_out(path: Path) -> None:
    """With the next writing."""
    file = loaded(path)
    file.note(KEY, place(), worked_at=0)
    file.note(OTHER, place(), worked_at=0)
    file.forget([KEY])
    file.save()
    assert [known.key for known in loaded(path).places()] == [KEY]


def test_damaged_lines_are_passed_over_and_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rest counts; the next writing leaves them out."""
    path.write_bytes(
        b"\xff\xfe\nnonsense\n%s 10.0.0.1:7100 lan 5\n%s host:1 lan 5\n" % ((str(KEY).encode(),) * 2)
    )
    path.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        file = loaded(path)
    assert [known.address for known in file.places()] == [place(1)]
    (line,) = caplog.messages
    assert line.endswith("known_addresses, line 1 and 2 more: no place; passed over")
    file.note(OTHER, place(2), worked_at=0)
    file.save()
    assert len(path.read_bytes().splitlines()) == 2


@given(st.binary(max_size=400))
def test_any_bytes_are_read(data: bytes) -> None:
    """Whatever happened to the disk."""
    found, bad = parse_known_addresses(data)
    assert len(found) + len(bad) <= data.count(b"\n") + 1


def test_a_full_disk_costs_a_line_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was there before is there still."""
    file = loaded(path)
    file.note(KEY, place(1), worked_at=0)
    file.save()
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise StorageError(path, "no space is left")

    monkeypatch.setattr(module, "replace_file", fail)
    file.note(KEY, place(2), worked_at=0)
    with caplog.at_level(logging.WARNING):
        file.save()
    assert caplog.messages == [f"known addresses are not kept: {StorageError(path, 'no space is left')}"]
    assert path.read_bytes() == before


def test_nothing_new_is_nothing_written(path: Path) -> None:
    """Not even the file."""
    loaded(path).save()
    assert not path.exists()
