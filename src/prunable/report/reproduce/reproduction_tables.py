"""Reproduced items in words and tables, and in Markdown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prunable.experiments.reproduce.document import (
    Cell,
    Check,
    Column,
    ItemDocument,
    RunInfo,
    Table,
    Value,
    as_document,
    in_order,
)
from prunable.report.tables import printable

MISSING = "–"
SMOKE = "Smoke run: says nothing about the paper"
SMOKE_WHY = (
    "Tiny data, tiny networks, few steps: it shows that the code of this item runs from end to "
    "end. Its numbers are not to be compared with the paper's."
)
VERDICT_MARKS = {
    "reproduced": "✓",
    "partly": "◐",
    "not reproduced": "✗",
    "incomplete": "…",
    "not judged": "–",
}
PLAIN_BELOW = 1e7  # larger numbers are written with an exponent
_SETTING = Column(key="", label="")
Document = ItemDocument | Mapping[str, Any]


def as_text(value: Value, column: Column, std: float | None = None) -> str:
    """Write a value of a column.

    Parameters
    ----------
    value : bool, int, float, str or None
    column : Column
        Its digits are decimals; in the unit "%" the value is a share.
    std : float, optional

    Returns
    -------
    str
        Such as "94.2 ± 0.3"; a number too small for the decimals keeps its leading digits.
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    text = _number(value, column)
    return text if std is None else f"{text} ± {_number(std, column)}"


def _number(value: float, column: Column) -> str:
    if isinstance(value, int) and column.unit != "%" and abs(value) < PLAIN_BELOW:
        return f"{value:,}"
    shown = 100.0 * value if column.unit == "%" else float(value)
    if not math.isfinite(shown):  # a share near the largest float
        return f"{value:.3g}"
    if shown and not 0.5 * 10.0**-column.digits <= abs(shown) < PLAIN_BELOW:
        return f"{shown:.{max(column.digits, 2)}g}"
    return f"{shown + 0.0:,.{column.digits}f}"


def heading(column: Column) -> str:
    """A column's label with its unit."""
    return f"{column.label}, {column.unit}" if column.unit else column.label


def paired(table: Table) -> list[bool]:
    """Which columns have a number of the paper's beside ours."""
    return [
        any(row[place].published is not None for row in table.rows)
        for place in range(len(table.columns))
    ]


def published_text(cell: Cell, column: Column) -> str:
    """The paper's number; nothing where it prints none."""
    if cell.published is None:
        return ""
    return as_text(cell.published, column, cell.published_std)


def grid(table: Table) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a table, the paper's numbers in a column right of ours.

    Parameters
    ----------
    table : Table

    Returns
    -------
    tuple of (list of str, list of list of str)
    """
    pairs = paired(table)
    titles: list[str] = []
    for column, has_paper in zip(table.columns, pairs, strict=True):
        titles += [heading(column), "paper"] if has_paper else [heading(column)]
    rows = []
    for row in table.rows:
        cells: list[str] = []
        for cell, column, has_paper in zip(row, table.columns, pairs, strict=True):
            cells.append(as_text(cell.value, column, cell.std))
            if has_paper:
                cells.append(published_text(cell, column))
        rows.append(cells)
    return titles, rows


def setting(value: Value) -> str:
    """Write the value of a setting."""
    if value is None or isinstance(value, bool | str):
        return as_text(value, _SETTING)
    return str(value)


def table_title(table: Table, doc: ItemDocument) -> str:
    """Title of a table; that of a smoke run says so wherever it goes."""
    return f"{table.title} (smoke run)" if doc.smoke else table.title


def holds_word(check: Check, doc: ItemDocument) -> str:
    """Whether a check holds; a smoke run's says so, lest it be taken for a verdict."""
    word = "cannot be judged" if check.outcome == "not applicable" else check.outcome
    return f"{word} in the smoke run" if doc.smoke and check.holds is not None else word


def with_needs(check: Check) -> str:
    """The evidence of a check, and what could decide one that is underpowered."""
    return f"{check.evidence}; it would take {check.needs}" if check.needs else check.evidence


