"""What a backend declares decides what is tried; what is not tried says which declaration is the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from peernet_core.network import read_network
from peernet_core.testing import DiscoveryConformance

MODULE = """
from peernet_core.addresses import NetworkSnapshot
from peernet_core.testing import DiscoveryConformance, FixedNetwork, RadioDiscovery

class TestRadio(DiscoveryConformance):
    backend = RadioDiscovery
    resolves = True
    {declared}

    def options(self, place):
        return {{"channel": place.medium.name}}

    def network(self):
        return FixedNetwork(NetworkSnapshot()) if self.needs_network else FixedNetwork()

    def pollute(self, place, data):
        place.medium.say(data)

    def vanish(self, place):
        place.medium.vanish()

    def come_back(self, place):
        place.medium.come_back()
"""
SKIPPED = {
    "carries_bytes = False": {"test_garbage_on_the_medium_harms_nobody"},
    "medium_vanishes = False": {
        "test_a_medium_that_vanishes_may_come_back",
        "test_a_medium_may_vanish_in_the_middle_of_a_read",
    },
    "detects_loss = False": {
        "test_a_peer_that_stops_is_lost",
        "test_a_peer_that_dies_is_lost_when_its_lease_ends",
        "test_leases_are_refreshed_before_they_end",
    },
    "needs_network = True": {name for name in dir(DiscoveryConformance) if name.startswith("test_")}
    - {"test_the_class_keeps_the_contract", "test_wrong_options_are_refused"},
}


@pytest.mark.parametrize("declared", SKIPPED)
def test_what_is_skipped_says_what_was_declared(declared: str, tmp_path: Path) -> None:
    """And is just what that capability is for. The host here has no interface that could be used."""
    (tmp_path / "test_radio.py").write_text(MODULE.format(declared=declared))
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", "report.xml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = {
        case.attrib["name"]: each.attrib["message"]
        for case in ET.parse(tmp_path / "report.xml").iter("testcase")
        for each in case.iter("skipped")
    }
    never = "test_the_peers_that_it_is_told_of_are_reported"
    assert "announces = True" in skipped[never] or declared in skipped.pop(never)
    skipped.pop(never, None)
    assert set(skipped) == SKIPPED[declared] - {never}
    assert all(f"declares {declared}" in reason for reason in skipped.values()), skipped


def test_a_backend_that_needs_a_network_is_told_of_the_hosts_interfaces() -> None:
    """Another one is told of an interface that nobody has."""

    class Needy(DiscoveryConformance):
        needs_network = True

    told = {each.name for each in Needy().network().snapshot.interfaces}
    assert told == {each.name for each in read_network().interfaces} - {"lo", "lo0"}
    assert [each.name for each in DiscoveryConformance().network().snapshot.interfaces] == ["eth0"]
