"""Backends are found by metadata alone, only named ones are imported, and what fails is told with its cause.

The distributions here are real ones: folders of metadata and modules on sys.path.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pytest

from peernet_core.configuration.config import Config, SourceConfig, parse_config
from peernet_core.configuration.entrypoints import BackendIndex, InstalledBackend, load_configuration
from peernet_core.errors import ConfigurationError

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
FILE = Path("peernet.toml")

BACKEND = """
    import attrs
    from peernet_core.contract import hookimpl

    @attrs.define(eq=False)
    class Discovery:
        interfaces: list[str] = attrs.field(factory=list)

        @hookimpl
        async def start(self, context):
            pass
"""


class Install(Protocol):
    def __call__(
        self,
        name: str,
        version: str,
        entry_points: str = ...,
        *,
        requires: Sequence[str] = ...,
        folder: str = ...,
        info: str | None = ...,
        **modules: str,
    ) -> Path: ...


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path; what is imported from it is forgotten afterwards, and hidden before.

    Distributions here bear the names of real ones, which another test may have imported.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("peernet_mdns")}
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules.update(real)
    importlib.invalidate_caches()


@pytest.fixture
def install(site: Path) -> Install:
    """Put a distribution into the folder."""

    def install(
        name: str,
        version: str,
        entry_points: str = "",
        *,
        requires: Sequence[str] = (),
        folder: str = "",
        info: str | None = None,
        **modules: str,
    ) -> Path:
        target = site / folder
        metadata = target / (info or f"{name.replace('-', '_')}-{version}.dist-info")
        metadata.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (metadata / ("PKG-INFO" if info else "METADATA")).write_text("\n".join(lines) + "\n\n")
        if entry_points:
            text = f"[console_scripts]\nx = y:z\n[peernet.discovery]\n{entry_points}\n"
            (metadata / "entry_points.txt").write_text(text)
        for module, source in modules.items():
            (target / f"{module}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return target

    return install


@pytest.fixture
def scan(site: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BackendIndex]:
    """Index only what the test installed, beside a core of its own."""

    def scan(core: str | None = "0.1.0", *, folders: Sequence[str] = ("",)) -> BackendIndex:
        if core is not None:
            install("peernet-core", core)
        library = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
        library += [path for path in sys.path if path.endswith("lib-dynload")]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [*(str(site / folder) for folder in folders), *library])
            return BackendIndex.scan()

    return scan


def problems(index: BackendIndex, text: str) -> tuple[str, ...]:
    """What loading a file says that has no mistake by itself."""
    config, found = parse_config(textwrap.dedent(text), path=FILE)
    assert found == ()
    backends, told = index.load(config)
    assert bool(told) != bool(backends)
    return told


def on_the_page(lines: Sequence[str]) -> bool:
    return set(lines) <= set(PAGE.read_text().splitlines())


def test_the_index_reads_metadata_and_imports_nothing(install: Install, scan: Any) -> None:
    """Name, distribution, version and module stand in the metadata."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns="raise SystemExit")
    install("acme-radio", "2.1", "radio = acme.radio:Radio.Discovery [extra]\nbeep = acme.beep")
    install("unrelated", "1.0")
    assert scan().installed == (
        InstalledBackend("beep", "acme-radio", "2.1", "acme.beep"),
        InstalledBackend("mdns", "peernet-mdns", "0.3.0", "peernet_mdns", None, "Discovery"),
        InstalledBackend("radio", "acme-radio", "2.1", "acme.radio", None, "Radio.Discovery"),
    )
    assert "peernet_mdns" not in sys.modules


