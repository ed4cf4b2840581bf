"""Reproduced items as files, each written whole or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunable.experiments.reproduce.document import ItemDocument, as_document
from prunable.files import write_bytes, write_json, write_text
from prunable.report.pages import charts_of
from prunable.report.reproduce.figures import item_png, item_svg
from prunable.report.reproduce.html import TITLE, render_index
from prunable.report.reproduce.pages import Document, item_markdown
from prunable.report.reproduce.words import shown


def write_item(document: Document, folder: Path | str) -> None:
    """Write an item's page in Markdown, and its figure (if any) as SVG.

    They are named `ITEM--SCALE--CONVENTION`, beside the JSON of that name: a smoke run never
    takes the place of a larger one.

    Raises DataIntegrityError if the document is malformed.
    """
    doc, folder = as_document(document), Path(folder)
    page, picture = folder / f"{doc.stem}.md", folder / f"{doc.stem}.svg"
    drawn = item_svg(doc)
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
    page = {"made_by": made_by, **charts_of(path, shared=shared)}
    write_text(path, render_index(documents, title, **page))


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
    write_index([document], folder / "report.html", document.title, made_by=made_by)
