"""An extra counts as installed when all that it requires is there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peernet_core.configuration.extras import missing_requirements
from peernet_core.configuration.installed import InstalledDistributions

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution's metadata on sys.path."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def install(name: str, version: str, *requires: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {each}" for each in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n\n")
        importlib.invalidate_caches()

    return install


def missing(name: str, *extras: str) -> tuple[str, ...]:
    installed = InstalledDistributions()
    release = installed.release(name)
    assert release is not None
    return missing_requirements(installed, release, extras)


def test_what_an_extra_requires(install: Install) -> None:
    """Only its own requirements count, in the versions that it asks for, where its marker applies."""
    install(
        "acme",
        "1.0",
        "acme-absent>=1",
        'acme-tool>=2; extra == "tools"',
        'acme-old<1; extra == "old"',
        'acme-nowhere; extra == "tools" and python_version < "3"',
        'acme-gone>=3; extra == "gone"',
    )
    install("acme-tool", "2.1")
    install("acme-old", "1.5")
    assert missing("acme", "tools") == ()
    assert missing("acme", "old") == ("acme-old<1",)
    assert missing("acme", "gone") == ("acme-gone>=3",)
    assert missing("acme", "gone", "old", "tools") == ("acme-gone>=3", "acme-old<1")


def test_extras_of_extras(install: Install) -> None:
    """An extra may be made of others, its own distribution's or another's, in a circle as well."""
    install(
        "acme",
        "1.0",
        'acme[one,two]; extra == "all"',
        'acme[all]; extra == "one"',
        'acme-radio[usb]; extra == "two"',
    )
    install("acme-radio", "1.0", 'acme-usb>=1; extra == "usb"')
    assert missing("acme", "all") == ("acme-usb>=1",)
    install("acme-usb", "1.0")
    assert missing("acme", "all") == ()


def test_an_extra_that_is_none(install: Install) -> None:
    """What is not declared requires nothing; metadata that cannot be read is passed over."""
    install("acme", "1.0", "acme-odd ~~ 1; extra == 'tools'")
    assert missing("acme", "nothing", "tools") == ()
    assert missing("acme") == ()