def test_a_distribution_that_is_found_twice_counts_once(install: Install, scan: Any) -> None:
    """An editable install is found in its source folder again; the first on sys.path counts."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery")
    install(
        "peernet_mdns", "0.2.0", "mdns = peernet_mdns:Discovery", folder="src", info="peernet_mdns.egg-info"
    )
    assert [each.version for each in scan(folders=("", "", "src")).installed] == ["0.3.0"]


def test_damaged_metadata_of_others_hides_no_backend(
    install: Install, scan: Any, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Any installed distribution may be broken; the log says so, and the rest is found."""
    (site / "broken-1.0.dist-info").mkdir()
    (site / "broken-1.0.dist-info" / "entry_points.txt").write_text("[peernet.discovery]\nno equals sign\n")
    (site / "nameless-1.0.dist-info").mkdir()
    (site / "nameless-1.0.dist-info" / "entry_points.txt").write_text("[peernet.discovery]\na = b:c\n")
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery")
    assert [each.name for each in scan().installed] == ["mdns"]
    assert "cannot be read; passing it over" in caplog.text


@pytest.mark.parametrize(
    ("requires", "problem"),
    [
        ((), None),
        (("zeroconf>=99",), None),
        (("peernet-core",), None),
        (("peernet-core<0.3,>=0.1",), None),
        (("Peernet_Core[cli]>=0.1 ; python_version >= '3.8'",), None),
        (("peernet-core>=9 ; python_version < '3'",), None),
        (("peernet-core>=9 ; extra == 'new'",), None),
        (("peernet-core @ file:///src/peernet",), None),
        (("peernet-core-tools>=9",), None),
        (("peernet-core>=0.1,<0.2",), "needs peernet-core>=0.1,<0.2 but 0.2.0 is running"),
        (("zeroconf", "peernet.core==1.*"), "needs peernet-core==1.* but 0.2.0 is running"),
        (("peernet-core>=0.1", "peernet-core>=3"), "needs peernet-core>=3 but 0.2.0 is running"),
        (
            ("peernet-core >= x",),
            'has a requirement on peernet-core that cannot be read, "peernet-core >= x"',
        ),
    ],
)
def test_requirements_on_core_are_checked(
    install: Install, scan: Any, requires: Sequence[str], problem: str | None
) -> None:
    """As the distribution states them, markers and extras considered, before anything is imported."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", requires=requires)
    assert scan("0.2.0").installed[0].requirement_problem == problem


def test_nothing_is_checked_where_core_is_not_installed(install: Install, scan: Any) -> None:
    """A source folder on sys.path has no version."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", requires=("peernet-core>=9",))
    assert scan(None).installed[0].requirement_problem is None


def test_a_development_version_of_core_satisfies(install: Install, scan: Any) -> None:
    """Pre-releases are not excluded for being such."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", requires=("peernet-core>=0.1",))
    assert scan("0.2.0.dev1").installed[0].requirement_problem is None


def test_a_named_backend_is_loaded(install: Install, scan: Any) -> None:
    """The result makes as many instances as are wanted, and carries what the table says."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=BACKEND)
    install("peernet-other", "0.3.0", "other = peernet_other:X", peernet_other="raise RuntimeError")
    text = """
        [discovery.lan]
        backend = "mdns"
        interfaces = ["eth0"]
        required = false
        advertise = false
        restart = false
        start_timeout_s = 3
        stop_timeout_s = 4
        [discovery.off]
        backend = "other"
        enabled = false
    """
    config, _ = parse_config(textwrap.dedent(text), path=FILE)
    [backend], told = scan().load(config)
    assert told == ()
    assert (backend.source, backend.name, backend.provider) == ("lan", "mdns", "mdns (peernet-mdns 0.3.0)")
    assert (backend.required, backend.advertise, backend.restart) == (False, False, False)
    assert (backend.start_timeout_s, backend.stop_timeout_s) == (3.0, 4.0)
    one, other = backend.make(), backend.make()
    assert one is not other
    assert one.interfaces == other.interfaces == ["eth0"]
    assert one.interfaces is not other.interfaces
    assert "peernet_other" not in sys.modules


def test_names_are_compared_normalised(install: Install, scan: Any) -> None:
    """Case, hyphen, underscore and dot do not count, in names of backends and of distributions."""
    install("Peernet_My.Radio", "1.0", "my_radio = peernet_my_radio:Discovery", peernet_my_radio=BACKEND)
    index = scan()
    for reference in ("my-radio", "My.Radio", "peernet-my-radio:my_radio", "PEERNET.my_radio:my-radio"):
        assert problems(index, f'[discovery.lan]\nbackend = "{reference}"') == ()


