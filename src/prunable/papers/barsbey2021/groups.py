"""The trained networks of a case, with the error of their tail indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.barsbey2021 import settings
from prunable.papers.barsbey2021.noise import Noise, noise_of
from prunable.papers.barsbey2021.settings import Case

METHODS = {
    "magnitude": "layer-wise magnitude",
    "global": "global magnitude",
    "singular": "singular values",
    "node": "nodes or kernels",
}
FULLY_CONNECTED, CONVOLUTIONAL = ("fcn4", "fcn6"), ("vgg",)


def networks(
    plan: Plan, results: Mapping[str, Result], case: Case, prefix: str = ""
) -> tuple[list[Result], list[str]]:
    """Results of a case that met the stop rule, in the order of eta / b; a note on the others.

    Their runs are named by the case, after `prefix`. Each has its own `key`, such as
    `b=50 eta=0.1`, and the ids of its `runs` beside its numbers.
    """
    found, missing = [], []
    for key, spec in plan.runs.items():
        name, _, own = key.partition("/")
        if name != prefix + "-".join(case):
            continue
        result = results[key]
        if result["status"] != "done" or not result["stopped"]:
            missing.append(f"{own} ({result['reason']})")
        elif result.get("alpha", 0.0) is None:
            missing.append(f"{own} (too few vectors for a tail index)")
        else:
            found.append({**result, "key": own, "runs": (spec.run_id,)})
    label = settings.case_label(case, plan.scale)
    return found, [f"{label}, left out: {'; '.join(missing)}."] if missing else []


def area(network: Result, method: str) -> float:
    """Mean accuracy after pruning relative to before, over the curve of a method."""
    x, y = curve(network, method)
    order = np.argsort(x, kind="stable")
    xs, ys = np.array(x)[order], np.array(y)[order]
    span = float(xs[-1] - xs[0])
    return float(np.trapezoid(ys, xs)) / span if span > 0 else float(ys[0])


def curve(network: Result, method: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Pruned shares of all weights, and relative test accuracies.

    Singular values are as many numbers as the weights or more until many are pruned; those
    points are left out.
    """
    found, dense = network["curves"][method], network["dense"]["test_accuracy"]
    points = [
        (x, y / dense if dense else 0.0)
        for x, y in zip(found["pruned"], found["test_accuracy"], strict=True)
        if x >= 0
    ]
    return tuple(x for x, _ in points), tuple(y for _, y in points)


@dataclass(frozen=True)
class Group:
    """The networks of a case.

    noise : The error of their tail indices; None where it is not known.
    """

    case: Case
    label: str
    kind: str
    networks: tuple[Result, ...]
    noise: Noise | None

    def column(self, name: str) -> tuple[float, ...]:
        """A number of each network."""
        return tuple(float(n[name]) for n in self.networks)

    def areas(self, method: str) -> list[float]:
        """Areas under the curves of a method."""
        return [area(n, method) for n in self.networks]

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(run for n in self.networks for run in n["runs"])


def groups_of(
    plan: Plan, results: Mapping[str, Result], nets: Sequence[str]
) -> tuple[list[Group], list[str]]:
    """The networks of every case, and notes on those left out."""
    found, notes = [], []
    for case in settings.cases(plan.scale, nets):
        own, left_out = networks(plan, results, case)
        notes += left_out
        kind = "convolutional" if case[0] in CONVOLUTIONAL else "fully connected"
        width = settings.setting(case, plan.scale).train.width
        label = settings.case_label(case, plan.scale)
        noise = noise_of(plan, results, case)
        found.append(Group(case, label, f"{kind} networks of width {width}", tuple(own), noise))
    return found, notes


CaseGather = Callable[[Group], tuple[document.Panel, list[document.Check]]]
AcrossGather = Callable[[Sequence[Group]], tuple[document.Panel, list[document.Check]]]


def over_cases(
    plan: Plan,
    results: Mapping[str, Result],
    *,
    gather: CaseGather,
    across: AcrossGather | None,
    nets: tuple[str, ...],
    with_tables: bool,
    notes: tuple[str, ...],
) -> document.Findings:
    """Findings of every case, and of all of them together."""
    groups, left_out = groups_of(plan, results, nets)
    panels, checks, tables = [], [], []
    for group in groups:
        panel, case_checks = gather(group)
        panels.append(panel)
        checks += case_checks
        if with_tables and group.networks:
            tables.append(_table(group))
    if across is not None:
        panel, more = across(groups)
        panels.append(panel)
        checks += more
    said = (*notes, *_noise_notes(groups), *left_out)
    return document.Findings(tuple(tables), tuple(panels), tuple(checks), said)


def _noise_notes(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        if group.noise is not None:
            yield (
                f"{group.label}: the same procedure finds {group.noise.mean:.3f} ± "
                f"{group.noise.std:.4f} in networks of Gaussian weights of the same shapes: the "
                "error of a tail index here."
            )


def _table(group: Group) -> document.Table:
    columns = (
        document.Column("key", "Training"),
        document.Column("ratio", "eta / b", digits=6),
        document.Column("alpha", "Mean tail index"),
        document.Column("prunable", "Prunable at error 0.1", "%", 1),
        *(document.Column(f"area_{m}", f"Area, {label}") for m, label in METHODS.items()),
        document.Column("test", "Test accuracy", "%", 2),
        document.Column("steps", "Steps", digits=0),
    )
    rows = []
    for n in group.networks:
        own = {"ratio": n["eta_over_b"], "test": n["test_accuracy"]}
        row = {**n, **own, **{f"area_{m}": area(n, m) for m in METHODS}}
        errors = {"alpha": None if group.noise is None else group.noise.std}
        rows.append(
            tuple(
                document.Cell(row[column.key], errors.get(column.key), runs=n["runs"])
                for column in columns
            )
        )
    return document.Table(group.label, columns, tuple(rows))
