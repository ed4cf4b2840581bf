"""Figure 2: the new bound and the true error in the course of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scipy.stats import spearmanr

from prunable.experiments.reproduce.items import (
    Cell,
    Check,
    Column,
    Convention,
    Findings,
    Item,
    Panel,
    Plan,
    Result,
    Scale,
    Series,
    Table,
)
from prunable.papers.guha2023.found import Found
from prunable.papers.guha2023.published import PAPER
from prunable.papers.guha2023.settings import plan_of

# A fall of the bound worth comparing with that of the true error.
COMPARABLE = 0.1


def _plan(scale: Scale, convention: Convention) -> Plan:
    return plan_of("mnist", scale, convention, only_reference=True, epochs=True)


def _gather(plan: Plan, results: Mapping[str, Result]) -> Findings:
    found = Found.of(plan, results)
    points = epochs_of(found)
    return Findings(
        tables=(_epoch_table(found, points),),
        panels=_epoch_panels(found, points),
        checks=_epoch_checks(points),
        notes=found.notes,
    )


def epochs_of(found: Found) -> list[tuple[float, str, Result]]:
    """Epoch, key and result of a network while it trains, the trained one last.

    Epochs of refinement count on after those of the training.
    """
    points = {float(key.rsplit(" ", 1)[1]): (key, row) for key, row in found.parts("epoch")}
    owners = {key.rsplit("/", 1)[0] for key in found.plan.runs if key.count("/") == 2}
    for key, row in found.networks():
        if key in owners:
            points.setdefault(float(found.plan.settings["epochs"]) + row["refined"], (key, row))
    return [(epoch, *points[epoch]) for epoch in sorted(points)]


def _epoch_table(found: Found, points: Sequence[tuple[float, str, Result]]) -> Table:
    columns_ = (
        Column("epoch", "epoch", digits=0),
        Column("margin", "smallest margin"),
        Column("d", "d"),
        Column("bound", "new bound"),
        Column("loss", "of it training margin loss", digits=4),
        Column("train", "training error", "%", 2),
        Column("test", "true error, pruned", "%", 2),
    )
    rows = []
    for epoch, key, row in points:
        values = (
            epoch,
            row["margin"]["min"],
            row["strength"]["d"],
            math.exp(row["logs"]["ours"]),
            row["parts"]["margin_loss"],
            row["errors"]["train"],
            row["errors"]["pruned_test"],
        )
        rows.append(tuple(Cell(value, runs=found.ids([key])) for value in values))
    return Table("The new bound while a network trains", columns_, tuple(rows))


def _epoch_panels(found: Found, points: Sequence[tuple[float, str, Result]]) -> tuple[Panel, ...]:
    if not points:
        return ()
    runs = found.ids([key for _, key, _ in points])
    epochs = tuple(epoch for epoch, _, _ in points)
    errors = [row["errors"]["pruned_test"] for _, _, row in points]
    bounds = [math.exp(row["logs"]["ours"]) for _, _, row in points]

    def curve(label: str, values: Sequence[float]) -> Series:
        return Series(label, epochs, tuple(map(float, values)), style="line+points", runs=runs)

    return (
        Panel(
            "New bound, scaled to the range of the true error",
            "epoch",
            "share of test examples",
            (curve("true error", errors), curve("new bound, scaled", scaled(bounds, errors))),
        ),
        Panel("New bound, as it is", "epoch", "bound", (curve("new bound", bounds),)),
        Panel(
            "Smallest training margin",
            "epoch",
            "logits",
            (curve("smallest margin", [row["margin"]["min"] for _, _, row in points]),),
        ),
    )


def scaled(values: Sequence[float], into: Sequence[float]) -> list[float]:
    """Move values linearly into the range of others; constant ones to its middle."""
    low, high = min(values), max(values)
    bottom, top = min(into), max(into)
    if high == low:
        return [(bottom + top) / 2] * len(values)
    return [bottom + (top - bottom) * (value - low) / (high - low) for value in values]


def _epoch_checks(points: Sequence[tuple[float, str, Result]]) -> tuple[Check, ...]:
    falls = "The new bound falls in the course of training"
    follows = "The new bound and the true error rank the epochs alike (Spearman above 0.5)"
    further = "Once the smallest margin is positive the new bound falls below its value without one"
    settled = "By then the true error has nearly reached its least (within a tenth of it)"
    alike = f"The fall is no mere trace: at least {COMPARABLE:.0%} of the bound"
    if len(points) < 3:
        statements = (falls, follows, further, settled, alike)
        return tuple(Check(s, None, "fewer than three epochs", s != settled) for s in statements)
    rows = [row for _, _, row in points]
    bounds = [math.exp(row["logs"]["ours"]) for row in rows]
    errors = [row["errors"]["pruned_test"] for row in rows]
    share = 1 - bounds[-1] / bounds[0]
    said = f"{bounds[0]:.4f} after epoch {points[0][0]:.0f}, {bounds[-1]:.4f} at the end"
    constant = len(set(bounds)) == 1 or len(set(errors)) == 1
    rank = math.nan if constant else float(spearmanr(bounds, errors).statistic)
    return (
        Check(falls, bounds[-1] < bounds[0], said),
        Check(follows, None if constant else rank > 0.5, f"rank correlation {rank:.2f}"),
        *_once_positive(further, settled, points),
        Check(
            alike,
            share >= COMPARABLE,
            f"the bound falls by {share:.2%}, the true error by {1 - errors[-1] / errors[0]:.0%}"
            if errors[0] > 0
            else f"the bound falls by {share:.2%}",
        ),
    )


def _once_positive(
    further: str, settled: str, points: Sequence[tuple[float, str, Result]]
) -> tuple[Check, Check]:
    positive = [(epoch, row) for epoch, _, row in points if row["margin"]["min"] > 0]
    if not positive:
        none = "the smallest margin is positive at no epoch"
        return Check(further, None, none), Check(settled, None, none, essential=False)
    epoch, first = positive[0]
    without = min(
        (row["parts"]["complexity"] for _, _, row in points if row["strength"]["d"] == 0),
        default=math.inf,
    )
    last = math.exp(points[-1][2]["logs"]["ours"])
    least = min(row["errors"]["pruned_test"] for _, _, row in points)
    error = first["errors"]["pruned_test"]
    return (
        Check(
            further,
            None if math.isinf(without) else last < without,
            f"{last:.4f} at the end, at d = {points[-1][2]['strength']['d']:.3g}; {without:.4f} "
            "without pruning and training errors",
        ),
        Check(
            settled,
            error <= 1.1 * least,
            f"true error {error:.4f} at epoch {epoch:.0f}, the first with a positive margin; "
            f"least {least:.4f}",
            essential=False,
        ),
    )


FIGURE_2 = Item(
    name="guha2023-fig2",
    paper=PAPER,
    kind="figure",
    label="Figure 2",
    title="New bound and true error by epoch",
    claim=(
        "The new bound falls with the true error while the margin is negative, and goes on "
        "falling, slowly, once it is positive and grows."
    ),
    plan=_plan,
    gather=_gather,
    conventions=("paper", "authors-code"),
)
