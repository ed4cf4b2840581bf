"""One table, drawn three ways: for the terminal, in Markdown and in HTML."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from markupsafe import Markup, escape
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from prunable.errors import printable

MISSING = "–"
# Below this width of the terminal, headings are broken and errors stand below their numbers.
NARROW = 110
# Characters of a name that are shown in any case; fewer only where every column then has room.
LEAST_NAME, SHORT_NAME = 24, 10
LEAST_WORDS = 8  # characters of a column of words, which may wrap
HEADS = (0.4, 0.15, 0.5, 0.6, 0.7, 0.8, 0.9)  # shares of a name's beginning, until all names differ


@dataclass(frozen=True)
class Column:
    """A column: its title, a shorter one for narrow terminals, and what its cells are.

    Cells that are words stand to the left and may wrap; the others hold numbers. `spare` columns
    are left out where the line is short, those with larger numbers first; a table that has some
    takes one line a row.
    """

    title: str
    short: str = ""
    words: bool = False
    code: bool = False  # names, which Markdown and HTML show as code
    spare: int = 0

    def heading(self, narrow: bool) -> str:
        """The title as it stands above the cells, a word a line."""
        return (self.short if narrow else "") or self.title.replace(" ", "\n")


@dataclass(frozen=True)
class Row:
    """Cells as they are shown; a `dim` row belongs to the one above, such as a paper's numbers."""

    cells: tuple[str, ...]
    dim: bool = False


