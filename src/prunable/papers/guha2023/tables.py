"""Tables 1 and 2: bounds and true errors by hidden width, on MNIST and on CIFAR-10."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from prunable.experiments.reproduce.items import (
    Cell,
    Check,
    Column,
    Convention,
    Findings,
    Item,
    Plan,
    Result,
    Scale,
    Table,
)
from prunable.papers.guha2023 import checks, pruning_checks
from prunable.papers.guha2023.found import LABELS, ROWS, Found, cell_of
from prunable.papers.guha2023.published import PAPER, columns
from prunable.papers.guha2023.settings import Data, plan_of

# Training differs, which norms and margins feel more than counts do.
NEAR, NEAR_BASELINES = 0.3, 2.0


def _plan(data: Data) -> Callable[[Scale, Convention], Plan]:
    def plan(scale: Scale, convention: Convention) -> Plan:
        return plan_of(data, scale, convention, compared=True, strengths=True)

    return plan


def _gather(plan: Plan, results: Mapping[str, Result]) -> Findings:
    found = Found.of(plan, results)
    tables = (
        as_printed(found),
        like_with_like(found),
        with_constants(found),
        pruning(found),
        at_strengths(found),
        published_alone(found),
    )
    return Findings(
        tables=tuple(table for table in tables if table.rows),
        checks=claims(found),
        notes=found.notes,
    )


def claims(found: Found) -> tuple[Check, ...]:
    """The tables' claims, and what became of them."""
    return (
        checks.below_baselines(found, rate=False),
        checks.below_baselines(found, rate=True),
        checks.shorter_than_counting(found),
        pruning_checks.prunes(found),
        checks.covers_true_error(found),
        checks.vacuous(found),
        checks.near_published(found, ("ours",), NEAR, essential=True, any_width=False),
        checks.near_published(found, ("true_error",), NEAR, essential=False),
        checks.near_published(
            found,
            ("neyshabur2015", "neyshabur2017", "bartlett2017"),
            NEAR_BASELINES,
            essential=False,
        ),
        *((checks.steady_error(found),) if len(columns(found.dataset)) != 1 else ()),
        checks.normalised(found),
        pruning_checks.may_hold(found),
        pruning_checks.margin_suffices(found),
        checks.published_below(columns(found.dataset)),
        pruning_checks.rows_fit(found),
    )


def as_printed(found: Found) -> Table:
    """Rows and columns of the paper."""
    return _by_width(
        "Natural logarithms as printed: raw capacities of others, the new bound, the true error",
        found,
        (*ROWS, "true_error", "theorem"),
        rate=False,
    )


def like_with_like(found: Found) -> Table:
    """Every method as a root per example."""
    return _by_width(
        "Like with like: ln sqrt(capacity / n), without constants",
        found,
        (*ROWS, "counting"),
        rate=True,
    )


def with_constants(found: Found) -> Table:
    """Every method's own bound on the risk, over the networks of each width."""
    logs: dict[str, dict[int, list[float]]] = {}
    runs: dict[int, list[str]] = {}
    for key, part in found.parts("bounds"):
        width = int(key.split("/")[0])
        runs.setdefault(width, []).append(found.plan.runs[key].run_id)
        for bound in part["bounds"]:
            name = bound["name"]
            if bound["variant"] not in ("paper", "normalised"):
                name += f" ({bound['variant']})"
            value = bound["log_value"]
            logs.setdefault(name, {}).setdefault(width, []).append(
                float("inf") if value is None else value
            )
    widths = sorted(runs)
    rows = [
        (Cell(name), *(cell_of(by.get(w, []), runs=tuple(runs[w])) for w in widths))
        for name, by in sorted(logs.items(), key=lambda item: _first_mean(item[1]))
    ]
    return Table(
        "Natural logarithms of bounds with all constants; below 0 one would say something",
        (Column("name", "bound"), *(_width_column(width) for width in widths)),
        tuple(rows),
    )


