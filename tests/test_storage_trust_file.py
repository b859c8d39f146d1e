"""`trusted_peers` on a real disk: edits are whole, editors are waited for, a running node follows."""

from __future__ import annotations

import errno
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.errors import ConfigurationError, StorageError
from peernet_core.keys import PeerKey
from peernet_core.storage import trust_file
from peernet_core.storage.files import open_lock_file, replace_file, try_lock
from peernet_core.storage.trust_file import TrustFile, TrustWatcher
from peernet_core.trust import HEADER, TrustDocument, TrustedPeer, TrustList

ALICE = PeerKey(b"\x0a" * 32)
BOB = PeerKey(b"\x0b" * 32)
CAROL = PeerKey(b"\x0c" * 32)
SMALL_ORDER = "aeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trusted_peers"


class TestEditing:
    """`TrustFile`."""

    def test_the_first_peer_makes_the_file(self, path: Path) -> None:
        """0600, with a header; before, nobody is trusted."""
        file = TrustFile(path)
        assert file.load() == TrustDocument.parse("")
        assert not path.exists()
        assert file.add(ALICE, "kitchen")
        assert path.read_text(encoding="utf-8") == f"{HEADER}{ALICE} kitchen\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_tells_whether_anything_changed(self, path: Path) -> None:
        """An edit that changes nothing does not touch the file."""
        file = TrustFile(path)
        assert file.add(ALICE, "a")
        before = path.stat()
        assert not file.add(ALICE)
        assert path.stat() == before
        assert not file.remove(BOB)
        assert path.stat() == before
        assert not file.add(ALICE, "b")
        assert file.load().peers == (TrustedPeer(ALICE, "b"),)
        assert file.remove(ALICE)
        assert path.read_text(encoding="utf-8") == HEADER

    def test_a_broken_list_is_refused_with_every_line_and_stays(self, path: Path) -> None:
        """At the start, and for each edit: a removal that no running node follows would be a lie."""
        data = f"{SMALL_ORDER} all\n{ALICE} a\nlaptop\n".encode()
        path.write_bytes(data)
        file = TrustFile(path)
        for call in (file.load, lambda: file.add(BOB), lambda: file.remove(ALICE)):
            with pytest.raises(ConfigurationError) as caught:
                call()
            first, second = caught.value.problems
            assert first.startswith(f"{path}: line 1: this is a small-order point")
            assert second.startswith(f"{path}: line 3: ")
        assert path.read_bytes() == data

    def test_what_is_no_text_is_kept_byte_for_byte(self, path: Path) -> None:
        """A comment in Latin-1, Windows line ends, a byte order mark."""
        path.write_bytes(b"\xef\xbb\xbf# caf\xe9\r\n%s a\r\n" % str(ALICE).encode())
        file = TrustFile(path)
        file.add(BOB, "bé")
        file.remove(ALICE)
        assert path.read_bytes() == b"\xef\xbb\xbf# caf\xe9\r\n%s b\xc3\xa9\r\n" % str(BOB).encode()

    @given(st.binary() | st.text("#\r\n \ufeffé").map(str.encode))
    def test_any_bytes_load_or_raise_the_one_error(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes
    ) -> None:
        """And where they load, adding and removing a key gives them back."""
        path = tmp_path_factory.mktemp("trust") / "trusted_peers"
        path.write_bytes(data)
        file = TrustFile(path)
        try:
            document = file.load()
        except ConfigurationError:
            assert path.read_bytes() == data
            return
        file.add(ALICE, "a")
        file.remove(ALICE)
        if document.is_blank:
            assert path.read_bytes() == HEADER.encode()
        else:
            assert path.read_bytes().rstrip(b"\r\n") == data.rstrip(b"\r\n")

    @pytest.mark.parametrize("data", [b"\xff\xfe#\0\n\0", b"\0" * 200])
    def test_a_file_of_another_encoding_is_refused_with_its_line(self, path: Path, data: bytes) -> None:
        """UTF-16 from a Windows editor; zeros after a crash of another program."""
        path.write_bytes(data)
        with pytest.raises(ConfigurationError, match="line 1"):
            TrustFile(path).load()

    def test_what_cannot_be_a_list_is_refused(self, path: Path) -> None:
        """A folder, a file of 9 MB."""
        path.mkdir()
        with pytest.raises(StorageError, match="folder"):
            TrustFile(path).load()
        path.rmdir()
        with path.open("wb") as file:
            file.truncate(9 * 1024 * 1024)
        with pytest.raises(StorageError, match="larger"):
            TrustFile(path).load()

    def test_mode_and_link_stay(self, path: Path, tmp_path: Path) -> None:
        """Somebody keeps the list among other dotfiles, readable."""
        (tmp_path / "dotfiles").mkdir()
        target = tmp_path / "dotfiles" / "peers"
        target.write_bytes(b"# mine\n")
        target.chmod(0o644)
        path.symlink_to(target)
        TrustFile(path).add(ALICE)
        assert path.is_symlink()
        assert target.read_text(encoding="utf-8") == f"# mine\n{ALICE}\n"
        assert stat.S_IMODE(target.stat().st_mode) == 0o644
        assert [entry.name for entry in target.parent.iterdir()] == ["peers"]

    def test_edits_at_once_all_count(self, path: Path) -> None:
        """Each waits for the one before."""
        peers = [PeerKey(bytes([number]) * 32) for number in range(1, 7)]
        TrustFile(path).add(peers[0])
        barrier = Barrier(len(peers))

        def edit(key: PeerKey) -> None:
            barrier.wait(timeout=30)
            file = TrustFile(path, lock_timeout_s=60)
            if key == peers[0]:
                file.remove(key)
            else:
                file.add(key)

        with ThreadPoolExecutor(len(peers)) as pool:
            list(pool.map(edit, peers))
        assert {peer.key for peer in TrustFile(path).load().peers} == set(peers[1:])

    def test_an_edit_that_takes_too_long_is_not_waited_for(self, path: Path) -> None:
        """The other's lock is named and nothing is changed."""
        lock = path.with_name("trusted_peers.lock")
        descriptor = open_lock_file(lock)
        try:
            assert try_lock(descriptor, lock)
            with pytest.raises(StorageError, match="try again") as caught:
                TrustFile(path, lock_timeout_s=0).add(ALICE)
        finally:
            os.close(descriptor)
        assert caught.value.path == lock
        assert not path.exists()
        TrustFile(path, lock_timeout_s=0).add(ALICE)


