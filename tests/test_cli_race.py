"""`peernet race` as a process, and how it shows its result."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from peernet_core.addresses import Address
from peernet_core.cli.race_table import race_object, show_race
from peernet_core.decisions.race_result import (
    Absence,
    Claim,
    Find,
    Lapse,
    PeerResult,
    RaceResult,
    Refusal,
    SourceResult,
)
from peernet_core.keys import Identity, PeerKey
from peernet_core.storage.identity_file import load_or_create
from peernet_core.storage.trust_file import TrustFile
from peernet_core.testing.node_process import GUARD_S, NodeProcess

KITCHEN, GARDEN, SHED = (Identity.generate().key for _ in range(3))

# A backend of one's own: a shelf that all can reach; a record that is not renewed is lost after two seconds.
SHELF = """
from ipaddress import IPv4Address
from pathlib import Path
from typing import ClassVar
import anyio
import attrs
from peernet_core import Announcement, Context, DiscoverySpec, ThreadContext, hookimpl

@attrs.define(eq=False)
class Shelf(DiscoverySpec):
    path: Path
    broken: bool = False
    refresh_s: ClassVar[float] = 0.5

    @hookimpl
    async def start(self, context: Context) -> None:
        if self.broken:
            raise OSError("the shelf fell down")
        context.spawn_thread(self._watch)

    @hookimpl
    async def announce_self(self, announcement: Announcement) -> None:
        await anyio.Path(self.path, announcement.alias).write_bytes(announcement.record)

    def _watch(self, context: ThreadContext) -> None:
        while not context.stopping.wait(0.05):
            for file in self.path.iterdir():
                place = IPv4Address("127.0.0.1"), "lo"
                context.record_received(file.read_bytes(), ttl_s=2.0, renew=False, heard=place)
"""


class Place:
    """A data directory with a configuration, beside a shelf and a backend that uses it."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir(parents=True, mode=0o700)
        self.folder = folder
        self.key = load_or_create(folder / "data/identity.pem").key

    def configure(self, discovery: str) -> None:
        (self.folder / "peernet.toml").write_text(f'[node]\nlisten = ["127.0.0.1:0"]\n{discovery}')

    def trust(self, key: PeerKey, label: str) -> None:
        TrustFile(self.folder / "data/trusted_peers").add(key, label)

    def command(self, *arguments: str) -> list[str]:
        places = ["--config", str(self.folder / "peernet.toml"), "--data-dir", str(self.folder / "data")]
        environment = ["env", f"PYTHONPATH={self.folder.parent / 'site'}"]
        return [*environment, sys.executable, "-m", "peernet_core.cli", *places, *arguments]

    def race(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("race", *arguments), capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def racer(tmp_path: Path) -> Place:
    metadata = tmp_path / "site/shelf-1.0.dist-info"
    metadata.mkdir(parents=True)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "site/shelf.py").write_text(SHELF)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[peernet.discovery]\nshelf = shelf:Shelf\n")
    return Place(tmp_path / "racer")


