"""The laboratory itself, with plain sockets: what a test relies on before any node takes part."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from peernet_core.testing.lab import (
    INTERFACE,
    PORT,
    GuardExpiredError,
    Host,
    Laboratory,
    LaboratoryError,
    NodeProcess,
    eventually,
)

pytestmark = pytest.mark.netns


def _remains_of(pid: int) -> set[Path]:
    """The namespaces and folders of every laboratory that this process has made."""
    folders = (Path("/run/netns"), Path(tempfile.gettempdir()))
    return {path for folder in folders for path in folder.glob(f"peernetlab-{pid}-*")}


def _carries(server: socket.socket, client: socket.socket) -> bool:
    """Whether what the client says arrives at the server."""
    server.settimeout(20)
    accepted, _ = server.accept()
    with accepted, client:
        client.sendall(b"ping")
        accepted.settimeout(20)
        return accepted.recv(4, socket.MSG_WAITALL) == b"ping"


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "link_local"])
def test_two_hosts_reach_each_other_by_every_kind_of_address(lab: Laboratory, family: str) -> None:
    """IPv4, IPv6, and link-local with a zone carry a connection as soon as the hosts are there."""
    alpha, beta = lab.host("alpha"), lab.host("beta")
    address = {
        "ipv4": str(beta.ipv4),
        "ipv6": str(beta.ipv6),
        "link_local": f"{beta.link_local}%{INTERFACE}",
    }[family]
    with beta.listen() as server:
        assert _carries(server, alpha.connect(address))


def test_the_switch_has_no_address_to_speak_from(lab: Laboratory) -> None:
    """Otherwise its kernel looks for routers, and hosts hear what none of them has said."""
    host = lab.host("alpha")
    switch = host.namespace.removesuffix(host.name) + "switch"
    assert host.ip("-br", "-6", "address", "show", "dev", INTERFACE).split()
    addresses = ["ip", "-n", switch, "-br", "-6", "address"]
    assert subprocess.run(addresses, capture_output=True, text=True, check=True).stdout == ""


def test_a_host_that_loses_power_says_nothing_and_comes_back_empty(lab: Laboratory) -> None:
    """Its connections stay open at the other end until that sends something to it, then they are reset."""
    alpha, beta = lab.host("alpha"), lab.host("beta")
    with beta.listen() as server, alpha.connect(str(beta.ipv4)) as client:
        accepted, _ = server.accept()
        beta.power_off()
        accepted.close()
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        beta.power_on()
        client.settimeout(20)
        client.sendall(b"ping")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with beta.listen() as server:
        assert _carries(server, alpha.connect(str(beta.ipv4)))


def test_hosts_of_two_laboratories_do_not_meet(lab: Laboratory) -> None:
    """Two laboratories at once have the same addresses and nothing else in common."""
    first = lab.host("alpha")
    with Laboratory() as other:
        second = other.host("alpha")
        assert second.ipv4 == first.ipv4
        with first.listen() as one, second.listen() as two:
            assert one.fileno() != two.fileno()
            with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                other.host("beta").connect(str(first.ipv4), PORT + 1)


def test_an_unplugged_host_is_cut_off_and_keeps_its_addresses(lab: Laboratory) -> None:
    """Without a carrier nothing passes; with it again, everything does, by the same addresses."""
    alpha, beta = lab.host("alpha"), lab.host("beta")
    with beta.listen() as server:
        beta.unplug()
        with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
            alpha.connect(str(beta.ipv4), timeout_s=0.3)
        assert str(beta.ipv6) in beta.ip("address", "show", "dev", INTERFACE)
        beta.plug_in()
        for address in (str(beta.ipv4), str(beta.ipv6), f"{beta.link_local}%{INTERFACE}"):
            assert _carries(server, eventually(partial(_try, alpha, address), f"a route to {address}"))


def _try(host: Host, address: str) -> socket.socket | None:
    try:
        return host.connect(address, timeout_s=3)
    except OSError:
        return None


def test_all_or_nothing_is_lost(lab: Laboratory) -> None:
    """With 100 % loss nothing arrives; with none everything does."""
    alpha, beta = lab.host("alpha"), lab.host("beta")
    with beta.listen() as server:
        beta.lose(100)
        with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
            alpha.connect(str(beta.ipv4), timeout_s=0.3)
        beta.lose(0)
        assert _carries(server, alpha.connect(str(beta.ipv4)))


def test_attempts_are_counted(lab: Laboratory) -> None:
    """Every connection that others begin counts, answered or refused; our own do not."""
    alpha, beta = lab.host("alpha"), lab.host("beta")
    beta.count_attempts()
    assert beta.attempts == 0
    for address in (str(beta.ipv4), str(beta.ipv6)):
        with pytest.raises(ConnectionRefusedError):
            alpha.connect(address)
    with pytest.raises(ConnectionRefusedError):
        beta.connect(str(alpha.ipv4))
    assert beta.attempts == 2


def test_some_loss_slows_and_does_not_break(lab: Laboratory) -> None:
    """A transfer survives one lost packet in ten."""
    alpha, beta = lab.host("alpha"), lab.host("beta")
    beta.lose(10)
    with beta.listen() as server:
        assert _carries(server, alpha.connect(str(beta.ipv4)))


def _script(lab: Laboratory, host: Host, source: str, *, nofile: int | None = None) -> NodeProcess:
    """Start a Python script on a host in the way in which nodes are started."""
    return NodeProcess(
        host.name, host.command(sys.executable, "-u", "-c", source, nofile=nofile), lab.folder / "stderr"
    )


def test_lines_are_awaited_by_event_and_value(lab: Laboratory) -> None:
    """`wait` finds a line that came before or comes later, and its values must fit."""
    source = """
