"""Backends that are wrong in every way, each a wheel that pip installed, side by side in one environment.

What is said about each is compared whole; and that none of them harms another.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import attrs
import pytest

from peernet_core.keys import Identity
from peernet_core.testing.node_process import NodeProcess

GOOD = """
import attrs
from peernet_core import Context, DiscoverySpec, hookimpl


@attrs.define(eq=False)
class Good(DiscoverySpec):
    every_s: float = 1.0

    @hookimpl
    async def start(self, context: Context) -> None: ...
"""
NOT_ATTRS = """
class Good:
    async def start(self, context): ...
"""
RAISES = GOOD.replace("    @hookimpl", "    def __attrs_post_init__(self):\n        1 / 0\n\n    @hookimpl")


@attrs.frozen
class Distribution:
    """A wheel: one module, one backend of the distribution's own name."""

    name: str
    module: str = GOOD
    target: str = "Good"
    """Of the entry point, after the distribution's own module, unless it has a colon itself."""
    requires: str = "peernet-core>=0.1"
    backend: str | None = None
    said: str | None = None
    """By `peernet check`, after where; None: nothing."""
    listed: bool = True
    """By `peernet backends`."""

    @property
    def entry(self) -> str:
        return self.backend or self.name

    def build(self, folder: Path) -> Path:
        package = f"broken_{self.name.replace('-', '_')}"
        info = f"{package}-1.0.dist-info"
        target = self.target if ":" in self.target else f"{package}:{self.target}".removesuffix(":")
        metadata = (
            f"Metadata-Version: 2.1\nName: broken-{self.name}\nVersion: 1.0\nRequires-Dist: {self.requires}\n"
        )
        contents = {
            f"{package}.py": self.module,
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[peernet.discovery]\n{self.entry} = {target}\n",
        }
        record = io.StringIO()
        for path, text in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            csv.writer(record).writerow([path, f"sha256={digest}", len(text.encode())])
        wheel = folder / f"{package}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in contents.items():
                archive.writestr(path, text)
            archive.writestr(f"{info}/RECORD", record.getvalue() + f"{info}/RECORD,,\n")
        return wheel


CORE = version("peernet-core")
IMPORTING = "importing {package} (broken-{name} 1.0) failed: "
BREAKS = "{name} (broken-{name} 1.0) breaks the contract: "
DISTRIBUTIONS = [
    Distribution("fine"),
    Distribution(
        "twin",
        backend="manual",
        said=f'"manual" is provided by peernet-manual {version("peernet-manual")} and broken-twin 1.0; '
        'write backend = "peernet-manual:manual"',
    ),
    Distribution(
        "future",
        requires="peernet-core>=7",
        module="raise SystemExit('it was imported')",
        said=f"broken-future 1.0 needs peernet-core>=7 but {CORE} is running; it was not imported",
    ),
    Distribution(
        "partial",
        target="Good [deluxe]",
        requires='peernet-core>=0.1\nRequires-Dist: no-such-thing>=3; extra == "deluxe"',
        module="raise SystemExit('it was imported')",
        said='backend "partial" belongs to broken-partial[deluxe], and no-such-thing>=3 is not installed: '
        "pip install 'broken-partial[deluxe]'",
        listed=False,
    ),
    Distribution("crash", module="1 / 0\n", said=IMPORTING + "ZeroDivisionError: division by zero"),
    Distribution(
        "poor", module="import no_such_dependency\n", said=IMPORTING + "no module named 'no_such_dependency'"
    ),
    Distribution(
        "exit", module="raise SystemExit(3)\n", said=IMPORTING + "it tried to end the process, SystemExit: 3"
    ),
    Distribution(
        "function",
        module="def Good(): ...\n",
        said=BREAKS + "the entry point names an object of type function, not a class",
    ),
    Distribution(
        "module",
        module="import json as Good\n",
        said=BREAKS + "the entry point names an object of type module, not a class",
    ),
    Distribution(
        "instance",
        module=GOOD + "\n\nGood = Good()\n",
        said=BREAKS + "the entry point names an object of type Good, not a class",
    ),
    Distribution(
        "plain",
        module=NOT_ATTRS,
        said=BREAKS + "it is no attrs class; decorate it with @attrs.define(eq=False)",
    ),
    Distribution(
        "constructor",
        module=RAISES,
        said="{name} (broken-{name} 1.0) refused these options: ZeroDivisionError: division by zero",
    ),
    Distribution(
        "nowhere",
        target="Missing",
        said=IMPORTING + 'the module has no "Missing", which its entry point names',
    ),
    Distribution(
        "gone",
        target="broken_elsewhere:Good",
        said="importing broken_elsewhere (broken-gone 1.0) failed: "
        "the module is not there; install broken-gone again",
    ),
    Distribution("classless", target="", said=IMPORTING + "its entry point names no class in the module"),
    Distribution(
        "garbled",
        target="broken garbled:Good",
        said="importing broken garbled:Good (broken-garbled 1.0) failed: its entry point is not written "
        "module:Class",
    ),
    Distribution(
        "typed",
        module=GOOD.replace("every_s: float", "every_s: Path").replace(
            "import attrs", "from __future__ import annotations\nimport attrs"
        ),
        said=BREAKS + 'option "every_s": its type "Path" cannot be resolved: name \'Path\' is not defined; '
        'options are read at run time: import it outside "if TYPE_CHECKING:" (if ruff\'s TC rules moved it '
        'there, set runtime-evaluated-decorators = ["attrs.define"])',
    ),
    Distribution(
        "misspelt",
        module=GOOD + "\n    @hookimpl\n    async def anounce_self(self, announcement): ...\n",
        said=BREAKS + '"anounce_self" is no hook; did you mean "announce_self"?',
    ),
    Distribution("late", module=GOOD.replace("-> None: ...", "-> None:\n        raise OSError('no radio')")),
]


