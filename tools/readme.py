"""Puts the demonstration's table and picture into the README: `make readme`."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

BEGIN, END = "<!-- demo table -->", "<!-- end of demo table -->"


def main(demo: str, readme: str) -> None:
    """Replace the text between the markers by the table, and copy the picture to docs."""
    page = Path(readme)
    table = (Path(demo) / "table.md").read_text().strip()
    block = f"{BEGIN}\n{table}\n{END}"
    text, found = re.subn(f"{BEGIN}.*?{END}", lambda _: block, page.read_text(), flags=re.DOTALL)
    if found != 1:
        sys.exit(f"{readme} must hold one pair of the markers {BEGIN} and {END}; found {found}.")
    page.write_text(text)
    shutil.copy(Path(demo) / "figures" / "overview.png", page.parent / "docs" / "overview.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
