"""Tables 1 to 4 and 10 to 14: ECG5000, by noise type and width."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.reproduce.demo_settings import EPS_GRID
from prunable.experiments.reproduce.items import (
    Check,
    Convention,
    Findings,
    Item,
    Plan,
    Result,
    Scale,
    Table,
)
from prunable.experiments.train.specs import TrainSpec
from prunable.papers.wan2023 import checks
from prunable.papers.wan2023.published import published, slip_notes
from prunable.papers.wan2023.rows import (
    COLUMNS,
    PRUNED,
    RATIO,
    TEST,
    Row,
    cells,
    lost_runs,
    percent,
    row_of,
)
from prunable.papers.wan2023.settings import (
    ALPHAS,
    OTHER_SIGMA,
    ecg_runs,
    ecg_setting,
    ecg_sigma,
    other_sigma_runs,
)
from prunable.runs.spec import Spec

NUMERALS = {"type1": "I", "type2": "II", "type3": "III"}
# Number of each table: (noise type, width).
TABLES = {
    1: ("type1", 2000),
    2: ("type1", 10_000),
    3: ("type2", 10_000),
    4: ("type3", 10_000),
    10: ("type1", 5000),
    11: ("type2", 2000),
    12: ("type2", 5000),
    13: ("type3", 2000),
    14: ("type3", 5000),
}
READINGS = 1  # the table that also shows the other reading of the network
VOLATILE, WORSE = 3, 4

NOTES = (
    "The task is normal against abnormal heartbeats, as the appendix says, and the learning rate "
    "of both layers is the printed step size, as in the released code; a network divided by n, "
    "with learning rate eta * n and all five classes, has another test accuracy (last rows of "
    "table 1).",
    "The archive's own division into 500 and 4,500 series; the paper shuffles, with an unknown "
    "seed.",
)
CRITERIA_NOTE = (
    "The text fixes the relative error at 0.1; the printed ratios are those of a squared error of "
    "0.1, as in the released code. Both come from the same networks and stand side by side, so "
    "the conventions differ in nothing else."
)
SIGMA_NOTE = (
    "Noise level 0.15, with which type I comes near its tables; the printed 0.5 is shown below "
    "table 1."
)
SIGMA_NOTE_3 = (
    "Noise level 0.5, as printed. Tables 13 and 14 also show 0.15, on the text's scale in both "
    "conventions, with which type I comes near its tables; checks say which of the two the "
    "published numbers are nearer to."
)
SCALE_NOTES = {
    "paper": (
        "Type III has the characteristic function exp(-|u|^alpha) of the text; "
        "`--convention authors-code` trains with the released code's, smaller by 2^(-1/2)."
    ),
    "authors-code": (
        "Type III noise is smaller by 2^(-1/2) than the text says, as in the released code, which "
        "lacks a factor 2 in the positive stable variable."
    ),
}


def plan_of(number: int, scale: Scale, convention: Convention) -> Plan:
    """Runs of one table."""
    noise, width = TABLES[number]
    setting = ecg_setting(width, scale)
    runs: dict[str, Spec] = dict(ecg_runs(width, noise, scale, convention))
    runs |= other_sigma_runs(width, noise, scale)
    if number == READINGS:
        runs |= _mean_field_runs(width, scale)
    if number in (VOLATILE, WORSE):
        others = ecg_runs(width, "type1", scale, convention)
        runs |= {key: spec for key, spec in others.items() if not key.startswith("none")}
    notes = [*NOTES, CRITERIA_NOTE]
    if noise == "type1":
        notes.append(SIGMA_NOTE)
    if noise == "type3":
        notes += [SIGMA_NOTE_3, SCALE_NOTES[convention]]
    if scale == "smoke":
        notes = ["A toy on digits: the code's whole path, no statement about the paper."]
    return Plan(
        scale,
        convention,
        runs,
        {
            "data": setting.dataset,
            "hidden units": setting.width,
            "step size": setting.lr,
            "full-batch steps": setting.steps,
            "noise level": round(ecg_sigma(noise, convention), 4),
            "seeds": setting.seeds,
        },
        tuple(notes),
    )


def _mean_field_runs(width: int, scale: Scale) -> dict[str, Spec]:
    """Without noise, as equation (2) reads: f divided by n, learning rate eta * n, all classes."""
    setting = ecg_setting(width, scale)
    smoke = scale == "smoke"
    return {
        f"mean-field/{seed}": EvaluateSpec.create(
            train=TrainSpec.create(
                dataset={"name": setting.dataset, "split": None if smoke else "official"},
                width=setting.width,
                lr=1e-3 if smoke else setting.lr,
                steps=setting.steps,
                batch_size=10**6 if smoke else 500,
                seed=seed,
            ),
            eps=EPS_GRID,
            keep=(),
        )
        for seed in range(setting.seeds)
    }


def gather_of(number: int, plan: Plan, results: Mapping[str, Result]) -> Findings:
    """Findings of one table."""
    noise, width = TABLES[number]
    plain = row_of(plan, results, "none")
    noisy = {alpha: row_of(plan, results, f"{noise}-{alpha:g}") for alpha in ALPHAS}
    lines = [("none", "no noise", plain)]
    lines += [(f"{alpha:g}", f"{alpha:g}", noisy[alpha]) for alpha in reversed(ALPHAS)]
    title = f"ECG5000, type {NUMERALS[noise]}, n = {width:,}"
    rows = tuple(cells(row, label, COLUMNS, number, name) for name, label, row in lines)
    tables = [Table(title, COLUMNS, rows)]
    rising = [noisy[alpha] for alpha in ALPHAS]
    named = [(row, name) for name, _, row in lines]
    found = [
        checks.more_prunable(rising, plain),
        checks.ordered(
            rising, RATIO, "The lower alpha, the more can be pruned: 1.9, 1.8, 1.75 in this order"
        ),
        checks.small_loss(noisy[1.9]),
        checks.agree(named, number),
        checks.near_accuracy(named, number),
    ]
    if published(number, "none", RATIO)[0] is not None:
        found.insert(0, checks.near_without_noise(plain, number))
    notes = list(lost_runs(plan, results))
    if (noise, width) in OTHER_SIGMA:
        table, others = _other_readings(number, plan, results)
        tables.append(table)
        if noise == "type3":
            where = f" at noise level {OTHER_SIGMA[noise, width]:g}"
            found += [
                checks.agree(others, number, where=where),
                checks.near_accuracy(others, number, where),
            ]
    if number == VOLATILE:
        found += _volatile(plan, results, plain, noisy)
    if number == WORSE:
        found += [_worse_than_type1(plan, results, noisy)]
    notes += [*_outliers(rising), *slip_notes(number)]
    return Findings(tuple(tables), (), tuple(found), tuple(notes))


def _other_readings(
    number: int, plan: Plan, results: Mapping[str, Result]
) -> tuple[Table, list[tuple[Row, str]]]:
    """The table at its other noise level, and its rows with the names of the paper's."""
    noise, width = TABLES[number]
    sigma = OTHER_SIGMA[noise, width]
    rows = [
        (row_of(plan, results, f"{noise}-{alpha:g}-other"), f"{alpha:g}")
        for alpha in reversed(ALPHAS)
    ]
    lines = [cells(row, f"sigma = {sigma:g}, {name}", COLUMNS, number, name) for row, name in rows]
    title = f"The same at noise level {sigma:g}, that of type I"
    if number == READINGS:
        mean_field = row_of(plan, results, "mean-field")
        label = "no noise, learning rate eta * n, five classes"
        lines.append(cells(mean_field, label, COLUMNS, number, "none"))
        title = "The same as the settings are printed: noise level 0.5, and a network divided by n"
    return Table(title, COLUMNS, tuple(lines)), rows


