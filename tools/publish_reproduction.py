"""Put the results of `prunable reproduce` into the documentation.

    prunable reproduce all --out reproduction
    python tools/publish_reproduction.py reproduction docs/reproduce

Each judged item becomes a page, a figure and its document; `README.md` sums them up.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

from prunable.experiments.reproduce.document import load_documents
from prunable.files import write_text
from prunable.report.reproduce.pages import summary_markdown
from prunable.report.reproduce.writing import write_item

HEAD = """# Reproduced items

What `prunable reproduce all` found; [how it works](../reproduce.md). A page an item: settings,
departures from the paper, checks with their evidence, our numbers beside the paper's. The JSON
document of the same name holds the specification of every run.

"""


def publish(source: Path, target: Path) -> None:
    """Copy the documents of every item above the smoke scale, and draw them."""
    documents = [doc for doc in load_documents(source) if doc.scale != "smoke"]
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    for doc in documents:
        shutil.copy(source / "items" / f"{doc.stem}.json", target / f"{doc.stem}.json")
        write_item(doc, target)
    counts = Counter(doc.verdict.status for doc in documents).most_common()
    verdicts = ", ".join(f"{count} {status}" for status, count in counts)
    summary = f"{len(documents)} documents: {verdicts}.\n\n{summary_markdown(documents, '.')}"
    write_text(target / "README.md", HEAD + summary)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
