"""What each contender prints is understood, and nothing else is taken for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scoreboard.accounting import parse_pss_kib, parse_run_ns
from benchmarks.scoreboard.contenders.peernet import parse_peernet
from benchmarks.scoreboard.contenders.syncthing import parse_syncthing
from benchmarks.scoreboard.programs.avahi_lines import Browsed, parse_browsed
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Happening

DEVICE = "WFKJ2XB-RYQC2RW-J2RNRAK-GFPAKPK-X2FGJN6-YTAQEOY-HPL7AQF-2STIUQ4"
LOGGED = f"[WFKJ2] 19:07:13 INFO: {{}} {DEVICE} at 10.77.0.1:22000-10.77.0.2:22001/tcp-client/TLS1.3"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (json.dumps({"event": "node_started", "key": "k", "port": 1}), Happening("ready")),
        (json.dumps({"event": "peer_connected", "key": "k"}), Happening("linked", "k")),
        (json.dumps({"event": "peer_disconnected", "key": "k"}), Happening("lost", "k")),
        (json.dumps({"event": "peer_discovered", "key": "k"}), None),
        ("[]", None),
        ("no JSON", None),
    ],
)
def test_peernet(line: str, expected: Happening | None) -> None:
    """Its own start, and its links; a peer that is only discovered is not linked."""
    assert parse_peernet(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LOGGED.format("Established secure connection to"), Happening("linked", DEVICE)),
        (f"{LOGGED.format('Connection to')} closed: reading length: EOF", Happening("lost", DEVICE)),
        ("[WFKJ2] 19:07:10 INFO: TCP listener ([::]:22000) starting", Happening("ready")),
        (f"[WFKJ2] 19:07:10 INFO: My ID: {DEVICE}", None),
        (f'[WFKJ2] 19:07:13 INFO: Device {DEVICE} client is "syncthing v1.19.2" named "vm"', None),
        ("", None),
    ],
)
def test_syncthing(line: str, expected: Happening | None) -> None:
    """Its log tells of the listener, and of connections that are authenticated."""
    assert parse_syncthing(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '=;eth0;IPv4;name;_peernet._tcp;local;name.local;10.77.0.1;7100;"txtvers=1"\n',
            Browsed("eth0", "name", ("10.77.0.1", 7100)),
        ),
        ("-;eth0;IPv4;name;_peernet._tcp;local\n", Browsed("eth0", "name", None)),
        ("+;eth0;IPv4;name;_peernet._tcp;local\n", None),
        ('=;eth0;IPv6;name;_peernet._tcp;local;name.local;fd77::1;7100;"txtvers=1"\n', None),
        ("=;eth0;IPv4;name;_peernet._tcp;local;name.local;fd77::1;7100;\n", None),
        ("=;eth0;IPv4;name;_peernet._tcp;local;name.local;10.77.0.1;many;\n", None),
    ],
)
def test_avahi(line: str, expected: Browsed | None) -> None:
    """A service counts when it is resolved over IPv4, until it goes."""
    assert parse_browsed(line) == expected


def test_our_own_programs() -> None:
    """They say what, about whom, and when it was."""
    assert parse_spoken('{"event": "linked", "peer": "k", "at": 12.5}') == Happening("linked", "k", 12.5)
    assert parse_spoken('{"event": "linked", "peer": "k"}') is None


@given(st.text())
def test_no_line_is_too_strange(line: str) -> None:
    """Whatever a program prints is understood or passed over."""
    for parse in (parse_peernet, parse_syncthing, parse_spoken):
        assert parse(line) is None or line
    assert parse_browsed(line) is None or line


def test_what_the_kernel_counts() -> None:
    """The proportional set size is one line of many; the time is the first of three numbers."""
    rollup = (
        "00400000-7fff0000 ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:  7654 kB\nPss_Anon: 1 kB\n"
    )
    assert parse_pss_kib(rollup) == 7654
    with pytest.raises(ProcessLookupError):
        parse_pss_kib("")
    assert parse_run_ns("123456789 42 7\n") == 123456789
