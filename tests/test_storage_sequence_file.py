"""Sequence numbers rise for ever: through restarts, clocks that jump, and writes that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.errors import StorageError
from peernet_core.storage import sequence_file
from peernet_core.storage.sequence_file import HIGHEST_CLAIM, RESERVED_BLOCK, MemorySequence, SequenceFile

NOW_S = 1_750_000_000.0
NOW = 1_750_000_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sequence"


def at(now_s: float) -> Callable[[], float]:
    return lambda: now_s


def test_numbers_follow_the_clock_in_microseconds(path: Path) -> None:
    """The first is the time; while the clock stands, one more each."""
    clock = [NOW_S]
    sequence = SequenceFile(path, lambda: clock[0])
    assert [sequence.next(), sequence.next()] == [NOW, NOW + 1]
    clock[0] += 5
    assert sequence.next() == NOW + 5_000_000


def test_a_clock_that_woke_in_1970_does_not_matter(path: Path) -> None:
    """A device without a real-time clock goes on above what it reserved."""
    before = SequenceFile(path, at(NOW_S)).next()
    after = SequenceFile(path, at(7.0)).next()
    assert after > before


def test_a_number_is_reserved_before_it_is_used_and_a_minute_needs_one_write(path: Path) -> None:
    """What is on the disk covers every number given out."""
    clock = [NOW_S]
    sequence = SequenceFile(path, lambda: clock[0])
    first = sequence.next()
    written = path.stat().st_mtime_ns, path.read_bytes()
    assert int(path.read_bytes()) == first + RESERVED_BLOCK
    clock[0] += 59.9
    sequence.next()
    assert (path.stat().st_mtime_ns, path.read_bytes()) == written
    clock[0] += 0.2
    assert sequence.next() <= int(path.read_bytes())
    assert path.read_bytes() != written[1]


def test_jumps_above_what_a_peer_holds(path: Path) -> None:
    """After a restored backup; and stays there after a restart."""
    sequence = SequenceFile(path, at(NOW_S))
    assert sequence.next(at_least=NOW + 10**12) == NOW + 10**12
    assert sequence.next() == NOW + 10**12 + 1
    assert SequenceFile(path, at(NOW_S)).next() > NOW + 10**12 + 1


@pytest.mark.parametrize(
    "make", [lambda path: SequenceFile(path, at(NOW_S)), lambda _: MemorySequence(at(NOW_S))]
)
def test_a_peer_that_lies_does_not_use_up_our_numbers(
    path: Path, make: Callable[[Path], SequenceFile | MemorySequence]
) -> None:
    """What no node can have reached is ignored."""
    assert make(path).next(at_least=HIGHEST_CLAIM + 1) == NOW
    assert make(path).next(at_least=2**64 - 1) < HIGHEST_CLAIM


def test_a_failing_write_gives_out_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays, what is reserved is still given out, and the next call tries again."""
    clock = [NOW_S]
    sequence = SequenceFile(path, lambda: clock[0])
    sequence.next()
    old = path.read_bytes()

    def fail(path: Path, _data: bytes) -> None:
        raise StorageError(path, "no space is left")

    monkeypatch.setattr(sequence_file, "replace_file", fail)
    assert sequence.next() == NOW + 1
    clock[0] += 61
    with pytest.raises(StorageError):
        sequence.next()
    assert path.read_bytes() == old
    clock[0] -= 61
    assert sequence.next() == NOW + 2
    monkeypatch.undo()
    clock[0] += 61
    assert sequence.next() == NOW + 61_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"12", b"12\n12\n", b"-12\n", b"+12\n", b"1_2\n", b" 12\n", b"12\r\n", b"1e9\n",
        b"\0" * 8, b"9" * 19 + b"\n", b"1" * 20 + b"\n", "\u0661\n".encode(), b"1" * 5000,
    ],
)  # fmt: skip
def test_a_corrupt_file_is_refused_and_untouched(path: Path, data: bytes) -> None:
    """A number that lost its end would be a lower one; only its owner knows whether the clock is right."""
    path.write_bytes(data)
    with pytest.raises(StorageError) as caught:
        SequenceFile(path)
    assert caught.value.path == path
    assert ("move it away" if len(data) > 4096 else "delete the file") in caught.value.reason
    assert path.read_bytes() == data


@given(st.binary(max_size=24) | st.from_regex(rb"[0-9]+\n", fullmatch=True))
def test_any_bytes_are_one_number_or_the_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """And the numbers that follow are above it."""
    path = tmp_path_factory.mktemp("sequence") / "sequence"
    path.write_bytes(data)
    try:
        sequence = SequenceFile(path, at(NOW_S))
    except StorageError:
        assert path.read_bytes() == data
    else:
        assert sequence.next() > int(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["next", "restart", "jump"]),
            st.floats(-1e6, 1e6),
            st.integers(0, 2 * 10**15),
        ),
        max_size=10,
    )
)
def test_numbers_rise_through_anything(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, float, int]]
) -> None:
    """Clocks go either way, the process is killed at any time, peers claim what they like."""
    path = tmp_path_factory.mktemp("sequence") / "sequence"
    clock = [NOW_S]
    sequence = SequenceFile(path, lambda: clock[0])
    last = 0
    for step, seconds, claim in steps:
        clock[0] += seconds
        if step == "restart":
            sequence = SequenceFile(path, lambda: clock[0])
        number = sequence.next(at_least=claim if step == "jump" else 0)
        assert number > last
        assert number >= int(clock[0] * 1e6)
        assert step != "jump" or number >= claim
        assert number <= int(path.read_bytes())
        last = number


def test_without_a_data_directory_numbers_rise_too() -> None:
    """For as long as the node runs."""
    clock = [NOW_S]
    sequence = MemorySequence(lambda: clock[0])
    assert sequence.next() == NOW
    clock[0] = 0.0
    assert sequence.next() == NOW + 1
    assert sequence.next(at_least=NOW + 100) == NOW + 100
    assert sequence.next(at_least=5) == NOW + 101
