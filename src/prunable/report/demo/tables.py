"""The comparison table, for the terminal, for Markdown and for HTML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from prunable.report.demo.results import ConditionResults, Results

Number = Callable[[float], str]


def as_accuracy(value: float) -> str:
    """An accuracy, such as 0.942."""
    return f"{value:.3f}"


def as_percent(value: float) -> str:
    """A share in percent, such as 44.7 %, without the sign."""
    return f"{100 * value:.1f}"


def as_index(value: float) -> str:
    """A tail index, such as 1.81."""
    return f"{value:.2f}"


@dataclass(frozen=True)
class Column:
    """One metric of the table, its title, short for the terminal, and how it is written."""

    metric: str
    title: str
    short: str
    number: Number


COLUMNS = (
    Column("train_accuracy", "train acc.", "train\nacc.", as_accuracy),
    Column("test_accuracy", "test acc.", "test\nacc.", as_accuracy),
    Column("test_balanced_accuracy", "balanced test acc.", "balan-\nced", as_accuracy),
    Column("pruning_ratio_squared", "pruned %, squared error ≤ 0.1", "pruned\nsq., %", as_percent),
    Column("test_accuracy_pruned_squared", "test acc. after", "acc.\nafter", as_accuracy),
    Column(
        "pruning_ratio_frobenius", "pruned %, Frobenius error ≤ 0.1", "pruned\nFr., %", as_percent
    ),
    Column("test_accuracy_pruned_frobenius", "test acc. after", "acc.\nafter", as_accuracy),
    Column("alpha_log_moment_vectors", "measured alpha (units)", "alpha\nfound", as_index),
)
NUMBERS = {column.metric: column.number for column in COLUMNS}
REFUSED = "refused"


def spread(number: Number, mean: float, std: float | None) -> str:
    """A mean and its standard deviation, in one notation everywhere."""
    return number(mean) if std is None else f"{number(mean)} ± {number(std)}"


@dataclass(frozen=True)
class Row:
    """One condition: our cells, and the paper's, empty where it prints nothing."""

    label: str
    cells: tuple[str, ...]
    source: str
    paper: tuple[str, ...]


def comparison_rows(results: Results) -> list[Row]:
    """Rows of the comparison table, one a condition, cells in the order of `COLUMNS`."""
    return [_row(condition) for condition in results.conditions]


def _row(condition: ConditionResults) -> Row:
    def ours(column: Column) -> str:
        found = condition.summary.get(column.metric)
        return REFUSED if found is None else spread(column.number, found.mean, found.std)

    def theirs(column: Column) -> str:
        value = condition.paper.values.get(column.metric) if condition.paper else None
        return "" if value is None else spread(column.number, value.mean, value.std)

    failed = f" ({condition.n_failed} of {condition.n_runs} failed)" if condition.n_failed else ""
    return Row(
        label=condition.label + failed,
        cells=tuple(map(ours, COLUMNS)),
        source=condition.paper.source if condition.paper else "",
        paper=tuple(map(theirs, COLUMNS)),
    )


def caption(results: Results) -> str:
    """What the table shows, in one line."""
    seeds = len(results.spec["seeds"])
    return (
        f"{results.dataset.label}, n = {results.spec['width']:,} hidden units, "
        f"{seeds} run{'s' if seeds > 1 else ''} each: mean ± standard deviation"
    )


def render_console(results: Results, console: Console) -> None:
    """Print the comparison table; the paper's numbers stand dim below ours."""
    table = Table(title=caption(results), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("noise", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.short, justify="right", no_wrap=True)

    def add(label: str, cells: tuple[str, ...], style: str | None) -> None:
        table.add_row(
            label.replace(", ", "\n"), *(cell.replace(" ± ", "\n±") for cell in cells), style=style
        )

    for row in comparison_rows(results):
        add(row.label, row.cells, None)
        if row.source:
            add(row.source, row.paper, "dim")
    console.print(table)
    console.print(
        "[dim]sq.: dropped squared norm ≤ 0.1, as in the paper's tables; "
        "Fr.: relative Frobenius error ≤ 0.1[/]\n"
    )
    for finding in results.findings:
        console.print(f"[bold]{finding.title}.[/] {finding.text}", highlight=False)


def to_markdown(results: Results) -> str:
    """The comparison table in Markdown; the paper's numbers stand in italics below ours."""
    lines = [
        f"{caption(results)}.",
        "",
        "| noise | " + " | ".join(column.title for column in COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for row in comparison_rows(results):
        lines.append(f"| {row.label} | " + " | ".join(row.cells) + " |")
        if row.source:
            paper = " | ".join(f"*{cell}*" if cell else "" for cell in row.paper)
            lines.append(f"| *{row.source}* | {paper} |")
    return "\n".join(lines) + "\n"
