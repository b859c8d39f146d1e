"""The pages of the documentation, and the blocks of code in them.

    python docs/pages.py FOLDER

writes their Python modules into a new folder, for a type checker. Needs nothing but Python.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

__all__ = ["PAGES", "ROOT", "Block", "block_named", "blocks", "load", "modules"]

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
)

_BLOCK: Final = re.compile(r"^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_NAME: Final = re.compile(r"`(?P<name>[\w./-]+\.\w+)`:\n\n\Z")


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        language: What stands behind the fence.
        text: What is inside.
        name: The file that the page says it is, in the line before: "`src/peernet_folder/__init__.py`:".
    """

    page: Path
    language: str
    text: str
    name: str


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The blocks of a page, or those of one language, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        named = _NAME.search(text, 0, match.start())
        if language in {None, match["language"]}:
            found.append(Block(page, match["language"], match["text"], named["name"] if named else ""))
    return found


def block_named(name: str) -> Block:
    """The one block of all pages that is said to be this file."""
    (block,) = [block for page in PAGES for block in blocks(page) if block.name == name]
    return block


def modules() -> dict[str, Block]:
    """The Python of all pages by the name of the module that it is, in the order of the pages."""
    found: dict[str, Block] = {}
    for page in PAGES:
        for number, block in enumerate(blocks(page, "python"), 1):
            path = Path(block.name)
            name = path.parent.name if path.stem == "__init__" else path.stem
            if not name:
                place = page.relative_to(ROOT).with_suffix("").as_posix().lower()
                name = f"{re.sub('[^a-z]', '_', place)}_{number}"
            if name in found:
                raise ValueError(f"two blocks are the module {name}")
            found[name] = block
    return found


def load(name: str) -> ModuleType:
    """Run a module of the pages, and those of its neighbours that it imports; once in a process."""
    if name in sys.modules:
        return sys.modules[name]
    block = modules()[name]
    neighbours = modules().keys() & {
        node.module for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.ImportFrom)
    }
    for neighbour in sorted(neighbours):
        load(neighbour)
    module = ModuleType(name)
    sys.modules[name] = module  # the types of options are looked up there
    exec(compile(block.text, str(block.page), "exec"), module.__dict__)  # noqa: S102 - our own page
    return module


def _write(folder: Path) -> None:
    folder.mkdir()
    for name, block in modules().items():
        (folder / f"{name}.py").write_text(block.text, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
