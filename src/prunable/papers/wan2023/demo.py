"""The demonstration: networks with and without heavy-tailed noise, measured, pruned, compared."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.reproduce.document import (
    Cell,
    Check,
    Column,
    Convention,
    Panel,
    Scale,
    Series,
    Table,
)
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.published import PublishedItem
from prunable.experiments.reproduce.tables import Line, Metric, TableSpec, band, series
from prunable.papers.wan2023 import demo_results as results
from prunable.papers.wan2023.claims import PRUNED, RATIO, TEST, Rows
from prunable.papers.wan2023.demo_settings import CONDITIONS, DemoSettings
from prunable.papers.wan2023.settings import EPS_GRID, KEEP_GRID
from prunable.runs.store import Store, read_result

NAME = "study-demo"
LABELS = {
    "none": "no noise",
    **{
        key: f"type {'I' if noise == 'type1' else 'II'}, alpha = {alpha:g}"
        for key, (noise, alpha, _) in CONDITIONS.items()
        if alpha is not None
    },
}
ROWS = Rows(1, "type1", (1.9, 1.8, 1.75), independent=False)
# Names of the files that show the panels.
FIGURES = ("pruning_ratios", "norm_histograms", "kappa_curves", "accuracy_curves")
COLUMNS = (
    Metric("train_accuracy", "train acc."),
    Metric(TEST, "test acc."),
    Metric("test_balanced_accuracy", "balanced test acc."),
    Metric(RATIO, "pruned, squared error ≤ 0.1", "%", 1),
    Metric(PRUNED, "test acc. after"),
    Metric("pruning_ratio_frobenius", "pruned, Frobenius error ≤ 0.1", "%", 1),
    Metric("test_accuracy_pruned_frobenius", "test acc. after"),
    Metric("alpha_log_moment_vectors", "measured alpha (units)", digits=2),
)


def row_of(condition: str) -> str:
    """The paper's row of a condition."""
    alpha = CONDITIONS[condition][1]
    return "none" if alpha is None else f"{alpha:g}"


def demonstration(settings: DemoSettings | None = None) -> Item:
    """The demonstration as an item: of given settings, or as its scale says."""
    papers = settings is None or settings.is_papers
    claims: list[Callable[[Found], Check | Iterable[Check]]]
    claims = [ROWS.more_prunable, ROWS.rising, ROWS.small_loss]
    if papers:
        claims.append(ROWS.near_without_noise)
    return Item(
        NAME,
        None,
        "study",
        "Demonstration",
        "Networks trained with heavy-tailed noise, measured and pruned",
        "Does training with heavy-tailed noise make more of the hidden units prunable, as Wan, "
        "Zaidi and Simsekli (2023) find, and at which cost?",
        partial(_plan, settings),
        Gather(
            (partial(_comparison, papers=papers), _controls, partial(_differences, papers=papers)),
            (_panels,),
            tuple(claims),
            (_findings,),
        ),
    )


def _findings(found: Found) -> list[str]:
    return [f"{one['title']}. {one['text']}" for one in results.findings(found, LABELS)]


def settings_of(plan: Plan) -> DemoSettings:
    """Settings of a plan's runs."""
    evaluation = plan.runs["type1-1.9/0"]
    assert isinstance(evaluation, EvaluateSpec)
    train = evaluation.train
    seeds = sum(key.startswith("none/") for key in plan.runs)
    return DemoSettings(train.dataset.name, train.width, train.steps, seeds, train.lr, train.sigma)


def _plan(chosen: DemoSettings | None, scale: Scale, convention: Convention) -> Plan:
    smoke = DemoSettings("digits", 48, 20, 2, sigma=0.05)
    settings = chosen or (smoke if scale == "smoke" else DemoSettings())
    runs = settings.runs()
    return Plan(
        scale,
        convention,
        runs,
        {
            "data": settings.dataset,
            "hidden units": settings.width,
            "step size": settings.lr,
            "learning rate": settings.lr * settings.width,
            "full-batch steps": settings.steps,
            "noise level": settings.sigma,
            "seeds": settings.n_seeds,
            "specification": results.identity(runs),
        },
        (
            "Hidden units of smallest norm are removed until a relative error reaches 0.1. The "
            "paper's tables bound the squared error; its theorem bounds the error itself. Both "
            "stand here.",
            "The network is divided by n, its learning rate is eta * n, and it tells all classes "
            "apart, as the theory has it; the tables of the paper are those of another task.",
        ),
    )