@dataclass(frozen=True)
class Table:
    """Titles and cells, already in words, and what is said above and below them."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = next((row for row in self.rows if len(row.cells) != len(self.columns)), None)
        if wrong is not None:
            raise ValueError(f"{len(self.columns)} columns, but a row has {wrong.cells}")

    def __repr__(self) -> str:
        return f"Table({self.title!r}, {len(self.rows)} rows, {len(self.columns)} columns)"

    def _repr_html_(self) -> str:
        return self.html()

    def print(self, console: Console) -> None:
        """Print the table, its title above, its notes below."""
        narrow = console.width < NARROW
        if any(column.spare for column in self.columns):
            self._in_lines(console.width, narrow)._print(console, narrow, stacked=False)
        else:
            for part in self._parts(console.width, narrow):
                part._print(console, narrow, stacked=True)

    def _parts(self, width: int, narrow: bool) -> "list[Table]":
        """The table, or as many as its columns need that have no room beside each other.

        The first column, which says what the rows are, begins each of them.
        """
        rows = self._cells(narrow)
        needs = [
            2 + _width((column.heading(narrow), *(printable(row[at], keep="\n") for row in rows)))
            for at, column in enumerate(self.columns)
        ]
        least = [
            LEAST_WORDS + 2 if column.words or column.code else need
            for need, column in zip(needs, self.columns, strict=True)
        ]
        parts, taken = [[0]], least[0]
        for at, need in list(enumerate(least))[1:]:
            if taken + need > width - 2 and len(parts[-1]) > 1:  # beside the edges
                parts.append([0])
                taken = least[0]
            parts[-1].append(at)
            taken += need
        return [
            replace(
                self,
                columns=tuple(self.columns[at] for at in places),
                rows=tuple(
                    Row(tuple(row.cells[at] for at in places), row.dim) for row in self.rows
                ),
                title=self.title if number == 0 else "",
                notes=self.notes if number == len(parts) - 1 else (),
            )
            for number, places in enumerate(parts)
        ]

    def _cells(self, narrow: bool) -> list[tuple[str, ...]]:
        """Rows with errors below their numbers where lines are short."""
        return [
            tuple(cell.replace(" ± ", "\n±") if narrow else cell for cell in row.cells)
            for row in self.rows
        ]

    def _in_lines(self, width: int, narrow: bool) -> "Table":
        """The columns that fit beside each other, a line a row."""
        rows = [
            tuple(cell.partition(" ± ")[0] if narrow else cell for cell in row.cells)
            for row in self.rows
        ]
        for least in (LEAST_NAME, SHORT_NAME, LEAST_NAME):
            taken = []
            for place, column in enumerate(self.columns):
                cells = [printable(row[place]) for row in rows]
                needs = _width((column.heading(narrow), *cells))
                taken.append(2 + (_least(cells, needs, least) if column.code else needs))
            if sum(taken) <= width:
                break
        kept = set(range(len(self.columns)))
        for place in sorted(kept, key=lambda at: (-self.columns[at].spare, -at)):
            if sum(taken[at] for at in kept) <= width or not self.columns[place].spare:
                break
            kept.remove(place)
        places = sorted(kept)
        columns = tuple(self.columns[place] for place in places)
        shown = tuple(
            Row(tuple(cells[place] for place in places), row.dim)
            for cells, row in zip(rows, self.rows, strict=True)
        )
        gone = [column.title for place, column in enumerate(self.columns) if place not in kept]
        left_out = [f"No room for {', '.join(gone)}: widen the terminal."] if gone else []
        return Table(columns, shown, self.title, (*self.notes, *left_out))

    def _print(self, console: Console, narrow: bool, *, stacked: bool) -> None:
        drawn = RichTable(
            title=Text(printable(self.title)) if self.title else None,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        shown = self._fitted(self._cells(narrow), console.width, narrow)
        for column, heading in zip(
            self.columns, self._headings(shown, console.width, narrow), strict=True
        ):
            drawn.add_column(
                Text(printable(heading, keep="\n")),
                justify="left" if column.words else "right",
                no_wrap=not column.words or not stacked,
                overflow="fold" if stacked else "ellipsis",
                min_width=LEAST_WORDS if column.words and stacked else None,
            )
        for row, cells in zip(self.rows, shown, strict=True):
            # Text, not str: names may look like console markup
            drawn.add_row(
                *(Text(printable(cell, keep="\n")) for cell in cells),
                style="dim" if row.dim else None,
            )
        console.print(drawn)
        for note in self.notes:
            console.print(Text(printable(note), style="dim"))

    def _headings(self, rows: Sequence[Sequence[str]], width: int, narrow: bool) -> list[str]:
        """Titles on as few lines as there is room for; where there is none, the shorter ones."""
        cells = [
            2 + max(_width(row[at] for row in rows), LEAST_WORDS if column.words else 0)
            for at, column in enumerate(self.columns)
        ]
        for lines in range(1, 1 + max(len(column.title.split()) for column in self.columns)):
            found = [_in_lines(column.title, lines) for column in self.columns]
            taken = (max(cell, _width([head]) + 2) for cell, head in zip(cells, found, strict=True))
            if sum(taken) <= width - 2:  # beside the edges
                return found
        return [column.heading(narrow) for column in self.columns]

    def _fitted(
        self, rows: Sequence[tuple[str, ...]], width: int, narrow: bool
    ) -> Sequence[tuple[str, ...]]:
        """Rows whose names, in the first column, are cut in the middle where the line is short."""
        if not rows or not self.columns[0].code:
            return rows
        # beside a column stand its padding and a divider
        room = width - 2
        for column, cells in list(zip(self.columns, zip(*rows, strict=True), strict=True))[1:]:
            room -= 2 + _width((column.heading(narrow), *cells))
        names = [printable(row[0]) for row in rows]
        short = _distinct(names, max(SHORT_NAME, room)) or names
        return [(name, *row[1:]) for name, row in zip(short, rows, strict=True)]

    def markdown(self) -> str:
        """Markdown of the rows; title and notes are the page's to place."""
        lines = [_line(plain(column.title) for column in self.columns)]
        lines.append("|" + "".join("---|" if c.words or c.code else "---:|" for c in self.columns))
        for row in self.rows:
            cells = (
                as_code(cell) if column.code else plain(cell)
                for cell, column in zip(row.cells, self.columns, strict=True)
            )
            lines.append(_line(f"*{cell}*" if row.dim and cell else cell for cell in cells))
        return "\n".join(lines) + "\n"

    def html(self) -> Markup:
        """A `table` element; every text is escaped."""
        head = Markup("").join(
            Markup('<th scope="col"{}>{}</th>').format(_class(column), printable(column.title))
            for column in self.columns
        )
        body = Markup("\n").join(
            Markup("<tr{}>{}</tr>").format(
                Markup(' class="dim"') if row.dim else "",
                Markup("").join(
                    Markup("<td{}>{}</td>").format(_class(column), _cell(cell, column))
                    for cell, column in zip(row.cells, self.columns, strict=True)
                ),
            )
            for row in self.rows
        )
        caption = Markup("<caption>{}</caption>").format(printable(self.title))
        return Markup("<table>{}<thead><tr>{}</tr></thead><tbody>\n{}\n</tbody></table>").format(
            caption if self.title else "", head, body
        )


