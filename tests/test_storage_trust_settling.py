"""What a running node believes of a changing trust list: never half of it, never for long the old one."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_core.keys import PeerKey
from peernet_core.storage.trust_settling import FileStamp, TrustChange, TrustSettling
from peernet_core.trust import HEADER, TrustDocument, TrustedPeer

ALICE = PeerKey(b"\x0a" * 32)
BOB = PeerKey(b"\x0b" * 32)
CAROL = PeerKey(b"\x0c" * 32)
BOTH = f"# us\n{ALICE} a\n{BOB} b\n"
POLL_S = 0.25


@attrs.define
class Node:
    """A file, a list that follows it, and a clock that is stepped by hand."""

    text: str | None
    settling: TrustSettling
    trusted: dict[PeerKey, str]
    stamp: FileStamp | None = None
    now: float = 1000.0
    removed: list[PeerKey] = attrs.Factory(list)
    problems: list[str] = attrs.Factory(list)
    versions: int = 0
    ours: bool = True

    @classmethod
    def started(cls, text: str | None, *, elsewhere: tuple[PeerKey, ...] = ()) -> Node:
        document = TrustDocument.parse(text or "")
        trusted = {peer.key: peer.label for peer in document.peers} | dict.fromkeys(elsewhere, "")
        node = cls(text, TrustSettling(document, trusted), trusted)
        if text is not None:
            node.replace(text)
        node.run(2.0)
        assert (node.removed, node.problems) == ([], [])
        return node

    def replace(self, text: str | None, *, ours: bool = True) -> None:
        """Another file takes the name; in one step when our own writer does it."""
        self.versions += 1
        self.ours = ours and text is not None
        self.text = text
        self.stamp = None if text is None else FileStamp(1, self.versions, len(text), self.versions, 0)

    def write(self, text: str) -> None:
        """In place: the same file holds something else."""
        assert self.stamp is not None
        self.versions += 1
        self.ours = False
        self.text = text
        self.stamp = attrs.evolve(self.stamp, size=len(text), modified_ns=self.versions)

    def poll(self) -> TrustChange:
        change = TrustChange()
        if self.settling.due(self.stamp, now=self.now):
            change = self.settling.settle(self.text, dict(self.trusted), ours=self.ours, now=self.now)
        self.trusted |= {peer.key: peer.label for peer in change.added}
        for key in change.removed:
            del self.trusted[key]
        self.removed += change.removed
        self.problems += change.problems
        return change

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now <= until:
            self.poll()
            self.now += POLL_S

    def keys(self) -> set[PeerKey]:
        return set(self.trusted)


def test_a_removal_by_us_takes_half_a_second() -> None:
    """After 250 ms of stillness, and not at the first look."""
    node = Node.started(BOTH)
    node.replace(f"{ALICE} a\n")
    assert node.poll() == TrustChange()
    node.now += 0.24
    assert node.poll() == TrustChange()
    node.now += 0.02
    assert node.poll() == TrustChange(removed=(BOB,))
    node.run(5.0)
    assert node.removed == [BOB]


def test_an_addition_takes_half_a_second_in_place_too() -> None:
    """Somebody appended a line."""
    node = Node.started(BOTH)
    node.write(f"{BOTH}{CAROL} c\n")
    node.poll()
    node.now += 0.26
    assert node.poll() == TrustChange(added=(TrustedPeer(CAROL, "c"),))
    node.now += 0.25
    assert not node.settling.due(node.stamp, now=node.now)
    node.run(5.0)
    assert node.keys() == {ALICE, BOB, CAROL}
    assert node.problems == []


@pytest.mark.parametrize("in_place", [True, False])
def test_a_removal_by_an_editor_takes_a_second_of_stillness(in_place: bool) -> None:
    """It may only be pausing, in the old file or in a new one."""
    node = Node.started(BOTH)
    if in_place:
        node.write(f"{ALICE} a\n")
    else:
        node.replace(f"{ALICE} a\n", ours=False)
    node.poll()
    node.now += 0.99
    assert node.poll() == TrustChange()
    node.now += 0.02
    assert node.poll() == TrustChange(removed=(BOB,))


def test_two_removals_in_quick_succession_take_effect_within_a_second() -> None:
    """The second does not make the first look like an editor's."""
    node = Node.started(BOTH)
    node.replace(f"{ALICE} a\n")
    node.poll()
    node.now += 0.2
    node.replace(HEADER)
    node.run(0.5)
    assert node.keys() == set()
    assert node.problems == []


