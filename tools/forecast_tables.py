"""Put the tables of the study of forecasts into docs/forecast.md, from its stored document.

python tools/forecast_tables.py FOLDER, where FOLDER is that of `prunable reproduce study-forecast`.
"""

import shutil
from pathlib import Path

from usage import typed

from prunable.experiments.reproduce.document import ItemDocument, load_documents
from prunable.files import write_text
from prunable.report.reproduce.words import shown

DOCS = Path(__file__).parents[1] / "docs"
FIRST, LAST = "<!-- study -->\n", "<!-- end of study -->"


def tables_of(document: ItemDocument) -> str:
    """Tables, checks and notes of the study, as Markdown."""
    parts = [f"**{table.title}**\n\n{shown(table).markdown()}" for table in document.tables]
    checks = "\n".join(f"- {c.statement}: {c.outcome} ({c.evidence})" for c in document.checks)
    figure = "![Errors of forecasts against the accuracy lost](forecast/study.svg)\n"
    return "\n".join([*parts, figure, checks, "", *document.notes, ""])


def main(folder: Path) -> None:
    """Fill the page, and keep the document and its figure beside it."""
    (document,) = [d for d in load_documents(folder) if d.item == "study-forecast"]
    page = DOCS / "forecast.md"
    before, _, rest = page.read_text().partition(FIRST)
    _, _, after = rest.partition(LAST)
    write_text(page, f"{before}{FIRST}{tables_of(document)}{LAST}{after}")
    (DOCS / "forecast").mkdir(exist_ok=True)
    for ending in (".json", ".svg"):
        stored = folder / "items" / f"{document.stem}{ending}"
        shutil.copy(stored, DOCS / "forecast" / f"study{ending}")


if __name__ == "__main__":
    main(Path(typed(__doc__, 1, 1)[0]))
