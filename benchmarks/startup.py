"""From process start to `peer_connected`, beside a bare Python that imports the same modules.

Run: ``python -m benchmarks.startup [--rounds 20]``

A peer runs already. In turn, round by round: a fresh ``peernet run --json`` with an existing identity and
that peer configured, timed from its start to its ``peer_connected`` line; and a bare Python process that
imports every module that such a run imports, timed from its start to its last line. The median of the
difference is what peernet itself takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PEERNET = [sys.executable, "-m", "peernet_core.cli"]
GUARD_S = 60.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        running, newcomer = _place(Path(folder), "running"), _place(Path(folder), "newcomer")
        _trust_each_other(running, newcomer)
        with _node(running) as lines:
            port = _await(lines, "node_started")["port"]
            (newcomer / "peernet.toml").write_text(
                f'[node]\nlisten = ["127.0.0.1:0"]\n[discovery.manual]\n'
                f'peers = [{{ key = "{_key(running)}", address = "127.0.0.1:{port}" }}]\n'
            )
            modules = _modules_of_a_run(newcomer)
            _report(rounds, [(_connect(newcomer), _bare(modules)) for _ in range(rounds)], len(modules))


def _report(rounds: int, pairs: list[tuple[float, float]], modules: int) -> None:
    def line(name: str, values: list[float]) -> None:
        print(f"{name:34} median {statistics.median(values):7.0f} ms  worst {max(values):7.0f} ms")

    print(f"{rounds} rounds, {modules} modules")
    line("peernet: start to peer_connected", [run * 1000 for run, _ in pairs])
    line("bare Python: the same imports", [bare * 1000 for _, bare in pairs])
    line("difference, round by round", [(run - bare) * 1000 for run, bare in pairs])
    print(f"{'ratio, round by round':34} median {statistics.median(run / bare for run, bare in pairs):7.2f}")


def _place(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    (place / "peernet.toml").write_text('[node]\nlisten = ["127.0.0.1:0"]\n')
    return place


def _command(place: Path, *arguments: str) -> list[str]:
    return [*PEERNET, "--config", str(place / "peernet.toml"), "--data-dir", str(place / "data"), *arguments]


def _key(place: Path) -> str:
    found = subprocess.run(_command(place, "id"), capture_output=True, text=True, check=True)
    return found.stdout.strip()


def _trust_each_other(one: Path, other: Path) -> None:
    for here, there in ((one, other), (other, one)):
        subprocess.run(_command(here, "trust", "add", _key(there)), capture_output=True, check=True)


@contextmanager
def _node(place: Path, *python: str) -> Iterator[Iterator[dict[str, object]]]:
    command = _command(place, "run", "--json")
    command[1:1] = python
    with (
        (place / "stderr").open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.terminate()
            process.wait(GUARD_S)


def _await(lines: Iterator[dict[str, object]], event: str) -> dict[str, object]:
    for line in lines:
        if line["event"] == event:
            return line
    raise SystemExit(f"the node ended without {event}")


def _connect(place: Path) -> float:
    started = time.perf_counter()
    with _node(place) as lines:
        _await(lines, "peer_connected")
        return time.perf_counter() - started


def _modules_of_a_run(place: Path) -> list[str]:
    with _node(place, "-X", "importtime") as lines:
        _await(lines, "peer_connected")
    report = (place / "stderr").read_text().splitlines()
    names = [line.rpartition("|")[2].strip() for line in report if line.startswith("import time:")]
    return [name for name in names if name and name != "imported package"]


def _bare(modules: list[str]) -> float:
    program = (
        "import importlib, sys\n"
        "for name in sys.stdin.read().split():\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError: pass\n"
        "print('done', flush=True)\n"
    )
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join(modules))
        process.stdin.close()
        process.stdout.readline()
        took = time.perf_counter() - started
        process.wait(GUARD_S)
    return took


if __name__ == "__main__":
    main()
