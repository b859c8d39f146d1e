"""`kill -9` at every step of writing a file: afterwards it is the old one or the new one, and all goes on.

Each operation runs in a child process, again and again; the k-th time, the child is killed before the k-th
line that it would run in `peernet_core.storage` or in what changes a disk in `pathlib`, and, where it writes
bytes, after half of them. So no list of system calls can be incomplete. What a lost power supply does beyond
that is fsync's business, not seen here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")

PRELUDE = """
import json, os, pathlib, signal, sys
from pathlib import Path
import peernet_core.storage
from peernet_core.addresses import Address
from peernet_core.keys import PeerKey
from peernet_core.storage.identity_file import load, load_or_create
from peernet_core.storage.known_addresses_file import KnownAddressesFile
from peernet_core.storage.sequence_file import SequenceFile
from peernet_core.storage.trust_file import TrustFile

ALICE, BOB = PeerKey(bytes([10]) * 32), PeerKey(bytes([11]) * 32)
HERE, THERE = Address.parse("10.0.0.1:7100", source="lan"), Address.parse("10.0.0.2:7100", source="lan")
STORAGE = os.path.dirname(peernet_core.storage.__file__)
PATHLIB = os.path.splitext(pathlib.__file__)[0]
ON_DISK = {"hardlink_to", "open", "rename", "replace", "touch", "unlink", "write_bytes", "write_text"}
MOST = 2000


def read(path):
    return path.read_bytes() if path.exists() else None


def die_at(step):
    left = [step]

    def count():
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def trace(frame, event, argument):
        code = frame.f_code
        writes = code.co_filename.startswith(PATHLIB) and code.co_name in ON_DISK
        if event == "line" and (writes or code.co_filename.startswith(STORAGE)):
            count()
        return trace

    class Halting:
        # A file that can die in the middle of a write.
        def __init__(self, descriptor, mode):
            self._descriptor = descriptor

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self._descriptor)

        def write(self, data):
            os.write(self._descriptor, data[: len(data) // 2])
            count()
            os.write(self._descriptor, data[len(data) // 2 :])

        def flush(self):
            pass

    os.fdopen = Halting
    sys.settrace(trace)


def killed_at_every_step(folder, prepare, operate, check):
    seen = {"old": 0, "new": 0, "kills": 0}
    for step in range(1, MOST):
        below = folder / str(step)
        below.mkdir()
        path, old = prepare(below)
        child = os.fork()
        if not child:
            die_at(step)
            operate(below)
            sys.settrace(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, status
            assert read(path) != old
            return print(json.dumps(seen))
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        seen["kills"] += 1
        is_old = read(path) == old
        seen["old" if is_old else "new"] += 1
        check(below, is_old)
    raise AssertionError(f"not done after {MOST} steps")
"""

OPERATIONS = {
    "the first identity": """
def prepare(folder):
    return folder / "identity.pem", None

def operate(folder):
    load_or_create(folder / "identity.pem")

def check(folder, is_old):
    path = folder / "identity.pem"
    if is_old:
        assert not path.exists()
        load_or_create(path)
    assert load(path).key == load_or_create(path).key
""",
    "a trusted peer added": """
def prepare(folder):
    path = folder / "trusted_peers"
    TrustFile(path).add(ALICE, "alice")
    path.write_text("# by hand" + chr(10) + path.read_text())
    return path, read(path)

def operate(folder):
    TrustFile(folder / "trusted_peers").add(BOB, "bob")

def check(folder, is_old):
    file = TrustFile(folder / "trusted_peers")
    assert [peer.key for peer in file.load().peers] == [ALICE] + [BOB] * (not is_old)
    assert file.add(BOB, "bob") == is_old
    assert file.path.read_text().startswith("# by hand")
    assert [peer.key for peer in file.load().peers] == [ALICE, BOB]
""",
    "a trusted peer removed": """
def prepare(folder):
    file = TrustFile(folder / "trusted_peers")
    file.add(ALICE, "alice")
    file.add(BOB, "bob")
    return file.path, read(file.path)

def operate(folder):
    TrustFile(folder / "trusted_peers").remove(ALICE)

def check(folder, is_old):
    file = TrustFile(folder / "trusted_peers")
    assert [peer.key for peer in file.load().peers] == [ALICE] * is_old + [BOB]
    assert file.remove(ALICE) == is_old
    assert [peer.key for peer in file.load().peers] == [BOB]
""",
    "known addresses saved": """
def prepare(folder):
    known = KnownAddressesFile(folder / "known_addresses")
    known.note(ALICE, HERE, worked_at=1_000_000)
    known.save()
    return folder / "known_addresses", read(folder / "known_addresses")

def operate(folder):
    known = KnownAddressesFile(folder / "known_addresses")
    known.load()
    known.note(BOB, THERE, worked_at=2_000_000)
    known.save()

def check(folder, is_old):
    known = KnownAddressesFile(folder / "known_addresses")
    known.load()
    assert [each.key for each in known.places()] == [ALICE] + [BOB] * (not is_old)
    operate(folder)
    known.load()
    assert {each.key for each in known.places()} == {ALICE, BOB}
""",
    "sequence numbers reserved": """
def prepare(folder):
    path = folder / "sequence"
    given = SequenceFile(path, lambda: 1e9).next()
    assert given < int(path.read_text())
    return path, read(path)

def operate(folder):
    SequenceFile(folder / "sequence", lambda: 2e9).next()

def check(folder, is_old):
    path = folder / "sequence"
    reserved = int(path.read_text())
    # This machine's clock went back in the meantime.
    assert SequenceFile(path, lambda: 0.0).next() == reserved + 1
    assert int(path.read_text()) > reserved
""",
}


@attrs.frozen
class Seen:
    """How often the child was killed, and after how many of those the file was still the old one."""

    old: int
    new: int
    kills: int


def killed_at_every_step(operation: str, folder: Path) -> Seen:
    """Run it in a process of its own: a fork of the tests' would have their threads and their tracing."""
    program = (
        PRELUDE + OPERATIONS[operation] + "\nkilled_at_every_step(Path(sys.argv[1]), prepare, operate, check)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return Seen(**json.loads(done.stdout))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_any_step_of_a_write_the_file_is_the_old_one_or_the_new_one(
    operation: str, tmp_path: Path
) -> None:
    """And whoever opens it next can go on."""
    seen = killed_at_every_step(operation, tmp_path)
    assert seen.kills == seen.old + seen.new
    assert seen.kills > 10
    assert seen.old, "it was never killed before the file was replaced"
    assert seen.new, "it was never killed after the file was replaced"
