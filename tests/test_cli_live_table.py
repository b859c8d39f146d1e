"""The live table: its rows, and a terminal that does not take them."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from peernet_core.addresses import Address
from peernet_core.cli import live_table
from peernet_core.cli.live_table import LiveTable, draw, duration
from peernet_core.events import PeerState, PeerStatus
from peernet_core.keys import Identity

KEYS = [Identity.generate().key for _ in range(4)]
V4 = Address.parse("10.0.0.5:7100", source="lan")
V6 = Address.parse("[fe80::1%eth0]:7100", source="[bold]lan")


def status(number: int, label: str, state: PeerState, address: Address | None) -> PeerStatus:
    return PeerStatus(KEYS[number], label, state, address, since=1000.0)


PEERS = [
    status(0, "attic", PeerState.UNSEEN, None),
    status(1, "b\x1b[31md [red]", PeerState.LINKED, V6),
    status(2, "cellar", PeerState.WAITING, V4),
    status(3, "alcove", PeerState.LINKED, V4),
]


def console(file: io.TextIOBase, width: int = 120) -> Console:
    return Console(
        file=file,  # type: ignore[arg-type]  # rich asks for IO[str], which TextIOBase is in all but name
        force_terminal=True,
        width=width,
        color_system=None,
        highlight=False,
        markup=False,
    )


def shown(peers: list[PeerStatus], *, width: int = 120, now: float = 1065.0) -> list[str]:
    file = io.StringIO()
    console(file, width).print(draw("kitchen", peers, now=now))
    return file.getvalue().splitlines()


def test_rows_are_the_peers_the_linked_ones_first() -> None:
    """Every column is there; what labels and sources hold is shown, not obeyed."""
    lines = shown(PEERS)
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert cells == [
        [KEYS[3].short, "alcove", "linked", "10.0.0.5:7100", "lan", "1 min"],
        [KEYS[1].short, r"b\x1b[31md [red]", "linked", "[fe80::1%eth0]:7100", "[bold]lan", "1 min"],
        [KEYS[2].short, "cellar", "waiting", "10.0.0.5:7100", "lan", "1 min"],
        [KEYS[0].short, "attic", "unseen", "", "", "1 min"],
    ]
    assert "2 of 4 linked, Ctrl-C stops" in lines


def test_a_narrow_terminal_gets_one_line_a_peer() -> None:
    """Cells are cut, and no row is wrapped."""
    assert len(shown(PEERS, width=50)) == len(shown(PEERS))
    assert all(len(line) <= 50 for line in shown(PEERS, width=50))


def test_nobody_yet() -> None:
    """Without peers there is the command that would change that."""
    assert "peernet trust add" in shown([])[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5.0, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (7199.0, "1 h"),
        (86_400.0 * 3.5, "3 d"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    """The largest unit counts; a clock that was set back shows zero."""
    assert duration(seconds) == text


def test_lines_stay_and_the_table_goes() -> None:
    """What was logged is left on the terminal in its order; closing waits for it."""
    file = io.StringIO()
    table = LiveTable(console(file))
    table.add_line("first [bold]")
    table.show("kitchen", PEERS)
    table.add_line("second")
    table.close()
    out = file.getvalue()
    assert out.index("first [bold]") < out.index("second")
    assert out.endswith("\x1b[?25h") or "\x1b[?25h" in out.rpartition("second")[2]


def test_it_is_drawn_when_peers_change() -> None:
    """A new state reaches the terminal without waiting for the next second."""
    drawn = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            if "cellar" in text:
                drawn.set()
            return super().write(text)

    table = LiveTable(console(Watched()))
    table.show("kitchen", PEERS)
    assert drawn.wait(30)
    table.close()


def test_a_terminal_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shows and logs never waits, what waits is bounded, and closing gives up after its time."""
    monkeypatch.setattr(live_table, "_CLOSE_S", 0.01)
    hanging, release = threading.Event(), threading.Event()

    class Held(io.StringIO):
        def write(self, text: str) -> int:
            hanging.set()
            release.wait(30)
            return super().write(text)

    file = Held()
    table = LiveTable(console(file))
    table.show("kitchen", PEERS)
    assert hanging.wait(30)
    for number in range(2000):
        table.add_line(f"line {number}")
        table.show("kitchen", PEERS)
    table.close()
    release.set()
    table._thread.join(30)
    assert file.getvalue().count("line ") <= 500


def test_a_terminal_that_is_gone_ends_the_drawing() -> None:
    """Nothing is raised in a thread; the node is told by a signal."""

    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    table = LiveTable(console(Gone()))
    table.show("kitchen", PEERS)
    table.add_line("anybody?")
    table.close()
