"""`peernet trust`: who is let in, by whole keys or by what a running node has seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from peernet_core.cli.app import invoke
from peernet_core.control import Answer, ControlServer
from peernet_core.keys import Identity, PeerKey
from peernet_core.storage.data_directory import DataDirectory
from peernet_core.storage.trust_file import TrustFile
from peernet_core.trust import TrustedPeer

KEY = Identity.generate().key
OTHER = Identity.generate().key

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def call(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def trust(*arguments: str) -> tuple[int, str, str]:
        status = invoke(["--data-dir", str(folder), "trust", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return trust


def trusted(folder: Path) -> tuple[TrustedPeer, ...]:
    return TrustFile(folder / "trusted_peers").load().peers


@contextmanager
def running_node(folder: Path, strangers: Sequence[PeerKey]) -> Iterator[None]:
    """What answers commands on a running node's behalf."""

    async def listing(_: object) -> Answer:
        return {"strangers": [{"key": str(key), "source": "lan"} for key in strangers]}

    with DataDirectory.open(folder) as directory, anyio.from_thread.start_blocking_portal() as portal:
        path = directory.socket_path()
        assert path is not None
        server = ControlServer(path, {"strangers": listing})
        task, _ = portal.start_task(server.serve)
        yield
        task.cancel()


def test_a_key_is_added_and_removed(call: Call, folder: Path) -> None:
    """The file has it, then it has not; the whole key is shown each time, to be compared."""
    assert call("add", str(KEY), "--label", "kitchen pi") == (0, f"added {KEY} (kitchen pi)\n", "")
    assert trusted(folder) == (TrustedPeer(KEY, "kitchen pi"),)
    assert call("remove", "kitchen pi") == (0, f"removed {KEY} (kitchen pi)\n", "")
    assert trusted(folder) == ()


def test_adding_again_gives_another_label(call: Call, folder: Path) -> None:
    """A key stands in the file once; its spelling in upper case is the same key."""
    call("add", str(KEY), "--label", "kitchen")
    assert call("add", str(KEY).upper(), "--label", "garden") == (
        0,
        f"already trusted: {KEY} (garden)\n",
        "",
    )
    assert trusted(folder) == (TrustedPeer(KEY, "garden"),)
    call("remove", str(KEY))
    assert trusted(folder) == ()


def test_the_list_for_people_and_for_programs(call: Call) -> None:
    """A table, or a JSON array with the same; without anybody a line that says what to do."""
    status, out, err = call("list")
    assert (status, out) == (0, "")
    assert "peernet trust add" in err
    assert json.loads(call("list", "--json")[1]) == []
    call("add", str(KEY), "--label", "küche")
    call("add", str(OTHER))
    assert call("list")[1].splitlines()[1:] == [f"{KEY}  küche", str(OTHER)]
    assert json.loads(call("list", "--json")[1]) == [
        {"key": str(KEY), "label": "küche"},
        {"key": str(OTHER), "label": ""},
    ]


def test_our_own_key_is_refused(call: Call, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would do nothing, and is a sign that the keys were mixed up."""
    invoke(["--data-dir", str(folder), "id"])
    own = capsys.readouterr().out.strip()
    status, _, err = call("add", own)
    assert status == 2
    assert "our own key" in err
    assert trusted(folder) == ()


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("not a key", "not a key"),
        (str(KEY)[:-1] + "1", "not a key"),
        (str(KEY) + "a", "not a key"),
        ("a" * 52, "small-order"),
        ("", "not a key"),
        ("abc", "too short"),
    ],
)
def test_what_cannot_be_a_key_is_refused(call: Call, folder: Path, who: str, words: str) -> None:
    """Bad usage: one line that says what is wrong with it."""
    status, out, err = call("add", who)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not (folder / "trusted_peers").exists()


def test_a_label_that_would_break_the_file(call: Call, folder: Path) -> None:
    """Labels are one line of printable text."""
    assert call("add", str(KEY), "--label", "a\x1bb")[0] == 2
    assert not (folder / "trusted_peers").exists()


def test_removing_somebody_unknown(call: Call) -> None:
    """The line says who may have been meant."""
    call("add", str(KEY), "--label", "kitchen")
    status, _, err = call("remove", "kitchn")
    assert status == 2
    assert "did you mean 'kitchen'" in err
    assert call("remove", str(OTHER))[0] == 2


def test_a_prefix_is_a_stranger_whom_the_node_has_seen(call: Call, folder: Path) -> None:
    """The running node is asked; the whole key is written and shown."""
    with running_node(folder, [KEY, OTHER, KEY]):
        status, out, _ = call("add", KEY.short.upper(), "--label", "kitchen")
    assert (status, out) == (0, f"added {KEY} (kitchen)\n")
    assert trusted(folder) == (TrustedPeer(KEY, "kitchen"),)


def test_a_prefix_of_nobody_and_of_several(call: Call, folder: Path) -> None:
    """Neither is guessed; of several all are shown, so that one can be copied."""
    twins = _twins()
    with running_node(folder, twins):
        status, _, err = call("add", "2222")
        assert (status, err.count("\n")) == (2, 1)
        assert "no stranger" in err
        status, _, err = call("add", str(twins[0])[:4])
        assert (status, err.count("\n")) == (2, 1)
        assert all(str(key) in err for key in twins)
    assert not (folder / "trusted_peers").exists()


def test_a_prefix_without_a_running_node(call: Call) -> None:
    """There is nobody to ask, and the line says what works without."""
    status, _, err = call("add", KEY.short)
    assert status == 1
    assert "no node is running" in err
    assert "give the whole key" in err


def test_editing_under_a_running_node(call: Call, folder: Path) -> None:
    """The trust list is not the node's alone: whole keys come and go while it has the lock."""
    with running_node(folder, []):
        assert call("add", str(KEY))[0] == 0
        assert call("remove", str(KEY))[0] == 0


def test_a_broken_list_stays_as_it_is(call: Call, folder: Path) -> None:
    """Every bad line is named; nothing is written over what somebody was about to mend."""
    folder.mkdir()
    path = folder / "trusted_peers"
    path.write_text(f"{KEY} kitchen\nrubbish\n{OTHER}x\n")
    for arguments in (("list",), ("add", str(OTHER)), ("remove", "kitchen")):
        status, _, err = call(*arguments)
        assert status == 2
        assert [line.split(": ")[1] for line in err.splitlines()] == ["line 2", "line 3"]
    assert path.read_text() == f"{KEY} kitchen\nrubbish\n{OTHER}x\n"


def _twins() -> list[PeerKey]:
    """Two keys that begin alike."""
    return [PeerKey(b"peernet" + bytes([number]) * 25) for number in (1, 2)]
