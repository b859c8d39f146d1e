"""A full disk and a read-only one, for real: a clear message, every old file as it was, nothing left behind.

Each runs in a process with a mount namespace of its own, which takes root. What ordinary users meet instead
(limits and permissions) stands in the tests of the single files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems of its own, which takes root"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux mount namespaces"),
]

PRELUDE = """
import json, os, sys
from pathlib import Path
from peernet_core.errors import StorageError
from peernet_core.keys import PeerKey
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.storage.identity_file import load_or_create
from peernet_core.storage.sequence_file import SequenceFile
from peernet_core.storage.trust_file import TrustFile

folder = Path(sys.argv[1])
ALICE, BOB = PeerKey(b"\\x0a" * 32), PeerKey(b"\\x0b" * 32)
messages = []

def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except StorageError as error:
        messages.append(str(error))
    else:
        messages.append("no error")

def contents():
    # The lock's content is a process number, good only while that process runs.
    names = sorted({path.name for path in folder.iterdir() if path.is_file()} - {"ballast", "lock"})
    return {name: (folder / name).read_text() for name in names}

def result(before):
    print(json.dumps({"messages": messages, "before": before, "after": contents()}))
"""

FULL = """
clock = [1.75e9]
directory = DataDirectory.open(folder)
load_or_create(directory.identity_path)
trust = TrustFile(directory.trust_path)
trust.add(ALICE, "alice")
sequence = SequenceFile(directory.sequence_path, lambda: clock[0])
sequence.next()
before = contents()
with open(folder / "ballast", "wb", buffering=0) as ballast:
    try:
        while True:
            ballast.write(b"x" * 512)
    except OSError:
        pass
clock[0] += 3600
refused(trust.add, BOB)
refused(trust.remove, ALICE)
refused(sequence.next)
refused(load_or_create, folder / "other.pem")
directory.close()
with DataDirectory.open(folder):
    pass
result(before)
(folder / "ballast").unlink()
trust.add(BOB)
assert sequence.next() == int(clock[0] * 1e6)
"""

READ_ONLY = """
directory = DataDirectory.open(folder, lock=False)
key = load_or_create(directory.identity_path).key
trust = TrustFile(directory.trust_path)
assert [peer.key for peer in trust.load().peers] == [ALICE]
before = contents()
refused(DataDirectory.open, folder)
refused(trust.add, BOB)
refused(SequenceFile(directory.sequence_path).next)
refused(load_or_create, folder / "other.pem")
refused(DataDirectory.open, folder / "below")
result(before)
"""

PREPARE = """
with DataDirectory.open(folder) as directory:
    load_or_create(directory.identity_path)
    TrustFile(directory.trust_path).add(ALICE, "alice")
    SequenceFile(directory.sequence_path).next()
"""


def run_mounted(mount: str, program: str, folder: Path) -> dict[str, dict[str, str] | list[str]]:
    """Run a program where `mount` (shell; $1 is the folder) has been done, seen by nobody else."""
    command = f'set -e; {mount}; exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", str(folder), sys.executable, PRELUDE + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str] | list[str]] = json.loads(done.stdout)
    return found


def test_on_a_full_disk_nothing_is_lost(tmp_path: Path) -> None:
    """Each refusal names its file and says what to do; with room again, all goes on."""
    found = run_mounted('mount -t tmpfs -o size=64k,mode=700 tmpfs "$1"', FULL, tmp_path)
    assert found["after"] == found["before"]
    assert set(found["after"]) >= {"identity.pem", "trusted_peers", "sequence"}
    remedy = "no space is left on the device; free some and try again. Nothing was changed"
    assert found["messages"] == [
        f"{tmp_path}/{name}: {remedy}" for name in ("trusted_peers", "trusted_peers", "sequence", "other.pem")
    ]


def test_on_a_read_only_disk_what_is_there_is_read_and_the_rest_is_refused(tmp_path: Path) -> None:
    """A node cannot run there and says why; commands that only read work."""
    subprocess.run([sys.executable, "-c", PRELUDE + PREPARE, str(tmp_path)], check=True, timeout=60)
    found = run_mounted('mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"', READ_ONLY, tmp_path)
    assert found["after"] == found["before"]
    messages = found["messages"]
    assert isinstance(messages, list)
    for message, path in zip(
        messages,
        ["", "/trusted_peers.lock", "/sequence", "/other.pem", "/below"],
        strict=True,
    ):
        assert message.startswith(f"{tmp_path}{path}: ")
        assert "the file system is read-only" in message
        assert "--data-dir" in message
    assert "a node keeps its lock, its sequence numbers and known addresses here" in messages[0]
