"""Tables 1 and 2: sizes of the networks, and the ranges of eta / b they were trained with."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.checks import undecided, underpowered, with_print
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.items import Item
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.barsbey2021 import settings
from prunable.papers.barsbey2021.groups import networks
from prunable.papers.barsbey2021.settings import CASES, PAPER, PAPER_WIDTHS, PUBLISHED, Case
from prunable.papers.barsbey2021.specs import CountSpec

SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28)}


def _plan_counts(scale: document.Scale, convention: document.Convention) -> Plan:
    runs = {
        f"{net}-{data}": CountSpec.create(net=net, width=PAPER_WIDTHS[net], shape=SHAPES[data])
        for net, data in CASES
    }
    widths = {f"width of {settings.NET_LABELS[net]}": width for net, width in PAPER_WIDTHS.items()}
    return Plan(scale, convention, runs, widths)


def _gather_counts(plan: Plan, results: Mapping[str, Result]) -> document.Findings:
    printed = PUBLISHED.items["table1"]
    nets = (document.Column(net, settings.NET_LABELS[net], digits=0) for net in PAPER_WIDTHS)
    rows, differing, missing = [], [], []
    for data in SHAPES:
        row = [document.Cell(settings.DATA_LABELS[data])]
        for net in PAPER_WIDTHS:
            key, paper = f"{net}-{data}", printed.cell(data, net).mean
            ours = results[key].get("n_parameters")
            row.append(document.Cell(ours, published=paper, runs=(plan.runs[key].run_id,)))
            if ours is None:
                missing.append(key)
            elif ours != paper:
                differing.append(f"{key}: {ours} and {paper:.0f}")
        rows.append(tuple(row))
    statement = "All six networks have exactly the printed numbers of parameters"
    check = document.Check(statement, not differing, "; ".join(differing) or "all")
    if missing and not differing:
        check = undecided(statement, f"no result of {', '.join(missing)}")
    check = with_print(check)
    table = document.Table(printed.caption, (document.Column("data", "Data"), *nets), tuple(rows))
    return document.Findings((table,), (_panel_counts(plan, results),), (check,))


def _panel_counts(plan: Plan, results: Mapping[str, Result]) -> document.Panel:
    """Millions of parameters, on an axis from zero: ours as bars, the printed ones as marks."""
    names = tuple(f"{settings.NET_LABELS[n]}, {settings.DATA_LABELS[d]}" for n, d in CASES)
    counts = (results[f"{net}-{data}"].get("n_parameters") for net, data in CASES)
    ours = tuple(None if count is None else count / 1e6 for count in counts)
    cells = (PUBLISHED.items["table1"].cell(data, net).mean or 0 for net, data in CASES)
    places, runs = tuple(map(float, range(len(CASES)))), tuple(s.run_id for s in plan.runs.values())
    printed = tuple(count / 1e6 for count in cells)
    series = (
        document.Series("ours", places, ours, style="bars", runs=runs, labels=names),
        document.Series("paper", places, printed, style="published"),
    )
    return document.Panel("Parameters", "", "parameters, millions", series)


def _plan_ranges(scale: document.Scale, convention: document.Convention) -> Plan:
    return settings.network_plan(scale, convention, settings.cases(scale), lambda train, *_: train)


def _gather_ranges(plan: Plan, results: Mapping[str, Result]) -> document.Findings:
    columns = (
        document.Column("case", "Network, data"),
        document.Column("low", "Smallest eta / b", digits=6),
        document.Column("high", "Largest eta / b", digits=6),
        document.Column("planned", "Runs", digits=0),
        document.Column("reached", "Met the stop rule", digits=0),
        document.Column("diverged", "Diverged", digits=0),
    )
    rows, notes, outside, n_reached = [], [], [], 0
    for case in settings.cases(plan.scale):
        found, left_out = networks(plan, results, case)
        notes += left_out
        n_reached += len(found)
        label, (low, high) = settings.case_label(case, plan.scale), _printed_range(case)
        ratios = {key: _ratio(key) for key in plan.runs if key.startswith(f"{'-'.join(case)}/")}
        reached = [_ratio(network["key"]) for network in found]
        diverged = sum(results[key]["status"] == "diverged" for key in ratios)
        runs = tuple(plan.runs[key].run_id for key in ratios)
        rows.append(
            (
                document.Cell(label),
                document.Cell(min(reached, default=None), published=low, runs=runs),
                document.Cell(max(reached, default=None), published=high, runs=runs),
                *(document.Cell(count, runs=runs) for count in (len(ratios), len(found), diverged)),
            )
        )
        outside += [
            f"{label}, {key.partition('/')[2]}"
            for key, ratio in ratios.items()
            if not low * (1 - 1e-9) <= ratio <= high * (1 + 1e-9)
        ]
    table = document.Table(PUBLISHED.items["table2"].caption, columns, tuple(rows))
    checks = [*_claims_ranges(outside, n_reached, len(plan.runs)), _claim_span(rows, plan.scale)]
    return document.Findings((table,), checks=tuple(checks), notes=tuple(notes))


def _claims_ranges(outside: Sequence[str], n_reached: int, n_runs: int) -> Iterator[document.Check]:
    differing = _differing()
    yield document.Check(
        "The step sizes of the released settings span exactly the printed ranges",
        not differing,
        "; ".join(differing) or f"all {len(CASES)} ranges",
        printed=True,
    ).aside()
    inside = "; ".join(outside) or f"{n_runs} runs"
    yield document.Check(
        "All runs lie inside the printed ranges", not outside, inside, printed=True
    ).aside()
    totals = PUBLISHED.stated["networks"]
    share = totals["trained"] / (totals["trained"] + totals["diverged"])
    yield document.Check(
        f"At least as large a share of the runs meets the stop rule as in the paper ({share:.0%})",
        n_reached >= share * n_runs,
        f"{n_reached} of {n_runs}",
    ).aside()


def _claim_span(rows: Sequence[tuple[document.Cell, ...]], scale: document.Scale) -> document.Check:
    """Whether networks were trained to the rule over as many orders of magnitude as printed."""
    statement = "Networks meet the stop rule over as many orders of magnitude of eta / b as printed"
    orders: list[tuple[str, float, float]] = []
    for case, low, high, *_ in rows:
        ours, theirs = ((low.value, high.value), (low.published, high.published))
        if low.value is not None:
            orders.append((str(case.value), _orders(*ours), _orders(*theirs)))
    if len(orders) < len(rows):
        return undecided(statement, "no network of a case met the rule")
    evidence = "; ".join(f"{case}: {ours:.1f} of {theirs:.1f}" for case, ours, theirs in orders)
    covered = all(ours >= theirs - 1e-6 for _, ours, theirs in orders)
    if not covered and scale != "paper":
        # our plan leaves the ends out, so its runs say nothing of them
        needs = "the printed step sizes, as at the scale paper"
        return with_print(underpowered(statement, evidence, needs))
    return document.Check(statement, covered, evidence, printed=True)


def _orders(low: Any, high: Any) -> float:
    """Orders of magnitude between two numbers."""
    return math.log10(high / low)


def _printed_range(case: Case) -> tuple[float, float]:
    cell = partial(PUBLISHED.items["table2"].cell, "-".join(case))
    low, high = cell("low").mean, cell("high").mean
    assert low is not None
    assert high is not None
    return low, high


def _ratio(key: str) -> float:
    """Eta / b of a key that ends as `b=50 eta=0.1`."""
    batch, eta = (part.partition("=")[2] for part in key.rpartition("/")[2].split())
    return float(eta) / float(batch)


def _differing() -> list[str]:
    found = []
    for case in CASES:
        ratios = [eta / batch for batch, etas in settings.PAPER_RATES[case] for eta in etas]
        ours, paper = (min(ratios), max(ratios)), _printed_range(case)
        if any(abs(a - b) > 1e-6 * b for a, b in zip(ours, paper, strict=True)):
            found.append(f"{', '.join(case)}: {ours[0]:g} to {ours[1]:g}")
    return found


TABLES = (
    Item.of(
        PAPER,
        "Table 1",
        "Numbers of parameters of the networks",
        "The networks have from 9 to 27 million parameters.",
        _plan_counts,
        _gather_counts,
    ),
    Item.of(
        PAPER,
        "Table 2",
        "Ranges of step size over batch size",
        "The networks are trained to the stop rule at ratios over two orders of magnitude (1.7 for "
        "FCN4 on CIFAR-10).",
        _plan_ranges,
        _gather_ranges,
    ),
)
