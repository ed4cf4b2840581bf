"""Reproduced items as files: what commands and scripts call."""

from __future__ import annotations

from pathlib import Path

from prunable.experiments.reproduce.document import (
    ItemDocument,
    as_document,
    in_order,
    load_documents,
)
from prunable.files import write_bytes, write_text
from prunable.report.reproduce.reproduction_console import render_console
from prunable.report.reproduce.reproduction_figures import item_svg
from prunable.report.reproduce.reproduction_tables import (
    Document,
    item_markdown,
    summary_markdown,
    table_markdown,
)

__all__ = [
    "ItemDocument",
    "as_document",
    "in_order",
    "item_markdown",
    "load_documents",
    "render_console",
    "summary_markdown",
    "table_markdown",
    "write_item",
]


def write_item(document: Document, folder: Path) -> None:
    """Write an item's page in Markdown, and its figure (if any) as SVG, atomically.

    Parameters
    ----------
    document : ItemDocument or mapping
    folder : Path
        Gets `ITEM--SCALE--CONVENTION.md` and `.svg`, beside the JSON of that name: a smoke run
        never takes the place of a larger one.

    Raises
    ------
    DataIntegrityError
        If the document is malformed.
    InputError
        If the folder cannot be written.
    """
    doc = as_document(document)
    page, picture = folder / f"{doc.stem}.md", folder / f"{doc.stem}.svg"
    drawn = item_svg(doc)
    if drawn is None:
        picture.unlink(missing_ok=True)  # of an earlier document: it would belie this one
    else:
        write_bytes(picture, drawn)
    write_text(page, item_markdown(doc, None if drawn is None else picture.name))
