"""`peernet check` and `peernet backends`: what is wrong, what is right, and what there is."""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from peernet_core.cli.app import invoke
from peernet_core.configuration.entrypoints import BackendIndex, InstalledBackend
from peernet_core.keys import Identity

KEY = Identity.generate().key

GOOD = f"""\
[node]
name = "kitchen"
listen = ["127.0.0.1:7100"]
data_dir = "data"
advertise = ["203.0.113.7:7100"]

[discovery.manual]
peers = [{{ key = "{KEY}", address = "10.0.0.5:7100" }}]
required = false

[discovery.other]
backend = "manual"
enabled = false
"""


@pytest.fixture(autouse=True)
def away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("PEERNET_CONFIG", "PEERNET_DATA_DIR", "PEERNET_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def test_a_good_configuration_is_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ok`, and what was understood; nothing is made on the disk."""
    (tmp_path / "peernet.toml").write_text(GOOD)
    assert invoke(["check"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ok\n")
    for words in ("peernet.toml", "(0 trusted)", "kitchen", "127.0.0.1:7100", "203.0.113.7:7100"):
        assert words in out
    assert "manual (peernet-manual" in out
    assert "may fail" in out
    assert "not enabled" in out
    assert [path.name for path in tmp_path.iterdir()] == ["peernet.toml"]


def test_every_mistake_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's, the options', and the trust list's, each a line; nothing else; status 2."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "trusted_peers").write_text("rubbish\n")
    (tmp_path / "peernet.toml").write_text(
        '[node]\ndata_dir = "data"\n[discovery.mdsn]\n[discovery.manual]\npeesr = []\n'
    )
    assert invoke(["check"]) == 2
    said = capsys.readouterr()
    assert not said.out
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert '"mdsn"' in lines[0]
    assert '"peesr"' in lines[1]
    assert "trusted_peers: line 1" in lines[2]


def test_nothing_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file there is a line that says what to do."""
    assert invoke(["check"]) == 2
    assert "--config" in capsys.readouterr().err


def test_a_node_that_nobody_discovers_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration without backends is allowed, and the consequence is said."""
    (tmp_path / "peernet.toml").write_text('[node]\nname = "quiet"\n')
    assert invoke(["check"]) == 0
    assert "finds nobody by itself" in capsys.readouterr().out


def test_backends_are_exactly_the_installed_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """The list is that of the entry points."""
    assert invoke(["backends", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in shown} == {
        entry.name for entry in entry_points(group="peernet.discovery")
    }
    assert all(each["usable"] and each["problem"] is None for each in shown)
    assert invoke(["backends"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split("  +", lines[0]) == ["name", "distribution", "version", "fits this core", "selected by"]
    assert len(lines) == 1 + len(shown)


def test_one_that_does_not_fit_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason stands in the table, and in the object."""
    old = InstalledBackend("old", "peernet-old", "0.1", "old", "needs peernet-core<0.1 but 0.1.0 is running")
    monkeypatch.setattr(BackendIndex, "scan", lambda: BackendIndex((old,)))
    assert invoke(["backends"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "old   peernet-old   0.1      needs peernet-core<0.1 but 0.1.0 is running"
    )
    assert invoke(["backends", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "old",
            "distribution": "peernet-old",
            "version": "0.1",
            "usable": False,
            "problem": "needs peernet-core<0.1 but 0.1.0 is running",
            "conflicts": [],
            "selected_by": [],
        }
    ]


def test_the_list_says_what_the_configuration_selects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the sources that name it, and that are enabled; mistakes in the file do not keep the list back."""
    (tmp_path / "peernet.toml").write_text(
        '[discovery.manual]\n[discovery.two]\nbackend = "manual"\n[discovery.off]\nbackend = "mdns"\n'
        "enabled = false\n[discovery.gone]\n"
    )
    assert invoke(["backends"]) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if line.startswith("manual ")]
    assert line.endswith("[discovery.manual], [discovery.two]")
    assert "[discovery.off]" not in said.out
    assert not said.err
    (tmp_path / "peernet.toml").write_text("[node]\nwrong = 1\n[discovery.manual]\n")
    assert invoke(["backends", "--json"]) == 0
    said = capsys.readouterr()
    selected = {each["name"]: each["selected_by"] for each in json.loads(said.out)}
    assert selected["manual"] == ["manual"]
    assert "has mistakes" in said.err


def test_two_of_one_name_are_told_with_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of the list stands; what to write stands below."""
    both = tuple(InstalledBackend("lan", name, "1.0", "lan") for name in ("acme-lan", "peernet-lan"))
    monkeypatch.setattr(BackendIndex, "scan", lambda: BackendIndex(both))
    assert invoke(["backends"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert said.err.splitlines()[0] == (
        'lan (acme-lan 1.0): also provided by peernet-lan 1.0; to select it write backend = "acme-lan:lan"'
    )


def test_one_backend_is_shown_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """What they are called, what they are, and what they mean, for people and for programs."""
    assert invoke(["backends", "manual"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("manual (peernet-manual ")
    assert re.search(r"^  class +peernet_manual:ManualDiscovery$", out, re.MULTILINE)
    assert re.search(r"^  fits this core +yes$", out, re.MULTILINE)
    assert "contract" not in out
    assert re.search(r"^peers +a list of tables +\[\] +Who is where", out, re.MULTILINE)
    assert invoke(["backends", "peernet-manual:manual", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["problems"] == []
    assert [option["name"] for option in shown["options"]] == ["peers", "peers[].key", "peers[].address"]
    assert shown["hooks"] == ["start", "stop"]


def test_one_backend_is_shown_with_who_selects_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the list has it."""
    (tmp_path / "peernet.toml").write_text('[discovery.mine]\nbackend = "manual"\n')
    assert invoke(["backends", "manual"]) == 0
    assert re.search(r"^  selected by +\[discovery\.mine\]$", capsys.readouterr().out, re.MULTILINE)
    assert invoke(["backends", "manual", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["selected_by"] == ["mine"]


def test_on_request_the_contract_is_gone_through(capsys: pytest.CaptureFixture[str]) -> None:
    """Hook by hook. The list imports nothing, so there is nothing to check in it."""
    assert invoke(["backends", "manual", "--check"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  contract +kept$", out, re.MULTILINE)
    for hook, there in (("start", True), ("announce_self", False), ("resolve", False), ("stop", True)):
        state = "a coroutine function, decorated" if there else "not there, and need not be"
        assert re.search(rf"^  {hook} +{state}", out, re.MULTILINE)
    assert invoke(["backends", "--check"]) == 2
    assert "--check needs the NAME of a backend" in capsys.readouterr().err


def test_one_that_is_not_there_is_told_as_in_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and what was meant."""
    assert invoke(["backends", "manul"]) == 2
    assert capsys.readouterr().err == (
        'no backend "manul" is installed. Installed: manual, mdns, replay. Did you mean "manual"?\n'
    )


def test_without_any_backend_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line on stderr; stdout stays empty."""
    monkeypatch.setattr(BackendIndex, "scan", BackendIndex)
    assert invoke(["backends"]) == 0
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    assert "pip install" in said.err
