"""How the programs speak: one JSON object a line, with the time at which it was so."""

from __future__ import annotations

import json
import time

__all__ = ["say"]


def say(event: str, peer: str = "") -> None:
    """Print that this is so now."""
    print(json.dumps({"event": event, "peer": peer, "at": time.monotonic()}), flush=True)
