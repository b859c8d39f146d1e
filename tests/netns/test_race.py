"""Two backends race on a real network, and the peer that they found is killed."""

from __future__ import annotations

import json
import signal
import subprocess
from subprocess import PIPE

import pytest

from peernet_core.testing.lab import LabNode, Laboratory
from peernet_core.testing.node_process import GUARD_S

pytestmark = pytest.mark.netns


def test_multicast_forgets_a_peer_that_was_killed_and_a_configured_address_does_not(lab: Laboratory) -> None:
    """Both find it; the link ends with it; soon mDNS asks, hears nothing, and says so."""
    alpha, beta = lab.node("alpha"), lab.node("beta")
    beta.configure(trust=[alpha], extra="[discovery.lan]\nbackend = 'mdns'\n")
    alpha.configure(
        trust=[beta], peers={beta: str(beta.host.ipv4)}, extra="[discovery.lan]\nbackend = 'mdns'\n"
    )
    command = alpha.host.command("env", *_variables(alpha), *alpha._peernet("race", "--for", "600", "--json"))
    with beta.start() as b, subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as race:
        try:
            _until(race, "through manual", "through lan", "connected ")
            b.kill()
            _until(race, "disconnected ", "nothing more of it through lan")
            race.send_signal(signal.SIGINT)
            out, _ = race.communicate(timeout=GUARD_S)
        finally:
            race.kill()
    result = json.loads(out)
    (peer,) = result["peers"]
    assert (peer["key"], peer["label"], peer["missed_by"]) == (str(beta.key), "beta", [])
    assert [each["source"] for each in peer["finds"]] == ["manual", "lan"]
    assert peer["linked_s"] is not None
    gone = peer["absences"][-1]
    assert not gone["is_back"]
    claims = {each["source"]: each["lost_after_s"] for each in gone["claims"]}
    assert claims["manual"] is None
    assert 0 < claims["lan"] <= gone["for_s"]
    assert peer["claimed_by"] == ["manual"]


def _variables(node: LabNode) -> list[str]:
    return [f"{name}={value}" for name, value in node.environment.items()]


def _until(race: subprocess.Popen[str], *wanted: str) -> None:
    """Read what happens until all of this was said."""
    assert race.stderr is not None
    said = ""
    while not all(each in said for each in wanted):
        line = race.stderr.readline()
        assert line, said
        said += line
