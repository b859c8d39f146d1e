"""What README.md and the pages in docs/ show is what works."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from pages import PAGES, ROOT, blocks, load, modules

from peernet_core.addresses import IPAddress, NetworkSnapshot
from peernet_core.backends.contexts import HostContext
from peernet_core.configuration.entrypoints import check_class
from peernet_core.contract import Announcement, DiscoverySpec, Sighting
from peernet_core.keys import Identity, PeerKey

BACKENDS = [ROOT / "README.md", ROOT / "docs/backends/first-backend.md"]


@pytest.fixture
def anyio_backend() -> str:
    """Real time: backends have threads that wait."""
    return "asyncio"


def _backend_of(page: Path) -> type[DiscoverySpec]:
    """The folder backend that a page shows."""
    for name, block in modules().items():
        if block.page == page and "class FolderDiscovery" in block.text:
            backend: type[DiscoverySpec] = load(name).FolderDiscovery
            return backend
    raise AssertionError(f"{page} shows no backend")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_toml_on_the_pages_is_well_formed(page: Path) -> None:
    """Every block of it, also those that a page shows of a larger file."""
    if page.name != "configuration.md":  # shows mistakes too; test_config runs all of that page
        for block in blocks(page, "toml"):
            tomllib.loads(block.text)


@pytest.mark.parametrize("name", modules())
def test_python_on_the_pages_runs(name: str) -> None:
    """Every block is a module, and can be imported; what is in it has tests of its own."""
    if "anyio.run(main)" not in modules()[name].text:  # the README's application, see below
        load(name)


@pytest.mark.parametrize("page", BACKENDS, ids=lambda page: page.name)
def test_documented_backends_keep_the_contract(page: Path) -> None:
    """Core would refuse nothing about them."""
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
    with anyio.fail_after(30):
        await load("test_application").test_the_application_outlives_its_radio()


def test_the_documented_application_greets_its_peer(tmp_path: Path) -> None:
    """README's program, as two processes that know each other: each prints what the other says."""
    (source,) = [
        block.text for block in blocks(ROOT / "README.md", "python") if "anyio.run(main)" in block.text
    ]
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
    """One that nobody is given who asks for any: between here and its use that could happen."""
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000))) as server,
        ):
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