def test_the_last_peer_goes_when_a_comment_stays() -> None:
    """A comment says that the list is meant to be empty."""
    node = Node.started(f"{ALICE} a\n")
    node.replace(HEADER)
    node.run(0.5)
    assert node.keys() == set()


@pytest.mark.parametrize("text", [None, "", "\n \r\n", "\ufeff"])
def test_a_file_that_is_missing_or_blank_removes_nobody_and_is_reported_once(text: str | None) -> None:
    """Until it is back, whatever happens in between; then removals are on again."""
    node = Node.started(BOTH)
    node.replace(text)
    node.run(10.0)
    assert node.keys() == {ALICE, BOB}
    (problem,) = node.problems
    assert ("missing" if text is None else "empty") in problem
    node.replace(BOTH)
    node.run(2.0)
    node.replace(text)
    node.run(2.0)
    assert node.problems == [problem, problem]
    node.replace(f"{ALICE} a\n")
    node.run(2.0)
    assert node.keys() == {ALICE}


@pytest.mark.parametrize("text", [None, "", HEADER])
def test_a_list_that_was_empty_is_no_problem(text: str | None) -> None:
    """A first start has no file; the first peer makes one."""
    node = Node.started(text)
    node.replace(f"{HEADER}{ALICE} a\n")
    node.run(0.5)
    assert node.keys() == {ALICE}
    node.replace(HEADER)
    node.run(0.5)
    assert node.keys() == set()
    assert node.problems == []


def test_a_broken_file_adds_but_removes_nobody_and_names_the_line_once() -> None:
    """Mending it makes up for the removals."""
    node = Node.started(BOTH)
    broken = f"{ALICE} a\nBOB b\n{CAROL} c\n"
    node.replace(broken)
    node.run(5.0)
    assert node.keys() == {ALICE, BOB, CAROL}
    assert [problem.split(":")[0] for problem in node.problems] == ["line 2"]
    node.replace(f"{broken}# another edit\n")
    node.run(5.0)
    assert len(node.problems) == 1
    node.replace(f"{broken}laptop\n")
    node.run(5.0)
    assert [problem.split(":")[0] for problem in node.problems[1:]] == ["line 2", "line 4"]
    node.replace(f"{ALICE} a\n{CAROL} c\n")
    node.run(2.0)
    assert node.keys() == {ALICE, CAROL}


def test_a_last_line_without_its_end_counts_when_it_has_been_still_for_a_second() -> None:
    """Many editors leave it so, and one that is at work may have stopped inside a label."""
    node = Node.started(BOTH)
    node.write(f"{BOTH}{CAROL} ca")
    node.run(0.5)
    assert node.keys() == {ALICE, BOB}
    node.write(f"{BOTH}{CAROL} carol")
    node.run(1.5)
    assert node.trusted[CAROL] == "carol"


def test_another_label_is_told_and_a_label_that_went_is_not() -> None:
    """A key alone says nothing about what its human calls it."""
    node = Node.started(BOTH)
    node.replace(f"{ALICE} anna\n{BOB}\n")
    node.run(1.0)
    assert node.trusted == {ALICE: "anna", BOB: "b"}


def test_keys_that_came_from_elsewhere_are_not_the_files_to_remove() -> None:
    """The application's own; once the file has named one, the file rules it."""
    node = Node.started(BOTH, elsewhere=(CAROL,))
    node.replace(f"{ALICE} a\n")
    node.run(1.0)
    assert node.keys() == {ALICE, CAROL}
    node.replace(f"{ALICE} a\n{CAROL} c\n")
    node.run(1.0)
    node.replace(f"{ALICE} a\n")
    node.run(1.0)
    assert node.keys() == {ALICE}