class TestWatching:
    """`TrustWatcher`; only its clock is not real."""

    @pytest.fixture
    def file(self, path: Path) -> TrustFile:
        file = TrustFile(path)
        file.add(ALICE, "a")
        file.add(BOB, "b")
        return file

    @pytest.fixture
    def trust(self, file: TrustFile) -> TrustList:
        return TrustList(file.load().peers)

    @pytest.fixture
    def watcher(self, file: TrustFile, trust: TrustList) -> TrustWatcher:
        watcher = TrustWatcher(file, trust, file.load())
        assert self.polls(watcher, 0.0) == []
        return watcher

    @staticmethod
    def polls(watcher: TrustWatcher, start_s: float, seconds: float = 5.0) -> list[str]:
        """Poll every 250 ms and return the problems."""
        problems: list[str] = []
        for step in range(int(seconds / 0.25) + 1):
            problems += watcher.poll(now=start_s + step * 0.25)
        return problems

    def test_another_look_is_of_use_until_all_was_taken(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher
    ) -> None:
        """What is new is taken a quarter of a second later; then the file may be let alone."""
        self.polls(watcher, 10)
        TrustFile(file.path).remove(ALICE)
        found = [(watcher.settled, ALICE in trust)]
        for now in (21.0, 21.25):
            watcher.poll(now=now)
            found.append((watcher.settled, ALICE in trust))
        assert found == [(True, True), (False, True), (True, False)]

    def test_a_peer_that_the_command_removes_is_gone_in_half_a_second(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher
    ) -> None:
        """Also the last one; and one that is added is there."""
        TrustFile(file.path).remove(ALICE)
        assert self.polls(watcher, 10, 0.5) == []
        assert trust.keys() == {BOB}
        TrustFile(file.path).remove(BOB)
        assert self.polls(watcher, 20, 0.5) == []
        assert trust.keys() == frozenset()
        TrustFile(file.path).add(CAROL, "c")
        assert self.polls(watcher, 30, 0.5) == []
        assert list(trust) == [TrustedPeer(CAROL, "c")]

    def test_what_an_editor_leaves_is_not_taken_for_ours(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher
    ) -> None:
        """In the file that we wrote or in another: it gets a second, and then counts."""
        file.add(CAROL)
        self.polls(watcher, 10)
        with file.path.open("r+b") as editor:
            editor.truncate(editor.read().index(b"\n") + 1)
        self.polls(watcher, 20, 0.75)
        assert trust.keys() == {ALICE, BOB, CAROL}
        self.polls(watcher, 21)
        assert trust.keys() == frozenset()

    def test_an_editor_that_comes_right_behind_our_edit_is_not_taken_for_us(
        self,
        file: TrustFile,
        trust: TrustList,
        watcher: TrustWatcher,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It writes before we could note what we left."""

        def replace_and_truncate(path: Path, data: bytes, mode: int) -> None:
            replace_file(path, data, mode)
            path.write_text(HEADER, encoding="utf-8")

        monkeypatch.setattr(trust_file, "replace_file", replace_and_truncate)
        file.add(CAROL)
        self.polls(watcher, 10, 0.75)
        assert trust.keys() == {ALICE, BOB}

    def test_without_the_note_of_who_wrote_it_an_edit_takes_longer(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher
    ) -> None:
        """The disk had no room for it, or another version wrote the file."""
        file.remove(BOB)
        file.path.with_name("trusted_peers.lock").unlink()
        self.polls(watcher, 10, 0.75)
        assert trust.keys() == {ALICE, BOB}
        self.polls(watcher, 11, 0.5)
        assert trust.keys() == {ALICE}

    def test_what_changed_between_loading_and_the_first_look_counts(
        self, file: TrustFile, trust: TrustList
    ) -> None:
        """Nothing falls between."""
        document = file.load()
        file.remove(BOB)
        file.add(CAROL)
        self.polls(TrustWatcher(file, trust, document), 0, 0.5)
        assert trust.keys() == {ALICE, CAROL}

    def test_an_editor_that_truncates_and_rewrites_removes_nothing(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher
    ) -> None:
        """A byte at a time, with 300 ms between; no link would be closed on the way."""
        removals: list[PeerKey] = []
        trust.subscribe(lambda key, trusted: None if trusted else removals.append(key))
        text = f"# rewritten\n{CAROL} c\n{BOB} b\n{ALICE} a\n".encode()
        now = 10.0
        with file.path.open("wb", buffering=0) as editor:
            for byte in text:
                editor.write(bytes([byte]))
                now += 0.3
                watcher.poll(now=now)
        assert self.polls(watcher, now) == []
        assert removals == []
        assert trust.keys() == {ALICE, BOB, CAROL}

    def test_a_file_that_changes_while_it_is_read_is_not_believed(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It must be still again first."""
        file.remove(BOB)
        watcher.poll(now=10.0)
        look = file.look

        def look_late() -> object:
            monkeypatch.undo()
            file.path.write_text(HEADER, encoding="utf-8")
            return look()

        monkeypatch.setattr(file, "look", look_late)
        assert watcher.poll(now=10.3) == ()
        assert trust.keys() == {ALICE, BOB}
        assert watcher.poll(now=10.5) == ()
        assert trust.keys() == {ALICE, BOB}
        file.path.write_text(f"{HEADER}{ALICE} a\n{BOB} b\n", encoding="utf-8")
        self.polls(watcher, 20)
        assert trust.keys() == {ALICE, BOB}

    def test_missing_empty_and_broken_are_reported_once_with_path_and_line(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In the log too; nobody is removed."""
        reports = []
        with caplog.at_level(logging.WARNING):
            file.path.unlink()
            reports += self.polls(watcher, 100)
            file.path.write_bytes(b"")
            reports += self.polls(watcher, 200)
            file.path.write_text(f"{ALICE} a\nbob\n", encoding="utf-8")
            reports += self.polls(watcher, 300)
        assert [report.removeprefix(f"{file.path}: ")[:16] for report in reports] == [
            "the file is miss",
            "the file is empt",
            "line 2: a key ha",
        ]
        assert [record.getMessage() for record in caplog.records] == [
            f"{report}; nobody is removed" for report in reports
        ]
        assert trust.keys() == {ALICE, BOB}
        file.path.write_text(f"{ALICE} a\n", encoding="utf-8")
        assert self.polls(watcher, 400) == []
        assert trust.keys() == {ALICE}

    def test_a_link_that_is_pointed_elsewhere_is_followed(
        self, file: TrustFile, trust: TrustList, watcher: TrustWatcher
    ) -> None:
        """A new generation of somebody's dotfiles."""
        target = file.path.with_name("generation")
        target.write_text(f"{BOB} b\n", encoding="utf-8")
        link = file.path.with_name("link")
        link.symlink_to(target)
        link.replace(file.path)
        self.polls(watcher, 10)
        assert trust.keys() == {BOB}

    @pytest.mark.parametrize("call", ["os.open", "pathlib.Path.stat"])
    def test_running_out_of_files_loses_no_removal(
        self,
        file: TrustFile,
        trust: TrustList,
        watcher: TrustWatcher,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
    ) -> None:
        """It is reported once, and made up for."""
        file.remove(BOB)

        def fail(*_: object, **__: object) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(call, fail)
        assert self.polls(watcher, 10) == [f"{file.path}: too many files are open"]
        monkeypatch.undo()
        assert trust.keys() == {ALICE, BOB}
        assert self.polls(watcher, 20) == []
        assert trust.keys() == {ALICE}