def pruning(found: Found) -> Table:
    """What the margin allows, network by network."""
    columns_ = (
        Column("network", "width/seed"),
        Column("margin", "smallest margin"),
        Column("d", "d"),
        Column("kept", "weights kept", "%", 2),
        Column("chi", "chi, expected", "%", 2),
        Column("train", "training error", "%", 2),
        Column("test", "test error", "%", 2),
        Column("pruned", "test error, pruned", "%", 2),
        Column("failure", "theorem 5.2 fails with", digits=2),
        Column("contraction", "contraction of the last layer", digits=2),
        Column("claimed", "as lemma C.1 claims", digits=2),
    )
    rows = []
    for key, row in found.networks():
        known = found.published(int(key.split("/")[0]))
        values = (
            Cell(key),
            Cell(row["margin"]["min"]),
            Cell(row["strength"]["d"], published=None if known is None else known.implied_d),
            Cell(row["kept"] / row["weights"]),
            Cell(row["strength"]["chi"], published=None if known is None else known.implied_chi),
            Cell(row["errors"]["train"]),
            Cell(row["errors"]["test"]),
            Cell(row["errors"]["pruned_test"]),
            Cell(row["theorem"]["failure"]),
            Cell(row["layers"][-1]["contraction"]),
            Cell(row["layers"][-1]["contraction_claimed"]),
        )
        runs = found.ids([key])
        rows.append(tuple(Cell(c.value, c.std, c.published, runs=runs) for c in values))
    return Table("The pruning that the smallest training margin allows", columns_, tuple(rows))


def at_strengths(found: Found) -> Table:
    """What pruning does at given strengths, beside what the lemmas allow for."""
    columns_ = (
        Column("network", "width/seed"),
        Column("d", "d"),
        Column("kept", "weights kept", digits=0),
        Column("margin", "smallest margin"),
        Column("needed", "margin needed"),
        Column("change", "largest change of logits"),
        Column("lines", "largest row or column / 3 d chi", digits=2),
        Column("errors", "largest spectral change / lemma 4.2", digits=2),
        Column("test", "test error, pruned", "%", 2),
    )
    rows = []
    for key, part in found.parts("strengths"):
        runs = found.ids([key])
        for row in part["rows"]:
            cells = (
                key.rsplit("/", 1)[0],
                row["d"],
                row["kept"],
                part["min_margin"],
                row["needed"],
                row["change_norm"],
                row["line_ratio"],
                row["error_ratio"],
                row["test_error"],
            )
            rows.append(tuple(Cell(value, runs=runs) for value in cells))
    return Table("Pruned at given strengths", columns_, tuple(rows))


def published_alone(found: Found) -> Table:
    """The published rows as roots per example, and the pruning that they imply."""
    columns_ = (
        Column("width", "width", digits=0),
        *(Column(row, LABELS[row], digits=2) for row in ROWS),
        Column("counting", LABELS["counting"], digits=2),
        Column("chi", "implied chi", "%", 1),
        Column("d", "implied d"),
    )
    rows = tuple(
        (
            Cell(c.width),
            *(Cell(c.rate(row)) for row in ROWS),
            Cell(c.counting_rate),
            Cell(c.implied_chi),
            Cell(c.implied_d),
        )
        for c in columns(found.dataset)
    )
    return Table("The published numbers as ln sqrt(capacity / n)", columns_, rows)


def _by_width(title: str, found: Found, names: tuple[str, ...], *, rate: bool) -> Table:
    rows = tuple(
        (Cell(LABELS[name]), *(found.cell(width, name, rate=rate) for width in found.widths))
        for name in names
    )
    first = Column("method", "natural logarithm")
    return Table(title, (first, *(_width_column(width) for width in found.widths)), rows)


def _width_column(width: int) -> Column:
    return Column(str(width), f"width {width}", digits=2)


def _first_mean(by_width: Mapping[int, list[float]]) -> float:
    return statistics.fmean(next(iter(by_width.values())))


TABLE_1 = Item(
    name="guha2023-table1",
    paper=PAPER,
    kind="table",
    label="Table 1",
    title="Bounds and true errors on MNIST by hidden width",
    claim=(
        "At every hidden width the new bound is smaller than the bounds of Neyshabur 2015, "
        "Neyshabur 2017 and Bartlett 2017; the true error hardly depends on the width."
    ),
    plan=_plan("mnist"),
    gather=_gather,
    conventions=("paper", "authors-code"),
)

TABLE_2 = Item(
    name="guha2023-table2",
    paper=PAPER,
    kind="table",
    label="Table 2",
    title="Bounds and true error on CIFAR-10",
    claim="On CIFAR-10 too the new bound is orders of magnitude below the others.",
    plan=_plan("cifar10"),
    gather=_gather,
    conventions=("paper", "authors-code"),
)
