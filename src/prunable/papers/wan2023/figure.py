"""Figure 1: a few columns of large norm carry the matrix, so that the others can go."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from prunable.experiments.reproduce.items import (
    Check,
    Convention,
    Findings,
    Item,
    Panel,
    Plan,
    Result,
    Scale,
    Series,
)
from prunable.papers.wan2023 import checks
from prunable.papers.wan2023.rows import Row, lost_runs, percent, row_of
from prunable.papers.wan2023.settings import ALPHAS, ecg_runs, ecg_setting, ecg_sigma
from prunable.papers.wan2023.specs import TwoLayerPruneSpec

WIDTH, NOISE = 2000, "type1"
FAR = 0.001
# Norm that one column in a thousand exceeds, over the median.
FAR_WITH_NOISE, FAR_WITHOUT = 3.0, 2.0
TOP_SHARE = "top_share"


def plan_of(scale: Scale, convention: Convention) -> Plan:
    """Runs of table 1."""
    setting = ecg_setting(WIDTH, scale)
    return Plan(
        scale,
        convention,
        ecg_runs(WIDTH, NOISE, scale, convention),
        {
            "data": setting.dataset,
            "hidden units": setting.width,
            "full-batch steps": setting.steps,
            "noise level": ecg_sigma(NOISE, convention),
            "seeds": setting.seeds,
        },
        (
            "The figure is a sketch without numbers: a network, its weight matrix with a few "
            "large columns, the matrix after pruning. Here its three statements are measured on "
            "the networks of table 1.",
        ),
    )


def gather(plan: Plan, results: Mapping[str, Result]) -> Findings:
    """Norms of the columns, and what is left at each error."""
    rows = [row_of(plan, results, "none")]
    rows += [row_of(plan, results, f"{NOISE}-{alpha:g}") for alpha in ALPHAS]
    rows = [row for row in rows if row.runs]
    spec = next(iter(plan.runs.values()))
    assert isinstance(spec, TwoLayerPruneSpec)
    edges = np.logspace(*spec.norm_decades, spec.norm_bins + 1)
    panels = (
        Panel(
            "A few columns have far larger norms",
            "norm of a column",
            "share of columns with a larger norm",
            tuple(_tail(row, edges) for row in rows),
            x_log=True,
            y_log=True,
        ),
        Panel(
            "They carry most of the matrix",
            "tail index alpha",
            "share of the squared norm in 1 % of the columns",
            (
                Series(
                    "1 % of the columns",
                    tuple(range(len(rows))),
                    tuple(row.mean(TOP_SHARE) or 0.0 for row in rows),
                    tuple(row.deviation(TOP_SHARE) or 0.0 for row in rows),
                    style="bars",
                    runs=tuple(run for row in rows for run in row.runs),
                    labels=tuple(checks.label_of(row) for row in rows),
                ),
            ),
        ),
        Panel(
            "So the others can be removed",
            "relative Frobenius error",
            "share of columns kept",
            tuple(_kept(row, spec.eps) for row in rows),
        ),
    )
    return Findings((), panels, _checks(rows, edges), lost_runs(plan, results))


def _checks(rows: list[Row], edges: np.ndarray) -> tuple[Check, ...]:
    by_key = {row.key: row for row in rows}
    wanted = ["none", *(f"{NOISE}-{alpha:g}" for alpha in ALPHAS)]
    statement = (
        f"One column in a thousand is at least {FAR_WITH_NOISE:g} times as long as the median "
        f"with noise, and less than {FAR_WITHOUT:g} times without"
    )
    if any(key not in by_key for key in wanted):
        missing = "runs are missing"
        return (Check(statement, None, missing),)
    spread = {key: _spread(by_key[key], edges) for key in wanted}
    text = ", ".join(f"{checks.label_of(by_key[key])}: {spread[key]:.2f}" for key in wanted)
    ordered = [by_key[key] for key in wanted]
    return (
        Check(
            statement,
            spread["none"] < FAR_WITHOUT
            and all(spread[key] >= FAR_WITH_NOISE for key in wanted[1:]),
            text,
        ),
        checks.ordered(
            ordered,
            TOP_SHARE,
            "The share of the squared norm in 1 % of the columns grows from no noise over alpha "
            "= 1.9 and 1.8 to 1.75",
        ),
        _fewer_kept(ordered),
    )


def _fewer_kept(rows: list[Row]) -> Check:
    statement = "At a squared error of 0.1 fewer columns are kept with noise than without"
    kept = [row.mean("pruning_ratio_squared") for row in rows]
    assert all(value is not None for value in kept)
    shares = [1 - value for value in kept if value is not None]
    text = ", ".join(
        f"{checks.label_of(row)}: {percent(share)}" for row, share in zip(rows, shares, strict=True)
    )
    return Check(statement, max(shares[1:]) < shares[0], text)


def _exceeding(row: Row) -> np.ndarray:
    """Share of columns above each edge of the histogram but the last, over all runs."""
    counts = np.sum([result["norm_counts"] for result in row.results], axis=0)
    return np.asarray(counts[::-1].cumsum()[::-1] / counts.sum())


def _tail(row: Row, edges: np.ndarray) -> Series:
    shares = _exceeding(row)
    shown = shares > 0
    return Series(
        checks.label_of(row),
        tuple(edges[:-1][shown].tolist()),
        tuple(shares[shown].tolist()),
        runs=row.runs,
    )


def _kept(row: Row, eps: tuple[float, ...]) -> Series:
    curves = np.array([result["kappa"] for result in row.results])
    deviations = np.std(curves, axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(eps))
    return Series(
        checks.label_of(row),
        eps,
        tuple(curves.mean(axis=0).tolist()),
        tuple(deviations.tolist()),
        runs=row.runs,
    )


def _spread(row: Row, edges: np.ndarray) -> float:
    """Norm that one column in a thousand exceeds, over the median, up to a bin's width."""
    shares = _exceeding(row)
    far, middle = (edges[np.flatnonzero(shares >= share)[-1]] for share in (FAR, 0.5))
    return math.exp(math.log(far) - math.log(middle))


ITEMS = (
    Item(
        "wan2023-fig1",
        "wan2023",
        "figure",
        "Figure 1",
        "Why heavy-tailed columns can be pruned: norms, their shares, what is left",
        "With heavy-tailed noise a few columns have far larger norms than the others and carry "
        "most of the matrix, so that the majority can be removed.",
        plan_of,
        gather,
    ),
)
