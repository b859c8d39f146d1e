"""`peernet peers` and `peernet status`: what a running node tells."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peernet_core.addresses import Address
from peernet_core.cli import answers
from peernet_core.cli.asking import ago
from peernet_core.events import PeerState, PeerStatus
from peernet_core.keys import Identity
from peernet_core.storage.identity_file import load_or_create
from peernet_core.storage.trust_file import TrustFile
from peernet_core.testing.node_process import GUARD_S, NodeProcess

FRIEND, STRANGER = Identity.generate().key, Identity.generate().key


def command(folder: Path, *arguments: str) -> list[str]:
    places = ["--config", str(folder / "peernet.toml"), "--data-dir", str(folder / "data")]
    return [sys.executable, "-m", "peernet_core.cli", *places, *arguments]


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command; again for as long as the node's control socket is not there yet."""
    deadline = time.monotonic() + GUARD_S
    while True:
        done = subprocess.run(
            command(folder, *arguments), capture_output=True, text=True, timeout=GUARD_S, check=False
        )
        if "no node is running" not in done.stderr or time.monotonic() > deadline:
            return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "peernet.toml").write_text(
        '[node]\nname = "kitchen"\nlisten = ["127.0.0.1:0"]\n[discovery.manual]\npeers = [\n'
        f'{{ key = "{FRIEND}", address = "127.0.0.1:9" }},\n'
        f'{{ key = "{STRANGER}", address = "10.0.0.9:7100" }},\n]\n'
    )
    load_or_create(tmp_path / "data" / "identity.pem")
    TrustFile(tmp_path / "data" / "trusted_peers").add(FRIEND, "garden")
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[Path]:
    process = NodeProcess("kitchen", command(folder, "run", "--json"), folder / "log")
    with process:
        process.wait("peer_dropped")
        yield folder


def test_peers_are_listed(running: Path) -> None:
    """Label, state, since when, address, source, key."""
    status, out, err = call(running, "peers")
    assert (status, err) == (0, "")
    header, line = out.splitlines()
    assert header.split() == ["label", "state", "for", "address", "source", "key"]
    assert "127.0.0.1:9" in line
    assert "manual" in line
    assert line.endswith(str(FRIEND))
    assert line.startswith("garden")


def test_peers_are_listed_for_programs(running: Path) -> None:
    """One JSON array."""
    status, out, _ = call(running, "peers", "--json")
    (peer,) = json.loads(out)
    assert status == 0
    assert (peer["key"], peer["addresses"]) == (str(FRIEND), ["127.0.0.1:9"])


def test_a_place_that_two_sources_name_is_listed_once() -> None:
    """Programs get places; who names each is `peernet explain`'s."""
    places = [Address.parse("10.0.0.1:7100", source=source) for source in ("lan", "inbound")]
    peer = PeerStatus(FRIEND, "garden", PeerState.WAITING, places[0], 0.0, tuple(places))
    assert answers._peer_object(peer)["addresses"] == ["10.0.0.1:7100"]


def test_strangers_are_listed(running: Path) -> None:
    """Whom `trust add` would let in."""
    _, out, _ = call(running, "peers", "--strangers")
    header, line = out.splitlines()
    assert header.split() == ["key", "address", "source", "seen"]
    assert line.split()[:3] == [str(STRANGER), "10.0.0.9:7100", "manual"]
    assert line.endswith(" ago")
    _, out, _ = call(running, "peers", "--strangers", "--json")
    assert [each["key"] for each in json.loads(out)] == [str(STRANGER)]


def test_the_status_shows_the_backends(running: Path) -> None:
    """Who we are, and each backend's state."""
    status, out, err = call(running, "status")
    assert (status, err) == (0, "")
    first, header, line = out.splitlines()
    assert "(kitchen), process " in first
    assert header.split() == [
        *("discovery", "backend", "state", "for", "a", "minute", "restarts", "last", "failure"),
    ]
    assert line.split()[0] == "manual"
    assert " running " in line
    _, out, _ = call(running, "status", "--json")
    answer = json.loads(out)
    assert answer["statistics"]["sightings_manual"] == 2
    (backend,) = answer["backends"]
    assert (backend["source"], backend["state"], backend["restarts"], backend["error"]) == (
        "manual",
        "running",
        0,
        "",
    )


def test_a_peer_is_explained(running: Path) -> None:
    """By label, key or prefix: each address with what came of it, and what is done next."""
    refused = time.monotonic() + GUARD_S
    while True:
        status, out, err = call(running, "explain", "garden")
        if "refused: nobody listens there" in out or time.monotonic() > refused:
            break
    assert (status, err) == (0, "")
    first, following, header, line = out.splitlines()
    assert first.startswith(f"{FRIEND} (garden): ")
    assert following.startswith(("no address led to a link; dialing again in ", "dialing 1 address now"))
    assert header.split() == [
        *("address", "source", "word", "sequence", "seen", "lease", "last", "dial", "next", "dial"),
    ]
    assert line.split()[:3] == ["127.0.0.1:9", "manual", "configured"]
    for who in (str(FRIEND), str(FRIEND)[:20]):
        _, out, _ = call(running, "explain", who)
        assert out.startswith(f"{FRIEND} (garden): ")


def test_a_peer_is_explained_for_programs(running: Path) -> None:
    """One JSON object."""
    status, out, _ = call(running, "explain", "garden", "--json")
    answer = json.loads(out)
    assert status == 0
    assert (answer["key"], answer["label"]) == (str(FRIEND), "garden")
    (address,) = answer["addresses"]
    assert set(address) == {
        *("ip", "port", "source", "kind", "sequence", "age_s", "lease_left_s", "outcome", "failure"),
        *("outcome_age_s", "next_dial_s", "obstacle"),
    }
    assert (address["ip"], address["port"], address["kind"]) == ("127.0.0.1", 9, "configured")


def test_a_stranger_is_explained(running: Path) -> None:
    """With the command that would let it in."""
    status, out, _ = call(running, "explain", str(STRANGER)[:20])
    assert status == 0
    assert out.startswith(f"{STRANGER}: not trusted\n")
    assert f"peernet trust add {STRANGER}" in out
    assert "10.0.0.9:7100" in out


def test_nobody_is_explained(running: Path) -> None:
    """One line says that nobody is called that."""
    status, out, err = call(running, "explain", "gardn")
    assert (status, out) == (1, "")
    assert err == (
        "peernet: the running node cannot say: nobody in the trust list is called 'gardn'; "
        "did you mean 'garden'?\n"
    )


@pytest.mark.parametrize("arguments", [["peers"], ["status"], ["explain", "garden"]], ids=" ".join)
def test_without_a_running_node_there_is_one_line(folder: Path, arguments: list[str]) -> None:
    """Status 1."""
    done = subprocess.run(
        command(folder, *arguments), capture_output=True, text=True, timeout=GUARD_S, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "no node is running" in done.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d"), (-5, "0 s")],
)
def test_spans_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    """A clock that was set back is no span."""
    assert ago(1000.0, now=1000.0 + seconds) == text
