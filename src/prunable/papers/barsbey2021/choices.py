"""Appendices A.4 and A.5: whether the estimator and the centring make a difference."""

from collections.abc import Iterator, Mapping

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.checks import at_most, undecided
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.items import Item
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.barsbey2021 import settings
from prunable.papers.barsbey2021.groups import Group, area, groups_of, networks
from prunable.papers.barsbey2021.noise import pooled, with_gaussian_networks
from prunable.papers.barsbey2021.settings import NET_LABELS, PAPER
from prunable.papers.barsbey2021.specs import OTHERS, MeasureSpec

NETS = tuple(NET_LABELS)
CENTERS = ("mean", "none")
NO_EFFECT = 0.01  # of an area under a curve of relative accuracies


def _plan_estimators(scale: document.Scale, convention: document.Convention) -> Plan:
    chosen = settings.cases(scale, NETS)
    plan = settings.network_plan(scale, convention, chosen)
    return with_gaussian_networks(plan, chosen, scale)


def _gather_estimators(plan: Plan, results: Mapping[str, Result]) -> document.Findings:
    groups, notes = groups_of(plan, results, NETS)
    seen = [group for group in groups if group.networks and not _hidden(group)]
    notes += [
        f"{group.label}: its tail indices differ no more than those of Gaussian networks, so that "
        "there is no order to compare."
        for group in groups
        if group.networks and _hidden(group)
    ]
    checks = []
    for name in OTHERS:
        statement = f"Networks have the same order of mean tail index by another estimator: {name}"
        pairs = {group.label: _both(group, name) for group in seen}
        known = {label: pair for label, pair in pairs.items() if len(pair[0]) > 1}
        checks.append(pooled(statement, known, rising=True))
    columns = (
        document.Column("case", "Networks"),
        document.Column("alpha", "The authors' procedure"),
        *(document.Column(name, name.capitalize()) for name in OTHERS),
    )
    rows = []
    for group in groups:
        if not group.networks:
            continue
        means = [_mean(n["alpha"] for n in group.networks)]
        means += [_mean(n["alphas"][name] for n in group.networks) for name in OTHERS]
        error = None if group.noise is None else group.noise.std
        cells = (document.Cell(value, runs=group.runs) for value in means[1:])
        own = document.Cell(means[0], error, runs=group.runs)
        rows.append((document.Cell(group.label), own, *cells))
    table = document.Table("Mean tail index, mean over networks", columns, tuple(rows))
    panels = tuple(_estimates(group) for group in groups if group.networks)
    return document.Findings((table,), panels, tuple(checks), tuple(notes))


def _hidden(group: Group) -> bool:
    return group.noise is not None and group.noise.hides("", group.column("alpha")) is not None


def _both(group: Group, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    known = [n for n in group.networks if n["alphas"][name] is not None]
    return tuple(n["alpha"] for n in known), tuple(n["alphas"][name] for n in known)


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _estimates(group: Group) -> document.Panel:
    series = tuple(
        document.Series(name, *_both(group, name), style="points", runs=group.runs)
        for name in OTHERS
    )
    return document.Panel(
        group.label, "mean tail index, the authors' procedure", "another estimator", series
    )


def _plan_centring(scale: document.Scale, convention: document.Convention) -> Plan:
    chosen = settings.cases(scale, NETS)
    plan = settings.network_plan(scale, convention, chosen)
    runs = dict(plan.runs)
    for key, spec in plan.runs.items():
        assert isinstance(spec, MeasureSpec)
        for center in CENTERS:
            other = {**dict(spec), "center": center, "methods": ("magnitude",)}
            runs[f"{center}, {key}"] = MeasureSpec.create(**other)
    return Plan(scale, convention, runs, plan.settings, plan.notes)


def _gather_centring(plan: Plan, results: Mapping[str, Result]) -> document.Findings:
    rows, checks, panels, notes = [], [], [], []
    largest: dict[str, list[tuple[float, str]]] = {center: [] for center in CENTERS}
    orders: dict[str, dict[str, tuple[list[float], list[float]]]] = {c: {} for c in CENTERS}
    for case in settings.cases(plan.scale, NETS):
        own, left_out = networks(plan, results, case)
        notes += left_out
        label = settings.case_label(case, plan.scale)
        by_key = {n["key"]: area(n, "magnitude") for n in own}
        series = []
        for center in CENTERS:
            others, _ = networks(plan, results, case, f"{center}, ")
            pairs = [
                (n["eta_over_b"], by_key[n["key"]], area(n, "magnitude"), n["key"], n["runs"])
                for n in others
                if n["key"] in by_key
            ]
            if not pairs:
                continue
            gaps = [other - median for _, median, other, *_ in pairs]
            runs = tuple(run for *_, found in pairs for run in found)
            largest[center] += [
                (abs(gap), f"{label}, {key}") for gap, (*_, key, _) in zip(gaps, pairs, strict=True)
            ]
            orders[center][label] = ([m for _, m, *_ in pairs], [o for _, _, o, *_ in pairs])
            name = "means" if center == "mean" else "no centring"
            ratios = tuple(ratio for ratio, *_ in pairs)
            series.append(document.Series(name, ratios, tuple(gaps), style="points", runs=runs))
            rows.append(
                (
                    document.Cell(label),
                    document.Cell(name),
                    document.Cell(max(map(abs, gaps)), runs=runs),
                )
            )
        if series:
            axes = (label, "eta / b", "area less that of medians")
            panels.append(document.Panel(*axes, tuple(series), x_log=True))
    for center, name in zip(CENTERS, ("means instead of medians", "no centring"), strict=True):
        statement = (
            f"With {name} the area under every network's curve of magnitude pruning changes by at "
            f"most {NO_EFFECT}"
        )
        if not largest[center]:
            checks.append(undecided(statement))
            continue
        worst, where = max(largest[center])
        checks.append(at_most(statement, worst, NO_EFFECT, f"largest change {worst:.4f}, {where}"))
        checks.append(
            pooled(f"With {name} networks keep their order", orders[center], rising=True).aside()
        )
    columns = (
        document.Column("case", "Networks"),
        document.Column("center", "Centring"),
        document.Column("gap", "Largest change of an area", digits=4),
    )
    table = document.Table("Layer-wise magnitude pruning", columns, tuple(rows))
    return document.Findings((table,), tuple(panels), tuple(checks), tuple(notes))


ITEMS = (
    Item(
        f"{PAPER}-a4",
        PAPER,
        "table",
        "Appendix A.4",
        "Tail indices of the trained networks by other estimators",
        "Other estimators of the tail index make no qualitative difference.",
        _plan_estimators,
        _gather_estimators,
    ),
    Item(
        f"{PAPER}-a5",
        PAPER,
        "table",
        "Appendix A.5",
        "Accuracy after magnitude pruning with other centring",
        "Centring by means, or not at all, makes no qualitative difference.",
        _plan_centring,
        _gather_centring,
    ),
)
