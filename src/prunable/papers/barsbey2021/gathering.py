"""What the items of trained networks have in common: their plans, and their results by case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunable.experiments.reproduce.items import (
    Cell,
    Check,
    Column,
    Convention,
    Plan,
    Result,
    Scale,
    Table,
)
from prunable.experiments.reproduce.ranks import rank_correlation
from prunable.experiments.train.specs import TrainSpec
from prunable.papers import published
from prunable.papers.barsbey2021.settings import (
    AVERAGE_LAST,
    CASES,
    DATA_LABELS,
    EXTRA_STEPS,
    NET_LABELS,
    Setting,
    setting,
)
from prunable.papers.barsbey2021.specs import COARSE_RATIOS, MeasureSpec
from prunable.runs.spec import Spec

Case = tuple[str, str]
SMOKE_CASES: tuple[Case, ...] = (("fcn4", "mnist"), ("vgg", "mnist"))
SMOKE_RATIOS = (0.0, 0.5, 0.9)


PUBLISHED = published("barsbey2021")


def cases(scale: Scale, nets: Iterable[str] = tuple(NET_LABELS)) -> tuple[Case, ...]:
    """Cases (net, data set) that a scale has runs of."""
    wanted = set(nets)
    known = SMOKE_CASES if scale == "smoke" else CASES
    return tuple(case for case in known if case[0] in wanted)


def case_label(case: Case, scale: Scale) -> str:
    """Title of a case's panel."""
    chosen = setting(*case, scale)
    stand_in = f" ({chosen.net})" if chosen.net != case[0] else ""
    return f"{NET_LABELS[case[0]]}{stand_in}, {DATA_LABELS[chosen.dataset]}"


def measurement(train: TrainSpec, case: Case, scale: Scale, convention: Convention) -> MeasureSpec:
    """How a network of a case is measured."""
    if scale == "smoke":
        return MeasureSpec.create(
            train=train,
            convention=convention,
            magnitude_ratios=SMOKE_RATIOS,
            spectral_ratios=SMOKE_RATIOS,
            node_ratios=SMOKE_RATIOS,
            test_examples=50,
            train_examples=0,
        )
    if scale == "laptop" and case[0] == "vgg":
        return MeasureSpec.create(
            train=train,
            convention=convention,
            magnitude_ratios=COARSE_RATIOS,
            spectral_ratios=COARSE_RATIOS,
            node_ratios=COARSE_RATIOS,
            test_examples=1_000,
            train_examples=500,
        )
    return MeasureSpec.create(train=train, convention=convention)


def network_plan(
    scale: Scale,
    convention: Convention,
    *,
    nets: Iterable[str] = tuple(NET_LABELS),
    spec_of: Callable[[TrainSpec, Case, Scale, Convention], Spec] = measurement,
) -> Plan:
    """Plan one run for each network of each case.

    Parameters
    ----------
    scale : {"smoke", "laptop", "paper"}
    convention : {"paper", "authors-code"}
    nets : iterable of str
        Architectures.
    spec_of : callable
        From a training run, its case, scale and convention to the run.

    Returns
    -------
    Plan
        Keys are `fcn4-mnist/b=50 eta=0.1`.
    """
    chosen = cases(scale, nets)
    runs: dict[str, Spec] = {}
    settings: dict[str, str | int | float | bool] = {}
    for case in chosen:
        case_setting = setting(*case, scale)
        for key, train in case_setting.trainings().items():
            runs[f"{_name(case)}/{key}"] = spec_of(train, case, scale, convention)
        for key, value in case_setting.summary().items():
            settings[f"{case_label(case, scale)}: {key}"] = value
    return Plan(scale, convention, runs, settings, tuple(_notes(scale, chosen)))


def _notes(scale: Scale, chosen: Sequence[Case]) -> Iterable[str]:
    if scale == "smoke":
        yield "Toys on the embedded digits; a residual network stands in for the CNN."
        return
    yield (
        f"The averaged network is the mean of the last {AVERAGE_LAST:,} of {EXTRA_STEPS:,} steps "
        "taken after the stop rule is met, as in the released code; the text has "
        f"{AVERAGE_LAST:,} extra steps. One training serves both conventions."
    )
    if scale == "paper":
        return
    for case in chosen:
        yield f"{case_label(case, scale)}: {departure(setting(*case, scale))}."


