"""`peernet run` as a process: what it prints, and every way in which it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from peernet_core.control import Answer, ask
from peernet_core.errors import NodeClosedError
from peernet_core.keys import Identity, PeerKey
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.storage.identity_file import load_or_create
from peernet_core.storage.trust_file import TrustFile
from peernet_core.testing.node_process import GUARD_S, NodeProcess

ODD_BACKEND = """
import asyncio, os, time
import attrs
from peernet_core.contract import DiscoverySpec, hookimpl

def say(event):
    os.write(1, b'{"event": "%s"}\\n' % event)

if os.environ.get("ODD_IMPORT"):
    say(b"importing")
    time.sleep(60)

@attrs.define(eq=False)
class Odd(DiscoverySpec):
    fail: str = ""
    wait: bool = False
    hang: bool = False

    @hookimpl
    async def start(self, context):
        if self.fail:
            raise OSError(self.fail)
        if self.wait:
            say(b"waiting")
            await asyncio.sleep(60)

    @hookimpl
    async def stop(self):
        if self.hang:
            say(b"hanging")
            time.sleep(60)
"""


@attrs.define
class Place:
    """A data directory with a configuration beside it."""

    folder: Path
    environ: dict[str, str] = attrs.field(factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def key(self) -> PeerKey:
        return load_or_create(self.data / "identity.pem").key

    def configure(self, discovery: str = "", *, name: str = "") -> None:
        node = f'[node]\nname = "{name}"\nlisten = ["127.0.0.1:0"]\n'
        (self.folder / "peernet.toml").write_text(node + discovery)

    def configure_peer(self, key: PeerKey, port: int) -> None:
        self.configure(f'[discovery.manual]\npeers = [{{ key = "{key}", address = "127.0.0.1:{port}" }}]\n')

    def trust(self, key: PeerKey, label: str = "") -> None:
        TrustFile(self.data / "trusted_peers").add(key, label)

    def command(self, *arguments: str) -> list[str]:
        environ = [f"{name}={value}" for name, value in self.environ.items()]
        peernet = [sys.executable, "-m", "peernet_core.cli"]
        places = ["--config", str(self.folder / "peernet.toml"), "--data-dir", str(self.data)]
        return ["env", *environ, *peernet, *places, *arguments]

    def start(self) -> NodeProcess:
        return NodeProcess(self.folder.name, self.command("run", "--json"), self.folder / "log")

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ask(self, request: Mapping[str, object]) -> Answer:
        """Ask the running node, whose control socket may come a little after its first line."""
        deadline = time.monotonic() + GUARD_S
        with DataDirectory.open(self.data, lock=False) as directory:
            while True:
                try:
                    return ask(directory.socket_path(), request)
                except NodeClosedError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return _place(tmp_path / "kitchen")


@pytest.fixture
def other(tmp_path: Path) -> Place:
    return _place(tmp_path / "garden")


def _place(folder: Path) -> Place:
    folder.mkdir()
    (folder / "data").mkdir(mode=0o700)
    made = Place(folder)
    made.configure()
    return made


@pytest.fixture
def odd_backend(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with an installed backend in it that does what no backend should."""
    site = tmp_path / "site"
    metadata = site / "odd-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "odd.py").write_text(ODD_BACKEND)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[peernet.discovery]\nodd = odd:Odd\n")
    return site


def port_of(process: NodeProcess) -> int:
    port = process.wait("node_started").fields["port"]
    assert isinstance(port, int)
    return port


def test_two_nodes_meet_and_say_so(place: Place, other: Place) -> None:
    """Each prints the promised objects in their order; commands are answered; both ends of it are clean."""
    place.configure(name="kitchen\u00e9")
    place.trust(other.key, "garden")
    other.trust(place.key, "kitchen")
    with place.start() as kitchen:
        other.configure_peer(place.key, port_of(kitchen))
        with other.start() as garden:
            kitchen.wait("peer_connected", key=str(other.key), label="garden")
            connected = garden.wait("peer_connected", label="kitchen").fields
            assert set(connected) == {"t", "event", "key", "ip", "port", "label"}
            assert (connected["ip"], connected["port"]) == ("127.0.0.1", port_of(kitchen))
            greeting = {"ask": "greet", "key": str(place.key), "text": "hello"}
            assert other.ask(greeting) == {"ok": True, "answer": "kitchen\u00e9"}
            (peer,) = _list(other.ask({"ask": "peers"})["peers"])
            assert (peer["state"], peer["label"], peer["source"]) == ("linked", "kitchen", "manual")
            status = place.ask({"ask": "status"})
            assert (status["pid"], status["port"]) == (kitchen.pid, port_of(kitchen))
            assert garden.terminate() == 0
        kitchen.wait("peer_disconnected", key=str(other.key))
        assert kitchen.terminate() == 0
    events = [line.event for line in garden.lines]
    assert events[0] == "node_started"
    assert events[-1] == "node_stopped"
    assert events.index("peer_discovered") < events.index("peer_connected")
    assert "backend_started" in events
    assert all(isinstance(line.fields["t"], float) for line in garden.lines)
    assert other.log().splitlines() == [
        f"configuration: {other.folder / 'peernet.toml'}",
        f"data directory: {other.data}",
    ]
    assert not list((place.data / "run").glob("*"))


