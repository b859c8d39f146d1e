"""A trust list is text that humans edit: reading never raises, edits keep what they do not change."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from peernet_core.errors import ConfigurationError
from peernet_core.keys import PeerKey
from peernet_core.trust import HEADER, MAX_LABEL_CHARACTERS, TrustDocument, TrustedPeer, TrustList

ALICE = PeerKey(b"\x0a" * 32)
BOB = PeerKey(b"\x0b" * 32)
CAROL = PeerKey(b"\x0c" * 32)
SMALL_ORDER = "aeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"  # y = 1, the neutral element


def keys() -> st.SearchStrategy[PeerKey]:
    """Few enough that texts repeat them."""
    return st.sampled_from([ALICE, BOB, CAROL]) | st.binary(min_size=31, max_size=31).map(
        lambda raw: PeerKey(raw + b"\x01")
    )


def labels() -> st.SearchStrategy[str]:
    return st.text("abc é😀", max_size=12).map(lambda text: " ".join(text.split()))


def lines() -> st.SearchStrategy[str]:
    """Whole lines of every sort, with their ends."""
    peers = st.builds(
        lambda before, key, gap, label: f"{before}{key}{gap}{label}",
        st.sampled_from(["", " ", "\t"]),
        keys().map(str) | keys().map(lambda key: str(key).upper()),
        st.sampled_from([" ", "\t", "  "]),
        labels(),
    )
    comments = st.text(max_size=10).map(lambda text: "#" + text.replace("\n", " "))
    garbage = st.text(max_size=60).map(lambda text: text.replace("\n", " "))
    return st.builds(
        lambda line, end: line + end,
        peers | comments | garbage | st.just(""),
        st.sampled_from(["\n", "\r\n"]),
    )


def texts() -> st.SearchStrategy[str]:
    return st.text() | st.builds(
        lambda mark, body, last: mark + "".join(body) + last,
        st.sampled_from(["", "\ufeff"]),
        st.lists(lines(), max_size=6),
        st.just("") | lines().map(lambda line: line.rstrip("\r\n")),
    )


def key_set(document: TrustDocument) -> set[PeerKey]:
    return {peer.key for peer in document.peers}


def comments_of(text: str) -> list[str]:
    stripped = [line.strip() for line in text.removeprefix("\ufeff").split("\n")]
    return [line for line in stripped if line.startswith("#")]


def parse_problem(line: str) -> str:
    (problem,) = TrustDocument.parse(f"# one\n{line}\n").problems
    return problem


class TestParsing:
    """`TrustDocument.parse`."""

    def test_a_line_is_a_key_and_a_label(self) -> None:
        """Comments and blank lines are skipped; white space around key and label does not matter."""
        document = TrustDocument.parse(f"# us\n\n{ALICE}  kitchen   pi \n\t{str(BOB).upper()}\n  # end")
        assert document.peers == (TrustedPeer(ALICE, "kitchen pi"), TrustedPeer(BOB, ""))
        assert document.problems == ()

    def test_windows_line_ends_and_a_byte_order_mark_change_nothing(self) -> None:
        """What a Windows editor saves reads the same."""
        document = TrustDocument.parse(f"\ufeff{ALICE} a\r\n# c\r\n{BOB} b\r\n")
        assert document.peers == (TrustedPeer(ALICE, "a"), TrustedPeer(BOB, "b"))
        assert document.problems == ()

    def test_a_key_that_stands_twice_counts_once_with_its_last_label(self) -> None:
        """Two files pasted together are no mistake."""
        document = TrustDocument.parse(f"{ALICE} old\n{BOB} b\n{ALICE} new\n")
        assert document.peers == (TrustedPeer(ALICE, "new"), TrustedPeer(BOB, "b"))
        assert document.problems == ()

    def test_a_small_order_key_is_a_problem_with_its_line(self) -> None:
        """Trusting it would let anybody in."""
        document = TrustDocument.parse(f"{ALICE}\n{SMALL_ORDER} everybody\n")
        assert key_set(document) == {ALICE}
        assert document.problems == ("line 2: this is a small-order point: anybody could sign for it",)

    def test_every_broken_line_is_named(self) -> None:
        """Line numbers are those of an editor, whatever separators stand inside a line."""
        document = TrustDocument.parse(f"# a\x0cb\u2028c\x85d\n{str(ALICE)[:-1]} cut\n{BOB}\nlaptop\n")
        assert [problem.split(":")[0] for problem in document.problems] == ["line 2", "line 4"]
        assert key_set(document) == {BOB}

    def test_two_lines_run_together_are_a_problem(self) -> None:
        """Else the second peer would be lost in the first one's label."""
        assert "second key" in parse_problem(f"{ALICE} laptop {BOB}")

    @pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\u202e", "\udc9f"])
    def test_a_label_cannot_steer_a_terminal(self, character: str) -> None:
        """Control characters, reversed writing and bytes that are no text are refused, with the line."""
        assert parse_problem(f"{ALICE} lap{character}top").startswith("line 2: ")

    @pytest.mark.parametrize("label", ["naïve", "名前", "👩\u200d🔬 lab", "# 1"])
    def test_a_label_may_be_in_any_language(self, label: str) -> None:
        """What prints is a label."""
        assert TrustDocument.parse(f"{ALICE} {label}").peers == (TrustedPeer(ALICE, label),)

    def test_a_label_has_an_end(self) -> None:
        """100 characters, no more."""
        longest = "x" * MAX_LABEL_CHARACTERS
        assert TrustDocument.parse(f"{ALICE} {longest}").peers[0].label == longest
        assert "longer" in parse_problem(f"{ALICE} {longest}x")

    def test_bytes_that_are_no_utf8_may_stand_in_a_comment_only(self) -> None:
        """An old Latin-1 comment harms nobody."""
        latin = "caf\udce9"
        assert TrustDocument.parse(f"# {latin}\n").problems == ()
        assert "UTF-8" in parse_problem(f"{ALICE} {latin}")

    def test_a_file_full_of_garbage_is_reported_in_a_few_lines(self) -> None:
        """Twenty lines, and how many more."""
        problems = TrustDocument.parse("x\n" * 1000).problems
        assert len(problems) == 21
        assert problems[-1] == "and 980 more lines"

    @pytest.mark.parametrize(
        ("text", "blank"),
        [("", True), (" \r\n\t\n", True), ("\ufeff\n", True), ("#", False), (HEADER, False)],
    )
    def test_blank_means_not_even_a_comment(self, text: str, blank: bool) -> None:
        """A comment says that somebody meant the list to be empty."""
        assert TrustDocument.parse(text).is_blank is blank

    @given(texts())
    def test_any_text_is_a_document(self, text: str) -> None:
        """Nothing raises; the text is kept; each key stands once; problems name lines that exist."""
        document = TrustDocument.parse(text)
        assert document.text == text
        assert len(key_set(document)) == len(document.peers)
        for problem in document.problems[:20]:
            number = int(problem.removeprefix("line ").split(":")[0])
            assert 1 <= number <= text.count("\n") + 1
            assert problem.isascii()

    @given(texts(), st.data())
    def test_whole_lines_of_a_half_written_file_hold_no_other_key(
        self, text: str, data: st.DataObject
    ) -> None:
        """Wherever the writing stopped, the finished lines trust nobody whom the finished file does not."""
        cut = text[: data.draw(st.integers(0, len(text)))]
        assert key_set(TrustDocument.parse(cut[: cut.rfind("\n") + 1])) <= key_set(TrustDocument.parse(text))


