"""Figure 1: bounds side by side on MNIST and CIFAR-10, and by hidden width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prunable.experiments.reproduce.items import (
    Convention,
    Findings,
    Item,
    Panel,
    Plan,
    Result,
    Scale,
    Series,
)
from prunable.papers.guha2023 import checks, pruning_checks
from prunable.papers.guha2023.found import LABELS, ROWS, Found
from prunable.papers.guha2023.published import PAPER, Published, columns, figure
from prunable.papers.guha2023.settings import Data, plan_of
from prunable.papers.guha2023.tables import at_strengths


def _plan_one(data: Data) -> Callable[[Scale, Convention], Plan]:
    def plan(scale: Scale, convention: Convention) -> Plan:
        return plan_of(data, scale, convention, only_reference=True, strengths=True)

    return plan


def _plan_widths(scale: Scale, convention: Convention) -> Plan:
    return plan_of("mnist", scale, convention)


def _gather_one(plan: Plan, results: Mapping[str, Result]) -> Findings:
    found = Found.of(plan, results)
    return Findings(
        tables=(at_strengths(found),),
        panels=(
            _methods(found, "As printed", (*ROWS, "true_error"), rate=False),
            _methods(found, "As roots per example", (*ROWS, "counting"), rate=True),
            *_strength_panels(found),
        ),
        checks=(
            checks.below_baselines(found, rate=False),
            checks.orders_below(found),
            checks.closest_is_bartlett(found),
            checks.below_baselines(found, rate=True),
            checks.shorter_than_counting(found),
            checks.published_below(_own_columns(found)),
            pruning_checks.change_covered(found),
            pruning_checks.rows_covered(found),
            pruning_checks.errors_covered(found),
        ),
        notes=(*found.notes, *_repository_notes(found)),
    )


def _gather_widths(plan: Plan, results: Mapping[str, Result]) -> Findings:
    found = Found.of(plan, results)
    return Findings(
        panels=(
            _by_width(found, "As printed", (*ROWS, "true_error"), rate=False),
            _by_width(found, "As roots per example", (*ROWS, "counting"), rate=True),
        ),
        checks=(
            checks.below_baselines(found, rate=False),
            checks.below_baselines(found, rate=True),
            checks.grows_slower(found),
            checks.shorter_than_counting(found),
            checks.published_below(columns(found.dataset)),
        ),
        notes=found.notes,
    )


def _methods(found: Found, title: str, names: Sequence[str], *, rate: bool) -> Panel:
    width = next((w for w in found.widths if any(found.networks(w))), None)
    series: list[Series] = []
    if width is not None:
        cells = [found.cell(width, name, rate=rate) for name in names]
        known = [(i, c) for i, c in enumerate(cells) if isinstance(c.value, float)]
        stated = [(i, c.published) for i, c in enumerate(cells) if isinstance(c.published, float)]
        labels = tuple(LABELS[name] for name in names)
        series.append(
            Series(
                "networks trained here",
                tuple(float(i) for i, _ in known),
                tuple(float(c.value) for _, c in known if isinstance(c.value, float)),
                tuple(c.std or 0.0 for _, c in known),
                style="bars",
                runs=cells[0].runs,
                labels=tuple(labels[i] for i, _ in known),
            )
        )
        if stated:
            series.append(
                Series(
                    "published",
                    tuple(float(i) for i, _ in stated),
                    tuple(float(value) for _, value in stated),
                    style="published",
                )
            )
    return Panel(title, "method", "natural logarithm", tuple(series))


def _by_width(found: Found, title: str, names: Sequence[str], *, rate: bool) -> Panel:
    series = []
    for name in names:
        cells = [(w, found.cell(w, name, rate=rate)) for w in found.widths]
        ours = [(w, c) for w, c in cells if isinstance(c.value, float)]
        series.append(
            Series(
                LABELS[name],
                tuple(float(w) for w, _ in ours),
                tuple(float(c.value) for _, c in ours if isinstance(c.value, float)),
                tuple(c.std or 0.0 for _, c in ours),
                style="line+points",
                runs=tuple(run for _, c in ours for run in c.runs),
            )
        )
    known = columns(found.dataset)
    for name in names if known else ():
        values = tuple(
            c.counting_rate if name == "counting" else c.rate(name) if rate else c.logs[name]
            for c in known
        )
        label = f"{LABELS[name]} (paper)"
        series.append(
            Series(label, tuple(float(c.width) for c in known), values, style="published")
        )
    return Panel(title, "hidden width", "natural logarithm", tuple(series))


def _strength_panels(found: Found) -> tuple[Panel, ...]:
    """The repository's figures: limits of the lemmas, and what pruning does, by strength."""
    parts = list(found.parts("strengths"))
    if not parts:
        return ()
    key, part = parts[0]
    runs, rows = found.ids([key]), part["rows"]
    at = tuple(float(row["d"]) for row in rows)

    def curve(label: str, name: str) -> Series:
        values = tuple(float(row[name]) for row in rows)
        return Series(label, at, values, style="line+points", runs=runs)

    counts = [curve("largest row", "row_count"), curve("3 d chi", "row_bound")]
    stated = figure("repository").inferred
    if found.dataset in stated["row_count"]:
        d = (float(stated["at_d"]),)
        for label, name in (("largest row", "row_count"), ("3 d chi", "row_bound")):
            value = (float(stated[name][found.dataset]),)
            counts.append(Series(f"{label} (paper)", d, value, style="published"))
    return (
        Panel(
            "Change of outputs by pruning, and its bound",
            "strength d",
            "logits",
            (
                curve("bound, lemma C.2", "needed"),
                curve("true class", "change_true"),
                curve("all logits", "change_norm"),
            ),
            x_log=True,
            y_log=True,
        ),
        Panel(
            "Weights in the fullest row of the layer with most inputs",
            "strength d",
            "weights",
            tuple(counts),
            x_log=True,
            y_log=True,
        ),
    )