@contextmanager
def running(place: Place, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        place.command("race", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[bytes], *wanted: str) -> None:
    """Read what happens until each of these was said."""
    assert process.stderr is not None
    deadline, text = time.monotonic() + GUARD_S, b""
    while not all(each.encode() in text for each in wanted):
        ready, _, _ = select.select([process.stderr], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, text.decode()
        piece = os.read(process.stderr.fileno(), 65536)
        assert piece, text.decode()
        text += piece


def test_a_race_in_which_a_peer_is_killed(racer: Place, tmp_path: Path) -> None:
    """The configured address is first, the shelf next; after the kill the shelf forgets, the address not."""
    kitchen = Place(tmp_path / "kitchen")
    kitchen.configure('[discovery.shelf]\npath = "../shelf"\n')
    kitchen.trust(racer.key, "racer")
    racer.trust(kitchen.key, "kitchen")
    with NodeProcess("kitchen", kitchen.command("run", "--json"), kitchen.folder / "log") as peer:
        port = peer.wait("node_started").fields["port"]
        racer.configure(
            f'[discovery.manual]\npeers = [{{ key = "{kitchen.key}", address = "127.0.0.1:{port}" }}]\n'
            '[discovery.shelf]\npath = "../shelf"\n[discovery.empty]\nbackend = "manual"\npeers = []\n'
        )
        with running(racer, "--for", "600", "--json") as process:
            wait_for(process, "(kitchen) at 127.0.0.1:", "through shelf", "connected ")
            peer.kill()
            wait_for(process, "disconnected ", "nothing more of it through shelf")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=GUARD_S)
            assert (process.returncode, b"Traceback" in err) == (0, False)
    result: dict[str, Any] = json.loads(out)
    assert [(each["source"], each["backend"], each["found"]) for each in result["sources"]] == [
        ("manual", "manual", 1),
        ("shelf", "shelf", 1),
        ("empty", "manual", 0),
    ]
    (found,) = result["peers"]
    assert (found["key"], found["label"], found["missed_by"]) == (str(kitchen.key), "kitchen", ["empty"])
    first, second = found["finds"]
    assert (first["source"], first["behind_s"], second["source"]) == ("manual", 0.0, "shelf")
    assert second["behind_s"] == pytest.approx(second["at_s"] - first["at_s"], abs=1e-5)
    assert 0 < second["behind_s"] < result["for_s"]
    assert found["linked_s"] is not None
    (gone,) = found["absences"]
    assert (gone["reason"], gone["is_back"]) == ("the link ended: lost", False)
    shelf, manual = gone["claims"]
    assert (shelf["source"], manual) == ("shelf", {"source": "manual", "lost_after_s": None})
    assert 0 < shelf["lost_after_s"] <= gone["for_s"]
    assert found["claimed_by"] == ["manual"]


def test_a_backend_that_fails_ends_nobody_elses_race(racer: Place) -> None:
    """It is shown as failed, with its reason; a race in which none ran has failed."""
    key = Identity.generate().key
    racer.trust(key, "kitchen")
    broken = '[discovery.broken]\nbackend = "shelf"\npath = "../shelf"\nbroken = true\nrestart = false\n'
    racer.configure(f'{broken}[discovery.manual]\npeers = [{{ key = "{key}", address = "127.0.0.1:9" }}]\n')
    done = racer.race("--for", "0.5")
    assert done.returncode == 0
    assert "failed: [discovery.broken], shelf (shelf 1.0): start raised OSError: the shelf" in done.stdout
    assert f"{key.short} (kitchen)  manual 0.0" in done.stdout
    assert "127.0.0.1:9 (manual)  refused" in done.stdout
    assert "Traceback" not in done.stderr
    racer.configure(broken)
    assert racer.race("--for", "0.5").returncode == 1


def test_nobody_to_find_and_nobody_to_find_them(racer: Place) -> None:
    """Without a trusted key that is said, and the race goes on; without a backend there is none."""
    racer.configure("[discovery.manual]\npeers = []\n")
    done = racer.race("--for", "0.2")
    assert done.returncode == 0
    assert "no key is trusted, so nobody can be found: peernet trust add KEY\n" in done.stderr
    assert "0 of 0 trusted peers found" in done.stdout
    racer.configure("")
    done = racer.race()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "there is no discovery backend to race; add a table such as [discovery.mdns]"
    )


def test_a_node_that_runs_already(racer: Place) -> None:
    """It has the data directory: one line says so."""
    racer.configure("[discovery.manual]\npeers = []\n")
    with NodeProcess("racer", racer.command("run", "--json"), racer.folder / "log") as node:
        node.wait("node_started")
        done = racer.race()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"process {node.pid}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("length", ["0", "-1", "nan", "inf", "soon"])
def test_a_length_that_is_none(racer: Place, length: str) -> None:
    """Bad usage, and what is expected."""
    done = racer.race("--for", length)
    assert done.returncode == 2
    assert "Invalid value for '--for'" in done.stderr