def test_two_instances_of_one_backend(install: Install, scan: Any) -> None:
    """Each table makes its own."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=BACKEND)
    sources = (
        SourceConfig("a", "mdns", options={"interfaces": ["eth0"]}),
        SourceConfig("b", "mdns", options={"interfaces": ["eth1"]}),
    )
    backends, told = scan().load(Config(sources=sources))
    assert told == ()
    made: list[Any] = [backend.make() for backend in backends]
    assert [each.interfaces for each in made] == [["eth0"], ["eth1"]]


def test_the_messages_about_a_backend_that_is_not_there(install: Install, scan: Any) -> None:
    """A slip gets a guess, a name that resembles nothing what to install; exactly as the page has them."""
    install("peernet-manual", "0.3.0", "manual = peernet_manual_x:Discovery")
    assert problems(index := scan(), "[discovery.mdns]") == (
        'peernet.toml [discovery.mdns]: backend "mdns" is not installed; perhaps: pip install peernet-mdns',
    )
    assert on_the_page(problems(index, "[discovery.mdns]"))
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery")
    index = scan(None)
    assert problems(index, "[discovery.mdsn]") == (
        (
            'peernet.toml [discovery.mdsn]: no backend "mdsn" is installed. Installed: manual, mdns. '
            'Did you mean "mdns"?'
        ),
    )
    assert on_the_page(problems(index, "[discovery.mdsn]"))
    assert problems(index, '[discovery.lan]\nbackend = "acme-mdns:mdns"') == (
        (
            'peernet.toml [discovery.lan]: backend "acme-mdns:mdns" is not installed; '
            "perhaps: pip install acme-mdns"
        ),
    )
    assert problems(index, '[discovery.lan]\nbackend = "peernet-mdns:dns"') == (
        'peernet.toml [discovery.lan]: peernet-mdns 0.3.0 provides no backend "dns". It provides: mdns',
    )
    assert on_the_page(problems(index, '[discovery.lan]\nbackend = "peernet-mdns:dns"'))
    assert problems(index, '[discovery.lan]\nbackend = "ünï/cödé"') == (
        'peernet.toml [discovery.lan]: no backend "ünï/cödé" is installed. Installed: manual, mdns.',
    )


def test_nothing_installed() -> None:
    """Then there is nothing to guess from."""
    assert problems(BackendIndex(), '[discovery.lan]\nbackend = "a/b"') == (
        'peernet.toml [discovery.lan]: no backend "a/b" is installed. Installed: none.',
    )
    assert problems(BackendIndex(), "[discovery.mdns]") == (
        'peernet.toml [discovery.mdns]: backend "mdns" is not installed; perhaps: pip install peernet-mdns',
    )


def test_the_message_about_options(install: Install, scan: Any) -> None:
    """Unknown and wrong ones, exactly as the page has them, and together."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=BACKEND)
    index = scan()
    unknown = problems(index, '[discovery.lan]\nbackend = "mdns"\ninterface = "eth0"')
    wrong = problems(index, '[discovery.lan]\nbackend = "mdns"\ninterfaces = "eth0"')
    assert unknown == (
        'peernet.toml [discovery.lan]: unknown option "interface"; did you mean "interfaces"?',
    )
    assert wrong == ('peernet.toml [discovery.lan] interfaces: expected a list of strings, got "eth0"',)
    assert on_the_page(unknown + wrong)
    assert problems(index, '[discovery.lan]\nbackend = "mdns"\ninterfaces = "eth0"\nrequird = true') == (
        *wrong,
        'peernet.toml [discovery.lan]: unknown option "requird"; did you mean "required"?',
    )


