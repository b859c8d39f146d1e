"""Imports run one way, pure modules stay pure, and nobody pays for what is not used."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import attrs
import pytest

import peernet_core

ROOT: Final = Path(peernet_core.__file__).parent

# Each name imports only what stands before it; a new module gets a place here, below all that it imports.
# `storage`, `testing` and `cli` stand for all that is in them.
VALUES: Final = (
    "values errors keys addresses records trust events contract policy configuration.listen_address"
    " configuration.wording configuration.construction configuration.option_types"
    " configuration.options configuration.config_search configuration.config configuration.contract_check"
)
PURE: Final = (
    "decisions.deadlines decisions.statements decisions.source_view decisions.ledger decisions.strangers"
    " decisions.candidates decisions.backoff decisions.rates decisions.sightings decisions.frames"
    " decisions.agreement decisions.effects decisions.lookups decisions.boot_ids decisions.pursuit"
    " decisions.explanation decisions.registry decisions.admission"
    " decisions.race_result decisions.race backends.reports backends.recording"
)
SHELL: Final = (
    "kernel_messages storage network network_watch links.certificates links.tcp links.tls links.sockets"
    " links.transport links.framed links.dialer links.acceptor links.stream links.stream_table links.openings"
    " links.switchboard"
    " configuration.releases configuration.installed configuration.extras configuration.entrypoints"
    " backends.containment backends.threads backends.contexts backends.witness backends.instance"
    " backends.runner backends.keeper backends.supervisor subscriptions control announcer home trust_book"
    " trust_follower engine node"
)
EDGE: Final = "testing cli"
ORDER: Final = f"{VALUES} {PURE} {SHELL} {EDGE}".split()
FOLDERS: Final = {"backends", "configuration", "decisions", "links"}

# What waits, connects, or knows the time belongs to the shell.
SHELL_ONLY: Final = frozenset(
    ["anyio", "asyncio", "multiprocessing", "select", "selectors", "socket", "ssl", "subprocess", "time"]
)
DRAWING: Final = frozenset({"click", "rich", "segno"})
# `errors` carries keys, which raise errors. The package itself only says where each name is.
FOR_TYPES_ONLY: Final = frozenset({"errors", "__init__"})
# An application's stream is one of anyio's; a node starts and links without loading those.
LATE: Final = "links.stream"
PACKAGES: Final = {"storage", *EDGE.split()}
# The command line may default to a backend; a laboratory of nodes needs one to introduce them.
MAY_NAME_A_BACKEND: Final = ("cli.", "testing.lab")


@attrs.frozen
class Import:
    """One imported module."""

    module: str
    line: int
    for_types_only: bool
    at_top: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def ours(self) -> str | None:
        """Which of our modules; the package itself is ``__init__``."""
        if self.top != "peernet_core":
            return None
        return self.module.partition(".")[2] or "__init__"


@attrs.frozen
class Module:
    name: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def unit(self) -> str:
        return unit_of(self.name)


def unit_of(name: str) -> str:
    """What of the order a module belongs to."""
    first = name.partition(".")[0]
    return first if first in PACKAGES else name


def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = Module(name, tree, tuple(imports_of(tree)))
    return found


def imports_of(node: ast.AST, *, types: bool = False, top: bool = True) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        match child:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, child.lineno, types, top)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    submodule = f"{module}.{alias.name}"
                    is_module = (ROOT.parent / Path(*submodule.split("."))).with_suffix(".py").exists()
                    yield Import(submodule if is_module else module, child.lineno, types, top)
            case ast.ImportFrom():
                raise AssertionError(f"line {child.lineno}: imports are written in full")
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=orelse):
                for statement in body:
                    yield from imports_of(ast.Module([statement], []), types=True, top=top)
                for statement in orelse:
                    yield from imports_of(ast.Module([statement], []), types=types, top=top)
            case _:
                yield from imports_of(child, types=types, top=top and not inside)


MODULES: Final = modules()


def test_every_module_has_its_place() -> None:
    """A new one is put into the order above on purpose."""
    units = {module.unit for module in MODULES.values()} - {"__init__"} - FOLDERS
    assert units == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


def test_imports_run_one_way() -> None:
    """Each module imports only what stands before it, in functions as well."""
    wrong = []
    for name, module in MODULES.items():
        before = set(ORDER[: ORDER.index(module.unit)]) if module.unit in ORDER else set()
        within = {module.unit} & PACKAGES
        for each in module.imports:
            free = each.ours is None or (each.for_types_only and name in FOR_TYPES_ONLY)
            if not free and unit_of(each.ours or "") not in before | within:
                wrong.append(f"{name}, line {each.line}: {each.module}")
    assert wrong == []


def test_no_package_has_a_circle_inside() -> None:
    """Where many modules share one place in the order, they have an order of their own."""
    graph = {
        name: {each.ours for each in module.imports if each.at_top and each.ours in MODULES}
        for name, module in MODULES.items()
        if name != "__init__"
    }
    graph["errors"] = set()
    try:
        assert list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_imports_for_types_only_are_rare() -> None:
    """They hide a circle, and one is unavoidable; some are there to start quickly."""
    wrong = [
        f"{name}, line {each.line}: {each.module}"
        for name, module in MODULES.items()
        if name not in FOR_TYPES_ONLY and module.unit != "cli"
        for each in module.imports
        if each.for_types_only and each.ours not in {None, LATE}
    ]
    assert wrong == []


def test_what_decides_or_parses_does_no_io() -> None:
    """No loop, no socket, no clock: time is an argument. The folder `decisions` is all of that kind."""
    assert {name for name in MODULES if name.startswith("decisions.")} <= set(PURE.split())
    assert users_of(SHELL_ONLY, [name for name in MODULES if name in f"{VALUES} {PURE}".split()]) == []


def test_only_the_command_line_draws() -> None:
    """Its libraries are an extra, and may not be there."""
    assert users_of(DRAWING, [name for name, module in MODULES.items() if module.unit != "cli"]) == []


def users_of(libraries: frozenset[str], names: Iterable[str]) -> list[str]:
    return [
        f"{name}, line {each.line}: {each.module}"
        for name in names
        for each in MODULES[name].imports
        if each.top in libraries
    ]


def test_the_contract_stands_on_almost_nothing() -> None:
    """A backend's author reads it; it imports only keys and addresses of ours, and pluggy and attrs."""
    imports = MODULES["contract"].imports
    assert {each.ours for each in imports if each.ours} == {"keys", "addresses"}
    assert {each.top for each in imports} - sys.stdlib_module_names == {"peernet_core", "pluggy", "attrs"}


