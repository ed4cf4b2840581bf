"""Tables 1 and 2: sizes of the networks, and the ranges of eta / b they were trained with."""

from __future__ import annotations

from collections.abc import Mapping

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
from prunable.experiments.reproduce.published import PublishedItem
from prunable.experiments.train.specs import TrainSpec
from prunable.papers.barsbey2021.gathering import (
    PUBLISHED,
    Case,
    case_label,
    cases,
    network_plan,
    networks,
)
from prunable.papers.barsbey2021.settings import (
    CASES,
    DATA_LABELS,
    NET_LABELS,
    PAPER_RATES,
    PAPER_WIDTHS,
)
from prunable.papers.barsbey2021.specs import CountSpec

SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28)}


def _plan_counts(scale: Scale, convention: Convention) -> Plan:
    runs = {
        f"{net}-{dataset}": CountSpec.create(
            net=net, width=PAPER_WIDTHS[net], shape=SHAPES[dataset]
        )
        for net, dataset in CASES
    }
    settings = {f"width of {NET_LABELS[net]}": width for net, width in PAPER_WIDTHS.items()}
    return Plan(scale, convention, runs, settings)


def _gather_counts(plan: Plan, results: Mapping[str, Result]) -> Findings:
    table = PUBLISHED.items["table1"]
    columns = (Column("data", "Data"), *(Column(n, NET_LABELS[n], digits=0) for n in PAPER_WIDTHS))
    rows, differing, missing = [], [], []
    for dataset in SHAPES:
        row = [Cell(DATA_LABELS[dataset])]
        for net in PAPER_WIDTHS:
            key = f"{net}-{dataset}"
            ours, paper = results[key].get("n_parameters"), table.cell(dataset, net).mean
            row.append(Cell(ours, published=paper, runs=(plan.runs[key].run_id,)))
            if ours is None:
                missing.append(key)
            elif ours != paper:
                differing.append(f"{key}: {ours} and {paper}")
        rows.append(tuple(row))
    statement = "All six networks have exactly the printed numbers of parameters"
    evidence = "; ".join(differing) or (f"no result of {', '.join(missing)}" if missing else "all")
    holds = False if differing else None if missing else True
    return Findings(
        (Table(table.caption, columns, tuple(rows)),), (), (Check(statement, holds, evidence),)
    )


def _training(train: TrainSpec, case: Case, scale: Scale, convention: Convention) -> TrainSpec:
    del case, scale, convention
    return train


def _plan_ranges(scale: Scale, convention: Convention) -> Plan:
    return network_plan(scale, convention, spec_of=_training)


def _gather_ranges(plan: Plan, results: Mapping[str, Result]) -> Findings:
    table, totals = PUBLISHED.items["table2"], PUBLISHED.stated["networks"]
    columns = (
        Column("case", "Network, data"),
        Column("low", "Smallest eta / b", digits=6),
        Column("high", "Largest eta / b", digits=6),
        Column("planned", "Runs", digits=0),
        Column("reached", "Met the stop rule", digits=0),
        Column("diverged", "Diverged", digits=0),
    )
    rows, notes, outside, n_runs, n_reached = [], [], [], 0, 0
    for case in cases(plan.scale):
        found, left_out = networks(plan, results, case)
        notes += left_out
        label = case_label(case, plan.scale)
        keys = [key for key in plan.runs if key.startswith(f"{case[0]}-{case[1]}/")]
        ratios = [_ratio(found_network.key) for found_network in found]
        low, high = _range(table, case)
        ids = tuple(plan.runs[key].run_id for key in keys)
        rows.append(
            (
                Cell(label),
                Cell(min(ratios, default=None), published=low, runs=ids),
                Cell(max(ratios, default=None), published=high, runs=ids),
                Cell(len(keys), runs=ids),
                Cell(len(found), runs=ids),
                Cell(sum(results[key]["status"] == "diverged" for key in keys), runs=ids),
            )
        )
        outside += [
            f"{label}, {key.partition('/')[2]}"
            for key in keys
            if not low * (1 - 1e-9) <= _ratio(key.partition("/")[2]) <= high * (1 + 1e-9)
        ]
        n_runs += len(keys)
        n_reached += len(found)
    share = totals["trained"] / (totals["trained"] + totals["diverged"])
    checks = (
        Check(
            "The step sizes of the released settings span exactly the printed ranges",
            not (differing := _differing(table)),
            "; ".join(differing) or f"all {len(CASES)} ranges",
        ),
        Check(
            "All runs lie inside the printed ranges",
            not outside,
            "; ".join(outside) or f"{n_runs} runs",
        ),
        Check(
            f"At least as large a share of the runs meets the stop rule as in the paper "
            f"({share:.0%})",
            n_reached >= share * n_runs if n_runs else None,
            f"{n_reached} of {n_runs}",
            essential=False,
        ),
    )
    return Findings((Table(table.caption, columns, tuple(rows)),), (), checks, tuple(notes))


def _ratio(key: str) -> float:
    """Eta / b of a key such as `b=50 eta=0.1`."""
    batch, eta = (part.partition("=")[2] for part in key.split())
    return float(eta) / float(batch)


def _range(table: PublishedItem, case: Case) -> tuple[float, float]:
    low, high = (table.cell("-".join(case), end).mean for end in ("low", "high"))
    assert low is not None
    assert high is not None
    return low, high


def _differing(table: PublishedItem) -> list[str]:
    found = []
    for net, dataset in CASES:
        ratios = [eta / batch for batch, etas in PAPER_RATES[net, dataset] for eta in etas]
        ours, paper = (min(ratios), max(ratios)), _range(table, (net, dataset))
        if any(abs(a - b) > 1e-6 * b for a, b in zip(ours, paper, strict=True)):
            found.append(f"{net}, {dataset}: {ours[0]:g} to {ours[1]:g}")
    return found


TABLE_ITEMS = (
    Item(
        "barsbey2021-table1",
        "barsbey2021",
        "table",
        "Table 1",
        "Numbers of parameters of the networks",
        "The networks have from 9 to 27 million parameters.",
        _plan_counts,
        _gather_counts,
    ),
    Item(
        "barsbey2021-table2",
        "barsbey2021",
        "table",
        "Table 2",
        "Ranges of step size over batch size",
        "The networks are trained to the stop rule at ratios over two orders of magnitude.",
        _plan_ranges,
        _gather_ranges,
    ),
)