def test_the_message_about_another_core(install: Install, scan: Any) -> None:
    """It was not imported: the module would raise."""
    requires = ("peernet-core>=0.1,<0.2",)
    install(
        "peernet-mdns", "0.3.0", "mdns = peernet_mdns:X", requires=requires, peernet_mdns="raise SystemExit"
    )
    told = problems(scan("0.2.0"), '[discovery.lan]\nbackend = "mdns"')
    assert told == (
        (
            "peernet.toml [discovery.lan]: "
            "peernet-mdns 0.3.0 needs peernet-core>=0.1,<0.2 but 0.2.0 is running; it was not imported"
        ),
    )
    assert on_the_page(told)
    assert "peernet_mdns" not in sys.modules


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import zeroconf_that_is_missing", "no module named 'zeroconf_that_is_missing'"),
        ("import os.nothing", "no module named 'os.nothing'"),
        (
            "from os import nothing",
            f"ImportError: cannot import name 'nothing' from 'os' ({os.__file__})",
        ),
        ("raise ModuleNotFoundError('gone')", "ModuleNotFoundError: gone"),
        ("raise RuntimeError('no D-Bus')", "RuntimeError: no D-Bus"),
        ("raise ValueError('two\\n lines')", "ValueError: two lines"),
        ("raise SystemExit(3)", "it tried to end the process, SystemExit: 3"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("raise GeneratorExit('odd')", "GeneratorExit: odd"),
        ("def", "SyntaxError: invalid syntax"),
        ("x = 1", 'the module has no "Discovery", which its entry point names'),
        (
            "def __getattr__(name): raise RuntimeError(name)",
            'the module has no "Discovery", which its entry point names',
        ),
    ],
)
def test_an_import_that_fails_is_told_with_its_cause(
    install: Install, scan: Any, tmp_path: Path, source: str, reason: str
) -> None:
    """A missing dependency, a missing attribute and anything else are told apart; the exception is kept."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=source)
    path = tmp_path / "peernet.toml"
    path.write_text('[discovery.lan]\nbackend = "mdns"')
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path, scan())
    assert caught.value.problems == (
        f"{path} [discovery.lan]: importing peernet_mdns (peernet-mdns 0.3.0) failed: {reason}",
    )
    assert isinstance(caught.value.__cause__, BaseException)


def test_import_messages_are_those_of_the_page(install: Install, scan: Any) -> None:
    """The one for a missing dependency, and one for anything else."""
    missing = "raise ModuleNotFoundError(\"No module named 'zeroconf'\", name='zeroconf')"
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:X", peernet_mdns=missing)
    told = problems(scan(), '[discovery.lan]\nbackend = "mdns"')
    assert told == (
        (
            "peernet.toml [discovery.lan]: importing peernet_mdns (peernet-mdns 0.3.0) failed: "
            "no module named 'zeroconf'"
        ),
    )
    assert on_the_page(told)


def test_an_interrupt_during_an_import_is_one(install: Install, scan: Any) -> None:
    """Ctrl-C is the user's word, not the backend's failure."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:X", peernet_mdns="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        scan().load(Config(sources=(SourceConfig("lan", "mdns"),)))


def test_a_module_that_is_gone_is_not_called_a_dependency(install: Install, scan: Any) -> None:
    """The entry point's own module, or a package above it, is missing: the installation is damaged."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns_gone.inner:Discovery")
    assert problems(scan(), '[discovery.lan]\nbackend = "mdns"') == (
        (
            "peernet.toml [discovery.lan]: importing peernet_mdns_gone.inner (peernet-mdns 0.3.0) failed: "
            "the module is not there; install peernet-mdns again"
        ),
    )


@pytest.mark.parametrize("target", ["peernet_mdns", "not a target!"])
def test_an_entry_point_that_names_no_class_is_told(install: Install, scan: Any, target: str) -> None:
    """Its author's mistake, whichever."""
    install("peernet-mdns", "0.3.0", f"mdns = {target}", peernet_mdns="")
    [problem] = problems(scan(), '[discovery.lan]\nbackend = "mdns"')
    assert problem.startswith(
        f"peernet.toml [discovery.lan]: importing {target} (peernet-mdns 0.3.0) failed: "
    )


