"""The examples are such that an author can paste them into a distribution that `peernet new-backend` made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pages import ROOT, modules

from peernet_core.cli.new_backend import render


def test_the_examples_satisfy_the_linter_of_a_made_distribution(tmp_path: Path) -> None:
    """And its formatter: with the configuration that the command writes."""
    (tmp_path / "pyproject.toml").write_text(render("folder", year=2030)["pyproject.toml"])
    (tmp_path / "tests").mkdir()
    count = 0
    for name, block in modules().items():
        if block.page.is_relative_to(ROOT / "docs/backends"):
            folder = tmp_path / "tests" if name.startswith("test_") else tmp_path
            (folder / f"{name}.py").write_text(block.text)
            count += 1
    assert count >= 8
    for tool in ("check", "format --diff"):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *tool.split()],
            cwd=tmp_path,
            env={**os.environ, "RUFF_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
