"""What README.md and the pages in docs/ show is what works."""

from __future__ import annotations

import ast
import os
import re
import select
import socket
import subprocess
import sys
import time
import tomllib
import types
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from peernet_core.addresses import IPAddress, NetworkSnapshot
from peernet_core.backends.contexts import HostContext
from peernet_core.configuration.entrypoints import check_class
from peernet_core.contract import Announcement, DiscoverySpec, Sighting
from peernet_core.keys import Identity, PeerKey

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")])
BACKENDS = [ROOT / "README.md", ROOT / "docs/writing-a-backend.md"]


@pytest.fixture
def anyio_backend() -> str:
    """Real time: backends have threads that wait."""
    return "asyncio"


def _blocks(page: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _backend_of(page: Path) -> type[DiscoverySpec]:
    """The backend that a page shows, from a module of its own."""
    source = next(block for block in _blocks(page, "python") if "class FolderDiscovery" in block)
    module = types.ModuleType(f"documented_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module  # option types are resolved in it
    exec(compile(source, str(page), "exec"), module.__dict__)
    backend: type[DiscoverySpec] = module.FolderDiscovery
    return backend


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_on_the_pages_is_well_formed(page: Path) -> None:
    """Every Python block compiles, and every TOML block is TOML."""
    for source in _blocks(page, "python"):
        compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if page.name != "configuration.md":  # shows mistakes too; test_config runs all of that page
        for source in _blocks(page, "toml"):
            tomllib.loads(source)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A link to a file names one that is there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", BACKENDS, ids=lambda page: page.name)
def test_documented_backends_keep_the_contract(page: Path) -> None:
    """The core would refuse nothing about them."""
    assert check_class(_backend_of(page)) == ()


class _Intake:
    """Keeps which records were reported, and how."""

    def __init__(self) -> None:
        self.records: set[bytes] = set()
        self.changed = anyio.Event()

    def record_received(
        self, source: str, record: bytes, *, ttl_s: float, renew: bool, heard: tuple[IPAddress, str] | None
    ) -> Sighting | None:
        assert (source, ttl_s, renew, heard) == ("share", 60.0, False, None)
        self.records.add(record)
        self.changed.set()
        self.changed = anyio.Event()
        return None

    def peer_discovered(
        self, source: str, key: PeerKey, ip: IPAddress, port: int, *, ttl_s: float | None, configured: bool
    ) -> Sighting:
        raise AssertionError(f"a folder has no hints: {(source, key, ip, port, ttl_s, configured)}")

    def peer_lost(self, sighting: Sighting) -> None:
        raise AssertionError(f"nobody says goodbye: {sighting}")

    def source_lost(self, source: str, key: PeerKey, ip: IPAddress | None, port: int | None) -> None:
        raise AssertionError(f"nobody says goodbye: {(source, key, ip, port)}")


class _Network:
    snapshot = NetworkSnapshot()

    async def changed(self) -> NetworkSnapshot:
        await anyio.sleep_forever()
        return self.snapshot


@pytest.mark.parametrize("page", BACKENDS, ids=lambda page: page.name)
async def test_documented_backends_carry_records(page: Path, tmp_path: Path) -> None:
    """What one instance announces another reports, also when it is announced anew; garbage harms neither."""
    backend = _backend_of(page)
    (tmp_path / "film").write_bytes(b"\x00" * 100_000)
    reader_key, writer_key = Identity.generate().key, Identity.generate().key
    heard, unheard = _Intake(), _Intake()
    contexts = [
        HostContext("share", key=key, intake=intake, network=_Network())
        for key, intake in ((reader_key, heard), (writer_key, unheard))
    ]
    reader, writer = (backend(tmp_path, poll_s=0.01) for _ in range(2))  # type: ignore[call-arg]  # known by name only
    try:
        await reader.start(contexts[0])
        await writer.start(contexts[1])
        for record in (b"one", b"two"):
            await writer.announce_self(Announcement(7100, (), record, writer_key.alias))
            with anyio.fail_after(20):
                while record not in heard.records:
                    await heard.changed.wait()
    finally:
        for context in contexts:
            assert await context.aclose(thread_timeout_s=20) == ()


async def test_the_documented_test_of_an_application_passes() -> None:
    """The one with backends that misbehave."""
    page = ROOT / "docs/writing-a-backend.md"
    (source,) = [block for block in _blocks(page, "python") if "import FailingDiscovery" in block]
    names: dict[str, Callable[[], Awaitable[None]]] = {}
    exec(compile(source, str(page), "exec"), names)
    with anyio.fail_after(30):
        await names["test_the_application_outlives_its_radio"]()


def test_the_documented_distribution_names_the_documented_class() -> None:
    """The entry point of the page's pyproject.toml leads to the class that the page shows."""
    page = ROOT / "docs/writing-a-backend.md"
    project = next(tomllib.loads(block) for block in _blocks(page, "toml") if "[project]" in block)
    entry_points = project["project"]["entry-points"]["peernet.discovery"]
    assert entry_points == {"folder": "peernet_folder:FolderDiscovery"}
    assert _backend_of(page).__name__ == "FolderDiscovery"


def test_the_documented_application_greets_its_peer(tmp_path: Path) -> None:
    """README's program, as two processes that know each other: each prints what the other says."""
    (source,) = [block for block in _blocks(ROOT / "README.md", "python") if "anyio.run(main)" in block]
    identities = {"alpha": Identity.generate(), "beta": Identity.generate()}
    port = _free_port()
    with ExitStack() as stack:
        running = {}
        for name, other in (("alpha", "beta"), ("beta", "alpha")):
            folder = tmp_path / name
            _write_node(folder, identities[name], other=identities[other].key, label=other, port=port)
            (folder / "application.py").write_text(source, encoding="utf-8")
            process = subprocess.Popen(
                [sys.executable, "application.py"], cwd=folder, stdout=subprocess.PIPE, env=_environment()
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            running[name] = process
        for name, other in (("alpha", "beta"), ("beta", "alpha")):
            expected = f"{other} says: hello, {identities[name].key.short}"
            assert _first_line(running[name]) == expected


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PEERNET_")}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _write_node(folder: Path, identity: Identity, *, other: PeerKey, label: str, port: int) -> None:
    """A node on loopback: alpha listens where beta, which takes any port, is told that it is."""
    data = folder / "data"
    data.mkdir(parents=True, mode=0o700)
    (data / "identity.pem").touch(mode=0o600)
    (data / "identity.pem").write_bytes(identity.to_pem())
    (data / "trusted_peers").write_text(f"{other} {label}\n", encoding="utf-8")
    at, peers = (
        (0, f'{{ key = "{other}", address = "127.0.0.1:{port}" }}') if label == "alpha" else (port, "")
    )
    (folder / "peernet.toml").write_text(
        f'[node]\nlisten = ["127.0.0.1:{at}"]\ndata_dir = "data"\n[discovery.manual]\npeers = [{peers}]\n',
        encoding="utf-8",
    )


def _first_line(process: subprocess.Popen[bytes], *, guard_s: float = 30.0) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + guard_s
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no line within {guard_s:g} s: {text!r}"
        piece = os.read(process.stdout.fileno(), 1)
        assert piece, f"ended with {process.wait()} after {text!r}"
        text += piece
    return text.decode().rstrip()