def _volatile(
    plan: Plan, results: Mapping[str, Result], plain: Row, noisy: Mapping[float, Row]
) -> list[Check]:
    first = row_of(plan, results, "type1-1.75")
    return [
        checks.compared(
            "At alpha = 1.9 a pruned network is more accurate than the unpruned one without noise",
            noisy[1.9].mean(PRUNED),
            plain.mean(TEST),
            "{:.4f} after pruning, {:.4f} without noise",
        ),
        checks.compared(
            "Type II is more volatile than type I: its pruned shares scatter more at alpha = 1.75",
            noisy[1.75].deviation(RATIO),
            first.deviation(RATIO),
            "standard deviation {:.3f} against {:.3f} of type I",
        ),
    ]


def _worse_than_type1(
    plan: Plan, results: Mapping[str, Result], noisy: Mapping[float, Row]
) -> Check:
    statement = "Type III compresses less than type I at every alpha"
    pairs = [
        (alpha, row.mean(RATIO), row_of(plan, results, f"type1-{alpha:g}").mean(RATIO))
        for alpha, row in noisy.items()
    ]
    if any(own is None or first is None for _, own, first in pairs):
        return Check(statement, None, "runs are missing")
    text = "; ".join(
        f"{alpha:g}: {percent(own)} against {percent(first)} of type I"
        for alpha, own, first in pairs
    )
    lower = [own is not None and first is not None and own < first for _, own, first in pairs]
    return Check(statement, all(lower), text)


def _outliers(rows: list[Row]) -> list[str]:
    """Where single runs carry a mean."""
    found = []
    for row in rows:
        mean, median = row.mean(RATIO), row.median(RATIO)
        if mean is not None and median is not None and mean > 1.25 * median:
            values = ", ".join(percent(value, 1) for value in sorted(row.values(RATIO)))
            found.append(
                f"At alpha = {checks.label_of(row)} single runs carry the mean: {values}. One "
                "large jump of one unit is enough to prune nearly all the others."
            )
    return found


def _item(number: int) -> Item:
    noise, width = TABLES[number]
    claim = (
        "Heavy-tailed noise makes more columns prunable than the 11.5 % without noise, the more "
        "so the lower alpha, at a small cost in accuracy"
    )
    if number == VOLATILE:
        claim += "; type II is more volatile than type I, and gains accuracy at alpha = 1.9"
    if number == WORSE:
        claim += "; type III compresses less than type I"
    return Item(
        f"wan2023-table{number}",
        "wan2023",
        "table",
        f"Table {number}",
        f"ECG5000 with noise of type {NUMERALS[noise]}, n = {width:,}: accuracy and pruned share",
        claim + ".",
        partial(plan_of, number),
        partial(gather_of, number),
        ("paper", "authors-code") if noise == "type3" else ("paper",),
    )


ITEMS = tuple(_item(number) for number in TABLES)
