"""Reproduced items, for the terminal."""

from __future__ import annotations

from rich import box
from rich import table as rich_table
from rich.console import Console
from rich.text import Text

from prunable.experiments.reproduce.document import Table, as_document
from prunable.report.reproduce.reproduction_tables import (
    SMOKE,
    VERDICT_MARKS,
    Document,
    grid,
    holds_word,
    losses,
    sentence,
    table_title,
    with_needs,
)
from prunable.report.tables import printable

VERDICT_STYLES = {
    "reproduced": "green",
    "partly": "yellow",
    "not reproduced": "red",
    "incomplete": "cyan",
    "not judged": "dim",
}


def render_console(document: Document, console: Console) -> None:
    """Print an item: its verdict, checks with evidence, tables, departures and losses.

    Parameters
    ----------
    document : ItemDocument or mapping
    console : Console
    """
    doc = as_document(document)

    def say(*parts: str | tuple[str, str]) -> None:
        pieces = [(part, "") if isinstance(part, str) else part for part in parts]
        # Text, not str: what comes from a document may look like console markup
        console.print(Text.assemble(*((printable(text), style) for text, style in pieces)))

    say((f"{doc.heading}: {doc.title}", "bold"), (f"  {doc.item}", "dim"))
    if doc.smoke:
        say((f" {SMOKE} ", "bold black on yellow"))
    status = doc.verdict.status
    say(
        (f"{VERDICT_MARKS[status]} {status}", f"bold {VERDICT_STYLES[status]}"),
        f" ({doc.scale_words}): {doc.verdict.why}",
    )
    say(("Claim: ", "dim"), doc.claim)
    for check in doc.checks:
        style = "dim" if doc.smoke else {True: "green", False: "red", None: "dim"}[check.holds]
        extra = "" if check.essential else " (not essential)"
        statement = f": {sentence(check.statement)}{extra}. "
        say("  ", (holds_word(check, doc), style), statement, (with_needs(check), "dim"))
    for table in doc.tables:
        _print_table(table_title(table, doc), table, console)
    for note in (*doc.plan_notes, *doc.notes, *losses(doc.lost)):
        say(("- ", "dim"), (note, "dim"))
    console.print()


def _print_table(name: str, table: Table, console: Console) -> None:
    titles, rows = grid(table)
    shown = rich_table.Table(
        title=Text(printable(name)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for place, title in enumerate(titles):
        paper = place > 0 and title == "paper"
        shown.add_column(
            Text(printable(title)),
            justify="left" if place == 0 else "right",
            style="dim" if paper else "",
            overflow="fold",
        )
    widest = [max((len(row[place]) for row in rows), default=0) for place in range(len(titles))]
    # numbers that do not fit in one line are parted before the error, not anywhere
    error = "\n± " if sum(widest) + 2 * len(widest) > console.width else "\u00a0±\u00a0"
    for row in rows:
        shown.add_row(*(Text(printable(cell).replace(" ± ", error)) for cell in row))
    console.print(shown)
