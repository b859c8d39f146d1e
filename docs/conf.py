"""Sphinx's configuration: the pages of the repository, as they are, become a site.

    uv run --group docs sphinx-build -W -c docs . build/site

Nothing is loaded from another host when the site is read.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

from pages import PAGES, ROOT

project = "peernet"
author = "The peernet authors"
project_copyright = "The peernet authors"

root_doc = "docs/index"
include_patterns = [str(page.relative_to(ROOT)) for page in PAGES]
extensions = ["myst_parser"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # pages show wrong TOML as well

html_theme = "furo"
html_title = "peernet"
html_show_sphinx = False
html_copy_source = False
html_extra_path = ["site_root"]

_INDEX: Final = Path(__file__).parent / "index.md"
_ROW: Final = re.compile(r"^\| \[(?P<title>[^\]]+)\]\((?P<target>[^)]+)\.md\)")


def navigation() -> str:
    """A list of pages for each section of docs/index.md that has a table of them."""
    parts, section = [], ""
    for line in _INDEX.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif row := _ROW.match(line):
            if section:
                parts.append(f"```\n\n```{{toctree}}\n:hidden:\n:caption: {section}\n\n")
                section = ""
            title = row["title"]
            if not title[1].isupper():  # mDNS
                title = title[0].upper() + title[1:]
            parts.append(f"{title} <{row['target']}>\n")
    return "".join(parts).removeprefix("```") + "```\n"


def setup(app: Any) -> None:  # noqa: ANN401 - Sphinx is not there where types are checked
    """Add the navigation to the index, which for other readers has its tables."""

    def add_navigation(_: object, page: str, source: list[str]) -> None:
        if page == root_doc:
            source[0] += navigation()

    app.connect("source-read", add_navigation)
