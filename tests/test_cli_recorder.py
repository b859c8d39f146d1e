"""What is recorded stands in the file; whatever happens to the file, the node goes on."""

from __future__ import annotations

import logging
import os
import stat
import threading
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from peernet_core.backends.recording import MAX_LINE_BYTES, Recording
from peernet_core.backends.reports import RecordReport, Reported
from peernet_core.cli.recorder import Recorder
from peernet_core.errors import ConfigurationError
from peernet_core.keys import Identity
from peernet_core.testing.replay import read_recording

KEY = Identity.generate().key


def report(number: int = 0, interface: str = "") -> Reported:
    heard = None if not interface else (IPv4Address("10.0.0.5"), interface)
    return Reported("lan", RecordReport(b"%d" % number, 60.0, True, heard))


def start(path: Path, *, max_waiting: int = 100) -> Recorder:
    times = iter(range(1_000_000))
    return Recorder(
        path, sources={"lan": "mdns 1.0"}, clock=lambda: float(next(times)), max_waiting=max_waiting
    )


def numbers(recording: Recording) -> list[bytes]:
    return [each.report.record for each in recording.entries if isinstance(each.report, RecordReport)]


def test_what_is_reported_is_recorded(tmp_path: Path) -> None:
    """In order, with the seconds since the beginning, for nobody else to read."""
    path = tmp_path / "bug.jsonl"
    recorder = start(path)
    recorder.begin(KEY)
    for number in range(3):
        recorder.begin(KEY)
        recorder.take(report(number))
    assert recorder.close() == f"recorded 3 reports in {path}"
    recording = read_recording(path)
    assert (recording.header.key, dict(recording.header.sources)) == (KEY, {"lan": "mdns 1.0"})
    assert numbers(recording) == [b"0", b"1", b"2"]
    assert [each.at_s for each in recording.entries] == [1.0, 2.0, 3.0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_recording_without_reports_is_one(tmp_path: Path) -> None:
    """That nothing was heard is worth knowing."""
    path = tmp_path / "bug.jsonl"
    recorder = start(path)
    recorder.begin(KEY)
    assert recorder.close() == f"recorded 0 reports in {path}"
    assert read_recording(path).entries == ()


def test_a_node_that_did_not_start_leaves_no_file(tmp_path: Path) -> None:
    """So that the next try may have the same name."""
    path = tmp_path / "bug.jsonl"
    assert start(path).close() == f"{path}: nothing was recorded"
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    """Not another recording; and not a pipe, which would be waited for."""
    path = tmp_path / "bug.jsonl"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(ConfigurationError) as caught:
        start(path)
    assert str(caught.value) == (
        f"{path}: there is such a file, and a recording never overwrites one; name another, or remove it"
    )
    assert kind != "file" or path.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


def test_no_folder_to_put_it_in(tmp_path: Path) -> None:
    """The folder is named."""
    path = tmp_path / "none" / "bug.jsonl"
    with pytest.raises(ConfigurationError) as caught:
        start(path)
    assert str(caught.value) == f"{path}: there is no folder {path.parent}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """The system's own reason."""
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match=r"bug.jsonl: it cannot be made: permission denied$"):
        start(tmp_path / "bug.jsonl")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    """The same, for everybody."""
    with pytest.raises(ConfigurationError, match=r": it cannot be made: file name too long$"):
        start(tmp_path / ("x" * 300))


def test_a_disk_that_is_too_slow_loses_reports_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for it: what does not fit is counted, in the file where it is missing, and at the end."""
    path = tmp_path / "bug.jsonl"
    gate, write = threading.Event(), os.write

    def slow(descriptor: int, data: bytes) -> int:
        assert gate.wait(30)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    recorder = start(path, max_waiting=4)
    recorder.begin(KEY)
    for number in range(50):
        recorder.take(report(number))
    before = recorder.count
    assert 3 <= before <= 4
    gate.set()
    while recorder.count == before:  # until the thread has made room
        recorder.take(report(99))
    said = recorder.close()
    recording = read_recording(path)
    assert recording.missing == recorder.missing >= 46
    assert numbers(recording) == [b"%d" % number for number in range(before)] + [b"99"] * (
        recorder.count - before
    )
    assert said == (
        f"recorded {recorder.count} reports in {path}; {recorder.missing} are missing: the disk was too slow"
    )


def test_what_is_missing_at_the_end_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the disk is too slow to the last: there is always room for that number."""
    path = tmp_path / "bug.jsonl"
    write = os.write
    recorder = start(path, max_waiting=4)

    def slow(descriptor: int, data: bytes) -> int:
        writer = recorder._writer
        with writer._changed:
            assert writer._changed.wait_for(lambda: writer._closing, 30)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    recorder.begin(KEY)
    for number in range(50):
        recorder.take(report(number))
    assert recorder.close().endswith(f"; {recorder.missing} are missing: the disk was too slow")
    assert read_recording(path).missing == recorder.missing >= 46


def test_nothing_comes_before_the_number_of_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that finds room is left out as well, while there was none for that number."""
    recorder = start(tmp_path / "bug.jsonl")
    recorder.begin(KEY)
    with monkeypatch.context() as patch:
        patch.setattr(recorder._writer, "offer", lambda _: False)
        recorder.take(report(1))
        patch.setattr(recorder._writer, "offer", lambda line: "missing" not in line)
        recorder.take(report(2))
    recorder.take(report(3))
    recorder.close()
    recording = read_recording(tmp_path / "bug.jsonl")
    assert (recording.missing, numbers(recording)) == (2, [b"3"])


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second the recording is left as it is."""
    path = tmp_path / "bug.jsonl"
    gate, write = threading.Event(), os.write

    def hang(descriptor: int, data: bytes) -> int:
        assert gate.wait(30)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", hang)
    recorder = start(path)
    recorder.begin(KEY)
    recorder.take(report())
    assert recorder.close() == f"{path}: the end of the recording is missing: the disk is too slow"
    gate.set()


def test_a_disk_that_is_full_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, at once, and at the end; what comes later goes nowhere."""
    path = tmp_path / "bug.jsonl"
    written, write = 0, os.write

    def fill(descriptor: int, data: bytes) -> int:
        nonlocal written
        room = 400 - written
        if room <= 0:
            raise OSError(28, "No space left on device")
        written += min(room, len(data))
        return write(descriptor, data[:room])

    monkeypatch.setattr(os, "write", fill)
    recorder = start(path)
    with caplog.at_level(logging.WARNING):
        recorder.begin(KEY)
        for number in range(200):
            recorder.take(report(number))
        said = recorder.close()
    assert said == f"{path}: the recording ends too early: No space left on device"
    assert [each.getMessage() for each in caplog.records] == [
        f"{path}: the recording ends here, and the node goes on: No space left on device"
    ]
    assert path.stat().st_size == 400
    recording = read_recording(path)
    assert recording.cut_off is not None
    assert numbers(recording)[0] == b"0"


def test_a_line_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    """A backend may say that its interface has the longest of names."""
    path = tmp_path / "bug.jsonl"
    recorder = start(path)
    recorder.begin(KEY)
    recorder.take(report(1, "x" * MAX_LINE_BYTES))
    recorder.take(report(2))
    recorder.close()
    recording = read_recording(path)
    assert (recording.missing, numbers(recording)) == (1, [b"2"])
