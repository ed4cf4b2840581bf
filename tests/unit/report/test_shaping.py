"""Rows chosen, ordered and written; tables that keep a line a row on short lines."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from prunable.errors import InputError, printable
from prunable.report.shaping import Shape, as_csv
from prunable.report.tables import Column, table

COLUMNS = [
    Column("layer", words=True, code=True),
    Column("n", spare=2),
    Column("verdict", words=True),
    Column("alpha", spare=1),
]
ROWS = [
    (f"model.encoder.layers.{i}.self_attention.weight", f"{n:,}", verdict, alpha)
    for i, (n, verdict, alpha) in enumerate(
        [
            (1200, "gaussian-like", "1.81 ± 0.02"),
            (30, "too few", "–"),
            (50_000, "heavy but not stable", "0.9 ± 0.1"),
        ]
    )
]
TABLE = table(COLUMNS, ROWS)


def printed(found, width):
    stream = io.StringIO()
    found.print(Console(file=stream, width=width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("column", "order"), [("n", [2, 0, 1]), ("alpha", [0, 2, 1]), ("VERD", [0, 2, 1])]
)
def test_rows_are_ordered(column, order):
    assert Shape("measure", sort=column).of(TABLE).rows == tuple(TABLE.rows[at] for at in order)


def test_the_first_rows():
    shaped = Shape("measure", top=1, sort="n").of(TABLE)
    assert [row.cells[1] for row in shaped.rows] == ["50,000"]
    assert shaped.notes == ("1 of 3 rows; --top shows more.",)
    assert Shape("measure", top=9).of(TABLE) == TABLE


def test_csv_is_read_as_numbers():
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert [float(row["n"]) for row in rows] == [1200, 30, 50_000]
    assert [row["alpha"] for row in rows] == ["1.81", "", "0.9"]
    assert [row["alpha error"] for row in rows] == ["0.02", "", "0.1"]
    assert rows[2]["verdict"] == "heavy but not stable"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top": 0}, "`--top` of `measure` must be at least 1"),
        ({"csv": True, "json": True}, "two formats; give one"),
        ({"json": True, "top": 3}, "no effect with --json"),
        ({"sort": "size"}, "`--sort` of `measure` must be one of layer, n, verdict, alpha"),
    ],
)
def test_what_cannot_be_shown_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Shape("measure", **given).of(TABLE)


@pytest.mark.parametrize("width", [50, 60, 80, 200])
def test_one_line_a_row_with_name_and_verdict(width):
    lines = printed(TABLE, width)
    assert all(len(line) <= width for line in lines)
    for row in TABLE.rows:
        (line,) = [line for line in lines if row.cells[2] in line]
        assert f".{TABLE.rows.index(row)}" in line.split()[0]  # what tells it from the others
    assert any("No room for" in line for line in lines) == (width <= 60)
    assert all(cell in "".join(lines) for row in TABLE.rows for cell in row.cells) == (width == 200)


@pytest.mark.parametrize(
    ("name", "shown"), [("layer.weight", "laye…eight"), ("model.layers.0.weight", "mode…eight")]
)
def test_names_are_cut_before_a_column_goes(name, shown):
    columns = [Column("layer", words=True, code=True), Column("verdict", words=True)]
    columns += [Column("kappa", spare=2), Column("nodes", spare=1)]
    text = io.StringIO()
    table(columns, [(name, "gaussian-like", "83.8", "100")]).print(Console(file=text, width=41))
    assert shown in text.getvalue()
    assert "No room" not in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 41


HOSTILE = (
    "a|b", "a\\\\|b", "\\\\", "`", "``a` `", " a ", "  ", "", "\n\n# title", "a\r\nb", "a,b", '"',
    "'a", '"a","b"', "=cmd|' /C calc'!A0", "+1+1", "-x", "@SUM(A1)", "\t=1", "\x00\x1b[31m",
    "\u202egnp.exe", "\u200f", "<script>alert(1)</script>", "![x](http://x.y)", "[a](b)", "*a*",
    "_a_", "a_b", "~~a~~", "&lt;", "&#35;", "$x$", "1,200", "1e3", "1.8 ± 0.1", "–", "nan",
    "|---|", "x" * 5000, "\ud800", "\u2028", "http://x.y",
)  # fmt: skip


@pytest.mark.parametrize("code", [True, False])
@given(names=st.lists(st.text(st.characters(codec=None), max_size=9) | st.sampled_from(HOSTILE)))
@example(names=list(HOSTILE))
def test_any_names_stay_in_their_cells(code, names):
    columns = [Column("layer", words=True, code=code), "kappa"]
    shown = table(columns, [(name, "1,200.5 ± 3") for name in names])
    rows = list(csv.reader(io.StringIO(as_csv(shown)), strict=True))
    if names:
        assert rows[0] == ["layer", "kappa", "kappa error"]
        assert [row[1:] for row in rows[1:]] == [["1200.5", "3"]] * len(names)
    for row, name in zip(rows[1:], names, strict=True):
        wanted = "'" * name.startswith(("=", "+", "-", "@")) + printable(name)
        assert row[0] == ("" if name == "–" and not code else wanted)

    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(shown.markdown())
    assert [t.type for t in tokens if t.level == 0] == ["table_open", "table_close"]
    cells = [t.children for t in tokens if t.type == "inline"]
    assert len(cells) == 2 * (1 + len(names))
    for children, name in zip(cells[2::2], names, strict=True):
        assert {child.type for child in children} <= {"code_inline" if code else "text", "text"}
        wanted = printable(name) if code else printable(" ".join(name.split()))
        assert "".join(child.content for child in children).strip() == wanted.strip()
        if code and name.strip():
            assert children[0].content == wanted


@pytest.mark.parametrize("width", range(24, 180))
def test_no_number_is_cut_where_columns_have_no_room(width):
    """Columns that do not fit beside each other stand in tables below, beside the rows' names."""
    columns = [Column("data", words=True), *(Column(f"number {i}") for i in range(12))]
    rows = [[f"set {row}", *(f"{10_000 * row + at:,}" for at in range(12))] for row in range(1, 4)]
    lines = printed(table(columns, rows), width)
    assert max(map(len, lines)) <= width
    for row in rows:
        beside = [line.split() for line in lines if row[0] in line]
        assert [cell for line in beside for cell in line[2:]] == row[1:]
