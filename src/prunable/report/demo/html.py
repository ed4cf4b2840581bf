"""One self-contained HTML page out of stored results."""

from __future__ import annotations

import base64
from pathlib import Path

from prunable.files import write_text
from prunable.report import figures, pages
from prunable.report.demo import tables
from prunable.report.demo.results import Results


def render_report(results: Results) -> str:
    """Render the page; it loads nothing from elsewhere and needs no JavaScript.

    Parameters
    ----------
    results : Results

    Returns
    -------
    str
        HTML; whatever comes from the results is escaped.
    """
    pictures = [
        {
            "name": name,
            "text": text,
            "data": base64.b64encode(figures.as_svg(figures.figure(name, results))).decode(),
        }
        for name, (_, text) in figures.FIGURES.items()
    ]
    return pages.render(
        "demo.html.j2",
        results=results,
        caption=tables.caption(results),
        columns=tables.COLUMNS,
        rows=tables.comparison_rows(results),
        pictures=pictures,
        write=lambda metric, value: (
            tables.REFUSED
            if value is None
            else tables.NUMBERS.get(metric, tables.as_accuracy)(value)
        ),
        percent=tables.as_percent,
        spread=lambda found: tables.spread(tables.as_accuracy, found.mean, found.std),
    )


def write_report(results: Results, path: Path) -> None:
    """Write the page atomically; see `render_report`.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_text(path, render_report(results))
