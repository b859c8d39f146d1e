"""@homebridge/ciao, a strict responder that only publishes: it probes, and renames itself on a conflict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import ForeignPeer, Programs

pytestmark = pytest.mark.netns


def test_we_see_it_and_that_it_stops(programs: Programs, foreign: tuple[ForeignPeer, ForeignPeer]) -> None:
    """A trusted key that it publishes is discovered where it is heard; it finds no conflict with us."""
    trusted, stranger = foreign
    us = programs.publish("us", trust=[trusted])
    us.wait("backend_started", source="lan")
    host = programs.lab.host("bridge")
    programs.accept(host)
    service = programs.javascript(host, "ciao.js", foreign)
    for peer in foreign:
        service.wait("published", name=peer.alias)
    assert not service.seen("renamed"), service.report()
    since = us.check_discovery(trusted, stranger, str(host.ipv4))
    assert service.terminate() == 0
    us.check_loss(trusted, since=since)
