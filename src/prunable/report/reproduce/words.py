"""Reproduced items in words: numbers, checks, and tables with the paper's numbers beside ours."""

import math
from collections import Counter
from collections.abc import Sequence

from prunable.experiments.reproduce import document
from prunable.report import tables
from prunable.report.tables import MISSING

SMOKE = "Smoke run: says nothing about the paper"
SMOKE_WHY = (
    "Tiny data, tiny networks, few steps: it shows that the code of this item runs from end to "
    "end. Its numbers are not to be compared with the paper's."
)
VERDICT_MARKS = {
    "reproduced": "✓",
    "partly": "◐",
    "not reproduced": "✗",
    "contradicted": "⊗",
    "incomplete": "…",
    "not judged": "–",
}
# Of a study, which reproduces nothing: how its checks ended.
STUDY_VERDICTS = {
    "reproduced": "checks hold",
    "partly": "some checks fail",
    "not reproduced": "checks fail",
    "incomplete": "some checks undecided",
}
PLAIN_BELOW = 1e7  # larger numbers are written with an exponent
_SETTING = document.Column(key="", label="")


def as_text(value: document.Value, column: document.Column, std: float | None = None) -> str:
    """A value of a column, such as "94.2 ± 0.3".

    A number too small for the column's decimals keeps its leading digits.
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    text = _number(value, column)
    return text if std is None else f"{text} ± {_number(std, column)}"


def _number(value: float, column: document.Column) -> str:
    if isinstance(value, int) and column.scale == 1 and abs(value) < PLAIN_BELOW:
        return f"{value:,}"
    shown = column.scale * value
    if not math.isfinite(shown):  # a share near the largest float
        return f"{value:.3g}"
    if shown and not 0.5 * 10.0**-column.digits <= abs(shown) < PLAIN_BELOW:
        return f"{shown:.{max(column.digits, 2)}g}"
    return f"{shown + 0.0:,.{column.digits}f}"


def heading(column: document.Column) -> str:
    """A column's label with its unit."""
    return f"{column.label}, {column.unit}" if column.unit else column.label


def paired(table: document.Table) -> list[bool]:
    """Which columns have a number of the paper's beside ours."""
    return [
        any(row[place].published is not None for row in table.rows)
        for place in range(len(table.columns))
    ]


def published_text(cell: document.Cell, column: document.Column) -> str:
    """The paper's number; nothing where it prints none."""
    if cell.published is None:
        return ""
    return as_text(cell.published, column, cell.published_std)


def shown(table: document.Table, title: str = "") -> tables.Table:
    """A table as it is shown, the paper's numbers in a column right of ours."""
    pairs = paired(table)
    columns: list[tables.Column] = []
    for place, (column, pair) in enumerate(zip(table.columns, pairs, strict=True)):
        words = place == 0 or any(isinstance(row[place].value, str) for row in table.rows)
        columns.append(tables.Column(heading(column), words=words))
        columns += [tables.Column("paper")] if pair else []
    rows = []
    for row in table.rows:
        cells: list[str] = []
        for cell, column, pair in zip(row, table.columns, pairs, strict=True):
            cells.append(as_text(cell.value, column, cell.std))
            cells += [published_text(cell, column)] if pair else []
        rows.append(cells)
    return tables.table(columns, rows, title=title)


def setting(value: document.Value) -> str:
    """The value of a setting."""
    if value is None or isinstance(value, bool | str):
        return as_text(value, _SETTING)
    return str(value)


def table_title(table: document.Table, doc: document.ItemDocument) -> str:
    """Title of a table; that of a smoke run says so wherever it goes."""
    return f"{table.title} (smoke run)" if doc.smoke else table.title


def holds_word(check: document.Check, doc: document.ItemDocument) -> str:
    """What a check comes to; a smoke run's says so, lest it be taken for a verdict."""
    word = "cannot be judged" if check.outcome == "not applicable" else check.outcome
    return f"{word} in the smoke run" if doc.smoke and check.holds is not None else word


def with_needs(check: document.Check) -> str:
    """The evidence of a check, and what could decide one that is underpowered."""
    return f"{check.evidence}; it would take {check.needs}" if check.needs else check.evidence


def losses(runs: Sequence[document.RunInfo]) -> list[str]:
    """Runs without a usable result: how many for each status and reason."""
    found = Counter(f"{run.status}: {run.reason or 'no reason given'}" for run in runs)
    return [f"{count} × {reason}" for reason, count in found.most_common()]


def cost(found: document.Cost) -> str:
    """Machine and hours of an item."""
    hours = f"{found.hours:.2g}" if found.hours < 10 else f"{found.hours:,.0f}"
    machines = " and ".join(found.machines)
    return f"{machines}; {hours} hours of one worker, {found.runs} runs and those they build on"


def verdict_word(doc: document.ItemDocument) -> str:
    """The verdict in a word or two."""
    status = doc.verdict.status
    return status if doc.paper else STUDY_VERDICTS.get(status, status)


def verdict_shown(doc: document.ItemDocument) -> str:
    """The same behind its mark."""
    return f"{VERDICT_MARKS[doc.verdict.status]} {verdict_word(doc)}"


def claim_word(doc: document.ItemDocument) -> str:
    """What the claim of an item is called: a study asks its own question."""
    return "The paper's claim" if doc.paper else "Question"


def evidence(doc: document.ItemDocument) -> str:
    """What decides the verdict, in one line: the check that tells most, and the count."""
    if doc.smoke:
        return SMOKE.lower()
    # a claim that fails tells more than those that hold, an essential one more than the others
    order: tuple[document.Outcome, ...] = ("contradicted", "fails", "underpowered", "holds")
    if doc.verdict.status == "incomplete":
        order = ("underpowered", "not applicable", "holds")
    first = min(
        (check for check in doc.checks if check.outcome in order),
        key=lambda check: (not check.essential, order.index(check.outcome)),
        default=None,
    )
    if first is None:
        return doc.verdict.why
    return f"{doc.verdict.why}. {sentence(first.statement)}: {with_needs(first)}"


def sentence(text: str) -> str:
    """A sentence without its full stop, to be continued."""
    return text.rstrip(". ")
