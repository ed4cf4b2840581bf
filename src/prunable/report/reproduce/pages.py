"""Reproduced items as pages: for the terminal, and in Markdown."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from prunable.experiments.reproduce.document import ItemDocument, as_document, in_order
from prunable.report import tables
from prunable.report.reproduce import words
from prunable.report.tables import plain, printable

Document = ItemDocument | Mapping[str, Any]
VERDICT_STYLES = {
    "reproduced": "green",
    "partly": "yellow",
    "not reproduced": "red",
    "contradicted": "bold red",
    "incomplete": "cyan",
    "not judged": "dim",
}


def render_console(document: Document, console: Console) -> None:
    """Print an item: its verdict, checks with evidence, tables, departures and losses."""
    doc = as_document(document)

    def say(*parts: str | tuple[str, str]) -> None:
        pieces = [(part, "") if isinstance(part, str) else part for part in parts]
        # Text, not str: what comes from a document may look like console markup
        console.print(Text.assemble(*((printable(text), style) for text, style in pieces)))

    say((f"{doc.heading}: {doc.title}", "bold"), (f"  {doc.item}", "dim"))
    if doc.smoke:
        say((f" {words.SMOKE} ", "bold black on yellow"))
    say(
        (words.verdict_shown(doc), f"bold {VERDICT_STYLES[doc.verdict.status]}"),
        f" ({doc.scale_words}): {doc.verdict.why}",
    )
    say((f"{words.claim_word(doc)}: ", "dim"), doc.claim)
    for check in doc.checks:
        style = "dim" if doc.smoke else {True: "green", False: "red", None: "dim"}[check.holds]
        extra = "" if check.essential else " (not essential)"
        statement = f": {words.sentence(check.statement)}{extra}. "
        evidence = (words.with_needs(check), "dim")
        say("  ", (words.holds_word(check, doc), style), statement, evidence)
    for table in doc.tables:
        words.shown(table, words.table_title(table, doc)).print(console)
    for note in (*doc.plan_notes, *doc.notes, *words.losses(doc.lost)):
        say(("- ", "dim"), (note, "dim"))
    console.print()


def item_markdown(document: Document, figure: str | None = None) -> str:
    """An item as a page in Markdown; `figure` is the address of its figure."""
    doc = as_document(document)
    verdict = doc.verdict
    lines = [f"# {plain(doc.heading)}: {plain(doc.title)}", ""]
    if doc.smoke:
        lines += [f"> **{words.SMOKE}.** {words.SMOKE_WHY}", ""]
    lines += [
        f"**{words.verdict_word(doc)}** ({plain(doc.scale_words)}): {plain(verdict.why)}.",
        "",
        f"{words.claim_word(doc)}: {plain(doc.claim)}",
        "",
    ]
    if doc.checks:
        lines += ["## Checks", ""]
        for check in doc.checks:
            extra = "" if check.essential else " (not essential)"
            lines.append(
                f"- **{words.holds_word(check, doc)}**: "
                f"{plain(words.sentence(check.statement))}{extra}. {plain(words.with_needs(check))}"
            )
        lines.append("")
    if figure:
        lines += [f"![{plain(doc.title)}]({figure})", ""]
    for table in doc.tables:
        title = plain(words.table_title(table, doc))
        lines += [f"## {title}", "", words.shown(table).markdown()]
    lines += ["## Settings", ""]
    lines += [f"- {plain(name)}: {plain(words.setting(v))}" for name, v in doc.settings.items()]
    lines += [f"- runs: {len(doc.runs)}"]
    if doc.cost is not None:
        lines += [f"- computed on: {plain(words.cost(doc.cost))}"]
    lines += [""]
    for title, notes in (
        ("Departures from the paper", doc.plan_notes),
        ("Notes", doc.notes),
        ("Runs without a usable result", words.losses(doc.lost)),
    ):
        if notes:
            lines += [f"## {title}", "", *(f"- {plain(note)}" for note in notes), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def summary_markdown(documents: Iterable[Document], folder: str | None = None) -> str:
    """A table of items in Markdown: verdict, scale and the evidence in one line.

    folder : Where the pages of `write_item` lie, relative to the table; names are links then.
    """
    titles = ("what it shows", "verdict", "scale", "evidence")
    docs = in_order(map(as_document, documents))
    found = tables.table(
        [tables.Column(title, words=True) for title in titles],
        [
            (
                f"{doc.heading}: {doc.title}",
                words.verdict_shown(doc),
                doc.scale_words,
                words.evidence(doc),
            )
            for doc in docs
        ],
    )
    place = "" if folder in (None, "", ".") else f"{folder}/"
    names = [doc.item if folder is None else f"[{doc.item}]({place}{doc.stem}.md)" for doc in docs]
    # links are Markdown already, which a table's cells are not
    first = ("| item ", "|---", *(f"| {name} " for name in names))
    rows = found.markdown().splitlines()
    return "".join(f"{cell}{row}\n" for cell, row in zip(first, rows, strict=True))
