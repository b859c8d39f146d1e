"""A laboratory: hosts as network namespaces on one bridge, with real `peernet` processes in them.

Every host has IPv4, IPv6 and link-local addresses on ``eth0``; packets between hosts are real. Needs Linux,
root, iproute2 and nftables; `why_not` says what is missing.
Whatever was made is gone after `Laboratory.close`, processes included, and what a killed test run left
behind is removed by the next laboratory.

    with Laboratory() as lab:
        kitchen, attic = lab.node("kitchen"), lab.node("attic")
        kitchen.configure(trust=[attic], peers={attic: str(attic.host.ipv4)})
        attic.configure(trust=[kitchen])
        with attic.start(), kitchen.start() as process:
            process.wait("peer_connected", key=str(attic.key))
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, Self, TypeVar

from peernet_core.keys import Identity, PeerKey
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.testing.node_process import GUARD_S, GuardExpiredError, NodeProcess

__all__ = [
    "INTERFACE",
    "PORT",
    "GuardExpiredError",
    "Host",
    "LabNode",
    "Laboratory",
    "LaboratoryError",
    "NodeProcess",
    "eventually",
    "why_not",
]

INTERFACE: Final = "eth0"
PORT: Final = 7100
"""Where every node of a laboratory listens, unless it is configured otherwise."""

_CLONE_NEWNET: Final = 0x40000000
_PREFIX: Final = "peernetlab"
_counter = itertools.count()
_T = TypeVar("_T")


class LaboratoryError(Exception):
    """The laboratory itself failed: a tool is missing, or refused what it was asked."""


def why_not() -> str | None:
    """Say why no laboratory can be made here, or return None."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [tool for tool in ("ip", "nft", "setpriv", "prlimit") if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)} (Debian: iproute2, nftables, util-linux)"
    name = f"{_PREFIX}-{os.getpid()}-probe"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "netns", "del", name)
    except LaboratoryError as error:
        return f"network namespaces cannot be made here: {error}"
    return None


def eventually(condition: Callable[[], _T | None], what: str, *, guard_s: float = GUARD_S) -> _T:
    """Poll until `condition` returns something true, and return that.

    For states of the kernel that announce nothing; to wait for a node, use `NodeProcess.wait`.

    Raises:
        GuardExpiredError: it stayed false for `guard_s` seconds.
    """
    deadline = time.monotonic() + guard_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise GuardExpiredError(f"not within {guard_s:g} s: {what}; last seen: {value!r}")
        time.sleep(0.02)
    return value