def table(
    titles: Sequence[str | Column],
    rows: Iterable[Sequence[str] | Row],
    *,
    title: str = "",
    notes: Sequence[str] = (),
) -> Table:
    """Make a table; a title that is a string heads numbers, the first column holds words.

    Raises ValueError if a row has more or fewer cells than there are titles.

    >>> print(table(["layer", "n"], [["head", "640"]]).markdown(), end="")
    | layer | n |
    |---|---:|
    | head | 640 |
    """
    columns = tuple(
        name if isinstance(name, Column) else Column(name, words=place == 0)
        for place, name in enumerate(titles)
    )
    found = tuple(row if isinstance(row, Row) else Row(tuple(row)) for row in rows)
    return Table(columns, found, title, tuple(notes))


def shortened(name: str, width: int, head: float = 0.4) -> str:
    """A name cut in the middle where it is longer; `head` is the share of its beginning.

    >>> shortened("model.layers.11.self_attn.q_proj.weight", 24)
    'model.lay….q_proj.weight'
    """
    if len(name) <= width:
        return name
    first = round(head * (width - 1))
    return f"{name[:first]}…{name[len(name) - (width - 1 - first) :]}"


def _distinct(names: Sequence[str], width: int) -> list[str] | None:
    """The names cut to a width in which those that differ still do, or None."""
    for head in HEADS:
        short = [shortened(name, width, head) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return None


def _least(names: Sequence[str], longest: int, least: int) -> int:
    """Characters that names need, at least so many, to be told apart."""
    widths = range(min(least, longest), longest)
    return next((width for width in widths if _distinct(names, width)), longest)


def _in_lines(title: str, most: int) -> str:
    """A title on at most so many lines, as narrow as that allows."""
    widths = range(max(map(len, title.split()), default=1), len(title) + 1)
    ways = (wrap(title, width, break_long_words=False, break_on_hyphens=False) for width in widths)
    return next(("\n".join(lines) for lines in ways if len(lines) <= most), title)


def _width(cells: Iterable[str]) -> int:
    """Of the longest line of some cells."""
    return max((len(line) for cell in cells for line in cell.split("\n")), default=0)


# What Markdown reads as more than text; underscores in words and single ampersands are not.
MARKS = re.compile(r"[\\|<*`\[\]$]|(?<!\w)_|_(?!\w)|~(?=\S)|&(?=#?\w+;)")


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return MARKS.sub(r"\\\g<0>", printable(" ".join(text.split())))


def as_code(text: str) -> str:
    """Markdown code that shows any text as it is, in a table cell too."""
    text = printable(text)
    if not text:
        return ""
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    # of code that starts and ends with a space Markdown takes one off at each end
    space = " " if {text[0], text[-1]} & set("` ") and text.strip() else ""
    return f"{ticks}{space}{text}{space}{ticks}".replace("|", "\\|")


def as_percent(value: float | None, digits: int = 1) -> str:
    """A share in percent, without the sign: 44.7."""
    return _written(value, lambda known: f"{100 * known:z.{digits}f}")


def as_share(value: float | None) -> str:
    """A share in percent to three digits, without the sign: 44.7, 3.08, 0.0412."""
    return _written(value, lambda known: f"{100 * known:#.3g}".rstrip("."))


def as_number(value: float | None, digits: int = 3) -> str:
    """A number to a few significant digits."""
    return _written(value, lambda known: f"{known:.{digits}g}")


def as_count(value: int) -> str:
    """A count in at most five characters, such as 640, 4.1k or 24.6M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return str(value)


def spread(number: Callable[[float], str], mean: float | None, std: float | None) -> str:
    """A mean and its standard deviation or error, in one notation everywhere: 1.81 ± 0.02."""
    shown, error = _written(mean, number), _written(std, number)
    return shown if MISSING in (shown, error) else f"{shown} ± {error}"


def _written(value: float | None, write: Callable[[float], str]) -> str:
    """None and NaN both stand for a number that is not there."""
    return MISSING if value is None or math.isnan(value) else write(value)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _class(column: Column) -> Markup:
    return Markup("") if column.words or column.code else Markup(' class="number"')


def _cell(cell: str, column: Column) -> Markup:
    return Markup("<code>{}</code>").format(cell) if column.code else escape(printable(cell))