def test_what_the_application_changed_together_with_the_file_is_no_news() -> None:
    """It changed the file first, then the list: no look in between undoes that."""
    node = Node.started(BOTH)
    node.replace(f"{ALICE} a\n{BOB} b\n{CAROL} c\n")
    node.trusted[CAROL] = "c"
    node.run(1.0)
    node.replace(f"{ALICE} a\n{CAROL} c\n")
    del node.trusted[BOB]
    node.run(1.0)
    assert node.keys() == {ALICE, CAROL}
    assert node.removed == []


def test_a_key_that_the_application_added_is_removed_by_the_next_edit() -> None:
    """Also when the file never stood still with the key in it."""
    node = Node.started(BOTH)
    node.replace(f"{BOTH}{CAROL} c\n")
    node.trusted[CAROL] = "c"
    node.poll()
    node.now += 0.1
    node.replace(BOTH)
    node.run(2.0)
    assert node.keys() == {ALICE, BOB}


def test_a_file_that_cannot_be_read_stays_due_and_is_reported_once() -> None:
    """Too many open files pass; a removal must not get lost meanwhile."""
    node = Node.started(BOTH)
    node.replace(f"{ALICE} a\n")
    node.poll()
    reports = []
    for _ in range(4):
        node.now += POLL_S
        assert node.settling.due(node.stamp, now=node.now)
        reports.append(node.settling.unreadable("too many files are open").problems)
    assert reports == [("too many files are open",), (), (), ()]
    node.run(1.0)
    assert node.keys() == {ALICE}


def peer_lines() -> st.SearchStrategy[list[str]]:
    keys = st.lists(st.integers(1, 8), max_size=8, unique=True)
    return keys.map(
        lambda numbers: [f"{PeerKey(bytes([number]) * 32)} label {number}\n" for number in numbers]
    )


@given(
    st.lists(st.sampled_from(["# c\n", "\n"]), max_size=2).map(lambda lines: [*lines, HEADER]),
    peer_lines(),
    peer_lines(),
    st.lists(st.tuples(st.floats(0.0, 0.99), st.integers(0, 600)), max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_an_editor_that_truncates_and_rewrites_slowly_removes_nothing_on_the_way(
    comments: list[str],
    old: list[str],
    new: list[str],
    steps: list[tuple[float, int]],
    reads_often: bool,
    renames: bool,
) -> None:
    """However it cuts the text, with pauses below a second: only what the finished file lacks is removed."""
    node = Node.started("".join([*comments, *old]))
    before = node.keys()
    final = "".join([*comments, *new])
    wanted = {peer.key for peer in TrustDocument.parse(final).peers}
    written = 0
    if renames:
        node.replace(None)
        node.replace("", ours=False)
    else:
        node.write("")
    for pause_s, size in steps:
        step_s = 0.07 if reads_often else POLL_S
        until = node.now + pause_s
        while node.now + step_s < until:
            node.now += step_s
            node.poll()
        node.now = until
        assert before <= node.keys() <= before | wanted
        written += size
        node.write(final[:written])
    node.write(final)
    node.run(1.5)
    assert node.keys() == wanted


@given(peer_lines(), st.lists(st.tuples(st.floats(0.0, 3.0), st.none() | peer_lines(), st.booleans())))
def test_the_list_is_the_file_within_two_seconds_of_its_last_change(
    old: list[str], edits: list[tuple[float, list[str] | None, bool]]
) -> None:
    """Whatever was there before."""
    node = Node.started("".join(old) or HEADER)
    for pause_s, lines, in_place in edits:
        text = None if lines is None else "".join(lines)
        if in_place and text is not None and node.stamp is not None:
            node.write(text)
        else:
            node.replace(text, ours=not in_place)
        node.run(pause_s)
    node.replace(f"{HEADER}{ALICE} a\n")
    node.run(1.5)
    assert node.keys() == {ALICE}
