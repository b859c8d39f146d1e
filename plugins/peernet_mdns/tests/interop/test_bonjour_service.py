"""bonjour-service, the usual package of Node.js applications that browse."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, cast

import pytest

from peernet_core.testing.lab import INTERFACE

if TYPE_CHECKING:
    from peernet_core.testing.lab import Host

    from .conftest import ForeignPeer, Programs

pytestmark = pytest.mark.netns


@pytest.fixture
def desktop(programs: Programs) -> Host:
    """A host that knows where multicast goes: this program leaves that to the routes."""
    host = programs.lab.host("desktop")
    host.ip("route", "add", "224.0.0.0/4", "dev", INTERFACE)
    return host


def test_it_sees_us_and_that_we_stop(programs: Programs, desktop: Host) -> None:
    """Name, port, TXT and addresses are ours to the byte; a goodbye takes us off its list at once."""
    us = programs.publish("us")
    us.wait("backend_started", source="lan")
    browser = programs.javascript(desktop, "bonjour_service.js")
    found = browser.wait("up").fields
    assert (found["name"], found["host"], found["port"]) == (us.alias, f"{us.alias}.local", us.port)
    us.check_txt(b64decode(string) for string in cast("list[str]", found["txt"]))
    us.check_addresses(cast("list[str]", found["addresses"]))
    us.stop()
    browser.wait("down", name=us.alias, guard_s=2)
    assert [line.event for line in browser.lines if line.fields["name"] != us.alias] == []


def test_we_see_it_and_that_it_stops(
    programs: Programs, desktop: Host, foreign: tuple[ForeignPeer, ForeignPeer]
) -> None:
    """A trusted key that it publishes is discovered where it is heard; a stranger's is dropped."""
    trusted, stranger = foreign
    us = programs.publish("us", trust=[trusted])
    programs.accept(desktop)
    service = programs.javascript(desktop, "bonjour_service.js", foreign)
    for peer in foreign:
        service.wait("published", name=peer.alias)
    since = us.check_discovery(trusted, stranger, str(desktop.ipv4))
    assert service.terminate() == 0
    us.check_loss(trusted, since=since)
