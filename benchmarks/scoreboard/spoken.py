"""What the programs of this folder say, as `programs.said` prints it."""

from __future__ import annotations

import json

from benchmarks.scoreboard.watched import Happening

__all__ = ["parse_spoken"]


def parse_spoken(line: str) -> Happening | None:
    """Read one line of a program of ours; None: it says nothing of the kind."""
    try:
        match json.loads(line):
            case {"event": str(event), "peer": str(peer), "at": int() | float() as at}:
                return Happening(event, peer, float(at))
    except ValueError:
        pass
    return None
