"""Other people's programs on a laboratory's hosts, beside a node that uses the mDNS backend.

`.ci/interop FOLDER` fetches the programs; ``PEERNET_INTEROP=FOLDER`` says where they are. Without it, or
without root, these tests skip and say why; with ``PEERNET_REQUIRE_INTEROP=1`` such a skip is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self, TypeVar

import attrs
import pytest

from peernet_core.keys import Identity, PeerKey
from peernet_core.records import Record, decode_record, encode_record
from peernet_core.testing.lab import (
    PORT,
    GuardExpiredError,
    Host,
    Laboratory,
    NodeProcess,
    eventually,
    why_not,
)

_T = TypeVar("_T")

SOURCE: Final = "lan"
FOREIGN_PORT: Final = 7400
GOODBYE_S: Final = 4.0
"""Within this, whoever has said goodbye is gone; questions that nobody answers fit in."""

_PATIENCE_S: Final = 15.0
_BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""


def _why_not() -> str | None:
    if not os.environ.get("PEERNET_INTEROP"):
        return "PEERNET_INTEROP names no folder; .ci/interop fills one"
    if not _folder().joinpath("node_modules").is_dir():
        return f"{_folder()} has not been filled by .ci/interop"
    if missing := [tool for tool in ("node", "unshare") if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    return why_not()


def _folder() -> Path:
    return Path(os.environ["PEERNET_INTEROP"]).absolute()


@attrs.frozen
class ForeignPeer:
    """A key whose record another program is to publish; no node of it runs."""

    key: PeerKey
    record: bytes

    @property
    def alias(self) -> str:
        """The label of its instance."""
        return self.key.alias

    @property
    def txt(self) -> tuple[bytes, bytes]:
        """The strings of its TXT record."""
        return b"txtvers=1", b"record=" + self.record

    @classmethod
    def make(cls, *, but: bytes = b"") -> Self:
        """Make a key and sign a record without addresses: its peer is where it is heard.

        Args:
            but: Bytes that the record must not hold, for a program that cannot publish them.
        """
        while True:
            identity = Identity.generate()
            record = encode_record(Record(identity.key, 1, FOREIGN_PORT), identity)
            if not set(but) & set(record):
                return cls(identity.key, record)


@attrs.frozen
class Published:
    """A running node that publishes itself."""

    host: Host
    key: PeerKey
    process: NodeProcess
    programs: Programs

    @property
    def alias(self) -> str:
        """The label of its instance."""
        return self.key.alias

    @property
    def port(self) -> int:
        """Where it listens."""
        return PORT

    def check_txt(self, strings: Iterable[bytes]) -> None:
        """Check that these are the strings of its TXT record: a signature fits no other bytes."""
        found = list(strings)
        assert [string[:7] for string in found] == [b"txtvers", b"record="], found
        assert found[0] == b"txtvers=1"
        signed = decode_record(found[1].removeprefix(b"record="))
        signed.verify()
        assert (signed.record.key, signed.record.port) == (self.key, self.port)

    def check_addresses(self, addresses: Iterable[str], *, every: bool = True) -> None:
        """Check that these are its addresses, and none that the host has not.

        Args:
            addresses: With or without a zone.
            every: Whether all have to be there, or one of each family.
        """
        found = {ip_address(text.partition("%")[0]) for text in addresses}
        assert found <= {self.host.ipv4, self.host.ipv6, self.host.link_local}, found
        assert {ip.version for ip in found} == {4, 6}, found
        assert not every or {self.host.ipv4, self.host.ipv6} <= found, found

    def check_discovery(self, trusted: ForeignPeer, stranger: ForeignPeer, ip: str) -> int:
        """Wait until it has discovered the one there and dropped the other; return how many lines it printed.

        A stranger is told of once, with the address of whatever packet came first.
        """
        self.wait("peer_discovered", key=str(trusted.key), ip=ip, port=FOREIGN_PORT, source=SOURCE)
        self.wait("peer_dropped", key=str(stranger.key), port=FOREIGN_PORT, source=SOURCE)
        assert not self.process.seen("peer_lost"), self.programs.report()
        return self.process.mark()

    def check_loss(self, trusted: ForeignPeer, *, since: int) -> None:
        """Wait until it has lost that peer."""
        self.wait("peer_lost", guard_s=GOODBYE_S, since=since, key=str(trusted.key))

    def wait(self, event: str, *, guard_s: float = _PATIENCE_S, since: int = 0, **fields: object) -> None:
        """Wait until it prints such a line; a failure shows what all programs printed."""
        try:
            self.process.wait(event, since=since, guard_s=guard_s, **fields)
        except GuardExpiredError:
            raise GuardExpiredError(f"us: no {event} {fields}\n{self.programs.report()}") from None

    def stop(self) -> None:
        """Stop it as a user would: it says goodbye."""
        assert self.process.terminate() == 0, self.process.report()


class Programs:
    """Starts other people's programs; all have ended after `close`."""

    foreign_port = FOREIGN_PORT
    foreign_peer = staticmethod(ForeignPeer.make)

    def __init__(self, lab: Laboratory) -> None:
        self.lab = lab
        self.folder = lab.folder / "programs"
        self.folder.mkdir()
        self._closing = ExitStack()
        self._started: list[NodeProcess] = []
        self._last_answer = b""

    def publish(self, name: str, *, trust: Iterable[ForeignPeer] = ()) -> Published:
        """Start a node with the mDNS backend alone on a new host, and return at once."""
        node = self.lab.node(name)
        node.trusted_peers.write_text("".join(f"{peer.key}\n" for peer in trust), encoding="utf-8")
        node.config.write_text(
            f'[node]\nname = "{name}"\nlisten = ["0.0.0.0:{PORT}", "[::]:{PORT}"]\n'
            f'[discovery.{SOURCE}]\nbackend = "mdns"\n',
            encoding="utf-8",
        )
        return Published(node.host, node.key, self._keep(node.start()), self)

    def start(self, host: Host, *command: str, variables: Mapping[str, str] | None = None) -> NodeProcess:
        """Start a program there; what it prints is in its report."""
        log = self.folder / f"{len(self._started)}.log"
        argv = host.command(*_environment(variables), *command)
        return self._keep(NodeProcess(f"{Path(command[0]).name} on {host.name}", argv, log))

    def daemon(self, host: Host, *command: str, variables: Mapping[str, str]) -> NodeProcess:
        """Start a daemon that has `/run` for itself, and for whom its user is root: it dies with the test.

        One that changed its user would outlive a test run that is killed.
        """
        users = ("avahi", "systemd-resolve")
        for name, line in (("passwd", "{}:x:0:0::/:/bin/false\n"), ("group", "{}:x:0:\n")):
            own = "".join(line.format(user) for user in users)
            (self.folder / name).write_text(own + Path("/etc", name).read_text("utf-8"), "utf-8")
        script = (
            f"mount -t tmpfs tmpfs /run && mount --bind {self.folder}/passwd /etc/passwd && "
            f'mount --bind {self.folder}/group /etc/group && exec "$@"'
        )
        return self.start(host, "unshare", "--mount", "sh", "-c", script, "sh", *command, variables=variables)

    def query(self, host: Host, *command: str, variables: Mapping[str, str] | None = None) -> bytes | None:
        """Run a program there to its end and return what it printed; None if it failed."""
        argv = host.command(*_environment(variables), *command)
        try:
            done = subprocess.run(argv, capture_output=True, check=False, timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired as expired:
            self._last_answer = expired.output or b""
            return None
        self._last_answer = done.stdout + done.stderr
        return done.stdout if done.returncode == 0 else None

    def javascript(self, host: Host, script: str, peers: Iterable[ForeignPeer] = ()) -> NodeProcess:
        """Start one of the scripts beside this file; it publishes these peers."""
        services = [
            {"name": peer.alias, "port": FOREIGN_PORT, "txt": [b64encode(each).decode() for each in peer.txt]}
            for peer in peers
        ]
        arguments = [str(Path(__file__).with_name(script)), "peernet", json.dumps(services)]
        return self.start(host, "node", *arguments, variables={"NODE_PATH": f"{_folder()}/node_modules"})

    def bus(self, host: Host) -> dict[str, str]:
        """Start a D-Bus daemon and return the variables by which programs find it."""
        socket = self.folder / f"{host.name}.bus"
        config = self.folder / f"{host.name}.bus.xml"
        config.write_text(_BUS.format(socket=socket), encoding="utf-8")
        self.start(host, self.path("usr/bin/dbus-daemon"), "--nofork", f"--config-file={config}")
        self.until(socket.exists, "the D-Bus daemon listens")
        return {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={socket}"}

    def accept(self, host: Host) -> None:
        """Let connections to the peers of that host begin, and nothing follow.

        A peer that refuses them is asked for again and again, and so it is lost without a goodbye, too.
        """
        self._closing.callback(host.listen(port=FOREIGN_PORT).close)

    def path(self, program: str) -> str:
        """Where it is: unpacked, or installed."""
        unpacked = _folder() / "unpacked"
        found = (path for path in (unpacked / program, unpacked / "usr" / program) if path.exists())
        return str(next(found, Path("/", program)))

    def until(self, condition: Callable[[], _T | None], what: str, *, guard_s: float = _PATIENCE_S) -> _T:
        """Poll until `condition` returns something true, and return it; a failure shows what all printed."""
        try:
            return eventually(condition, what, guard_s=guard_s)
        except GuardExpiredError as error:
            raise GuardExpiredError(f"{error}\n{self.report()}") from None

    def report(self) -> str:
        """Everything that every program printed."""
        reports = [process.report() for process in self._started]
        return "\n".join([*reports, "--- the last look-up printed:", ascii(self._last_answer)])

    def close(self) -> None:
        """Kill what still runs."""
        self._closing.close()

    def _keep(self, process: NodeProcess) -> NodeProcess:
        self._closing.callback(process.kill)
        self._started.append(process)
        return process


def _environment(variables: Mapping[str, str] | None) -> list[str]:
    unpacked = _folder() / "unpacked"
    libraries = sorted({path.parent for path in unpacked.glob("**/*.so*")})
    found = {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), **(variables or {})}
    return ["env", *(f"{name}={value}" for name, value in found.items())]


@pytest.fixture(scope="session")
def programs_work() -> None:
    reason = _why_not()
    if reason is None:
        return
    if os.environ.get("PEERNET_REQUIRE_INTEROP") == "1":
        pytest.fail(f"PEERNET_REQUIRE_INTEROP is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture
def programs(programs_work: None) -> Iterator[Programs]:  # noqa: ARG001 - asked for its skip
    with Laboratory() as lab:
        programs = Programs(lab)
        try:
            yield programs
        finally:
            programs.close()
            print(programs.report())  # noqa: T201 - pytest shows it when the test has failed


@pytest.fixture
def foreign() -> tuple[ForeignPeer, ForeignPeer]:
    """One to be trusted, and a stranger."""
    return ForeignPeer.make(), ForeignPeer.make()
