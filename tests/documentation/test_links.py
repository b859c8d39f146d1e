"""No link of any page is dead: the file is there, and the heading in it. Nothing outside is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pages import PAGES, ROOT

MARKDOWN = MarkdownIt("commonmark").enable("table")


def tokens(page: Path) -> list[Token]:
    return MARKDOWN.parse(page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Where a link into the page may lead, as repository hosts make them from its headings."""
    found: set[str] = set()
    parsed = tokens(page)
    for opening, content in pairwise(parsed):
        if opening.type == "heading_open":
            text = "".join(part.content for part in content.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            repeats = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each) is not None for each in found)
            found.add(f"{slug}-{repeats}" if repeats else slug)
    return found


def targets(page: Path) -> Iterator[str]:
    for block in tokens(page):
        for part in block.children or ():
            if part.type in {"link_open", "image"}:
                yield str(part.attrs["href" if part.type == "link_open" else "src"])


def problem(page: Path, target: str) -> str | None:
    """Why a link is dead, if it is."""
    if re.match(r"[a-z]+:", target):
        return None if target.startswith("https://") else "goes neither to a file nor to https"
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return "there is no such file"
    if not file.is_relative_to(ROOT):
        return "leads out of the repository"
    if anchor and (file.suffix != ".md" or anchor not in anchors(file)):
        return f"{file.name} has no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    """Neither to a page, nor to a heading in it, nor to an image."""
    found = {target: problem(page, target) for target in targets(page)}
    assert {target: why for target, why in found.items() if why is not None} == {}


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("b.md", None),
        ("b.md#here--there", None),
        ("b.md#again-1", None),
        ("#own", None),
        ("https://example.org/", None),
        ("c.md", "there is no such file"),
        ("b.md#nowhere", "b.md has no such heading"),
        ("b.md#again-2", "b.md has no such heading"),
        ("#nowhere", "a.md has no such heading"),
        ("../../../etc", "there is no such file"),
        ("http://example.org/", "goes neither to a file nor to https"),
    ],
)
def test_a_dead_link_is_found(
    link: str, why: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind; links in code are none."""
    monkeypatch.setitem(problem.__globals__, "ROOT", tmp_path)
    page = tmp_path / "a.md"
    page.write_text(f"# Own\n\n`[x](y.md)` [the\n`link`]({link})\n\n```text\n[x](z.md)\n```\n")
    (tmp_path / "b.md").write_text("# Here & *there*\n\n## Again\n\n## `Again`\n")
    (target,) = targets(page)
    assert problem(page, target) == why


def test_every_page_is_reached_from_the_index() -> None:
    """Its tables are the navigation of the site."""
    index = ROOT / "docs/index.md"
    named = {(index.parent / target.partition("#")[0]).resolve() for target in targets(index)}
    assert set(PAGES) - {index} <= named