import json, sys, time
print("not json")
for place in range(3):
    print(json.dumps({"t": time.time(), "event": "tick", "place": place}))
print("why", file=sys.stderr)
"""
    with _script(lab, lab.host("alpha"), source) as process:
        assert process.wait("tick", place=2).number == 2
        assert process.wait("tick").fields["place"] == 0
        assert process.wait("tick", since=1).fields["place"] == 1
        with pytest.raises(GuardExpiredError, match=r"(?s)alpha ended without tock.*\(no JSON\).*why"):
            process.wait("tock")
        assert process.join() == 0
        assert [line.fields["place"] for line in process.seen("tick")] == [0, 1, 2]


def test_a_process_runs_on_its_host_within_its_limits(lab: Laboratory) -> None:
    """It sees its own interfaces and the given limit of descriptors, and SIGTERM reaches it itself."""
    source = """
import json, os, resource, signal, socket
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
print(json.dumps({
    "event": "ready", "limits": resource.getrlimit(resource.RLIMIT_NOFILE), "pid": os.getpid(),
    "interfaces": [name for _, name in socket.if_nameindex()],
}))
while True:
    signal.pause()
"""
    with _script(lab, lab.host("alpha"), source, nofile=48) as process:
        ready = process.wait("ready")
        assert ready.fields["limits"] == [48, 48]
        assert ready.fields["pid"] == process.pid
        assert set(ready.fields["interfaces"]) == {"lo", INTERFACE}  # type: ignore[call-overload]  # a list
        assert process.resident_kib > 1000
        assert process.descriptors >= 3
        assert process.terminate() == 7


def test_a_wait_ends_at_its_guard(lab: Laboratory) -> None:
    """A process that goes on without the line fails the test and keeps nobody waiting."""
    with (
        _script(lab, lab.host("alpha"), "import signal; signal.pause()") as process,
        pytest.raises(GuardExpiredError, match=r"went on for 0.05 s without tick"),
    ):
        process.wait("tick", guard_s=0.05)


def test_nothing_is_left_after_a_failure() -> None:
    """Namespaces, files and processes are gone although the body raised and one removal failed."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    before = _remains_of(os.getpid())
    with pytest.raises(LaboratoryError), Laboratory() as lab:  # noqa: PT012 - the failure is inside
        alpha = lab.host("alpha")
        process = _script(lab, alpha, "import signal; signal.pause()")
        lab._closing.callback(process.kill)
        lab._closing.callback(alpha.ip, "no", "such", "command")
        folder = lab.folder
    assert _remains_of(os.getpid()) == before
    assert not folder.exists()
    assert process.join() == -9


def test_what_a_killed_run_left_behind_is_removed_by_the_next(lab: Laboratory) -> None:
    """A run that was killed leaves namespaces and a folder, and no process; the next one clears them away."""
    assert lab.folder.exists()
    source = """
import os, signal
from peernet_core.testing.lab import Laboratory
lab = Laboratory()
lab.host("alpha")
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.Popen([sys.executable, "-c", source])
    assert child.wait(60) == -9
    assert {path.parent.name for path in _remains_of(child.pid)} >= {"netns"}
    with Laboratory():
        assert not _remains_of(child.pid)
