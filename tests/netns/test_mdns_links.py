"""Nodes that know no address find each other by mDNS: who links, who is dropped, who is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from peernet_core.testing.lab import INTERFACE, LabNode, Laboratory

pytestmark = pytest.mark.netns


def trusting(*nodes: LabNode, config: str | None = None) -> None:
    """Let these trust each other; without `config` there is no configuration file."""
    for node in nodes:
        node.configure(trust=[other for other in nodes if other is not node])
        write(node, config)


def write(node: LabNode, config: str | None) -> None:
    if config is None:
        node.config.unlink()
    else:
        node.config.write_text(config, encoding="utf-8")


def test_two_hosts_without_a_configuration_link(lab: Laboratory, measured: Callable[[str], None]) -> None:
    """`peernet run --json` and nothing else: each discovers the other through mdns and links."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    trusting(alpha, beta)
    with alpha.start() as a, beta.start() as b:
        ready = max(process.wait("node_started").received_at for process in (a, b))
        a.wait("peer_discovered", key=str(beta.key), source="mdns")
        b.wait("peer_discovered", key=str(alpha.key), source="mdns")
        linked = [
            a.wait("peer_connected", key=str(beta.key), label="beta"),
            b.wait("peer_connected", key=str(alpha.key), label="alpha"),
        ]
        took = max(line.received_at for line in linked) - ready
        measured(f"linked by mDNS in {took * 1000:.0f} ms after both were listening")
        assert (a.terminate(), b.terminate()) == (0, 0)


def test_three_hosts_link_by_trust_and_the_stranger_is_named_once(lab: Laboratory) -> None:
    """Gamma trusts both others and is trusted by nobody: it is dropped, once, with its address."""
    alpha, beta, gamma = lab.node("alpha"), lab.node("beta"), lab.node("gamma")
    trusting(alpha, beta)
    gamma.configure(trust=[alpha, beta])
    write(gamma, None)
    with alpha.start() as a, beta.start() as b, gamma.start() as g:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        own = {str(gamma.host.ipv4), str(gamma.host.ipv6), f"{gamma.host.link_local}%{INTERFACE}"}
        port = g.wait("node_started").fields["port"]
        for process in (a, b):
            dropped = process.wait("peer_dropped", key=str(gamma.key), source="mdns")
            assert (dropped.fields["ip"] in own, dropped.fields["port"]) == (True, port)
        g.wait("peer_unreachable", key=str(alpha.key), reason="they_do_not_trust_us")
        assert g.terminate() == 0
        for process in (a, b):
            assert len(process.seen("peer_dropped", key=str(gamma.key), source="mdns")) == 1
            assert not process.seen("peer_connected", key=str(gamma.key))
            assert not process.seen("peer_disconnected")


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "link_local"])
def test_one_family_is_enough(lab: Laboratory, family: str) -> None:
    """Hosts that have IPv4 alone, IPv6 alone, or link-local IPv6 addresses alone find each other and link."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    trusting(alpha, beta)
    for node in (alpha, beta):
        for address in {"ipv4", "ipv6", "link_local"} - {family}:
            if (family, address) != ("ipv6", "link_local"):  # without it IPv6 cannot speak on a link at all
                length = 24 if address == "ipv4" else 64
                node.host.ip("address", "del", f"{getattr(node.host, address)}/{length}", "dev", INTERFACE)
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))


def test_two_nodes_on_one_host_find_each_other_and_a_third_elsewhere(lab: Laboratory) -> None:
    """Port 5353 is shared: neither takes the answers from the other."""
    alpha = lab.node("alpha")
    nodes = (alpha, lab.node("beta", on=alpha), lab.node("gamma"))
    trusting(*nodes)
    _, beta, gamma = nodes
    with alpha.start() as a, beta.start() as b, gamma.start() as g:
        for process, node in zip((a, b, g), nodes, strict=True):
            for other in nodes:
                if other is not node:
                    process.wait("peer_connected", key=str(other.key))


def test_a_clean_stop_is_known_at_once(lab: Laboratory, measured: Callable[[str], None]) -> None:
    """The goodbye carries the peer's own signed word: no lease is waited for."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    trusting(alpha, beta)
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_discovered", key=str(beta.key), source="mdns")
        a.wait("peer_connected", key=str(beta.key))
        since, stopped_at = a.mark(), time.monotonic()
        assert b.terminate() == 0
        lost = a.wait("peer_lost", key=str(beta.key), source="mdns", since=since, guard_s=5)
        measured(
            f"a clean stop was peer_lost after {(lost.received_at - stopped_at) * 1000:.0f} ms (aim: 200)"
        )


def test_a_crash_is_known_by_the_link_first_and_then_by_mdns(
    lab: Laboratory, measured: Callable[[str], None]
) -> None:
    """After SIGKILL the link ends at once, and the peer is asked for; nobody answers, so it is lost."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    trusting(alpha, beta)
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_discovered", key=str(beta.key), source="mdns")
        a.wait("peer_connected", key=str(beta.key))
        since, killed_at = a.mark(), time.monotonic()
        b.kill()
        gone = a.wait("peer_disconnected", key=str(beta.key), since=since)
        lost = a.wait("peer_lost", key=str(beta.key), source="mdns", since=since)
        assert gone.number < lost.number
        measured(f"a killed peer was peer_lost after {lost.received_at - killed_at:.1f} s")


def test_a_peer_that_restarts_on_another_port_is_discovered_there_and_linked(lab: Laboratory) -> None:
    """Killed and started again elsewhere while its old records are still believed."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    trusting(alpha, beta)
    with alpha.start() as a:
        with beta.start() as b:
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))
            since = a.mark()
            b.kill()
        write(beta, '[node]\nlisten = ["0.0.0.0:7444", "[::]:7444"]\n[discovery.mdns]\n')
        with beta.start() as b:
            a.wait("peer_discovered", key=str(beta.key), port=7444, since=since)
            a.wait("peer_connected", key=str(beta.key), since=since)
            b.wait("peer_connected", key=str(alpha.key))


def test_a_peer_that_is_trusted_later_is_linked_at_once(lab: Laboratory) -> None:
    """What was heard of it as a stranger counts."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    beta.configure(trust=[alpha])
    alpha.configure()
    for node in (alpha, beta):
        write(node, None)
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_dropped", key=str(beta.key))
        alpha.peernet("trust", "add", str(beta.key))
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))


def nodes_of(lab: Laboratory, names: Iterable[str]) -> list[LabNode]:
    return [lab.node(name) for name in names]


def test_interfaces_and_service_keep_nodes_apart(lab: Laboratory) -> None:
    """A node that speaks another type, and one that speaks on another interface only, are not seen."""
    alpha, beta, other, deaf = nodes_of(lab, ["alpha", "beta", "other", "deaf"])
    trusting(alpha, beta, other, deaf)
    write(other, '[discovery.mdns]\nservice = "_other._tcp"\n')
    write(deaf, '[discovery.mdns]\ninterfaces = ["lo"]\n')
    with other.start() as o, deaf.start() as d:
        for process in (o, d):
            process.wait("backend_started", source="mdns")
        with alpha.start() as a, beta.start() as b:
            a.wait("peer_connected", key=str(beta.key))
            b.wait("peer_connected", key=str(alpha.key))
            for process in (a, b, o, d):
                assert process.terminate() == 0
            for process in (a, b):
                for node in (other, deaf):
                    assert not process.seen("peer_discovered", key=str(node.key))
            assert not o.seen("peer_discovered")
            assert not d.seen("peer_discovered")
