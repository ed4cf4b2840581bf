"""An HTML page of all reproduced items."""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.colors import to_hex

from prunable.experiments.reproduce import document
from prunable.report import pages
from prunable.report.reproduce import words
from prunable.report.reproduce.figures import SHADES, item_svg, left_out_words
from prunable.report.reproduce.pages import Document
from prunable.report.reproduce.panels import View, item_views

TITLE = "Tables and figures of the papers, reproduced"
STUDIES = "studies"  # key of the group of items without a paper
STEPS = 64  # of the colour bar


def render_index(documents: Iterable[Document], title: str = TITLE, **page: Any) -> str:
    """Render the page of all items; it loads nothing from elsewhere.

    Whatever comes from the documents is escaped. The figures are interactive if plotly is
    installed, pictures otherwise. `page` has what `write_index` adds.

    Raises DataIntegrityError if a document is malformed.
    """
    docs = document.in_order(map(document.as_document, documents))
    charts = page if "plotlyjs" in page else page | {"plotlyjs": pages.plotly_script()}
    views = [item_views(doc) for doc in docs]
    data = {
        "runs": {
            run.id: {"kind": run.kind, "status": run.status, "reason": run.reason, "spec": run.spec}
            for doc in docs
            for run in doc.runs
        },
        "items": [
            {
                "smoke": doc.smoke,
                "runs": [[run.key, run.id] for run in doc.runs],
                "views": [_view(view) for view in drawn],
            }
            for doc, drawn in zip(docs, views, strict=True)
        ],
        "shades": [to_hex(SHADES(place / (STEPS - 1))) for place in range(STEPS)],
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
                "tables": [_table(table, doc) for table in doc.tables],
                "picture": _picture(doc) if charts["plotlyjs"] is None else None,
            }
            for doc, drawn in zip(docs, views, strict=True)
        ],
        papers={doc.paper or STUDIES: doc.paper_info for doc in docs},
        studies=STUDIES,
        statuses=document.STATUSES,
        counts=Counter(doc.verdict.status for doc in docs),
        n_smoke=sum(doc.smoke for doc in docs),
        words=words,
        data=pages.script_data(data),
        **charts,
    )


def _picture(doc: document.ItemDocument) -> str | None:
    picture = item_svg(doc)
    return None if picture is None else base64.b64encode(picture).decode()


def _table(table: document.Table, doc: document.ItemDocument) -> dict[str, Any]:
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
                    "runs": " ".join(cell.runs),
                    "name": words.heading(column),
                }
                for cell, column, pair in zip(row, table.columns, pairs, strict=True)
            ]
            for row in table.rows
        ],
    }


def _view(view: View) -> dict[str, Any]:
    """What the page's script draws of a panel."""
    found = asdict(view) | {"note": left_out_words(view) if view.left_out else ""}
    for series in found["series"]:
        for name in ("x", "y", "low", "high"):
            series[name] = _rounded(series[name])
        if len(set(series["runs"])) == 1:  # once for all points, unless each has its own
            series["runs"] = series["runs"][:1]
    return found


def _rounded(values: Sequence[float | None] | None) -> list[float | None] | None:
    """Numbers to six digits, more than a screen can show."""
    if values is None:
        return None
    return [None if value is None else float(f"{value:.6g}") for value in values]