def test_a_name_that_two_distributions_provide_must_be_qualified(install: Install, scan: Any) -> None:
    """The message shows how; the distribution that is named after the backend comes first."""
    install("acme-mdns", "1.0", "mdns = acme_mdns:Discovery", acme_mdns=BACKEND)
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=BACKEND)
    index = scan()
    told = problems(index, '[discovery.lan]\nbackend = "mdns"')
    assert told == (
        (
            'peernet.toml [discovery.lan]: "mdns" is provided by peernet-mdns 0.3.0 and acme-mdns 1.0; '
            'write backend = "peernet-mdns:mdns"'
        ),
    )
    assert on_the_page(told)
    for distribution in ("peernet-mdns", "acme-mdns"):
        [backend], _ = index.load(Config(sources=(SourceConfig("lan", f"{distribution}:mdns"),)))
        assert distribution in backend.provider


def test_a_name_that_one_distribution_declares_twice_is_its_mistake(install: Install, scan: Any) -> None:
    """Nothing that a user writes could choose between them; the same line twice is no conflict."""
    install("acme", "1.0", "a = acme_one:Discovery\na = acme_two:Discovery\nb = acme_one:B\nb = acme_one:B")
    index = scan()
    assert [each.name for each in index.installed] == ["a", "a", "b"]
    assert problems(index, "[discovery.a]") == (
        (
            'peernet.toml [discovery.a]: acme 1.0 declares "a" more than once: acme_one:Discovery and '
            "acme_two:Discovery"
        ),
    )


def test_a_breach_of_the_contract_is_told_with_the_provider(install: Install, scan: Any) -> None:
    """Before an instance is made, and all of them."""
    broken = BACKEND + "\n        required: bool = True\n        anounce_self = start\n"
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=broken)
    told = problems(scan(), '[discovery.lan]\nbackend = "mdns"')
    contract = "peernet.toml [discovery.lan]: mdns (peernet-mdns 0.3.0) breaks the contract: "
    assert told == (
        contract + '"anounce_self" is no hook; did you mean "announce_self"?',
        contract + 'option "required" has the name of a reserved key; rename it',
    )
    assert on_the_page(told[:1])


def test_a_backend_that_refuses_is_told_with_the_provider(install: Install, scan: Any) -> None:
    """Also when the class raises as it is made; its exception stays the cause."""
    refusing = BACKEND + (
        "\n        def __attrs_post_init__(self):\n            raise ValueError('no interface is left')\n"
    )
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=refusing)
    told = problems(scan(), '[discovery.lan]\nbackend = "mdns"')
    assert told == (
        "peernet.toml [discovery.lan]: mdns (peernet-mdns 0.3.0) refused these options: no interface is left",
    )
    assert on_the_page(told)


def test_every_mistake_of_a_file_is_told_in_one_error(install: Install, scan: Any, tmp_path: Path) -> None:
    """Those of the file and those of all its backends; every exception behind them is kept."""
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=BACKEND)
    install("peernet-a", "1", "a = peernet_a:X", peernet_a="raise RuntimeError('a')")
    install("peernet-b", "1", "b = peernet_b:X", peernet_b="raise SystemExit")
    path = tmp_path / "peernet.toml"
    path.write_text(
        textwrap.dedent("""
            [node]
            nmae = "pi"
            [discovery.a]
            [discovery.b]
            [discovery.lan]
            backend = "mdns"
            required = 1
            interfaces = 3
        """)
    )
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path, scan())
    assert caught.value.problems == (
        f'{path} [node]: unknown option "nmae"; did you mean "name"?',
        f"{path} [discovery.lan] required: expected true or false, got 1",
        f"{path} [discovery.a]: importing peernet_a (peernet-a 1) failed: RuntimeError: a",
        (
            f"{path} [discovery.b]: importing peernet_b (peernet-b 1) failed: "
            "it tried to end the process, SystemExit"
        ),
        f"{path} [discovery.lan] interfaces: expected a list of strings, got 3",
    )
    cause = caught.value.__cause__
    assert isinstance(cause, BaseExceptionGroup)
    assert [type(error) for error in cause.exceptions] == [RuntimeError, SystemExit]


