"""Whom we trust: the text that a human edits, and the set of keys that the registry asks.

The file has one peer a line, ``<key> <label>``; ``#`` starts a comment line. Reading never raises: what is
wrong is listed with its line. A key that stands twice counts once, and its last line gives the label;
removing it takes all its lines. Bytes that are no UTF-8 arrive as lone surrogates (``surrogateescape``):
they pass through comments unchanged and are a problem anywhere else.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from peernet_core.errors import ConfigurationError, MalformedKeyError
from peernet_core.keys import KEY_CHARACTERS, PeerKey
from peernet_core.values import frozen

__all__ = ["HEADER", "MAX_LABEL_CHARACTERS", "TrustDocument", "TrustList", "TrustedPeer"]

HEADER: Final = '# The peers that this node links with: "<key> <label>" on a line each.\n'
"""What our own writer leaves at least: a file without any text means an accident and not an empty list."""

MAX_LABEL_CHARACTERS: Final = 100

_BOM: Final = "\ufeff"
_MAX_PROBLEMS: Final = 20
_JOINERS: Final = "\u200c\u200d"  # scripts and emoji need them, and they move nothing on a screen
_ESCAPED_BYTE: Final = re.compile("[\udc80-\udcff]")
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@frozen
class TrustedPeer:
    """A key that may link with us, and what its human calls it (may be empty)."""

    key: PeerKey
    label: str = ""


@frozen
class TrustDocument:
    """A trust list as text; edits keep comments, order, line endings and a byte order mark.

    Attributes:
        text: All of it, as read.
        peers: What the well-formed lines say, each key once, in the order of its first line.
        problems: One complete line for each line that cannot be read: ``line 3: …``. At most 20, and then how
            many more there are.
    """

    text: str
    peers: tuple[TrustedPeer, ...]
    problems: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> TrustDocument:
        """Read a trust list; any text at all gives a document."""
        peers: dict[PeerKey, TrustedPeer] = {}
        problems: list[str] = []
        for number, line in enumerate(_split_lines(text.removeprefix(_BOM)), start=1):
            try:
                peer = _read_line(line)
            except _LineError as error:
                problems.append(f"line {number}: {error}")
            else:
                if peer is not None:
                    peers[peer.key] = peer
        if len(problems) > _MAX_PROBLEMS:
            problems[_MAX_PROBLEMS:] = [f"and {len(problems) - _MAX_PROBLEMS} more lines"]
        return cls(text, tuple(peers.values()), tuple(problems))

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but white space; a comment is something."""
        return not self.text.removeprefix(_BOM).strip()

    def adding(self, key: PeerKey, label: str = "") -> TrustDocument:
        """The document with `key` in it.

        Args:
            key: Appended; if it is there already, its line gets the label.
            label: At most 100 characters; white space is normalised. Empty: a label that is there stays.

        Raises:
            ConfigurationError: the label cannot be written: too long, control characters, or a key.
        """
        label = _clean_label(label)
        old = next((peer for peer in self.peers if peer.key == key), None)
        line = f"{key} {label}".rstrip()
        if old is None:
            return self._appending(line)
        if label in {"", old.label}:
            return self
        lines = self._body_lines()
        last = max(index for index, text in enumerate(lines) if _key_of(text) == key)
        lines[last] = line + lines[last][len(lines[last].rstrip("\r\n")) :]
        return self._with_lines(lines)

    def removing(self, key: PeerKey) -> TrustDocument:
        """The document without `key`; the same one if it is not there."""
        if all(peer.key != key for peer in self.peers):
            return self
        document = self._with_lines([line for line in self._body_lines() if _key_of(line) != key])
        return TrustDocument.parse(HEADER) if document.is_blank else document

    def _appending(self, line: str) -> TrustDocument:
        if self.is_blank:
            return TrustDocument.parse(f"{HEADER}{line}\n")
        lines = self._body_lines()
        ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
        if not lines[-1].endswith("\n"):
            lines[-1] += ending
        return self._with_lines([*lines, line + ending])

    def _body_lines(self) -> list[str]:
        return _split_lines(self.text.removeprefix(_BOM))

    def _with_lines(self, lines: Iterable[str]) -> TrustDocument:
        mark = _BOM if self.text.startswith(_BOM) else ""
        return TrustDocument.parse(mark + "".join(lines))


