"""Metadata and versions in their plain form are read as the libraries read them, and the rest by these."""

from __future__ import annotations

import itertools
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from peernet_core.configuration.releases import Release, admits, read_release

RELEASES = [".".join(parts) for length in (1, 2, 3) for parts in itertools.product("012", repeat=length)]


def read(tmp_path: Path, text: str, *, file: str = "METADATA") -> Release:
    (tmp_path / file).write_text(text, encoding="utf-8")
    return read_release(PathDistribution(tmp_path))


def test_a_release_is_read(tmp_path: Path) -> None:
    """Its name, its version, what it requires; nothing from the description."""
    text = (
        "Metadata-Version: 2.1\nName: acme-radio\nVersion: 1.2\nRequires-Dist: peernet-core>=0.1\n"
        "requires-dist: acme; extra == 'a'\n\nName: not this\n\nRequires-Dist: nor this\n"
    )
    release = Release("acme-radio", "1.2", ("peernet-core>=0.1", "acme; extra == 'a'"))
    assert read(tmp_path, text) == release


def test_folded_headers_are_read(tmp_path: Path) -> None:
    """Old tools wrote a description of several lines among them; anything may go on in the next line."""
    text = "Name: acme\nVersion: 1\nDescription: one\n        two: lines\nRequires-Dist: other @\n file:///other.whl\n\n"
    release = read(tmp_path, text)
    assert release == Release("acme", "1", release.requires)
    assert ["".join(each.split()) for each in release.requires] == ["other@file:///other.whl"]


def test_what_setuptools_leaves_in_a_source_folder_is_read(tmp_path: Path) -> None:
    """It has another name there, and the requirements may be in a file of their own."""
    folder = tmp_path / "acme.egg-info"
    folder.mkdir()
    text = "Name: acme\nVersion: 1\n"
    assert read(folder, text, file="PKG-INFO") == Release("acme", "1", ())
    (folder / "requires.txt").write_text("other>=2\n", encoding="utf-8")
    assert read(folder, text, file="PKG-INFO") == Release("acme", "1", ("other>=2",))
    assert read(folder, f"{text}Requires-Dist: this\n", file="PKG-INFO") == Release("acme", "1", ("this",))


@pytest.mark.parametrize("text", ["", "\n\n", "Name: acme\n\n", "Version: 1\n\nName: acme", "\0\n"])
def test_metadata_without_name_or_version_is_refused(tmp_path: Path, text: str) -> None:
    """Whoever asks passes it over."""
    with pytest.raises(ValueError, match="name and version"):
        read(tmp_path, text)


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<= ", ">", ">=", "~="])
def test_a_plain_clause_admits_what_packaging_admits(operator: str) -> None:
    """Each operator between any two releases, of different lengths as well."""
    for named in RELEASES:
        if operator == "~=" and "." not in named:
            continue
        versions = f"{operator}{named}"
        packaging = SpecifierSet(versions)
        admitted = [version for version in RELEASES if admits(versions, version)]
        assert admitted == [version for version in RELEASES if packaging.contains(version)], versions


def test_all_clauses_must_admit_it() -> None:
    """Without any, everything does."""
    assert [version for version in RELEASES if admits(">=1, <1.2,!=1.1", version)] == [
        *("1", "1.0", "1.0.0", "1.0.1", "1.0.2", "1.1.1", "1.1.2")
    ]
    assert admits("", "7")


@pytest.mark.parametrize(
    ("versions", "version", "admitted"),
    [
        (">=0.1", "0.2.0.dev1", True),
        ("<0.2", "0.2.0rc1", False),
        ("==0.2.*", "0.2.7", True),
        ("==0.2.*", "0.3", False),
        ("===0.2", "0.2", True),
        (">=1!0", "2", False),
        ("<=1.0", "1.0.post1", False),
        (">=0.1,", "0.1", True),
    ],
)
def test_other_clauses_are_left_to_packaging(versions: str, version: str, admitted: bool) -> None:
    """Pre-releases, epochs and wildcards."""
    assert admits(versions, version) is admitted


@pytest.mark.parametrize("versions", ["~=1", "~~1", ">=x", "1", ">=1 <2"])
def test_what_is_no_clause_is_an_error(versions: str) -> None:
    """And is not taken for one that admits, or does not."""
    with pytest.raises(ValueError):  # noqa: PT011 - the library words it
        admits(versions, "1")
