"""A process is heard: what it said, when, and that it has ended."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from benchmarks.mdns.bench import WaitedInVainError
from benchmarks.scoreboard.accounting import ProcessorTime, children, pss_kib, tree
from benchmarks.scoreboard.pairs import Pair, without_paths
from benchmarks.scoreboard.programs.syncthing_announcer import encode_announcement
from benchmarks.scoreboard.spoken import parse_spoken
from benchmarks.scoreboard.watched import Happening, Watched

if TYPE_CHECKING:
    from benchmarks.scoreboard.contender import Contender, Site

GUARD_S = 20.0


class Named(NamedTuple):
    """A site of which nothing but its key is asked."""

    key: str


@pytest.fixture
def anyio_backend() -> str:
    """Real time: these are processes."""
    return "asyncio"


def said(*events: tuple[str, str, float]) -> str:
    lines = [json.dumps({"event": event, "peer": peer, "at": at}) for event, peer, at in events]
    return f"print({chr(10).join(lines)!r}, flush=True)"


def test_a_link_is_the_last_that_was_made(tmp_path: Path) -> None:
    """One that was made and lost again is none; the one made after that has its own time."""
    program = said(("linked", "a", 1.0), ("linked", "b", 2.0), ("lost", "a", 3.0), ("linked", "a", 4.0))
    program += (
        f"\nprint('what is no line of ours', flush=True)\n{said(('lost', 'b', 5.0), ('ready', '', 6.0))}"
    )
    with Watched([sys.executable, "-c", program], parse_spoken, tmp_path / "log").begin() as process:
        assert process.wait("ready", timeout_s=GUARD_S) == 6.0
        assert process.wait("linked", "a", timeout_s=GUARD_S) == 1.0
        assert process.wait("linked", "a", since=1, timeout_s=GUARD_S) == 4.0
        assert (process.last_linked("a"), process.last_linked("b")) == (4.0, None)
        assert process.linked() == {"a"}


def test_the_processor_time_of_a_start_is_its_own_and_its_childrens(tmp_path: Path) -> None:
    """From when the program is executed: not that of its way there, nor what it took to say so."""
    burn = "import time\nwhile time.process_time() < {}: pass\n"
    way = burn.format(0.5) + "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    child = burn.format(0.1) + "print(flush=True); time.sleep(60)"
    program = (
        f"import subprocess, sys\n{said(('started', '', 1.0))}\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        f"child.stdout.readline()\n{said(('linked', 'a', 2.0), ('ready', '', 3.0))}\nchild.wait()"
    )
    within = [sys.executable, "-c", way]
    watched = Watched(
        [sys.executable, "-c", program], parse_spoken, tmp_path / "log", within=within, wrapped=True
    )
    with watched.begin() as process:
        process.wait("ready", timeout_s=GUARD_S)
        before = process.busy_ms("started")
        assert 0.0 < before < 500.0
        assert process.busy_ms("linked", "a") - before >= 100.0
        assert process.busy_ms("linked", "b") == 0.0
        comes = Pair(
            cast("Contender", None), cast("Site", Named("a")), cast("Site", Named("b")), coming=process
        )
        assert comes.busy_ms() == process.busy_ms("linked", "a")
        assert comes.busy_ms("started") == process.busy_ms("linked", "a") - before


def test_what_does_not_come_is_not_waited_for_in_a_dead_process(tmp_path: Path) -> None:
    """The error shows what it said and logged."""
    program = "import sys; print('the last words'); sys.exit('the log')"
    with Watched([sys.executable, "-c", program], parse_spoken, tmp_path / "log").begin() as process:
        began = time.monotonic()
        with pytest.raises(WaitedInVainError, match=r"no 'linked k'(.|\n)*the last words\nthe log"):
            process.wait("linked", "k", timeout_s=10 * GUARD_S)
        assert time.monotonic() - began < GUARD_S


def test_the_clock_begins_when_the_program_is_executed(tmp_path: Path) -> None:
    """What gets it there has run by then, and the program has not."""
    way = "import os, sys, time; now = str(time.monotonic())"
    way += "; os.execvpe(sys.argv[1], sys.argv[1:], {'WAY': now})"
    program = f"import os, time; print(os.environ['WAY'], time.monotonic()); {said(('ready', '', 1.0))}"
    read: list[str] = []

    def parse(line: str) -> Happening | None:
        read.append(line)
        return parse_spoken(line)

    within = [sys.executable, "-c", way]
    with Watched([sys.executable, "-c", program], parse, tmp_path / "log", within=within) as process:
        process.begin().wait("ready", timeout_s=GUARD_S)
    on_the_way, running = map(float, read[0].split())
    assert on_the_way < process.began < running


def test_what_cannot_be_executed_is_told(tmp_path: Path) -> None:
    """Also when it never got as far as that; killing what never began is nothing special."""
    with (
        Watched(["/no/such/program"], parse_spoken, tmp_path / "log").begin() as process,
        pytest.raises(WaitedInVainError, match="/no/such/program"),
    ):
        process.wait("ready", timeout_s=GUARD_S)
    with (
        Watched(["true"], parse_spoken, tmp_path / "log", within=["false"]) as process,
        pytest.raises(WaitedInVainError, match="could not be started"),
    ):
        process.begin()
    with Watched(["true"], parse_spoken, tmp_path / "log") as process:
        assert process.process.poll() is None
    assert process.process.poll() is not None


@pytest.mark.skipif(sys.platform != "linux", reason="what processes take is read from /proc")
def test_a_wrapped_program_ends_with_its_wrapper(tmp_path: Path) -> None:
    """Killing means both, and what a process takes counts for all that it has started."""
    waiting = f"{said(('ready', '', 1.0))};input()"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waiting!r}])"
    with Watched(
        [sys.executable, "-c", inner], parse_spoken, tmp_path / "log", wrapped=True
    ).begin() as process:
        process.wait("ready", timeout_s=GUARD_S)
        (child,) = children(process.pid)
        pids = tree([process.pid])
        assert pids == [process.pid, child]
        assert pss_kib(pids) > pss_kib([child]) > 0
        assert ProcessorTime(pids).taken_ms() >= 0
    assert not Path(f"/proc/{child}").exists()


def test_errors_do_not_tell_where_this_machine_keeps_what() -> None:
    """They end up on a page that others read."""
    here = Path(__file__).parents[2]
    assert (
        without_paths(f'File "{here}/benchmarks/x.py", in {sys.prefix}/lib')
        == 'File "benchmarks/x.py", in lib'
    )


def test_an_announcement_of_syncthing() -> None:
    """The magic number of version 4, then id, addresses and instance id as protocol buffers have them."""
    expected = "2ea7d90b0a0201ff120b" + b"tcp://:2200".hex() + "18ac02"
    assert encode_announcement(b"\x01\xff", "tcp://:2200", 300).hex() == expected
