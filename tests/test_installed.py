"""Installed distributions are those that `importlib.metadata` finds, wherever they are."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import DistributionFinder, PathDistribution
from pathlib import Path

import pytest

from peernet_core.configuration.installed import InstalledDistributions, MetadataFolder, read_entry_points
from peernet_core.configuration.releases import Release, canonical, read_release

GROUP = "peernet.discovery"
ENTRY_POINTS = "[peernet.discovery]\nradio = acme:Radio\n"


def metadata(name: str, version: str = "1.0") -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText.\n"


def install(place: Path, name: str = "acme", version: str = "1.0") -> Path:
    folder = place / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(metadata(name, version))
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is on sys.path."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(sys, "path", [str(place)])
    return place


def found() -> list[str]:
    return [read_release(each).name for each in InstalledDistributions() if read_entry_points(each, GROUP)]


def test_this_environment_reads_as_the_library_reads_it() -> None:
    """Names, versions, requirements and entry points of all that is installed here."""
    ours: dict[str, object] = {}
    for each in InstalledDistributions():
        release = read_release(each)
        ours.setdefault(
            canonical(release.name), (release, sorted(read_entry_points(each, "console_scripts")))
        )
    theirs: dict[str, object] = {}
    for each in importlib.metadata.distributions():
        scripts = sorted(
            (script.name, script.value) for script in each.entry_points.select(group="console_scripts")
        )
        release = Release(each.name, each.version, tuple(each.requires or ()))
        theirs.setdefault(canonical(release.name), (release, scripts))
    assert ours == theirs
    assert "pytest" in ours


def test_a_distribution_is_found_by_its_name(place: Path) -> None:
    """However that is written, and without the library; the first place counts."""
    install(place, "acme-radio", "2.0")
    later = place / "later"
    install(later, "acme.radio", "1.0")
    sys.path.append(str(later))
    release = InstalledDistributions().release("Acme_Radio")
    assert release == Release("acme-radio", "2.0", ())
    assert InstalledDistributions().release("acme") is None
    assert all(isinstance(each, MetadataFolder) for each in InstalledDistributions())


def test_places_that_are_not_there_are_passed_over(place: Path) -> None:
    """As on every sys.path: the standard library's archive, say."""
    install(place)
    sys.path.insert(0, str(place / "python.zip"))
    assert found() == ["acme"]


def test_an_archive_is_read(place: Path) -> None:
    """A program in one file may carry its backends in it."""
    archive = place / "program.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("acme-1.0.dist-info/METADATA", metadata("acme"))
        file.writestr("acme-1.0.dist-info/entry_points.txt", ENTRY_POINTS)
    sys.path.append(str(archive))
    assert found() == ["acme"]


def test_an_egg_is_read(place: Path) -> None:
    """Old tools installed a folder of its own for each."""
    folder = place / "acme-1.0-py3.11.egg" / "EGG-INFO"
    folder.mkdir(parents=True)
    (folder / "PKG-INFO").write_text(metadata("acme"))
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path.append(str(folder.parent))
    assert found() == ["acme"]


def test_an_importer_with_distributions_of_its_own_is_asked(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen programs have one; what is on sys.path counts as well."""
    install(place, "acme-here")
    elsewhere = install(tmp_path / "elsewhere", "acme-elsewhere")

    class Finder(DistributionFinder):
        def find_spec(self, *_: object) -> None: ...

        def find_distributions(self, context: object = None) -> Iterator[PathDistribution]:  # noqa: ARG002 - its name counts
            yield PathDistribution(elsewhere)

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert sorted(found()) == ["acme-elsewhere", "acme-here"]


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", ()),
        ("[peernet.discovery]\n", ()),
        ("[other]\na = b\n[peernet.discovery]\n# c = d\n\n  e=f:g [h] \n[x]\ni=j\n", (("e", "f:g [h]"),)),
        ("[x]\na = [peernet.discovery]\n", ()),
    ],
)
def test_entry_points_are_those_of_the_group(
    tmp_path: Path, text: str, entries: tuple[tuple[str, str], ...]
) -> None:
    """Comments and the other groups are none."""
    (tmp_path / "entry_points.txt").write_text(text)
    assert read_entry_points(MetadataFolder(str(tmp_path)), GROUP) == entries


@pytest.mark.parametrize(
    "written", [b"[peernet.discovery]\nno equals sign\n", b"[peernet.discovery]\n\xff = a\n"]
)
def test_entry_points_that_cannot_be_read_are_an_error(tmp_path: Path, written: bytes) -> None:
    """Whoever asks passes the distribution over."""
    (tmp_path / "entry_points.txt").write_bytes(written)
    with pytest.raises(ValueError):  # noqa: PT011 - the codec words it
        read_entry_points(MetadataFolder(str(tmp_path)), GROUP)


def test_a_file_that_is_not_there_or_not_for_us_reads_as_none(tmp_path: Path) -> None:
    """A folder in its place is none either."""
    (tmp_path / "METADATA").mkdir()
    assert MetadataFolder(str(tmp_path)).read_text("METADATA") is None
    assert MetadataFolder(str(tmp_path)).read_text("PKG-INFO") is None
    assert MetadataFolder(str(tmp_path / "file")).read_text("PKG-INFO") is None
