"""`peernet demo`: two real processes meet, and nothing of them stays, however it ends."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peernet_core.addresses import NetworkSnapshot
from peernet_core.cli import demo
from peernet_core.cli.app import invoke
from peernet_core.cli.demo_node import DemoNode
from peernet_core.cli.timeline import Step, Timeline
from peernet_core.configuration.entrypoints import BackendIndex
from peernet_core.testing.node_process import GUARD_S

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the demo leaves behind would be here; variables of the user's own must not matter to it."""
    folder = Path(tempfile.mkdtemp(prefix="pn"))  # tmp_path is too long for a control socket
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("PEERNET_CONFIG", str(tmp_path / "no.toml"))
    monkeypatch.setenv("PEERNET_DATA_DIR", str(tmp_path / "no"))
    yield folder
    shutil.rmtree(folder)


def run_instead(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo's processes run some other code."""
    monkeypatch.setattr(DemoNode, "_command", lambda _: [sys.executable, "-c", code])


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Wait until there are two, and return them."""
    deadline = time.monotonic() + GUARD_S
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(found := path.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(each) for each in found]


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start_demo() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "peernet_core.cli", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_both_sides_link_and_greet(temporary: Path) -> None:
    """Status 0; every step has its time on both sides, in order; each was answered with the other's name."""
    with start_demo() as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    text = out.decode()
    table = re.findall(r"^([a-z ]+?) +(\d+) ms +(\d+) ms$", text, re.MULTILINE)
    assert [row[0] for row in table] == [step.value for step in Step]
    for side in (1, 2):
        times = [int(row[side]) for row in table]
        assert times == sorted(times)
    assert 'kitchen greeted garden, which answered "garden"' in text
    assert 'garden greeted kitchen, which answered "kitchen"' in text
    assert not list(temporary.iterdir())


@linux_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cleans_up(temporary: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM in the middle: status 1, both processes ended, no file left, no traceback."""
    with start_demo() as process:
        children = children_of(process)
        process.send_signal(number)
        _, err = process.communicate(timeout=GUARD_S)
    assert process.returncode == 1
    assert err.decode() == "interrupted; both nodes are stopped\n"
    assert all(has_ended(pid) for pid in children)
    assert not list(temporary.iterdir())


@linux_only
def test_even_a_killed_demo_leaves_no_process() -> None:
    """Its nodes notice that nobody reads them any more."""
    with start_demo() as process:
        children = children_of(process)
        process.kill()
    wait_for(lambda: all(has_ended(pid) for pid in children))


def test_a_node_that_dies_is_the_reason(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1, with the last that it said, made harmless, and the timeline as far as it got."""
    code = "import sys; sys.stderr.write('1\\n2\\n3\\n4\\n5\\nno \\x1b luck\\n'); sys.exit(3)"
    run_instead(code, monkeypatch)
    assert invoke(["demo"]) == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert re.fullmatch("(kitchen|garden) ended with status 3:", lines[0])
    assert lines[1:] == ["  2", "  3", "  4", "  5", r"  no \x1b luck"]
    assert re.search(r"^connected +- +-$", said.out, re.MULTILINE)
    assert not list(temporary.iterdir())


def test_no_link_in_time_is_the_reason(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1, with what each side last ran into; both processes are ended."""
    code = """\
import json, time
trouble = {"t": time.time(), "event": "peer_unreachable", "ip": "127.0.0.1", "port": 7, "reason": "refused"}
print(json.dumps(trouble), flush=True)
time.sleep(600)
"""
    run_instead(code, monkeypatch)
    monkeypatch.setattr(demo, "LINK_WITHIN_S", 1.0)
    assert invoke(["demo"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "no link within 1 s:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["kitchen", "garden"]
    assert not list(temporary.iterdir())


def test_a_node_that_does_not_stop_is_killed(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ignores SIGTERM, and prints what no node prints, is not waited for for ever."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('[]'); time.sleep(600)"
    run_instead(code, monkeypatch)
    monkeypatch.setattr(demo, "LINK_WITHIN_S", 0.5)
    monkeypatch.setattr("peernet_core.cli.demo_node._STOP_S", 0.1)
    assert invoke(["demo"]) == 1
    assert "no link within" in capsys.readouterr().err
    assert not list(temporary.iterdir())


def test_without_its_backend_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, status 2, and nothing is started."""
    monkeypatch.setattr(BackendIndex, "scan", BackendIndex)
    assert invoke(["demo"]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    assert "pip install peernet-mdns" in said.err


def test_without_a_loopback_interface_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, status 1, and nothing is started."""
    monkeypatch.setattr(demo, "read_network", NetworkSnapshot)
    assert invoke(["demo"]) == 1
    said = capsys.readouterr()
    assert not said.out
    assert said.err == "this machine has no loopback interface that is up, so the two nodes cannot meet\n"


def test_the_timeline_counts_first_times_from_the_start() -> None:
    """Later marks of a step change nothing; what was not reached is a dash; no time is negative."""
    timeline = Timeline(("kitchen", "garden"), start=100.0)
    timeline.mark("kitchen", Step.STARTED, 99.9)
    timeline.mark("kitchen", Step.LISTENING, 100.25)
    timeline.mark("kitchen", Step.LISTENING, 107.0)
    timeline.mark("garden", Step.LISTENING, 112.3456)
    lines = timeline.lines()
    assert [line.split() for line in lines[:3]] == [
        ["kitchen", "garden"],
        ["process", "started", "0", "ms", "-"],
        ["listening", "250", "ms", "12346", "ms"],
    ]
    assert len({len(line) for line in lines}) == 1