def losses(runs: Sequence[RunInfo]) -> list[str]:
    """Runs without a usable result: how many for each status and reason."""
    found = Counter(f"{run.status}: {run.reason or 'no reason given'}" for run in runs)
    return [f"{count} × {reason}" for reason, count in found.most_common()]


# --- Markdown ------------------------------------------------------------------------------


def table_markdown(table: Table) -> str:
    """A table in Markdown: our value ± standard deviation, and the paper's beside it."""
    titles, rows = grid(table)
    lines = ["| " + " | ".join(map(_plain, titles)) + " |", "|---" * len(titles) + "|"]
    lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def item_markdown(document: Document, figure: str | None = None) -> str:
    """An item as a page in Markdown.

    Parameters
    ----------
    document : ItemDocument or mapping
    figure : str, optional
        Address of its figure, relative to the page.

    Returns
    -------
    str
    """
    doc = as_document(document)
    verdict = doc.verdict
    lines = [f"# {_plain(doc.heading)}: {_plain(doc.title)}", ""]
    if doc.smoke:
        lines += [f"> **{SMOKE}.** {SMOKE_WHY}", ""]
    lines += [
        f"**{verdict.status}** ({_plain(doc.scale_words)}): {_plain(verdict.why)}.",
        "",
        f"{claim_word(doc)}: {_plain(doc.claim)}",
        "",
    ]
    if doc.checks:
        lines += ["## Checks", ""]
        for check in doc.checks:
            extra = "" if check.essential else " (not essential)"
            lines.append(
                f"- **{holds_word(check, doc)}**: {_plain(sentence(check.statement))}{extra}. "
                f"{_plain(with_needs(check))}"
            )
        lines.append("")
    if figure:
        lines += [f"![{_plain(doc.title)}]({figure})", ""]
    for table in doc.tables:
        lines += [f"## {_plain(table_title(table, doc))}", "", table_markdown(table)]
    lines += ["## Settings", ""]
    lines += [f"- {_plain(name)}: {_plain(setting(value))}" for name, value in doc.settings.items()]
    lines += [f"- runs: {len(doc.runs)}", ""]
    for title, notes in (
        ("Departures from the paper", doc.plan_notes),
        ("Notes", doc.notes),
        ("Runs without a usable result", losses(doc.lost)),
    ):
        if notes:
            lines += [f"## {title}", "", *(f"- {_plain(note)}" for note in notes), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def summary_markdown(documents: Iterable[Document], folder: str | None = None) -> str:
    """A table of items: verdict, scale and the evidence in one line.

    Parameters
    ----------
    documents : iterable of ItemDocument or mapping
    folder : str, optional
        Where the pages of `write_item` lie, relative to the table; names are links then.

    Returns
    -------
    str
        Markdown.
    """
    lines = ["| item | what it shows | verdict | scale | evidence |", "|---|---|---|---|---|"]
    for doc in in_order(map(as_document, documents)):
        place = "" if folder in (None, "", ".") else f"{folder}/"
        name = doc.item if folder is None else f"[{doc.item}]({place}{doc.stem}.md)"
        cells = (
            f"{doc.heading}: {doc.title}",
            f"{VERDICT_MARKS[doc.verdict.status]} {doc.verdict.status}",
            doc.scale_words,
            evidence(doc),
        )
        lines.append(f"| {name} | " + " | ".join(map(_plain, cells)) + " |")
    return "\n".join(lines) + "\n"


def evidence(doc: ItemDocument) -> str:
    """What decides the verdict, in one line: the check that tells most, and the count."""
    if doc.smoke:
        return SMOKE.lower()
    # a claim that fails tells more than those that hold, an essential one more than the others
    first = min(
        (check for check in doc.checks if check.holds is not None),
        key=lambda check: (not check.essential, check.holds),
        default=None,
    )
    if first is None:
        return doc.verdict.why
    return f"{doc.verdict.why}. {sentence(first.statement)}: {first.evidence}"


def claim_word(doc: ItemDocument) -> str:
    """What the claim of an item is called: a study asks its own question."""
    return "The paper's claim" if doc.paper else "Question"


def sentence(text: str) -> str:
    """A sentence without its full stop, to be continued."""
    return text.rstrip(". ")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return re.sub(r"([\\|<*`\[\]$])", r"\\\1", printable(" ".join(text.split())))
