"""The table of peers on a terminal. A thread draws it: a held terminal (Ctrl-S) holds up nothing else."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peernet_core.cli.output import escape
from peernet_core.events import PeerState, PeerStatus

__all__ = ["LiveTable", "draw", "duration"]

_MAX_LINES: Final = 500
_REDRAW_S: Final = 1.0
_CLOSE_S: Final = 1.0

_STYLES: Final = {
    PeerState.LINKED: "bold green",
    PeerState.DIALING: "yellow",
    PeerState.WAITING: "yellow",
    PeerState.UNSEEN: "dim",
}
_ORDER: Final = list(_STYLES)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class LiveTable:
    """Draws peers at the bottom of a terminal, and lines above.

    Args:
        console: Where to draw.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._title = ""
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._changed = threading.Condition()
        self._peers: Sequence[PeerStatus] = ()
        self._lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._closing = False
        # A daemon: it may be inside a write that never ends.
        self._thread = threading.Thread(target=self._draw_until_closed, name="live table", daemon=True)
        self._thread.start()

    def show(self, title: str, peers: Sequence[PeerStatus]) -> None:
        """Draw these peers from now on; never blocks. Until the first call there is no table."""
        with self._changed:
            self._title = title
            self._peers = peers
            self._changed.notify()

    def add_line(self, line: str) -> None:
        """Print a line above the table; never blocks. When too many wait the oldest are dropped."""
        with self._changed:
            self._lines.append(line)
            self._changed.notify()

    def close(self) -> None:
        """Print what waits, wipe the table and let go of the terminal; give up after a second."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)

    def _draw_until_closed(self) -> None:
        try:
            with Live(
                console=self._console,
                auto_refresh=False,
                transient=True,  # what stays is what happened; the state of a stopped node is no news
                redirect_stdout=False,
                redirect_stderr=False,
            ) as live:
                while self._draw_once(live):
                    pass
        except OSError:  # the terminal is gone, and a signal tells the node so
            return

    def _draw_once(self, live: Live) -> bool:
        with self._changed:
            closing = self._closing
            title, peers, lines = self._title, self._peers, list(self._lines)
            self._lines.clear()
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)
        if title and not closing:
            live.update(draw(title, peers, now=time.time()), refresh=True)
        with self._changed:
            if not self._closing and not self._lines and self._peers is peers:
                self._changed.wait(_REDRAW_S)
        return not closing


def draw(title: str, peers: Sequence[PeerStatus], *, now: float) -> Group:
    """The table as it stands.

    Args:
        title: Stands above it.
        peers: Its rows, in any order.
        now: Unix seconds.
    """
    if not peers:
        return Group(Text(escape(title), style="bold"), Text("nobody is trusted yet: peernet trust add KEY"))
    linked = sum(peer.state is PeerState.LINKED for peer in peers)
    table = Table()
    for name in ("peer", "label", "state", "address", "source", "since"):
        table.add_column(
            name, no_wrap=True, overflow="ellipsis", justify="right" if name == "since" else "left"
        )
    for peer in sorted(peers, key=lambda peer: (_ORDER.index(peer.state), peer.label, peer.key)):
        style = _STYLES[peer.state]
        table.add_row(
            Text(peer.key.short),
            Text(escape(peer.label)),
            Text(str(peer.state), style=style),
            Text("" if peer.address is None else str(peer.address)),
            Text("" if peer.address is None else escape(peer.address.source)),
            Text(duration(now - peer.since)),
        )
    summary = Text(f"{linked} of {len(peers)} linked, Ctrl-C stops", style="dim")
    return Group(Text(escape(title), style="bold"), table, summary)


def duration(seconds: float) -> str:
    """A span of time in its largest unit; clocks that were set back make it zero."""
    for unit_s, unit in _UNITS:
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return "0 s"