def departure(chosen: Setting) -> str:
    """How a setting departs from the paper's, in words."""
    size = "all examples" if chosen.train_size is None else f"{chosen.train_size:,} examples"
    n_rates = sum(len(etas) for _, etas in chosen.rates)
    loss = "full stop rule" if chosen.until_loss == 5e-5 else f"loss < {chosen.until_loss:g}"
    extra = (
        ""
        if (chosen.extra_steps, chosen.average_last) == (EXTRA_STEPS, AVERAGE_LAST)
        else f", {chosen.extra_steps:,} extra steps of which {chosen.average_last:,} are averaged"
    )
    return f"width {chosen.width}, {size}, {n_rates} step sizes, {loss}{extra}"


def _name(case: Case) -> str:
    return f"{case[0]}-{case[1]}"


@dataclass(frozen=True)
class Network:
    """One measured network of a case.

    Attributes
    ----------
    key : str
        Such as `b=50 eta=0.1`.
    run_id : str
    result : dict
    """

    key: str
    run_id: str
    result: Result

    @property
    def alpha(self) -> float:
        """Mean tail index of the layers."""
        return float(self.result["alpha"])

    def area(self, method: str) -> float:
        """Mean accuracy after pruning relative to before, over the curve of a method."""
        x, y = self.curve(method)
        order = np.argsort(x, kind="stable")
        xs, ys = np.array(x)[order], np.array(y)[order]
        span = float(xs[-1] - xs[0])
        return float(np.trapezoid(ys, xs)) / span if span > 0 else float(ys[0])

    def curve(self, method: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Pruned shares of all weights, and relative test accuracies.

        Singular values are as many numbers as the weights or more until many are pruned; those
        points are left out.
        """
        found = self.result["curves"][method]
        dense = self.result["dense"]["test_accuracy"]
        points = [
            (x, y / dense if dense else 0.0)
            for x, y in zip(found["pruned"], found["test_accuracy"], strict=True)
            if x >= 0
        ]
        return tuple(x for x, _ in points), tuple(y for _, y in points)


def networks(
    plan: Plan, results: Mapping[str, Result], case: Case
) -> tuple[list[Network], list[str]]:
    """Networks of a case that met the stop rule, and a note for the others.

    Parameters
    ----------
    plan : Plan
    results : mapping of str to dict
    case : (str, str)

    Returns
    -------
    tuple of (list of Network, list of str)
        In the order of eta / b.
    """
    found, missing = [], []
    for key, spec in plan.runs.items():
        name, _, own = key.partition("/")
        if name != _name(case):
            continue
        result = results[key]
        if result["status"] != "done" or not result["stopped"]:
            missing.append(f"{own} ({result['reason']})")
        elif result.get("alpha", 0.0) is None:
            missing.append(f"{own} (too few vectors for a tail index)")
        else:
            found.append(Network(own, spec.run_id, result))
    label = case_label(case, plan.scale)
    return found, [f"{label}, left out: {'; '.join(missing)}."] if missing else []


def falling(
    statement: str, x: Sequence[float], y: Sequence[float], *, essential: bool = True
) -> Check:
    """Check that y falls as x rises, by ranks; it cannot be judged on fewer than 4 pairs."""
    found = rank_correlation(x, y)
    if found is None:
        why = f"{len(x)} networks" if len(x) < 4 else "one side is the same in all networks"
        return Check(statement, None, why, essential)
    # Where one side hardly varies, no order could be seen.
    spans = " against ".join(f"{min(side):.4g} to {max(side):.4g}" for side in (y, x))
    return Check(statement, found.is_negative, f"Spearman's rho {found}; {spans}", essential)


def network_table(found: Sequence[Network], title: str) -> Table:
    """A row for each network: training, tail index, prunability, areas, test accuracy."""
    columns = (
        Column("key", "Training"),
        Column("ratio", "eta / b", digits=6),
        Column("alpha", "Mean tail index"),
        Column("prunable", "Prunable at error 0.1", "%", 1),
        *(Column(f"area_{m}", f"Area, {label}") for m, label in METHODS.items()),
        Column("test", "Test accuracy", "%", 2),
        Column("steps", "Steps", digits=0),
    )
    rows = []
    for network in found:
        r = network.result
        values = [
            network.key,
            r["eta_over_b"],
            r["alpha"],
            r["prunable"],
            *(network.area(m) for m in METHODS),
            r["test_accuracy"],
            r["steps"],
        ]
        rows.append(tuple(Cell(value, runs=(network.run_id,)) for value in values))
    return Table(title, columns, tuple(rows))


METHODS = {
    "magnitude": "layer-wise magnitude",
    "global": "global magnitude",
    "singular": "singular values",
    "node": "nodes or kernels",
}
