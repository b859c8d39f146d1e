"""Strangers who open connections and say nothing keep nobody out, and leave nothing behind."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from peernet_core.testing.lab import PORT, Host, LabNode, Laboratory, NodeProcess, eventually

pytestmark = pytest.mark.netns

_SILENT = 600
_HALF_OPEN = 300
_STALLED = 100
# The beginning of a TLS record that announces a ClientHello of 512 bytes.
_BEGINNING = bytes.fromhex("1603010200010001fc0303")


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """The flood's own ends are ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _connections(host: Host, target: Host, count: int, say: bytes = b"") -> ExitStack:
    """Begin that many connections without waiting for any to be accepted."""

    def begin() -> list[socket.socket]:
        sockets = []
        for _ in range(count):
            connection = socket.socket(socket.AF_INET)
            connection.setblocking(False)
            connection.connect_ex((str(target.ipv4), PORT))
            sockets.append(connection)
        return sockets

    open_ones = ExitStack()
    for connection in host.inside(begin):
        open_ones.enter_context(connection)
        if say:
            with contextlib.suppress(OSError):  # not established yet, or thrown out already
                connection.send(say)
    return open_ones


class _Flood:
    """Three hosts of strangers: silent ones, ones that stall within TLS, ones that stay half open."""

    def __init__(self, lab: Laboratory, target: Host) -> None:
        self._target = target
        self._silent, self._stalled, self._half_open = (
            lab.host(n) for n in ("silent", "stalled", "halfopen")
        )
        # Without its acknowledgements a handshake stays half open at the other side.
        only_ack = "tcp flags & (syn | ack | psh | fin | rst) == ack drop"
        self._half_open.filter(f"chain leaving {{ type filter hook output priority 0; {only_ack}; }}")

    def begin(self) -> ExitStack:
        flood = ExitStack()
        flood.enter_context(_connections(self._half_open, self._target, _HALF_OPEN))
        flood.enter_context(_connections(self._silent, self._target, _SILENT))
        flood.enter_context(_connections(self._stalled, self._target, _STALLED, say=_BEGINNING))
        return flood


def _is_answered(host: Host, target: Host) -> bool:
    """Whether a newcomer gets as far as the TLS handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["peernet/1"])
    try:
        with (
            host.connect(str(target.ipv4)) as connection,
            context.wrap_socket(connection, server_hostname="peer") as encrypted,
        ):
            return encrypted.version() == "TLSv1.3"
    except OSError:  # thrown out or not served; OpenSSL's errors are OSErrors
        return False


def _link_under_flood(alpha: NodeProcess, beta: LabNode) -> float:
    """Start a trusted peer and return how long it took from its start to the link."""
    since = alpha.mark()
    with beta.start() as b:
        started = b.wait("node_started")
        linked = b.wait("peer_connected")
        alpha.wait("peer_connected", key=str(beta.key), since=since)
        assert b.terminate() == 0
    alpha.wait("peer_disconnected", key=str(beta.key), since=since)
    return linked.received_at - started.received_at


@pytest.mark.parametrize("nofile", [None, 64], ids=["descriptors enough", "descriptors scarce"])
def test_a_trusted_peer_links_through_a_flood(
    lab: Laboratory, nofile: int | None, measured: Callable[[str], None]
) -> None:
    """A thousand connections of strangers keep neither a trusted peer nor a newcomer out.

    With 64 descriptors strangers could take all of them, and must not get them. Afterwards memory is back to
    where it was, but for what waits for Python's collector: some kB a connection.
    """
    alpha, beta, newcomer = lab.node("alpha"), lab.node("beta"), lab.host("newcomer")
    alpha.configure(trust=[beta])
    beta.configure(trust=[alpha], peers={alpha: str(alpha.host.ipv4)})
    flood = _Flood(lab, alpha.host)
    with alpha.start(nofile=nofile) as a:
        a.wait("node_started")
        _link_under_flood(a, beta)  # whatever is loaded once is loaded
        idle = a.descriptors
        memory = [a.resident_kib]
        name = "with 64 descriptors" if nofile else "unlimited"
        for _ in range(2):
            with flood.begin():
                took = _link_under_flood(a, beta)
                assert eventually(lambda: _is_answered(newcomer, alpha.host), "a newcomer is answered")
                most = a.descriptors
            eventually(lambda: a.descriptors <= idle, "every connection of the flood is closed")
            memory.append(a.resident_kib)
            measured(f"{name}: {took * 1000:.0f} ms to a link in a flood (aim: 2000), {most} descriptors")
        measured(f"{name}: resident KiB before, after one flood, after two: {memory}")
        assert memory[-1] - memory[0] < 16 * 1024, f"a flood's memory is not given back: {memory}"
        assert a.terminate() == 0


def test_running_out_of_descriptors_ends_nothing(lab: Laboratory) -> None:
    """While there is no descriptor left nobody is accepted; as soon as there is one, who waits is."""
    alpha, beta, stranger = lab.node("alpha"), lab.node("beta"), lab.host("stranger")
    alpha.configure(trust=[beta])
    beta.configure(trust=[alpha], peers={alpha: str(alpha.host.ipv4)})
    with alpha.start() as a:
        a.wait("node_started")
        alpha.host.count_attempts()
        enough = resource.prlimit(a.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(a.pid, resource.RLIMIT_NOFILE, (3, enough[1]))
        with _connections(stranger, alpha.host, 100), beta.start() as b:
            b.wait("node_started")
            eventually(lambda: alpha.host.attempts > 100, "beta tries to connect")
            resource.prlimit(a.pid, resource.RLIMIT_NOFILE, enough)
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))
        assert a.terminate() == 0