class TrustList:
    """The keys that we link with, as they are now; not thread-safe.

    Args:
        peers: Whom to trust at first; of one key's labels the last counts.

    Raises:
        ConfigurationError: a label is not printable text of at most 100 characters.
    """

    def __init__(self, peers: Iterable[TrustedPeer] = ()) -> None:
        self._labels = {peer.key: _clean_label(peer.label) for peer in peers}
        self._keys: frozenset[PeerKey] | None = None
        self._callbacks: list[Callable[[PeerKey, bool], None]] = []

    def add(self, key: PeerKey, label: str = "") -> bool:
        """Trust a key.

        Args:
            key: Whom to trust.
            label: As for `TrustDocument.adding`; empty: a label that is there stays.

        Returns:
            Whether it is new; only then are subscribers called.

        Raises:
            ConfigurationError: the label is not printable text of at most 100 characters.
        """
        label = _clean_label(label)
        new = key not in self._labels
        if new or label:
            self._labels[key] = label
        if new:
            self._changed(key, trusted=True)
        return new

    def remove(self, key: PeerKey) -> bool:
        """Trust a key no more; returns whether it was trusted."""
        if self._labels.pop(key, None) is None:
            return False
        self._changed(key, trusted=False)
        return True

    def label(self, key: PeerKey) -> str:
        """The label; empty when it has none, or is not trusted."""
        return self._labels.get(key, "")

    def keys(self) -> frozenset[PeerKey]:
        """All keys, as they are now."""
        if self._keys is None:
            self._keys = frozenset(self._labels)
        return self._keys

    def find(self, text: str) -> PeerKey:
        """The trusted key that a human means.

        Args:
            text: A key, or a label that exactly one key has.

        Raises:
            ConfigurationError: nobody is called that, or several are; the line says what to type instead.
        """
        try:
            key = PeerKey.parse(text)
        except MalformedKeyError:
            return self._find_label(text)
        if key not in self._labels:
            raise ConfigurationError([f"{key} is not in the trust list"])
        return key

    def subscribe(self, callback: Callable[[PeerKey, bool], None]) -> Callable[[], None]:
        """Call `callback(key, True)` after each addition and `callback(key, False)` after each removal.

        Returns:
            What ends the subscription; calling it again does nothing.
        """

        def notify(key: PeerKey, trusted: bool) -> None:
            callback(key, trusted)

        def unsubscribe() -> None:
            if notify in self._callbacks:
                self._callbacks.remove(notify)

        self._callbacks.append(notify)
        return unsubscribe

    def __contains__(self, key: object) -> bool:
        return key in self._labels

    def __iter__(self) -> Iterator[TrustedPeer]:
        return iter([TrustedPeer(key, label) for key, label in self._labels.items()])

    def __len__(self) -> int:
        return len(self._labels)

    def _changed(self, key: PeerKey, *, trusted: bool) -> None:
        self._keys = None
        for callback in tuple(self._callbacks):
            callback(key, trusted)

    def _find_label(self, text: str) -> PeerKey:
        wanted = " ".join(text.split())
        matches = [key for key, label in self._labels.items() if label and label == wanted]
        if len(matches) == 1:
            return matches[0]
        if matches:
            choices = ", ".join(sorted(map(str, matches)))
            raise ConfigurationError([f"{text!a} is the label of {len(matches)} keys; give one: {choices}"])
        raise ConfigurationError([f"nobody in the trust list is called {text!a}{self._suggestion(wanted)}"])

    def _suggestion(self, wanted: str) -> str:
        by_prefix = [key for key in self._labels if wanted and str(key).startswith(wanted.lower())]
        if len(by_prefix) == 1:
            return f"; did you mean {by_prefix[0]}?"
        labels = {label.casefold(): label for label in self._labels.values() if label}
        close = difflib.get_close_matches(wanted.casefold(), labels, n=1)
        return f"; did you mean {labels[close[0]]!a}?" if close else ""


class _LineError(Exception):
    """Why a line cannot be read."""


def _split_lines(text: str) -> list[str]:
    # Not str.splitlines: a form feed or a Unicode separator inside a line would shift every line's number.
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def _read_line(line: str) -> TrustedPeer | None:
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    if not line.isascii() and _ESCAPED_BYTE.search(line):
        raise _LineError("not UTF-8 text; save the file as UTF-8")
    try:
        key = PeerKey.parse(words[0])
    except MalformedKeyError as error:
        raise _LineError(str(error)) from None
    label = " ".join(words[1:])
    problem = _label_problem(label)
    if problem is not None:
        raise _LineError(problem)
    return TrustedPeer(key, label)


def _key_of(line: str) -> PeerKey | None:
    try:
        peer = _read_line(line)
    except _LineError:
        return None
    return None if peer is None else peer.key


def _label_problem(label: str) -> str | None:
    if len(label) > MAX_LABEL_CHARACTERS:
        return f"the label is longer than {MAX_LABEL_CHARACTERS} characters"
    if not label.isprintable() and any(
        unicodedata.category(character) in _UNSAFE_CATEGORIES and character not in _JOINERS
        for character in label
    ):
        return "the label holds control characters"
    if any(len(word) == KEY_CHARACTERS and _key_of(word) is not None for word in label.split()):
        # Two lines that lost the line break between them: the second peer must not vanish into a label.
        return "a second key on the line; each peer has a line of its own"
    return None


def _clean_label(label: str) -> str:
    cleaned = " ".join(label.split())
    problem = _label_problem(cleaned)
    if problem is not None:
        raise ConfigurationError([f"label {label[:MAX_LABEL_CHARACTERS]!a}: {problem}"])
    return cleaned