def test_a_greeting_that_nobody_can_take(place: Place) -> None:
    """Whoever asks gets the reason; what is no key is told apart from a key that is not trusted."""
    with place.start() as process:
        process.wait("node_started")
        stranger = str(Identity.generate().key)
        refused = place.ask({"ask": "greet", "key": stranger, "text": "hello"})
        assert refused == {"ok": False, "error": f"{stranger} is not in the trust list"}
        assert "52 characters" in str(place.ask({"ask": "greet", "key": "x", "text": "hello"})["error"])
        assert '"text"' in str(place.ask({"ask": "greet", "key": stranger})["error"])


def test_a_stranger_is_let_in_by_the_line_that_drops_it(place: Place, other: Place) -> None:
    """The log line ends with the command; a prefix of the key is enough for it; the link follows."""
    other.trust(place.key)
    with other.start() as garden:
        place.configure_peer(other.key, port_of(garden))
        with running(place, "run") as process:
            line = wait_for_line(process, rb"dropped ")
            assert line.endswith(f"; peernet trust add {other.key}")
            strangers = _list(place.ask({"ask": "strangers"})["strangers"])
            assert [(each["key"], each["source"]) for each in strangers] == [(str(other.key), "manual")]
            added = subprocess.run(
                place.command("trust", "add", other.key.short, "--label", "garden"),
                capture_output=True,
                text=True,
                check=True,
            )
            assert added.stdout == f"added {other.key} (garden)\n"
            assert f"connected {other.key.short} (garden)" in wait_for_line(process, b" connected ")
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=GUARD_S)
            assert process.returncode == 0
            assert re.fullmatch(rb"[-0-9]{10} [0-9:]{8} stopped", rest.splitlines()[-1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_in_good_order(place: Place, number: signal.Signals) -> None:
    """Status 0, and the last line says that it has stopped."""
    with place.start() as process:
        process.wait("node_started")
        os.kill(process.pid, number)
        assert process.join() == 0
        assert process.lines[-1].event == "node_stopped"


def test_a_signal_while_it_starts(place: Place, odd_backend: Path) -> None:
    """Whoever changes their mind while modules are imported or backends start gets status 0 as well."""
    place.environ["PYTHONPATH"] = str(odd_backend)
    place.configure("[discovery.odd]\nwait = true\n")
    with place.start() as process:
        process.wait("waiting")
        assert process.terminate() == 0
    assert "Traceback" not in place.log()
    place.environ["ODD_IMPORT"] = "1"
    with place.start() as process:
        process.wait("importing")
        assert process.terminate() == 0
    assert "Traceback" not in place.log()


def test_a_second_ctrl_c_waits_for_nothing(place: Place, odd_backend: Path) -> None:
    """Even a backend that hangs the whole loop cannot keep the process."""
    place.environ["PYTHONPATH"] = str(odd_backend)
    place.configure("[discovery.odd]\nhang = true\n")
    with place.start() as process:
        process.wait("backend_started")
        os.kill(process.pid, signal.SIGINT)
        process.wait("hanging")
        os.kill(process.pid, signal.SIGINT)
        assert process.join() == 1


def test_a_required_backend_that_fails(place: Place, odd_backend: Path) -> None:
    """Status 1; each reason is a line that names the table; what had started is stopped."""
    place.environ["PYTHONPATH"] = str(odd_backend)
    place.configure(
        '[discovery.one]\nbackend = "odd"\nfail = "no radio"\n'
        '[discovery.two]\nbackend = "odd"\nfail = "no \\u001b[31mluck"\n'
    )
    done = subprocess.run(
        place.command("run", "--json"), capture_output=True, text=True, timeout=GUARD_S, check=False
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()[-2:]
    assert any(line.startswith("[discovery.one]") and "no radio" in line for line in lines)
    assert any(line.startswith("[discovery.two]") and r"\x1b[31mluck" in line for line in lines)
    assert "Traceback" not in done.stderr


def test_the_directory_of_a_running_node_is_refused(place: Place) -> None:
    """A second node on it fails with one line that names the first, which goes on."""
    with place.start() as first:
        first.wait("node_started")
        done = subprocess.run(
            place.command("run"), capture_output=True, text=True, timeout=GUARD_S, check=False
        )
        assert done.returncode == 1
        assert f"process {first.pid}" in done.stderr.splitlines()[-1]
        assert place.ask({"ask": "status"})["pid"] == first.pid


def test_without_a_backend_it_only_waits(place: Place) -> None:
    """A configuration that names none is allowed; one line says what that means."""
    with place.start() as process:
        process.wait("node_started")
        (line,) = [line for line in place.log().splitlines() if "no discovery backend" in line]
        assert "[discovery.mdns]" in line


def test_without_configuration_and_mdns_it_says_what_to_install(tmp_path: Path) -> None:
    """One line, status 2."""
    code = """\
from peernet_core.configuration.entrypoints import BackendIndex
BackendIndex.scan = BackendIndex
from peernet_core.cli import main
main()
"""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, "run"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install peernet-mdns" in done.stderr


def test_a_closed_pipe_ends_it(place: Place) -> None:
    """`run --json | head -1`: when the reader has gone the node goes too, without waiting for an event."""
    with running(place, "run", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "node_started"
        process.stdout.close()
        assert process.wait(GUARD_S) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_output_that_was_never_open(place: Place) -> None:
    """With `>&- 2>&-` there is nowhere to write, and the node runs and stops all the same."""
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *place.command("run")]
    with subprocess.Popen(command) as process:
        try:
            assert place.ask({"ask": "status"})["pid"] == process.pid
            process.terminate()
            assert process.wait(GUARD_S) == 0
        finally:
            process.kill()


def test_a_stalled_reader_stalls_nothing(place: Place, other: Place) -> None:
    """With nobody reading the node links and answers; what was missed comes when the reader goes on."""
    place.trust(other.key)
    other.trust(place.key)
    reader, writer = os.pipe()
    _fill(writer)
    with place.start() as kitchen:
        other.configure_peer(place.key, port_of(kitchen))
        with subprocess.Popen(
            other.command("run", "--json"), stdout=writer, stderr=subprocess.PIPE
        ) as garden:
            try:
                os.close(writer)
                kitchen.wait("peer_connected")
                assert other.ask({"ask": "status"})["pid"]
                with os.fdopen(reader, "rb") as lines:
                    heard = (json.loads(line)["event"] for line in lines if line.startswith(b"{"))
                    assert "peer_connected" in heard
                    assert garden.poll() is None
            finally:
                garden.kill()


def test_a_stalled_reader_does_not_delay_the_end(place: Place) -> None:
    """SIGTERM ends a node whose output nobody takes."""
    reader, writer = os.pipe()
    _fill(writer)
    with subprocess.Popen(place.command("run", "--json"), stdout=writer, stderr=subprocess.PIPE) as process:
        try:
            os.close(writer)
            assert place.ask({"ask": "status"})["pid"]
            process.terminate()
            assert process.wait(GUARD_S) == 0
        finally:
            process.kill()
            os.close(reader)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_descriptor_limit_is_raised(place: Place) -> None:
    """The soft limit becomes the hard one, so that strangers cannot use up a small one."""
    command = ["prlimit", "--nofile=256:4096", *place.command("run", "--json")]
    with NodeProcess("kitchen", command, place.folder / "log") as process:
        process.wait("node_started")
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"Max open files +4096 +4096", limits)


def test_on_a_terminal_there_is_a_table(place: Place) -> None:
    """Peers are rows, labels are harmless, the log passes above; Ctrl-C wipes the table and ends with 0."""
    garden = Identity.generate().key
    place.trust(garden, "garden")
    with on_terminal(place) as (process, terminal):
        shown = read_until(terminal, b"unseen")
        assert str(place.key).encode() in shown
        assert b"started" in shown
        row = next(line for line in shown.split(b"\n") if b"unseen" in line)
        assert garden.short.encode() in row
        assert b"garden" in row
        os.write(terminal, b"\x03")
        read_until(terminal, b"stopped")
        assert process.wait(GUARD_S) == 0


def test_a_held_terminal_holds_nothing_else(place: Place) -> None:
    """After Ctrl-S the node answers, and stops although its last line cannot be shown."""
    with on_terminal(place) as (process, terminal):
        read_until(terminal, b"started")
        os.write(terminal, b"\x13")
        assert place.ask({"ask": "status"})["pid"] == process.pid
        process.terminate()
        assert process.wait(GUARD_S) == 0


@contextmanager
def running(place: Place, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = place.command(*arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def on_terminal(place: Place) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process has a terminal of its own, 24 lines of 100 characters."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    place.environ["TERM"] = "xterm"
    command = ["setsid", "--ctty", *place.command("run")] if sys.platform == "linux" else place.command("run")
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        try:
            os.close(theirs)
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read_until(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        shown += os.read(terminal, 4096)
    return shown


def wait_for_line(process: subprocess.Popen[bytes], wanted: bytes) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if re.search(wanted, line)).decode().rstrip("\n")


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    try:
        while True:
            os.write(pipe, b"\n" * 512)
    except BlockingIOError:
        os.set_blocking(pipe, True)


def _list(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value
