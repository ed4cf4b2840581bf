"""Which rows of a table are shown, in what order, and in which format."""

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunable.errors import InputError, check_at_least, require
from prunable.report.tables import MISSING, Column, Table, printable
from prunable.report.terminal import results

Top = Annotated[int | None, typer.Option("--top", help="Show so many rows only.")]
Sort = Annotated[
    str | None, typer.Option("--sort", help="Order rows by this column, largest numbers first.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print the rows as Markdown.")]

FORMULAS = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Shape:
    """What of a table is wanted; `where` names the command in messages.

    Raises InputError if `top` is below 1, or two formats are asked for.
    """

    where: str
    top: int | None = None
    sort: str | None = None
    csv: bool = False
    markdown: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if self.top is not None:
            check_at_least(self.top, 1, "--top", self.where)
        asked = [name for name in ("json", "csv", "markdown") if getattr(self, name)]
        if len(asked) > 1:
            raise InputError(
                f"`--{asked[0]}` and `--{asked[1]}` of `{self.where}` are two formats; give one."
            )
        if self.json and (self.top is not None or self.sort is not None):
            raise InputError(
                f"`--top` and `--sort` of `{self.where}` have no effect with --json. "
                "Leave them out."
            )

    def check_printed(self, given: Iterable[str | Path]) -> None:
        """Raise InputError if what is asked for is printed, and a file for it seems to be given."""
        for name, ending in (("csv", ".csv"), ("markdown", ".md"), ("json", ".json")):
            for path in map(Path, given if getattr(self, name) else ()):
                if path.suffix == ending and not path.exists():
                    raise InputError(
                        f"`--{name}` of `{self.where}` prints; give `> {path}` to keep it."
                    )

    def of(self, table: Table) -> Table:
        """The rows that are wanted, in the order wanted.

        Raises InputError if the table has no column of the name of `sort`.
        """
        rows, notes = table.rows, table.notes
        if self.sort is not None:
            place = self._place(table, self.sort)
            rows = tuple(sorted(rows, key=lambda row: sorting_key(row.cells[place])))
        if self.top is not None and self.top < len(rows):
            notes = (*notes, f"{self.top:,} of {len(rows):,} rows; --top shows more.")
            rows = rows[: self.top]
        return replace(table, rows=rows, notes=notes)

    def show(self, table: Table, console: Console, rest: Callable[[], None]) -> None:
        """Print the table in the format wanted, with what else there is to say only as text."""
        shaped = self.of(table)
        if self.csv:
            typer.echo(as_csv(shaped), results(), nl=False)
        elif self.markdown:
            typer.echo(shaped.markdown(), results(), nl=False)
        else:
            shaped.print(console)
            rest()

    def _place(self, table: Table, name: str) -> int:
        titles = [column.title for column in table.columns]
        wanted = name.casefold().replace("_", " ")
        found = [at for at, title in enumerate(titles) if title.casefold() == wanted]
        found = found or [
            at for at, title in enumerate(titles) if title.casefold().startswith(wanted)
        ]
        known = f"one of {', '.join(titles)}"
        require(found, "--sort", self.where, known, name)
        return found[0]


def sorting_key(cell: str) -> tuple[int, float, str]:
    """Numbers from the largest on, then words, then what is missing.

    >>> sorted(["–", "b", "1.8 ± 0.1", "1,200", "a"], key=sorting_key)
    ['1,200', '1.8 ± 0.1', 'a', 'b', '–']
    """
    if cell in ("", MISSING):
        return 2, 0.0, ""
    try:
        number = float(cell.partition(" ± ")[0].replace(",", ""))
    except ValueError:
        return 1, 0.0, cell
    return (2, 0.0, "") if math.isnan(number) else (0, -number, "")


def as_csv(table: Table) -> str:
    """Rows as CSV: errors in columns of their own, numbers without separators.

    Spreadsheets run what starts as a formula does; names that do so start with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles: list[str] = []
    columns: list[list[str]] = []
    for place, column in enumerate(table.columns):
        cells = [row.cells[place] for row in table.rows]
        titles.append(column.title)
        if column.words or column.code:
            columns.append([_name(cell, column) for cell in cells])
            continue
        columns.append([_number(cell.partition(" ± ")[0]) for cell in cells])
        if any(" ± " in cell for cell in cells):
            titles.append(f"{column.title} error")
            columns.append([_number(cell.partition(" ± ")[2]) for cell in cells])
    writer.writerow(titles)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _name(cell: str, column: Column) -> str:
    if cell == MISSING and not column.code:
        return ""
    return f"'{printable(cell)}" if cell.startswith(FORMULAS) else printable(cell)


def _number(cell: str) -> str:
    if cell == MISSING:
        return ""
    return cell.replace(",", "") if _is_number(cell) else printable(cell)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True