def test_a_mistake_without_an_exception_has_no_cause(tmp_path: Path) -> None:
    """There is nothing behind a slip."""
    path = tmp_path / "peernet.toml"
    path.write_text("[discovery.nowhere_to_be_found]")
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    assert caught.value.__cause__ is None


def test_a_configuration_is_loaded_from_what_is_installed(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found where it is looked for, with an index of its own and paths that start from the file."""
    folder = """
        from pathlib import Path
        import attrs
        from peernet_core.contract import hookimpl

        @attrs.define(eq=False)
        class Folder:
            path: Path

            @hookimpl
            async def start(self, context):
                pass
    """
    requires = (f"peernet-core=={version('peernet-core')}",)
    install(
        "peernet-test-folder",
        "1.0",
        "test-folder = peernet_test_folder:Folder",
        requires=requires,
        peernet_test_folder=folder,
    )
    monkeypatch.chdir(tmp_path)
    Path("etc").mkdir()
    Path("etc/peernet.toml").write_text('[discovery.f]\nbackend = "test-folder"\npath = "peers"')
    monkeypatch.setenv("PEERNET_CONFIG", "etc/peernet.toml")
    config, [backend] = load_configuration(None)
    assert config.path == Path("etc/peernet.toml")
    monkeypatch.chdir("/")
    made: Any = backend.make()
    assert made.path == tmp_path / "etc" / "peers"


def test_no_configuration_is_all_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no backend: the command line chooses one then, the library none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEERNET_CONFIG", raising=False)
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_args, **_options: tmp_path / "none")
    assert load_configuration(None) == (Config(), ())


def test_a_secret_is_read_anew_for_each_instance(
    install: Install, scan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restarted backend gets a new one; where it is gone, making says so."""
    secret = BACKEND.replace("interfaces: list[str] = attrs.field(factory=list)", "token: Secret").replace(
        "import attrs", "import attrs\n    from peernet_core.configuration.options import Secret"
    )
    install("peernet-mdns", "0.3.0", "mdns = peernet_mdns:Discovery", peernet_mdns=secret)
    monkeypatch.setenv("PEERNET_TEST_TOKEN", "one")
    source = SourceConfig("lan", "mdns", options={"token": {"env": "PEERNET_TEST_TOKEN"}})
    [backend], _ = scan().load(Config(sources=(source,)))
    monkeypatch.setenv("PEERNET_TEST_TOKEN", "two")
    made: Any = backend.make()
    assert made.token.reveal() == "two"
    monkeypatch.delenv("PEERNET_TEST_TOKEN")
    with pytest.raises(ConfigurationError, match=r"^\[discovery.lan\] token.env: the environment variable"):
        backend.make()


def test_a_backend_of_an_extra_counts_when_the_extra_is_installed(install: Install, scan: Any) -> None:
    """Without what the extra requires it is neither listed nor a rival of another one of its name."""
    requires = ['acme-tuner>=1; extra == "fm"', 'acme-dab>=1; extra == "digital-radio"']
    install(
        "acme",
        "2.1",
        "fm = acme.fm:Fm [fm]\ndab = acme.dab:Dab [digital-radio, fm]",
        requires=requires,
    )
    install("other", "1.0", "dab = other:Dab", other=BACKEND.replace("Discovery", "Dab"))
    install("acme-tuner", "1.0")
    index = scan()
    assert [(each.name, each.distribution) for each in index.installed] == [("dab", "other"), ("fm", "acme")]
    assert [each.name for each in index.incomplete] == ["dab"]
    assert index.find("dab").distribution == "other"
    said = (
        'peernet.toml [discovery.radio]: backend "dab" belongs to acme[digital-radio,fm], and acme-dab>=1 '
        "is not installed: pip install 'acme[digital-radio,fm]'"
    )
    assert problems(index, '[discovery.radio]\nbackend = "acme:dab"') == (said,)
