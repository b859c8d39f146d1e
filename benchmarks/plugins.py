"""What finding two backends among 300 installed distributions costs, beside a bare `entry_points()`.

Run with ``python -m benchmarks.plugins``. Makes a folder with so many distributions' metadata (one in ten of
them a backend, one of these with a module that fails on import), and starts a process for each measurement,
in turn: one that asks for all entry points, one that loads a configuration of two backends, and one that does
so with the other backends' metadata gone. The core and `importlib.metadata` are imported before the clock
starts, and what a configuration needs beyond that after; given are medians. The index must cost at most 20 ms
over the bare call, and the broken one nothing.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROUNDS = 21
DISTRIBUTIONS = 300
PROGRAM = """
import json, sys, time
from importlib.metadata import entry_points
from pathlib import Path
from peernet_core.configuration.config import read_config
from peernet_core.configuration.entrypoints import load_configuration
import peernet_core.contract, peernet_core.node
sys.path.insert(0, sys.argv[2])
what, path = sys.argv[1], Path(sys.argv[3])
began = time.perf_counter()
if what == "bare":
    entry_points(group="peernet.discovery")
else:
    _, backends = load_configuration(path)
    assert [backend.name for backend in backends] == ["backend10", "backend20"]
print(json.dumps((time.perf_counter() - began) * 1000))
assert not any(name == "module0" for name in sys.modules)
"""
MODULE = """
import attrs
from peernet_core.contract import DiscoverySpec, hookimpl

@attrs.define(eq=False)
class Backend(DiscoverySpec):
    @hookimpl
    async def start(self, context): ...
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as work:
        many, two = Path(work, "many"), Path(work, "two")
        _install(many, range(DISTRIBUTIONS))
        _install(two, (number for number in range(DISTRIBUTIONS) if number % 10 or number in {10, 20}))
        config = Path(work, "peernet.toml")
        config.write_text("[discovery.backend10]\n[discovery.backend20]\n")
        taken: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name, what, site in (
                ("bare entry_points()", "bare", many),
                ("two backends loaded", "load", many),
                ("the same, no others there", "load", two),
            ):
                command = [sys.executable, "-c", PROGRAM, what, str(site), str(config)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                taken.setdefault(name, []).append(json.loads(done.stdout))
    print(
        f"{DISTRIBUTIONS} distributions, {DISTRIBUTIONS // 10} of them backends, median of {ROUNDS} processes"
    )
    bare = statistics.median(taken["bare entry_points()"])
    for name, figures in taken.items():
        median = statistics.median(figures)
        print(f"  {name:28} {median:6.1f} ms   {median - bare:+6.1f}   worst {max(figures):6.1f}")


def _install(folder: Path, numbers: Iterable[int]) -> None:
    folder.mkdir()
    for number in numbers:
        metadata = folder / f"distribution{number}-1.0.dist-info"
        metadata.mkdir()
        requirements = "".join(f"Requires-Dist: something{each}>=1\n" for each in range(5))
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: distribution{number}\nVersion: 1.0\n{requirements}"
            "Requires-Dist: peernet-core>=0.1\n"
        )
        is_backend = number % 10 == 0
        group = f"[peernet.discovery]\nbackend{number} = module{number}:Backend\n" if is_backend else ""
        (metadata / "entry_points.txt").write_text(f"[console_scripts]\nx{number} = y:z\n{group}")
        if is_backend:
            (folder / f"module{number}.py").write_text("1 / 0\n" if number == 0 else MODULE)


if __name__ == "__main__":
    main()