class TestEditing:
    """`TrustDocument.adding` and `removing`."""

    def test_a_new_list_begins_with_a_header(self) -> None:
        """So it is never blank."""
        assert TrustDocument.parse("").adding(ALICE, "pi").text == f"{HEADER}{ALICE} pi\n"

    def test_a_key_is_appended_in_the_manner_of_the_file(self) -> None:
        """A missing last line end is made good, and Windows line ends stay."""
        assert TrustDocument.parse(f"{ALICE} a").adding(BOB).text == f"{ALICE} a\n{BOB}\n"
        assert TrustDocument.parse(f"# x\r\n{ALICE}\r\n").adding(BOB).text == f"# x\r\n{ALICE}\r\n{BOB}\r\n"

    def test_adding_again_changes_the_label_only(self) -> None:
        """In its line; without a label nothing changes."""
        document = TrustDocument.parse(f"# a\r\n{ALICE} old\r\n{BOB} b\n")
        assert document.adding(ALICE, "new").text == f"# a\r\n{ALICE} new\r\n{BOB} b\n"
        assert document.adding(ALICE).text == document.text

    def test_removing_takes_every_line_of_the_key(self) -> None:
        """Whatever its spelling; a commented one stays."""
        document = TrustDocument.parse(f"#{ALICE}\n{ALICE} a\n# c\n{BOB}\n{str(ALICE).upper()} b")
        assert document.removing(ALICE).text == f"#{ALICE}\n# c\n{BOB}\n"

    @pytest.mark.parametrize("text", [f"{ALICE}", f"{ALICE} a\n", f"\ufeff{ALICE}\r\n", f"{ALICE} a\n\n"])
    def test_removing_the_last_peer_leaves_a_comment(self, text: str) -> None:
        """A running node takes a blank file for an accident, so our own writer never leaves one."""
        document = TrustDocument.parse(text).removing(ALICE)
        assert document.text == HEADER
        assert document.peers == ()

    @pytest.mark.parametrize("label", ["a\x1b[2Jb", "x" * 101, str(BOB), "\udce9"])
    def test_a_label_that_could_not_be_read_back_is_refused(self, label: str) -> None:
        """Nothing is written that would break the file."""
        with pytest.raises(ConfigurationError, match="label"):
            TrustDocument.parse("").adding(ALICE, label)

    @given(texts(), keys(), labels())
    def test_adding_then_removing_gives_the_same_peers_and_comments(
        self, text: str, key: PeerKey, label: str
    ) -> None:
        """An edit touches its own key's lines only, in any text."""
        document = TrustDocument.parse(text)
        assume(key not in key_set(document))
        added = document.adding(key, label)
        assert added.peers == (*document.peers, TrustedPeer(key, label))
        assert added.problems == document.problems
        removed = added.removing(key)
        assert removed.peers == document.peers
        assert removed.problems == document.problems
        if document.is_blank:
            assert removed.text == HEADER
        else:
            assert comments_of(removed.text) == comments_of(text)
            assert removed.text.rstrip("\r\n") == text.rstrip("\r\n")

    @given(texts(), st.data())
    def test_removing_or_relabelling_keeps_everybody_else(self, text: str, data: st.DataObject) -> None:
        """The others keep their order, labels and comments, and the result is never blank."""
        document = TrustDocument.parse(text)
        assume(document.peers)
        peer = data.draw(st.sampled_from(document.peers))
        removed = document.removing(peer.key)
        assert removed.peers == tuple(other for other in document.peers if other != peer)
        assert not removed.is_blank
        assert [line for line in comments_of(removed.text) if line != HEADER.strip()] == comments_of(text)
        relabelled = document.adding(peer.key, "zz")
        assert {other.key: other.label for other in relabelled.peers} == {
            other.key: "zz" if other == peer else other.label for other in document.peers
        }
        assert comments_of(relabelled.text) == comments_of(text)


