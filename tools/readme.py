"""Puts the demonstration's table and picture into the README: `make readme`.

Its results document and picture are kept in docs/demo, so that every number on the page
can be traced to a run id and its specification.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from prunable.report.demo.results import load_results
from prunable.report.demo.tables import to_markdown

BEGIN, END = "<!-- demo table -->", "<!-- end of demo table -->"


def main(demo: str, readme: str) -> None:
    """Replace the text between the markers, and copy what the page refers to."""
    page = Path(readme)
    kept = page.parent / "docs" / "demo"
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(demo) / "results.json", kept)
    shutil.copy(Path(demo) / "figures" / "overview.png", kept)
    results = load_results(kept / "results.json")
    findings = "\n".join(f"- **{f.title}.** {f.text}" for f in results.findings)
    block = f"{BEGIN}\n{to_markdown(results)}\nWhat it found:\n\n{findings}\n{END}"
    text, found = re.subn(f"{BEGIN}.*?{END}", lambda _: block, page.read_text(), flags=re.DOTALL)
    if found != 1:
        sys.exit(f"{readme} must hold one pair of the markers {BEGIN} and {END}; found {found}.")
    page.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
