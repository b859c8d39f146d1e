"""What `peernet new-backend` makes, built by another build backend and installed beside core alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peernet_core.testing.lab import Laboratory

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SETUPTOOLS = 'requires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
HATCHLING = 'requires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'


def run(*command: str | Path, cwd: Path) -> str:
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def uv() -> str:
    found = shutil.which("uv")
    if found is None:
        if os.environ.get("PEERNET_REQUIRE_NETNS") == "1":
            pytest.fail("PEERNET_REQUIRE_NETNS is set, but uv is not on the path")
        pytest.skip("builds and installs wheels with uv, which is not on the path")
    return found


def test_a_made_backend_builds_with_hatchling_links_two_hosts_and_leaves_nothing(
    lab: Laboratory, uv: str, tmp_path: Path
) -> None:
    """In an environment with the wheels of core and of the backend, and nothing else of ours."""
    source, wheels, environment, share = (tmp_path / name for name in ("core", "wheels", "env", "share"))
    share.mkdir()
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "peernet_core", source / "peernet_core", ignore=shutil.ignore_patterns("__pycache__")
    )
    run(sys.executable, "-m", "peernet_core.cli", "new-backend", "shared", cwd=tmp_path)
    made = tmp_path / "peernet-shared"
    project = made / "pyproject.toml"
    text = project.read_text()
    assert SETUPTOOLS in text
    project.write_text(text.replace(SETUPTOOLS, HATCHLING))
    run(uv, "build", "-q", "--wheel", "--out-dir", wheels, cwd=made)
    run(uv, "build", "-q", "--wheel", "--no-config", "--out-dir", wheels, cwd=source)
    core, backend = (next(wheels.glob(f"peernet_{name}-*.whl")) for name in ("core", "shared"))
    run(uv, "venv", "-q", "--python", sys.executable, environment, cwd=tmp_path)
    wanted = f"peernet-core[cli] @ {core.as_uri()}", backend
    run(uv, "pip", "install", "-q", "--python", environment, *wanted, cwd=tmp_path)

    peernet = environment / "bin/peernet"
    (entry,) = json.loads(run(peernet, "backends", "--json", cwd=tmp_path))
    assert (entry["name"], entry["distribution"], entry["usable"]) == ("shared", "peernet-shared", True)

    alpha, beta = lab.node("alpha"), lab.node("beta")
    for node, other in ((alpha, beta), (beta, alpha)):
        node.program = peernet
        node.configure(trust=[other])
        before, _, _ = node.config.read_text().partition("[discovery.manual]")
        node.config.write_text(f'{before}[discovery.shared]\npath = "{share}"\npoll_s = 0.1\n')
    with alpha.start() as a, beta.start() as b:
        a.wait("backend_started", source="shared", backend="shared")
        a.wait("peer_connected", key=str(beta.key))
        b.wait("peer_connected", key=str(alpha.key))
        a.wait("peer_discovered", key=str(beta.key), source="shared")  # it linked before it looked
        assert b.terminate() == 0
        a.wait("peer_lost", key=str(beta.key), source="shared")

    run(uv, "pip", "uninstall", "-q", "--python", environment, "peernet-shared", cwd=tmp_path)
    assert json.loads(run(peernet, "backends", "--json", cwd=tmp_path)) == []
    left = [path for path in environment.rglob("*shared*") if "peernet" in path.name]
    assert not left
