"""Puts the demonstration's table and picture into docs/demo.md: `make readme`.

    python tools/readme.py DEMO docs/demo.md

Its results, its item's document and its picture are kept in docs/demo, so that every number on
the page can be traced to a run id and its specification.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from usage import typed

from prunable.experiments.reproduce.document import load_documents
from prunable.report.reproduce.words import shown

BEGIN, END = "<!-- demo table -->", "<!-- end of demo table -->"


def main(demo: str, target: str) -> None:
    """Replace the text between the markers, and copy what the page refers to."""
    page, source = Path(target), Path(demo)
    kept = page.parent / "demo"
    (kept / "items").mkdir(parents=True, exist_ok=True)
    (document,) = load_documents(source)
    shutil.copy(source / "results.json", kept)
    shutil.copy(source / "figures" / "overview.png", kept)
    shutil.copy(source / "items" / f"{document.stem}.json", kept / "items")
    found = json.loads((kept / "results.json").read_text())["findings"]
    findings = "\n".join(f"- **{one['title']}.** {one['text']}" for one in found)
    table = document.tables[0]
    block = (
        f"{BEGIN}\n{table.title}.\n\n{shown(table).markdown()}\nWhat it found:\n\n{findings}\n{END}"
    )
    text, count = re.subn(f"{BEGIN}.*?{END}", lambda _: block, page.read_text(), flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{target} must hold one pair of the markers {BEGIN} and {END}; found {count}.")
    page.write_text(text)


if __name__ == "__main__":
    main(*typed(__doc__, 2, 2))
