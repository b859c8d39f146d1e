"""`peernet run --record FILE` as a process, and the recording as another node's backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peernet_core.backends.reports import AddressReport
from peernet_core.keys import Identity, PeerKey
from peernet_core.storage.identity_file import load_or_create
from peernet_core.storage.trust_file import TrustFile
from peernet_core.testing.node_process import GUARD_S, NodeProcess
from peernet_core.testing.replay import read_recording


class Place:
    """A data directory with a configuration beside it."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir(parents=True, mode=0o700)
        self.folder = folder
        self.key = load_or_create(folder / "data/identity.pem").key
        self.configure("")

    def configure(self, discovery: str) -> None:
        (self.folder / "peernet.toml").write_text(f'[node]\nlisten = ["127.0.0.1:0"]\n{discovery}')

    def configure_peer(self, key: PeerKey, port: object) -> None:
        self.configure(f'[discovery.manual]\npeers = [{{ key = "{key}", address = "127.0.0.1:{port}" }}]\n')

    def trust(self, other: Place) -> None:
        TrustFile(self.folder / "data/trusted_peers").add(other.key, other.folder.name)

    def command(self, *arguments: str | Path) -> list[str]:
        places = ["--config", self.folder / "peernet.toml", "--data-dir", self.folder / "data"]
        return [sys.executable, "-m", "peernet_core.cli", *map(str, [*places, "run", *arguments])]

    def start(self, *arguments: str | Path, before: tuple[str, ...] = ()) -> NodeProcess:
        command = [*before, *self.command("--json", *arguments)]
        return NodeProcess(self.folder.name, command, self.folder / "log")

    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def kitchen(tmp_path: Path) -> Place:
    return Place(tmp_path / "kitchen")


@pytest.fixture
def garden(tmp_path: Path, kitchen: Place) -> Iterator[NodeProcess]:
    """A node that runs, and that the kitchen knows."""
    place = Place(tmp_path / "garden")
    place.trust(kitchen)
    kitchen.trust(place)
    with place.start() as process:
        kitchen.configure_peer(place.key, process.wait("node_started").fields["port"])
        yield process


def test_what_one_run_discovers_another_discovers_from_its_recording(
    kitchen: Place, garden: NodeProcess, tmp_path: Path
) -> None:
    """Two processes link; the replay, with another identity, discovers the same peer, and links with it."""
    path = tmp_path / "bug.jsonl"
    with kitchen.start("--record", path) as process:
        discovered = process.wait("peer_discovered", source="manual").fields
        process.wait("peer_connected")
        assert process.terminate() == 0
    assert f"recording: {path}" in kitchen.log()
    assert kitchen.log().endswith(f"recorded 1 report in {path}\n")
    recording = read_recording(path)
    assert recording.header.key == kitchen.key
    assert list(recording.header.sources) == ["manual"]
    assert recording.header.sources["manual"].startswith("manual (peernet-manual ")
    (entry,) = recording.entries
    assert isinstance(entry.report, AddressReport)
    assert str(entry.report.key) == discovered["key"]

    other = Place(tmp_path / "workshop")
    (other.folder / "data/trusted_peers").write_text((kitchen.folder / "data/trusted_peers").read_text())
    other.configure('[discovery.manual]\nbackend = "replay"\npath = "../bug.jsonl"\n')
    with other.start() as process:
        again = process.wait("peer_discovered", source="manual").fields
        process.wait("peer_unreachable", reason="they_do_not_trust_us")
        assert process.terminate() == 0
    names = ("key", "ip", "port", "source")
    assert [again[name] for name in names] == [discovered[name] for name in names]
    assert garden.seen("node_started")


def test_a_killed_node_leaves_a_recording(kitchen: Place, garden: NodeProcess, tmp_path: Path) -> None:
    """What was reported is in the file at once, and not only at the end."""
    path = tmp_path / "bug.jsonl"
    with kitchen.start("--record", path) as process:
        process.wait("peer_connected")
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert len(read_recording(path).entries) == 1
    assert garden.seen("node_started")


def test_a_node_that_hears_nothing_leaves_a_recording(kitchen: Place, tmp_path: Path) -> None:
    """It says whose it is, and that there was nothing."""
    path = tmp_path / "bug.jsonl"
    with kitchen.start("--record", path) as process:
        process.wait("node_started")
        assert process.terminate() == 0
    recording = read_recording(path)
    assert (recording.header.key, recording.entries) == (kitchen.key, ())


def test_a_recording_that_is_there_is_refused(kitchen: Place, tmp_path: Path) -> None:
    """One line, status 2, before anything is started; the file stays as it is."""
    path = tmp_path / "bug.jsonl"
    path.write_text("precious")
    done = subprocess.run(
        kitchen.command("--record", path), capture_output=True, text=True, timeout=GUARD_S, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"{path}: there is such a file, and a recording never overwrites one; name another, or remove it"
    )
    assert path.read_text() == "precious"
    assert not (kitchen.folder / "data/run").exists()


def test_a_start_that_fails_leaves_no_recording(kitchen: Place, tmp_path: Path) -> None:
    """The name is free again for the next try."""
    path = tmp_path / "bug.jsonl"
    with kitchen.start() as first:
        first.wait("node_started")
        done = subprocess.run(
            kitchen.command("--record", path), capture_output=True, text=True, timeout=GUARD_S, check=False
        )
    assert done.returncode == 1
    assert f"process {first.pid}" in done.stderr.splitlines()[-1]
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files with prlimit")
def test_a_full_disk_does_not_end_the_node(kitchen: Place, garden: NodeProcess, tmp_path: Path) -> None:
    """A file may grow to 4096 bytes only: that is said, and the node goes on to link."""
    path = tmp_path / "bug.jsonl"
    strangers = [f'{{ key = "{Identity.generate().key}", address = "10.0.0.1:7100" }}' for _ in range(40)]
    text = (
        (kitchen.folder / "peernet.toml").read_text().replace("peers = [", f"peers = [{','.join(strangers)},")
    )
    (kitchen.folder / "peernet.toml").write_text(text)
    with kitchen.start("--record", path, before=("prlimit", "--fsize=4096:4096")) as process:
        process.wait("peer_connected")
        assert process.terminate() == 0
    assert f"warning: {path}: the recording ends here, and the node goes on: File too large" in kitchen.log()
    assert kitchen.log().endswith(f"{path}: the recording ends too early: File too large\n")
    assert path.stat().st_size == 4096
    assert garden.seen("node_started")
