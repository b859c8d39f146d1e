"""The backend of docs/writing-a-backend.md, found by its entry point, between two hosts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from peernet_core.testing.lab import Laboratory

pytestmark = pytest.mark.netns

PAGE = Path(__file__).parents[2] / "docs/writing-a-backend.md"


def _blocks(language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _install(folder: Path) -> None:
    """Lay the page's distribution out as an installer does."""
    (module,) = [block for block in _blocks("python") if "class FolderDiscovery" in block]
    project = next(tomllib.loads(block)["project"] for block in _blocks("toml") if "[project]" in block)
    name, version = project["name"].replace("-", "_"), project["version"]
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(module, encoding="utf-8")
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir()
    requirements = "".join(f"Requires-Dist: {requirement}\n" for requirement in project["dependencies"])
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n{requirements}",
        encoding="utf-8",
    )
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
            for group, entries in project["entry-points"].items()
        ),
        encoding="utf-8",
    )


def test_two_hosts_find_each_other_through_a_folder(lab: Laboratory) -> None:
    """Neither has a configured peer: the folder is all that they share; one that stops is lost at once."""
    installed, share = lab.folder / "installed", lab.folder / "share"
    _install(installed)
    share.mkdir()
    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node, other in ((alpha, beta), (beta, alpha)):
        extra = f'[discovery.share]\nbackend = "folder"\npath = "{share}"\npoll_s = 0.1\n'
        node.configure(trust=[other], extra=extra)
        node.environment["PYTHONPATH"] = str(installed)
    with alpha.start() as a, beta.start() as b:
        a.wait("backend_started", source="share", backend="folder")
        a.wait("peer_discovered", key=str(beta.key), source="share", ip=str(beta.host.ipv4))
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        assert b.terminate() == 0
        a.wait("peer_disconnected", key=str(beta.key))
        a.wait("peer_lost", key=str(beta.key), source="share")
