"""Reproduced items as files, each written whole or not at all."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.document import ItemDocument, as_document
from prunable.files import write_bytes, write_json, write_text
from prunable.report import pages
from prunable.report.reproduce import words
from prunable.report.reproduce.figures import SHADES, item_png, item_svg, left_out_words
from prunable.report.reproduce.pages import Document, item_markdown
from prunable.report.reproduce.panels import View, item_views
from prunable.report.reproduce.words import shown

TITLE = "Tables and figures of the papers, reproduced"
STUDIES = "studies"  # key of the group of items without a paper
STEPS = 64  # of the colour bar


def render_index(documents: Iterable[Document], title: str = TITLE, **page: Any) -> str:
    """Render the page of all items; it loads nothing from elsewhere.

    Whatever comes from the documents is escaped. `page` has what `write_index` adds.

    Raises DataIntegrityError if a document is malformed.
    """
    docs = document.in_order(map(document.as_document, documents))
    views = [item_views(doc) for doc in docs]
    known = {run.id: run for doc in docs for run in doc.runs}
    # runs stand by their place in one list: thousands of numbers name them
    place: dict[str, int] = defaultdict(lambda: len(place))
    items = [
        {
            "smoke": doc.smoke,
            "runs": [[run.key, place[run.id]] for run in doc.runs],
            "views": [_view(view, place) for view in drawn],
        }
        for doc, drawn in zip(docs, views, strict=True)
    ]
    tables = [[_table(table, doc, place) for table in doc.tables] for doc in docs]
    data = {
        "runs": [{"id": run} | _told(known.get(run)) for run in place],
        "items": items,
        "shades": [to_hex(SHADES(step / (STEPS - 1))) for step in range(STEPS)],
    }
    often = Counter(doc.item for doc in docs)
    return pages.render(
        "reproduction.html.j2",
        title=title,
        items=[
            {
                "doc": doc,
                # the short address wherever it is enough; the page's script knows both
                "id": doc.item if often[doc.item] == 1 else doc.stem,
                "views": drawn,
                "tables": shown_tables,
            }
            for doc, drawn, shown_tables in zip(docs, views, tables, strict=True)
        ],
        papers={doc.paper or STUDIES: doc.paper_info for doc in docs},
        studies=STUDIES,
        verdicts=Counter((doc.verdict.status, words.verdict_word(doc)) for doc in docs),
        n_smoke=sum(doc.smoke for doc in docs),
        words=words,
        data=data,
        **page,
    )


def _told(run: document.RunInfo | None) -> dict[str, Any]:
    """What a page says of a run; nothing of one that is an input of another."""
    if run is None:
        return {}
    return {"kind": run.kind, "status": run.status, "reason": run.reason, "spec": run.spec}


def _table(
    table: document.Table, doc: document.ItemDocument, place: Mapping[str, int]
) -> dict[str, Any]:
    pairs = words.paired(table)
    return {
        "title": words.table_title(table, doc),
        "heads": list(zip(map(words.heading, table.columns), pairs, strict=True)),
        "rows": [
            [
                {
                    "ours": words.as_text(cell.value, column, cell.std),
                    "paper": words.published_text(cell, column),
                    "paired": pair,
                    "runs": " ".join(str(place[run]) for run in cell.runs),
                }
                for cell, column, pair in zip(row, table.columns, pairs, strict=True)
            ]
            for row in table.rows
        ],
    }


def _view(view: View, place: Mapping[str, int]) -> dict[str, Any]:
    """What the page's script draws of a panel."""
    found = asdict(view) | {"note": left_out_words(view) if view.left_out else ""}
    for series in found["series"]:
        for name in ("x", "y", "low", "high"):
            series[name] = _rounded(series[name])
        # once for all points, unless each has its own
        runs = series["runs"][:1] if len(set(series["runs"])) == 1 else series["runs"]
        series["runs"] = [[place[run] for run in names] for names in runs]
    return found


def _rounded(values: Sequence[float | None] | None) -> list[float | None] | None:
    """Numbers to six digits, more than a screen can show."""
    if values is None:
        return None
    rounded = (None if value is None else float(f"{value:.6g}") for value in values)
    return [value if value is None or math.isfinite(value) else None for value in rounded]


def write_item(document: Document, folder: Path | str) -> None:
    """Write an item's page in Markdown, and its figure (if any) as SVG.

    They are named `ITEM--SCALE--CONVENTION`, beside the JSON of that name: a smoke run never
    takes the place of a larger one.

    Raises DataIntegrityError if the document is malformed.
    """
    doc, folder = as_document(document), Path(folder)
    page, picture = folder / f"{doc.stem}.md", folder / f"{doc.stem}.svg"
    drawn = item_svg(doc, picture.read_bytes() if picture.exists() else b"")
    if drawn is None:
        picture.unlink(missing_ok=True)  # of an earlier document: it would belie this one
    else:
        write_bytes(picture, drawn)
    write_text(page, item_markdown(doc, None if drawn is None else picture.name))


def write_index(
    documents: Iterable[Document],
    path: Path | str,
    title: str = TITLE,
    *,
    made_by: str = "",
    shared: bool = False,
) -> None:
    """Write the page of all items; see `html.render_index`.

    made_by : The command that made it, shown to be copied.
    shared : The chart library lies beside the page, once for all pages of the folder, else in it.
    """
    file = pages.share_library(path) if shared else ""
    write_text(path, render_index(documents, title, made_by=made_by, plotly_file=file))


def write_demonstration(
    document: ItemDocument,
    results: Mapping[str, Any],
    names: Sequence[str],
    folder: Path | str,
    *,
    made_by: str = "",
) -> None:
    """Write the demonstration's page, results, table and figures.

    names : Of the files of the panels, in their order; all of them are in `overview.png` too.
    """
    folder = Path(folder)
    write_json(folder / "results.json", results)
    for name, panel in zip(names, document.panels, strict=True):
        alone = item_svg(document.model_copy(update={"panels": (panel,)}))
        write_bytes(folder / "figures" / f"{name}.svg", alone or b"")
    write_bytes(folder / "figures" / "overview.png", item_png(document) or b"")
    write_text(folder / "table.md", shown(document.tables[0]).markdown())
    title = "What the demonstration of prunable found"
    write_index([document], folder / "report.html", title, made_by=made_by)
