"""Who links with whom across a network, and how soon those who should not learn that they will not."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from peernet_core.testing.lab import INTERFACE, PORT, Host, Laboratory, eventually

pytestmark = pytest.mark.netns


def _address(host: Host, family: str) -> str:
    if family == "link_local":
        return f"{host.link_local}%{INTERFACE}"
    return str(host.ipv4 if family == "ipv4" else host.ipv6)


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "link_local"])
def test_two_hosts_that_know_each_other_link(
    lab: Laboratory, family: str, measured: Callable[[str], None]
) -> None:
    """Each has the other as a configured peer; both say that they are connected, and to which address."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    alpha.configure(trust=[beta], peers={beta: _address(beta.host, family)})
    beta.configure(trust=[alpha], peers={alpha: _address(alpha.host, family)})
    with alpha.start() as a, beta.start() as b:
        ready = max(process.wait("node_started").received_at for process in (a, b))
        at_a = a.wait("peer_connected", key=str(beta.key), label="beta", ip=_address(beta.host, family))
        at_b = b.wait("peer_connected", key=str(alpha.key), label="alpha", ip=_address(alpha.host, family))
        took = max(at_a.received_at, at_b.received_at) - ready
        measured(f"linked by {family} in {took * 1000:.0f} ms after both had started")
        assert (a.terminate(), b.terminate()) == (0, 0)
        assert len(a.seen("peer_connected")) == len(b.seen("peer_connected")) == 1


def test_one_configured_side_is_enough(lab: Laboratory) -> None:
    """Only beta knows an address; alpha links because it trusts who comes."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    alpha.configure(trust=[beta])
    beta.configure(trust=[alpha], peers={alpha: str(alpha.host.ipv4)})
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))


def test_the_running_node_explains_a_link_and_the_end_of_one(lab: Laboratory) -> None:
    """While it is up where it ends; once the peer is killed what came of dialing it again."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    alpha.configure(trust=[beta], peers={beta: str(beta.host.ipv4)})
    beta.configure(trust=[alpha])
    place = f"{beta.host.ipv4}:{PORT}"
    with alpha.start() as a:
        with beta.start():
            a.wait("peer_connected", key=str(beta.key))
            alpha.control_socket()
            first, following, _, *rows = alpha.peernet("explain", "beta").splitlines()
            assert first.startswith(f"{beta.key} (beta): linked for ")
            assert following.startswith(f"linked at {place} for ")
            there = [row for row in rows if row.startswith(f"{place} ")]
            assert {row.split()[1] for row in there} == {"manual", "inbound"}
            assert all(row.endswith(" linked") for row in there)
            since = a.mark()
        a.wait("peer_unreachable", reason="refused", ip=str(beta.host.ipv4), since=since)
        first, following, _, *rows = alpha.peernet("explain", str(beta.key)[:6]).splitlines()
        assert first.startswith(f"{beta.key} (beta): ")
        assert "dialing" in following  # now, or again in so many seconds
        assert any("refused: nobody listens there" in row for row in rows), rows


def test_two_machines_link_by_the_commands_of_the_readme(lab: Laboratory) -> None:
    """`id` on both, `trust add` on both, an address on one, `run` on both: nothing was there before."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node in (alpha, beta):
        shutil.rmtree(node.data_dir)
        node.config.write_text('[node]\nlisten = ["0.0.0.0:7100", "[::]:7100"]\n', encoding="utf-8")
    keys = {node: node.peernet("id").strip() for node in (alpha, beta)}
    alpha.peernet("trust", "add", keys[beta])
    beta.peernet("trust", "add", keys[alpha], "--label", "kitchen")
    peer = f'{{ key = "{keys[alpha]}", address = "{alpha.host.ipv4}:7100" }}'
    beta.config.write_text(f"[discovery.manual]\npeers = [{peer}]\n", encoding="utf-8")
    beta.peernet("check")
    with alpha.start() as a, beta.start() as b:
        a.wait("peer_connected", key=keys[beta], label="")
        b.wait("peer_connected", key=keys[alpha], label="kitchen")


def test_who_is_trusted_by_nobody_is_never_connected(lab: Laboratory) -> None:
    """A stranger that knows and trusts both is told no by both, and the two stay linked."""
    alpha, beta, stranger = lab.node("alpha"), lab.node("beta"), lab.node("stranger")
    alpha.configure(trust=[beta], peers={beta: str(beta.host.ipv4), stranger: str(stranger.host.ipv4)})
    beta.configure(trust=[alpha], peers={alpha: str(alpha.host.ipv4)})
    stranger.configure(trust=[alpha, beta], peers={alpha: str(alpha.host.ipv4), beta: str(beta.host.ipv6)})
    with alpha.start() as a, beta.start() as b, stranger.start() as s:
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        a.wait("peer_dropped", key=str(stranger.key), source="manual")
        alpha.host.count_attempts()
        for node in (alpha, beta):
            s.wait("peer_unreachable", key=str(node.key), reason="they_do_not_trust_us")
        eventually(lambda: alpha.host.attempts >= 2, "the stranger tries again")
        assert not s.seen("peer_connected")
        for process in (a, b):
            assert not process.seen("peer_connected", key=str(stranger.key))
            assert not process.seen("peer_disconnected")


def test_who_does_not_trust_us_is_reported_once(lab: Laboratory) -> None:
    """Alpha trusts and dials delta, which does not trust alpha: one line for any number of tries."""
    alpha, delta = lab.node("alpha"), lab.node("delta")
    alpha.configure(trust=[delta], peers={delta: str(delta.host.ipv4)})
    delta.host.count_attempts()
    with delta.start() as d:
        d.wait("node_started")
        with alpha.start() as a:
            line = a.wait("peer_unreachable", key=str(delta.key))
            assert line.fields["reason"] == "they_do_not_trust_us"
            eventually(lambda: delta.host.attempts >= 4, "alpha tries again and again")
            assert len(a.seen("peer_unreachable")) == 1
            assert not a.seen("peer_connected")
            assert not d.seen("peer_connected")