def _comparison(found: Found, *, papers: bool) -> Table:
    printed = settings_of(found.plan).printed() if papers else {}
    cells = {c: item.cells.get(row_of(c), {}) for c, item in printed.items()}
    lines = [Line(LABELS[c], c, c) for c in CONDITIONS]
    title = results.caption(found)
    spec = TableSpec(title, Column("noise", "noise"), COLUMNS, lines, PublishedItem(cells=cells))
    return spec(found)


def _controls(found: Found) -> Table | None:
    noisy = [c for c in CONDITIONS if results.controls_of(found, c)]
    columns = (
        Metric("kept", "units kept", "%", 1, RATIO, lambda shares: (1 - (shares.mean or 0), None)),
        Metric(PRUNED, "test acc. with this noise"),
        Metric("test_accuracy_pruned", "without noise, same share", of=lambda c: f"{c}-control"),
    )
    title = "Control: plain SGD pruned to the share kept under the squared criterion"
    lines = [Line(LABELS[c], c) for c in noisy]
    return TableSpec(title, Column("noise", "noise"), columns, lines)(found) if noisy else None


def _differences(found: Found, *, papers: bool) -> Table | None:
    rows = results.differences(found, settings_of(found.plan).printed() if papers else {})
    names = ("noise", "metric", "ours", "paper", "difference", "suspected cause")
    cells = [(LABELS[row["condition"]], *(row[key] for key in list(row)[1:])) for row in rows]
    if not cells:
        return None
    return Table(
        "Where we differ from the paper, and the suspected cause",
        tuple(Column(name, name) for name in names),
        tuple(tuple(map(Cell, row)) for row in cells),
    )


def _panels(found: Found) -> tuple[Panel, ...]:
    known = [c for c in CONDITIONS if found.results_of(c)]
    places = [(float(place), found.of(c, RATIO)) for place, c in enumerate(known)]
    bars = series("units pruned", places, style="bars", labels=tuple(LABELS[c] for c in known))
    cells = settings_of(found.plan).printed()
    theirs = [(p, cells[c].cell(row_of(c), RATIO)) for p, c in enumerate(known) if c in cells]
    paper = Series(
        "Wan et al. 2023",
        tuple(float(place) for place, _ in theirs),
        tuple(cell.mean for _, cell in theirs),
        tuple(cell.std or 0.0 for _, cell in theirs),
        style="published",
    )
    return (
        Panel(
            "Units pruned at squared error ≤ 0.1",
            "noise",
            "pruned share of the units",
            (bars, paper) if theirs else (bars,),
        ),
        Panel(
            "Noise gives few units very large norms",
            "norm of a hidden unit's incoming weights",
            "units, all seeds",
            tuple(_histogram(found, c) for c in known),
            x_log=True,
            y_log=True,
        ),
        Panel(
            "Heavier noise needs fewer units at equal error",
            "eps, relative error allowed",
            "kappa, share of units kept",
            tuple(_curve(found, c, "kappa", EPS_GRID) for c in known),
            x_log=True,
        ),
        Panel(
            "What pruning costs at equal size",
            "kappa, share of units kept",
            "test accuracy",
            tuple(_curve(found, c, "test_accuracy", KEEP_GRID) for c in known),
            x_log=True,
        ),
    )


def _histogram(found: Found, condition: str) -> Series:
    edges, counts = results.norms(found, condition)
    middles = np.sqrt(edges[1:] * edges[:-1])
    return Series(
        LABELS[condition],
        tuple(middles[counts > 0].tolist()),
        tuple(counts[counts > 0].astype(float).tolist()),
        runs=found.of(condition, RATIO).runs,
    )


def _curve(found: Found, condition: str, name: str, grid: tuple[float, ...]) -> Series:
    rows = [result[name] for result in found.results_of(condition).values()]
    return band(LABELS[condition], grid, rows, found.of(condition, RATIO).runs)


def results_of(settings: DemoSettings, store: Store) -> dict[str, Any]:
    """The document `results.json` of a demonstration whose runs are stored."""
    plan = _plan(settings, "laptop", "paper")
    stored = {key: read_result(store.folder(spec), spec) for key, spec in plan.runs.items()}
    found = {key: result for key, result in stored.items() if result is not None}
    return results.results_document(Found(plan, found), settings, LABELS)


STUDY = demonstration()
