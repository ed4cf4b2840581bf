"""One self-contained HTML page of all reproduced items."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex

from prunable.experiments.reproduce.document import (
    STATUSES,
    ItemDocument,
    Table,
    as_document,
    in_order,
)
from prunable.files import write_text
from prunable.report import pages
from prunable.report.figures import PALETTE
from prunable.report.reproduce import reproduction_tables as tables
from prunable.report.reproduce.reproduction_figures import SHADES, item_svg, left_out_words
from prunable.report.reproduce.reproduction_panels import Drawn, View, item_views

TITLE = "Tables and figures of the papers, reproduced"
STUDIES = "studies"  # key of the group of items without a paper
STEPS = 64  # of the colour bar


def render_index(documents: Iterable[tables.Document], title: str = TITLE) -> str:
    """Render the page of all items; it loads nothing from elsewhere.

    Parameters
    ----------
    documents : iterable of ItemDocument or mapping
    title : str

    Returns
    -------
    str
        HTML; whatever comes from the documents is escaped. The figures are interactive if plotly
        is installed, pictures otherwise.

    Raises
    ------
    DataIntegrityError
        If a document is malformed.
    """
    docs = in_order(map(as_document, documents))
    plotlyjs = pages.plotly_script()
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
    return pages.render(
        "reproduction.html.j2",
        title=title,
        items=[
            _item(doc, drawn, docs, plotlyjs is None)
            for doc, drawn in zip(docs, views, strict=True)
        ],
        papers={doc.paper or STUDIES: doc.paper_info for doc in docs},
        studies=STUDIES,
        statuses=STATUSES,
        marks=tables.VERDICT_MARKS,
        counts=Counter(doc.verdict.status for doc in docs),
        n_smoke=sum(doc.smoke for doc in docs),
        smoke=tables.SMOKE,
        smoke_why=tables.SMOKE_WHY,
        holds_word=tables.holds_word,
        setting=tables.setting,
        with_needs=tables.with_needs,
        data=pages.script_data(data),
        palette=PALETTE,
        plotlyjs=plotlyjs,
    )


def write_index(documents: Iterable[tables.Document], path: Path, title: str = TITLE) -> None:
    """Write the page of all items atomically; see `render_index`.

    Raises
    ------
    DataIntegrityError
        If a document is malformed.
    InputError
        If the file cannot be written.
    """
    write_text(path, render_index(documents, title))


def _item(
    doc: ItemDocument, views: list[View], docs: list[ItemDocument], as_picture: bool
) -> dict[str, Any]:
    """What the template shows of an item."""
    alone = sum(other.item == doc.item for other in docs) == 1
    picture = item_svg(doc) if as_picture else None
    return {
        "doc": doc,
        # the short address wherever it is enough; the page's script knows both
        "id": doc.item if alone else doc.stem,
        "mark": tables.VERDICT_MARKS[doc.verdict.status],
        "tone": doc.verdict.status.replace(" ", "-"),
        "tables": [
            {"title": tables.table_title(table, doc), **_table(table)} for table in doc.tables
        ],
        "views": views,
        "known": {run.id for run in doc.runs},
        "losses": tables.losses(doc.lost),
        "picture": picture and base64.b64encode(picture).decode(),
    }


def _table(table: Table) -> dict[str, Any]:
    pairs = tables.paired(table)
    return {
        "heads": list(zip(map(tables.heading, table.columns), pairs, strict=True)),
        "rows": [
            [
                {
                    "ours": tables.as_text(cell.value, column, cell.std),
                    "paper": tables.published_text(cell, column),
                    "paired": pair,
                    "runs": " ".join(cell.runs),
                    "name": tables.heading(column),
                }
                for cell, column, pair in zip(row, table.columns, pairs, strict=True)
            ]
            for row in table.rows
        ],
    }


def _view(view: View) -> dict[str, Any]:
    """What the page's script draws of a panel."""
    return {
        "title": view.title,
        "x_label": view.x_label,
        "y_label": view.y_label,
        "x_log": view.x_log,
        "y_log": view.y_log,
        "rows": view.rows,
        "bar": view.bar,
        "note": left_out_words(view) if view.left_out else "",
        "series": [_series(series) for series in view.series],
    }


def _series(series: Drawn) -> dict[str, Any]:
    alike = len(set(series.runs)) == 1
    return {
        "label": series.label,
        "style": series.style,
        "x": _rounded(series.x),
        "y": _rounded(series.y),
        "low": _rounded(series.low),
        "high": _rounded(series.high),
        "look": series.look,
        "shade": series.shade,
        "names": series.names,
        # once for all points, unless each point has its own
        "runs": series.runs[:1] if alike else series.runs,
    }


def _rounded(values: tuple[float | None, ...] | None) -> list[float | None] | None:
    """Numbers to six digits, more than a screen can show."""
    if values is None:
        return None
    return [None if value is None else float(f"{value:.6g}") for value in values]