class TestTrustList:
    """`TrustList`."""

    def test_holds_keys_with_their_labels(self) -> None:
        """It is a container, iterable, and knows labels; a stranger has none."""
        trust = TrustList([TrustedPeer(ALICE, "a"), TrustedPeer(BOB)])
        assert ALICE in trust
        assert CAROL not in trust
        assert "a" not in trust
        assert len(trust) == 2
        assert list(trust) == [TrustedPeer(ALICE, "a"), TrustedPeer(BOB, "")]
        assert (trust.label(ALICE), trust.label(BOB), trust.label(CAROL)) == ("a", "", "")

    def test_says_what_changed(self) -> None:
        """Subscribers see additions and removals after they happened, and nothing for a new label."""
        trust = TrustList()
        seen: list[tuple[PeerKey, bool, frozenset[PeerKey]]] = []
        unsubscribe = trust.subscribe(lambda key, trusted: seen.append((key, trusted, trust.keys())))
        assert trust.add(ALICE, "a")
        assert not trust.add(ALICE, "b")
        assert trust.label(ALICE) == "b"
        assert not trust.add(ALICE)
        assert trust.label(ALICE) == "b"
        assert trust.remove(ALICE)
        assert not trust.remove(ALICE)
        assert seen == [(ALICE, True, frozenset({ALICE})), (ALICE, False, frozenset())]
        unsubscribe()
        unsubscribe()
        trust.add(BOB)
        assert len(seen) == 2

    def test_one_callback_subscribed_twice_is_two_subscriptions(self) -> None:
        """Ending one leaves the other."""
        trust = TrustList()
        seen: list[PeerKey] = []

        def callback(key: PeerKey, _trusted: bool) -> None:
            seen.append(key)

        first = trust.subscribe(callback)
        trust.subscribe(callback)
        first()
        first()
        trust.add(ALICE)
        assert seen == [ALICE]

    def test_a_subscriber_may_leave_while_it_is_called(self) -> None:
        """The others are still called."""
        trust = TrustList()
        seen: list[str] = []

        def leave(_key: PeerKey, _trusted: bool) -> None:
            seen.append("leaving")
            unsubscribe()

        unsubscribe = trust.subscribe(leave)
        trust.subscribe(lambda _key, _trusted: seen.append("staying"))
        trust.add(ALICE)
        trust.add(BOB)
        assert seen == ["leaving", "staying", "staying"]

    def test_finds_by_key_and_by_label(self) -> None:
        """Upper case is the same key."""
        trust = TrustList([TrustedPeer(ALICE, "kitchen pi"), TrustedPeer(BOB, "b")])
        assert trust.find(str(BOB)) == trust.find(str(BOB).upper()) == BOB
        assert trust.find("kitchen pi") == ALICE

    def test_what_is_not_found_is_explained(self) -> None:
        """With what to type instead, where there is one."""
        trust = TrustList(
            [TrustedPeer(ALICE, "kitchen"), TrustedPeer(BOB, "twin"), TrustedPeer(CAROL, "twin")]
        )
        with pytest.raises(ConfigurationError, match="is not in the trust list"):
            trust.find(str(PeerKey(b"\x0d" * 32)))
        with pytest.raises(ConfigurationError, match="did you mean 'kitchen'"):
            trust.find("Kitchn")
        with pytest.raises(ConfigurationError, match=f"did you mean {BOB}"):
            trust.find(BOB.short)
        with pytest.raises(ConfigurationError, match=r"label of 2 keys") as caught:
            trust.find("twin")
        assert str(BOB) in str(caught.value)
        assert str(CAROL) in str(caught.value)
        with pytest.raises(ConfigurationError, match="nobody"):
            TrustList([TrustedPeer(ALICE)]).find("")