def plugins() -> tuple[set[str], set[str]]:
    """Names of the backends that are installed, and their top-level modules; without that of the test kit."""
    found = [
        entry
        for entry in entry_points(group="peernet.discovery")
        if not entry.module.startswith("peernet_core.")
    ]
    names = {entry.name for entry in found} | {"manual", "mdns"}
    return names, {entry.module.partition(".")[0] for entry in found} | {"peernet_manual", "peernet_mdns"}


def test_the_library_names_no_plugin() -> None:
    """Ours come in by the same door as anyone's."""
    names, tops = plugins()
    assert users_of(frozenset(tops), MODULES) == []
    forbidden = names | {top.replace("_", "-") for top in tops}
    wrong = [
        f"{name}, line {line}: {text!r}"
        for name, module in MODULES.items()
        if not f"{name}.".startswith(MAY_NAME_A_BACKEND)
        for text, line in strings(module.tree)
        if forbidden & set(re.findall(r"[a-z0-9-]+", text.replace("_", "-")))
    ]
    assert wrong == []


def strings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every text but documentation, which may have examples."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value, node.lineno


def loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after a statement."""
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(ran.stdout))


def test_a_node_loads_neither_drawing_libraries_nor_plugins() -> None:
    """An application without the command line pays for neither."""
    loaded = loaded_by("import peernet_core.node")
    assert {name.partition(".")[0] for name in loaded} & (DRAWING | plugins()[1]) == set()
    assert loaded & {"peernet_core.cli", "peernet_core.testing"} == set()


def test_the_package_itself_loads_nothing() -> None:
    """A short command does not pay for the whole node."""
    ours = {name for name in loaded_by("import peernet_core") if name.startswith("peernet_core.")}
    assert ours == set()


LINKED: Final = """
import asyncio
from peernet_core import Backend, Config, Identity, Node, PeerConnected, TrustedPeer
from peernet_core.addresses import parse_ip
from peernet_core.configuration.listen_address import ListenAddress
from peernet_manual import ManualDiscovery

def node(own, other):
    config = Config(listen=(ListenAddress(parse_ip("127.0.0.1"), 0),))
    manual = Backend("manual", "", "manual", ManualDiscovery)
    return Node(config, identity=own, trust=[TrustedPeer(other.key, "")], backends=[manual])

async def main():
    a, b = Identity.generate(), Identity.generate()
    async with node(a, b) as one, node(b, a) as other, one.events() as events:
        other.backend("manual", ManualDiscovery).announce_peer(one.key, f"127.0.0.1:{one.port}")
        async with asyncio.timeout(20):
            await anext(event async for event in events if isinstance(event, PeerConnected))
        print(json.dumps(sorted(sys.modules)), flush=True)

asyncio.run(main())
"""


def test_a_link_loads_of_anyio_no_more_than_its_exceptions() -> None:
    """The rest is the application's, and takes 14 ms; so does what makes a stream, until there is one."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{LINKED}"], check=True, capture_output=True, text=True
    )
    loaded = json.loads(ran.stdout)
    assert "anyio" in loaded
    assert [
        name for name in loaded if name.startswith(("anyio.abc", "anyio.streams", "anyio._backends"))
    ] == []


def test_the_guard_sees_what_it_guards_against() -> None:
    """Imports in functions, under TYPE_CHECKING, of submodules by `from`, and by dotted name."""
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "import a.b\n"
        "from peernet_core import storage, keys\n"
        "if TYPE_CHECKING:\n    from peernet_core.node import Node\nelse:\n    import c\n"
        "class C:\n    def f(self):\n        from peernet_core.cli import app\n"
        "try:\n    import d\nexcept ImportError:\n    pass\n"
    )
    assert [(each.module, each.for_types_only, each.at_top) for each in imports_of(tree)] == [
        ("typing", False, True),
        ("a.b", False, True),
        ("peernet_core", False, True),
        ("peernet_core.keys", False, True),
        ("peernet_core.node", True, True),
        ("c", False, True),
        ("peernet_core.cli.app", False, False),
        ("d", False, True),
    ]