def _run(*command: str, script: str | None = None) -> str:
    """Run one of the system's network tools to its end."""
    try:
        done = subprocess.run(  # noqa: S603 - the commands are this module's own
            command, input=script, capture_output=True, text=True, check=False, timeout=GUARD_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaboratoryError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        raise LaboratoryError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Host:
    """One network namespace, plugged into the laboratory's bridge.

    Attributes:
        ipv4, ipv6: Its addresses on `INTERFACE`.
        link_local: Without its zone; another host's zone for it is `INTERFACE` as well.
    """

    def __init__(self, name: str, namespace: str, switch: str, number: int) -> None:
        self.name = name
        self.namespace = namespace
        self.ipv4 = IPv4Address(f"10.77.0.{number}")
        self.ipv6 = IPv6Address(f"fd77::{number:x}")
        self.link_local = IPv6Address(f"fe80::{number:x}")
        self._switch = switch
        self._number = number
        self._port = f"port{number}"

    def power_on(self) -> None:
        """Make the namespace and plug it in; nothing is remembered from before a `power_off`."""
        _run("ip", "netns", "add", self.namespace)
        # Its addresses can be used at once, and there are no others.
        self.inside(partial(_configure_ipv6, disable_ipv6=0, accept_dad=0, accept_ra=0, addr_gen_mode=1))
        self.ip("link", "set", "lo", "up")
        # The same hardware every time: others still have its address in their neighbour tables.
        hardware = f"address 02:00:00:00:00:{self._number:02x}"
        pair = f"name {self._port} type veth peer name {INTERFACE} {hardware} netns {self.namespace}".split()
        _run("ip", "-n", self._switch, "link", "add", *pair)
        _run("ip", "-n", self._switch, "link", "set", self._port, "master", "switch", "up")
        self.ip("address", "add", f"{self.ipv4}/24", "dev", INTERFACE)
        self.ip("link", "set", INTERFACE, "up")
        for address in (self.ipv6, self.link_local):
            self.ip("address", "add", f"{address}/64", "dev", INTERFACE, "nodad")

    def ip(self, *arguments: str) -> str:
        """Run iproute2's `ip` on this host."""
        return _run("ip", "-n", self.namespace, *arguments)

    def command(self, *arguments: str, nofile: int | None = None) -> list[str]:
        """Return the command that runs this one here; it dies with the thread that starts it.

        Args:
            arguments: A program and its arguments.
            nofile: Its limit of file descriptors, soft and hard.
        """
        limit = [] if nofile is None else ["prlimit", f"--nofile={nofile}:{nofile}"]
        return ["ip", "netns", "exec", self.namespace, "setpriv", "--pdeathsig", "KILL", *limit, *arguments]

    def inside(self, function: Callable[[], _T]) -> _T:
        """Call `function` in a thread on this host; a socket that it makes belongs here for good."""
        return _inside(self.namespace, function)

    def connect(self, address: str, port: int = PORT, *, timeout_s: float = GUARD_S) -> socket.socket:
        """Return a TCP connection from here; `address` may carry a zone."""
        return self.inside(lambda: socket.create_connection((address, port), timeout=timeout_s))

    def listen(self, address: str = "::", port: int = PORT) -> socket.socket:
        """Return a TCP listener here; the default takes IPv4 and IPv6."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        both = address == "::"
        return self.inside(
            lambda: socket.create_server((address, port), family=family, dualstack_ipv6=both, backlog=64)
        )

    def power_off(self) -> None:
        """Delete the namespace, with no packet leaving it any more; its processes still have to be killed."""
        _run("ip", "-n", self._switch, "link", "del", self._port)
        _remove_namespace(self.namespace)

    def unplug(self) -> None:
        """Pull the cable: the interface keeps its addresses and loses its carrier."""
        _run("ip", "-n", self._switch, "link", "set", self._port, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _run("ip", "-n", self._switch, "link", "set", self._port, "up")

    def filter(self, rules: str) -> None:
        """Replace this host's packet filter.

        Args:
            rules: The chains of one nftables table, in its own language; empty: no filter.
        """
        script = "table inet lab\ndelete table inet lab\n"
        if rules:
            script += f"table inet lab {{\n{rules}\n}}\n"
        _run(*self.command("nft", "-f", "-"), script=script)

    def count_attempts(self) -> None:
        """Begin to count, in `attempts`, the connections to `PORT` that others begin; replaces any filter."""
        syn = f"tcp dport {PORT} tcp flags & (syn | ack) == syn"
        self.filter(
            f"counter attempts {{ }}\n"
            f'chain arriving {{ type filter hook input priority 0; {syn} counter name "attempts"; }}'
        )

    @property
    def attempts(self) -> int:
        """How many connections were begun since `count_attempts`, repeated packets included."""
        listing = _run(*self.command("nft", "-j", "list", "counter", "inet", "lab", "attempts"))
        counters = [
            item["counter"]["packets"] for item in json.loads(listing)["nftables"] if "counter" in item
        ]
        return int(counters[0])

    def lose(self, percent: int) -> None:
        """Drop that share of what arrives, at random; replaces any filter."""
        chance = f"numgen random mod 100 < {percent}" if percent < 100 else ""  # noqa: PLR2004 - per cent
        rule = f'iifname "{INTERFACE}" {chance} drop'
        self.filter(f"chain arriving {{ type filter hook input priority 0; {rule}; }}" if percent else "")


def _configure_ipv6(**defaults: int) -> None:
    """Set what holds in the calling thread's namespace for interfaces that do not exist yet."""
    for name, value in defaults.items():
        Path(f"/proc/sys/net/ipv6/conf/default/{name}").write_text(f"{value}\n", encoding="ascii")


def _inside(namespace: str, function: Callable[[], _T]) -> _T:
    """Call `function` in a thread in that namespace."""
    result: list[_T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            _enter(namespace)
            result.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            errors.append(error)

    thread = threading.Thread(target=call, name=f"lab {namespace}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


def _enter(namespace: str) -> None:
    """Move the calling thread into a namespace (`os.setns` is there from Python 3.12 on only)."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    finally:
        os.close(descriptor)


class LabNode:
    """A peernet node on a host of its own: an identity, a data directory, a configuration file.

    Attributes:
        config: The file; where it does not exist, commands run without a configuration.
        environment: Variables for its processes, beside ours.
        program: The `peernet` command that it runs; ours, at first.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.data_dir = folder / "data"
        self.config = folder / "peernet.toml"
        self.trusted_peers = self.data_dir / "trusted_peers"
        self.environment = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "none")}
        self.program = Path(sysconfig.get_path("scripts")) / "peernet"
        self._stderr = folder / "stderr"
        self._processes: list[NodeProcess] = []
        identity = Identity.generate()
        self.key: PeerKey = identity.key
        self.data_dir.mkdir(parents=True, mode=0o700)
        path = self.data_dir / "identity.pem"
        path.touch(mode=0o600)
        path.write_bytes(identity.to_pem())

    def configure(
        self, *, trust: Iterable[LabNode] = (), peers: Mapping[LabNode, str] | None = None, extra: str = ""
    ) -> None:
        """Write the trust list and the configuration.

        Args:
            trust: Whose keys are in the trust list; labels are the hosts' names.
            peers: Configured peers and their IP address, with its zone; all listen on `PORT`.
            extra: More TOML.
        """
        self.trusted_peers.write_text(
            "".join(f"{node.key} {node.host.name}\n" for node in trust), encoding="utf-8"
        )
        entries = [
            f'{{ key = "{node.key}", address = "{f"[{address}]" if ":" in address else address}:{PORT}" }}'
            for node, address in (peers or {}).items()
        ]
        self.config.write_text(
            f'[node]\nname = "{self.host.name}"\nlisten = ["0.0.0.0:{PORT}", "[::]:{PORT}"]\n'
            f"[discovery.manual]\npeers = [{', '.join(entries)}]\n{extra}",
            encoding="utf-8",
        )

    def start(self, *arguments: str, nofile: int | None = None) -> NodeProcess:
        """Start `peernet run --json`, with more arguments, and return without waiting for anything."""
        return self._start(self._peernet("run", "--json", *arguments), nofile=nofile)

    def start_application(self, source: str, *arguments: str) -> NodeProcess:
        """Start a Python program that prints lines of its own, and return without waiting for anything.

        Args:
            source: The program; ``sys.argv[1:3]`` are the configuration file and the data directory.
            arguments: What follows these.
        """
        program = [sys.executable, "-u", "-c", source, str(self.config), str(self.data_dir)]
        return self._start([*program, *arguments])

    def peernet(self, *arguments: str) -> str:
        """Run another `peernet` command to its end and return what it printed.

        Raises:
            LaboratoryError: its exit status is not 0.
        """
        return _run(*self.host.command(*self._peernet(*arguments)))

    def control_socket(self) -> Path:
        """Wait until its running node can be asked, which may be later than its first link; where that is."""

        def find() -> Path | None:
            with DataDirectory.open(self.data_dir, lock=False) as directory:
                path = directory.socket_path()
            if path is None:
                return None
            with (
                socket.socket(socket.AF_UNIX) as connection,
                suppress(OSError),
            ):  # bound, and not listening yet
                connection.connect(os.fspath(path))
                return path
            return None

        return eventually(find, f"{self.host.name} can be asked")

    def report(self) -> str:
        """Everything that its processes printed."""
        return "\n".join(process.report() for process in self._processes)

    def close(self) -> None:
        """Kill whatever still runs."""
        for process in self._processes:
            process.kill()

    def _start(self, arguments: list[str], *, nofile: int | None = None) -> NodeProcess:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        command = self.host.command("env", *variables, *arguments, nofile=nofile)
        process = NodeProcess(self.host.name, command, self._stderr.with_suffix(f".{len(self._processes)}"))
        self._processes.append(process)
        return process

    def _peernet(self, *arguments: str) -> list[str]:
        config = ["--config", str(self.config)] if self.config.exists() else []
        return [str(self.program), *config, "--data-dir", str(self.data_dir), *arguments]


class Laboratory:
    """A bridge and the hosts on it; a context manager.

    Raises:
        LaboratoryError: no laboratory can be made here.
    """

    def __init__(self) -> None:
        self._prefix = f"{_PREFIX}-{os.getpid()}-{next(_counter)}"
        self._hosts: list[Host] = []
        self._nodes: list[LabNode] = []
        self._closing = ExitStack()
        try:
            _remove_leftovers()
            folder = tempfile.mkdtemp(prefix=f"{self._prefix}-")
            self._closing.callback(shutil.rmtree, folder, ignore_errors=True)
            self.folder = Path(folder)
            self._switch = f"{self._prefix}-switch"
            self._closing.callback(_remove_namespace, self._switch)
            _run("ip", "netns", "add", self._switch)
            # With addresses of its own it would look for routers, from each of its ports.
            _inside(self._switch, partial(_configure_ipv6, disable_ipv6=1))
            bridge = ("name", "switch", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
            _run("ip", "-n", self._switch, "link", "add", *bridge)
            _run("ip", "-n", self._switch, "link", "set", "switch", "up")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host(self, name: str) -> Host:
        """Make a host and plug it in."""
        namespace = f"{self._prefix}-{name}"
        self._closing.callback(_remove_namespace, namespace)
        host = Host(name, namespace, self._switch, len(self._hosts) + 1)
        self._hosts.append(host)
        host.power_on()
        return host

    def node(self, name: str, *, on: LabNode | None = None) -> LabNode:
        """Make a node that has an identity and is not started.

        Args:
            name: Also its host's.
            on: Another node, to share its host; else it gets one of its own.
        """
        node = LabNode(self.host(name) if on is None else on.host, self.folder / name)
        self._closing.callback(node.close)
        self._nodes.append(node)
        node.configure()
        return node

    def report(self) -> str:
        """Everything that every node printed."""
        return "\n".join(node.report() for node in self._nodes)

    def close(self) -> None:
        """Kill every process, remove every namespace and file; one failure does not keep the others."""
        self._closing.close()


def _remove_namespace(name: str) -> None:
    if Path(f"/run/netns/{name}").exists():
        _run("ip", "netns", "del", name)


def _remove_leftovers() -> None:
    """Remove what test runs left whose process is gone; their nodes died with it."""
    for folder in (Path("/run/netns"), Path(tempfile.gettempdir())):
        for path in folder.glob(f"{_PREFIX}-*"):
            if Path("/proc", path.name.split("-")[1]).exists():
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
                continue
            with suppress(LaboratoryError):  # another run that starts now may be faster
                _run("ip", "netns", "del", path.name)