@attrs.frozen
class Environment:
    """Where they are installed."""

    python: Path
    folder: Path

    def peernet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("PEERNET", "PYTHON"))
        }
        return subprocess.run(
            [str(self.python), "-m", "peernet_core.cli", "--data-dir", str(self.folder / "data"), *arguments],
            cwd=self.folder,
            env={**variables, "XDG_CONFIG_HOME": str(self.folder), "COLUMNS": "400"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def configured(self, *tables: str) -> tuple[str, str]:
        """A configuration with these sources, named by their numbers: what says so to the command."""
        path = self.folder / "peernet.toml"
        sources = "".join(f"[discovery.{number}]\n{table}\n" for number, table in enumerate(tables))
        path.write_text('[node]\nlisten = ["127.0.0.1:0"]\n' + sources)
        return "--config", str(path)

    def check(self, *tables: str) -> subprocess.CompletedProcess[str]:
        return self.peernet(*self.configured(*tables), "check")

    def run(self, *tables: str) -> NodeProcess:
        """A node, whose working folder is ours: nothing there stands in its way."""
        data, config = str(self.folder / "data"), self.configured(*tables)
        command = [str(self.python), "-I", "-m", "peernet_core.cli", "--data-dir", data, *config]
        return NodeProcess("node", [*command, "run", "--json"], self.folder / "log")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment of its own, that sees what core needs; pip installs from the wheels alone."""
    pytest.importorskip("ensurepip", reason="pip is not there to install with")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True, timeout=100)
    python = folder / "env/bin/python"
    wheels = [str(each.build(folder)) for each in DISTRIBUTIONS]
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
    ]
    subprocess.run(
        [*pip, *wheels], check=True, timeout=100, env={**os.environ, "PIP_CONFIG_FILE": os.devnull}
    )
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    # As installed beside them: .pth files of editable installs are read there as well.
    (packages / "theirs.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", encoding="utf-8"
    )
    return Environment(python, folder)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda each: each.name)
def test_what_is_wrong_with_a_backend_is_said_in_one_line(
    distribution: Distribution, environment: Environment
) -> None:
    """With where it stands, who provides it, and what to do; the good one beside it has no line."""
    done = environment.check('backend = "fine"', f'backend = "{distribution.entry}"')
    if distribution.said is None:
        assert (done.returncode, done.stderr) == (0, "")
        return
    package = f"broken_{distribution.name}"
    said = distribution.said.format(name=distribution.name, package=package)
    assert done.stderr == f"{environment.folder}/peernet.toml [discovery.1]: {said}\n"
    assert done.returncode == 2


def test_all_mistakes_are_said_at_once(environment: Environment) -> None:
    """One line each, in the order of the file."""
    broken = [each for each in DISTRIBUTIONS if each.said is not None]
    done = environment.check(*(f'backend = "{each.entry}"' for each in broken))
    lines = done.stderr.splitlines()
    assert len(lines) == len(broken)
    for number, line in enumerate(lines):
        assert f"[discovery.{number}]: " in line


def test_what_nobody_selects_is_not_imported_and_harms_nobody(environment: Environment) -> None:
    """A node runs beside them all; the list shows each, and imports none."""
    key = Identity.generate().key
    done = environment.check(
        'backend = "fine"',
        f'backend = "peernet-manual:manual"\npeers = [{{ key = "{key}", address = "10.0.0.5:7100" }}]',
    )
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads(environment.peernet("backends", "--json").stdout)
    names = {each["name"] for each in listed}
    assert names >= {each.entry for each in DISTRIBUTIONS if each.listed}
    assert not names & {each.entry for each in DISTRIBUTIONS if not each.listed}
    unusable = {each["name"]: each["problem"] for each in listed if not each["usable"]}
    assert unusable == {"future": f"needs peernet-core>=7 but {CORE} is running"}
    assert all(each["conflicts"] for each in listed if each["name"] == "manual")


@pytest.mark.parametrize("name", [each.name for each in DISTRIBUTIONS if each.said and not each.backend])
def test_one_that_is_asked_for_by_name_says_what_is_wrong(name: str, environment: Environment) -> None:
    """`peernet backends NAME`: status 1."""
    done = environment.peernet("backends", name, "--check")
    (distribution,) = [each for each in DISTRIBUTIONS if each.name == name]
    assert distribution.said is not None
    said = distribution.said.format(name=name, package=f"broken_{name}")
    if name == "constructor":  # only making one shows it
        assert (done.returncode, done.stderr) == (0, "")
        return
    if not distribution.listed:  # there is nothing to show
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{said}\n")
        return
    assert done.returncode == 1
    assert done.stderr == f'backend "{name}": {said}\n'
    contract = "not looked at" if name == "future" else "broken"
    assert f"  contract        {contract}\n" in done.stdout


SELECTED_FINE = 'backend = "fine"'


def test_a_node_runs_beside_them_all(environment: Environment) -> None:
    """What it does not select is neither imported nor mentioned."""
    with environment.run(SELECTED_FINE) as node:
        node.wait("backend_started", source="0", backend="fine")
        assert node.terminate() == 0
        assert [line.fields["event"] for line in node.lines] == [
            "node_started",
            "backend_started",
            "node_stopped",
        ]
    assert "broken" not in (environment.folder / "log").read_text()


@pytest.mark.parametrize(
    "distribution", [each for each in DISTRIBUTIONS if each.said is not None], ids=lambda each: each.name
)
def test_one_that_cannot_be_made_keeps_the_node_from_starting(
    distribution: Distribution, environment: Environment
) -> None:
    """Whether it is required or not, as any mistake in the file: nothing was begun that had to be ended."""
    with environment.run(SELECTED_FINE, f'backend = "{distribution.entry}"\nrequired = false') as node:
        assert node.join() == 2
        assert node.lines == ()
    assert distribution.said is not None
    said = distribution.said.format(name=distribution.name, package=f"broken_{distribution.name}")
    assert f"[discovery.1]: {said}\n" in (environment.folder / "log").read_text()


def test_one_that_fails_to_start_is_told_and_the_other_runs(environment: Environment) -> None:
    """Where it is not required; where it is, the node does not start, and the reason is the same."""
    failed = "[discovery.1], late (broken-late 1.0): start raised OSError: no radio"
    with environment.run(SELECTED_FINE, 'backend = "late"\nrequired = false') as node:
        node.wait("backend_started", source="0", backend="fine")
        node.wait("backend_failed", source="1", error=failed)
        assert node.terminate() == 0
    with environment.run(SELECTED_FINE, 'backend = "late"') as node:
        assert node.join() == 1
    assert failed in (environment.folder / "log").read_text()
