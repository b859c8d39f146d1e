"""Wall time of short commands, beside a bare Python process.

Run: ``python -m benchmarks.command_line [--rounds 20]``

Each round starts, in turn, ``python -c pass``, ``peernet --help``, and ``peernet id`` with an identity
that exists.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

PEERNET = [sys.executable, "-m", "peernet_core.cli"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "peernet --help": [*PEERNET, "--help"],
            "peernet id": [*PEERNET, "--data-dir", folder, "id"],
        }
        for command in commands.values():
            _time(command)  # caches, and the identity
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                taken[name].append(_time(command))
    bare = statistics.median(taken["python -c pass"])
    print(f"{rounds} rounds, in turn")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(
            f"{name:16} median {median * 1000:6.0f} ms  worst {max(seconds) * 1000:6.0f} ms  "
            f"{median / bare:5.1f} times bare Python"
        )


def _time(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
