"""The code blocks of a page, and how each is tested.

By the language of the fence:

- ``python``: run, the blocks of a page one after the other as one program, in a folder with small
  photos and cached features (`conftest.py`).
- ``pycon``: an example out of a docstring; the doctests of what docs/api.md shows are run.
- ``bash``: commands. Those of featx are parsed by the real commands, every option and value;
  ``make`` targets and variables, ``pip install`` extras and ``python`` files must be there.
- ``console``: the same for lines that begin with ``$``; the rest is what they printed once.
- ``toml``, ``json``, ``csv``: parsed; ``yaml`` too, and what is for Ray's launcher by Ray itself.
- ``text``, ``markdown``: not code.

A block is not run only where the line before it says why: ``<!-- not run: needs a GPU -->``, with a
reason out of `REASONS`. A ``bash`` or ``console`` block after ``<!-- run -->`` is run too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REASONS = (
    "needs a network",
    "needs a GPU",
    "needs real weights",
    "needs minutes",
    "needs your own data",
    "needs another program",
)
LANGUAGES = (
    "python",
    "pycon",
    "bash",
    "console",
    "toml",
    "json",
    "csv",
    "yaml",
    "text",
    "markdown",
)

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    page : Path
    line : int
        Of its first line of code.
    language, code : str
    mark : str
        What the comment before it says: "run", "not run: ...", or "".
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str

    @property
    def where(self) -> str:
        """Page and line."""
        return f"{self.page.name}:{self.line}"

    @property
    def reason(self) -> str:
        """Why it is not run; "" where it is."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else ""


def list_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, m.start("code")) + 1,
            m["language"].strip(),
            m["code"],
            m["mark"] if (m["mark"] or "").startswith(("run", "not run")) else "",
        )
        for m in _BLOCK.finditer(text)
    ]
    fences = len(re.findall(r"^```", text, re.M))
    assert fences == 2 * len(found), f"{page}: a fence is not closed"
    return found


def list_commands(block: Block) -> list[str]:
    """Return the commands of a bash or console block, comments and continuations resolved."""
    lines = re.sub(r"\\\n\s*", " ", block.code).splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