def _repository_notes(found: Found) -> tuple[str, ...]:
    stated = figure("repository").inferred
    at_10 = [
        row
        for _, part in found.parts("strengths")
        for row in part["rows"]
        if row["d"] == stated["at_d"]
    ]
    if not at_10 or found.dataset not in stated["row_count"]:
        return ()
    row, name = at_10[0], found.dataset
    return (
        f"At d = 10 the bound on the change of outputs is {row['needed'] / row['change_true']:.0f} "
        f"times the change (released figures: about {stated['bound_over_change'][name]}), and the "
        f"fullest row keeps {row['row_count']} of 3 d chi = {row['row_bound']:.0f} (released "
        f"figures: {stated['row_count'][name]} of {stated['row_bound'][name]}).",
    )


def _own_columns(found: Found) -> Sequence[Published]:
    known = columns(found.dataset)
    return [c for c in known if c.width in found.widths] or known


_BOTH: tuple[Convention, ...] = ("paper", "authors-code")

FIGURE_1A = Item(
    name="guha2023-fig1a",
    paper=PAPER,
    kind="figure",
    label="Figure 1a",
    title="Bounds on MNIST side by side",
    claim="The new bound is several orders of magnitude below the others; Bartlett 2017 is next.",
    plan=_plan_one("mnist"),
    gather=_gather_one,
    conventions=_BOTH,
)

FIGURE_1B = Item(
    name="guha2023-fig1b",
    paper=PAPER,
    kind="figure",
    label="Figure 1b",
    title="Bounds on CIFAR-10 side by side",
    claim="The same on CIFAR-10, by more orders of magnitude.",
    plan=_plan_one("cifar10"),
    gather=_gather_one,
    conventions=_BOTH,
)

FIGURE_1C = Item(
    name="guha2023-fig1c",
    paper=PAPER,
    kind="figure",
    label="Figure 1c",
    title="Bounds on MNIST by hidden width",
    claim="The new bound stays below the others and grows less as the hidden layers widen.",
    plan=_plan_widths,
    gather=_gather_widths,
    conventions=_BOTH,
)