RESULT = RaceResult(
    42.5,
    (
        SourceResult("lan", "mdns", 0.05, "", 2, 1, 3),
        SourceResult("fixed", "manual", 0.01, "gone", 1, 1, 0),
        SourceResult("radio", "radio", None, "no \x1b[31mradio", 0, 0, 0),
        SourceResult("late", "radio", None, "", 0, 0, 0),
    ),
    (
        PeerResult(
            KITCHEN,
            "kitchen",
            0.051,
            "fixed",
            (Find("fixed", 0.01, 0.0), Find("lan", 0.42, 0.41)),
            (),
            (Lapse("lan", 12.0, 3.0),),
            (
                Absence(15.0, "the link ended: lost", 0.2, True, (Claim("lan", None), Claim("fixed", None))),
                Absence(20.0, "the link ended: lost", 5.5, True, (Claim("lan", -0.5), Claim("fixed", None))),
                Absence(30.0, "the link ended: lost", 12.5, False, (Claim("fixed", 1.0), Claim("lan", 10.0))),
            ),
            (),
            (),
        ),
        PeerResult(GARDEN, "", None, "", (Find("lan", 11.0, 0.0),), ("fixed",), (), (), ("lan",), (
            Refusal(Address.parse("10.0.0.9:7100", source="lan"), "timeout"),
        )),
        PeerResult(SHED, "shed", 2.0, "", (), ("lan", "fixed"), (), (), (), ()),
    ),
    7,
)  # fmt: skip


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """All that is known, in columns, and nothing that a terminal would obey; no blink of a link."""
    show_race(RESULT)
    kitchen, garden, shed = f"{KITCHEN.short} (kitchen)", GARDEN.short, f"{SHED.short} (shed)"
    assert capsys.readouterr().out == (
        "raced for 42.5 s: 2 of 3 trusted peers found\n"
        "7 events came too fast: what follows may be wrong\n"
        "\n"
        "source  backend  started                      found   first  missed                     strangers\n"
        f"lan     mdns     0.050 s                      2 of 3  1      {shed}            3\n"
        f"fixed   manual   0.010 s, failed later: gone  1 of 3  1      {garden}, {shed}  0\n"
        r"radio   radio    failed: no \x1b[31mradio     0 of 3  0                                 0"
        "\n"
        "late    radio    not yet                      0 of 3  0                                 0\n"
        "\n"
        "peer                first          then          missed by   linked\n"
        f"{kitchen}  fixed 0.010 s  lan +0.410 s              0.051 s, fixed\n"
        f"{garden}            lan 11.0 s                   fixed       never\n"
        f"{shed}     nobody                       lan, fixed  2.000 s, inbound\n"
        "\n"
        f"gone                when                 why                   {'lost by':<27}  still claimed by\n"
        f"{kitchen}  20.0 s, for 5.500 s  the link ended: lost  {'lan -0.500 s':<27}  fixed (5.500 s)\n"
        f"{kitchen}  30.0 s               the link ended: lost  fixed +1.000 s, lan +10.0 s  nobody\n"
        "\n"
        "lost although linked  when                 by\n"
        f"{kitchen}    12.0 s, for 3.000 s  lan\n"
        "\n"
        "never linked  claimed by  address              last dial\n"
        f"{garden}      lan         10.0.0.9:7100 (lan)  timeout\n"
    )


def test_an_empty_result_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    """No table without lines."""
    show_race(RaceResult(0.2, (SourceResult("lan", "mdns", 0.1, "", 0, 0, 0),), (), 0))
    assert capsys.readouterr().out == (
        "raced for 0.2 s: 0 of 0 trusted peers found\n"
        "\n"
        "source  backend  started  found   first  missed  strangers\n"
        "lan     mdns     0.100 s  0 of 0  0              0\n"
    )


def test_the_object_for_programs() -> None:
    """The same, as JSON can hold it, with names that say what it is."""
    shown = json.loads(json.dumps(race_object(RESULT)))
    assert set(shown) == {"for_s", "sources", "peers", "events_missed"}
    kitchen, garden, _ = shown["peers"]
    assert kitchen["key"] == str(KITCHEN)
    assert kitchen["finds"][1] == {"source": "lan", "at_s": 0.42, "behind_s": 0.41}
    assert kitchen["absences"][1]["claims"] == [
        {"source": "lan", "lost_after_s": -0.5},
        {"source": "fixed", "lost_after_s": None},
    ]
    assert kitchen["lapses"] == [{"source": "lan", "at_s": 12.0, "for_s": 3.0}]
    assert garden["refusals"] == [
        {"address": {"ip": "10.0.0.9", "port": 7100, "source": "lan"}, "reason": "timeout"}
    ]
