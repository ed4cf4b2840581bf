"""Tables 6 and 20: CIFAR-10, where noise does not help."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prunable.experiments.reproduce.items import (
    Column,
    Convention,
    Findings,
    Item,
    Plan,
    Result,
    Scale,
    Table,
)
from prunable.papers.wan2023 import checks
from prunable.papers.wan2023.mnist import _ends
from prunable.papers.wan2023.rows import COLUMNS, PRUNED, RATIO, TEST, cells, lost_runs, row_of
from prunable.papers.wan2023.settings import (
    CIFAR_ALPHAS,
    CIFAR_LAPTOP_FACTOR,
    CIFAR_SIGMAS,
    cifar_index_runs,
    cifar_level_runs,
    cifar_setting,
    cifar_sigma,
)
from prunable.runs.spec import Spec

INDICES, LEVELS = 6, 20
ASSUMED = (
    "The paper gives neither step size nor batch size for CIFAR-10, and no noise level for table "
    f"6, which is given {CIFAR_SIGMAS[0]:g}, the smallest of table 20; at full size step size "
    "0.01 and batches of 5,000 are those of MNIST."
)


def plan_of(number: int, scale: Scale, convention: Convention) -> Plan:
    """Runs of one table."""
    setting = cifar_setting(scale)
    runs: dict[str, Spec] = dict(
        cifar_index_runs(scale) if number == INDICES else cifar_level_runs(scale)
    )
    notes: tuple[str, ...] = (ASSUMED,)
    if scale == "smoke":
        notes = ("A toy on digits: the code's whole path, no statement about the paper.",)
    if scale == "laptop":
        notes += (
            f"{setting.width} hidden units for 5,000, the first {setting.train_size:,} of 50,000 "
            f"training pictures, step size {setting.lr:g}, batches of {setting.batch_size}: test "
            "accuracies are far below the published ones.",
            f"Noise levels are {CIFAR_LAPTOP_FACTOR:g} times the printed ones: training ends much "
            "earlier, and the printed ones would move nothing.",
            f"{setting.seeds} seeds; the paper prints one number each.",
        )
    return Plan(
        scale,
        convention,
        runs,
        {
            "data": setting.dataset,
            "training pictures": setting.train_size or "all",
            "hidden units": setting.width,
            "step size": setting.lr,
            "batch": setting.batch_size or 0,
            "until training accuracy": setting.until_accuracy or 0.0,
            "most steps": setting.steps,
            "noise level": cifar_sigma(CIFAR_SIGMAS[0], scale),
            "seeds": setting.seeds,
        },
        notes,
    )


def gather_indices(plan: Plan, results: Mapping[str, Result]) -> Findings:
    """Findings of table 6."""
    plain = row_of(plan, results, "none")
    noisy = {alpha: row_of(plan, results, f"type1-{alpha:g}") for alpha in CIFAR_ALPHAS}
    lines = [cells(plain, "no noise", COLUMNS, INDICES, "none")]
    lines += [
        cells(noisy[alpha], f"{alpha:g}", COLUMNS, INDICES, f"{alpha:g}")
        for alpha in reversed(CIFAR_ALPHAS)
    ]
    base, mild = plain.mean(RATIO), noisy[1.9].mean(RATIO)
    found = (
        checks.compared(
            "Without noise more can be pruned than with noise of alpha = 1.9",
            base,
            mild,
            "{:.4f} without, {:.4f} with noise",
        ),
        checks.compared(
            "Without noise the columns are already far from equal: twice the 10 % of untrained "
            "weights can be pruned",
            base,
            0.2,
            "{:.4f} of the columns, against {:.1f}",
            essential=False,
        ),
        checks.ordered(
            [noisy[1.9], noisy[1.75]],
            RATIO,
            "The lower alpha, the more can be pruned",
            essential=False,
        ),
    )
    table = Table("CIFAR-10, type I, n = 5,000", COLUMNS, tuple(lines))
    notes = (*lost_runs(plan, results), *_ends(plain, noisy))
    return Findings((table,), (), found, notes)


def gather_levels(plan: Plan, results: Mapping[str, Result]) -> Findings:
    """Findings of table 20."""
    rows = {level: row_of(plan, results, f"sigma-{level:g}") for level in CIFAR_SIGMAS}
    columns = (Column("row", "printed noise level"), *COLUMNS[1:])
    lines = tuple(
        cells(row, f"{level:g}", columns, LEVELS, f"{level:g}") for level, row in rows.items()
    )
    low, high = rows[CIFAR_SIGMAS[0]], rows[CIFAR_SIGMAS[-1]]
    before, after = high.mean(TEST), high.mean(PRUNED)
    first, last = low.mean(TEST), low.mean(PRUNED)
    found = (
        checks.ordered(
            list(rows.values()), RATIO, "The stronger the noise, the more can be pruned"
        ),
        checks.ordered(
            list(reversed(rows.values())),
            PRUNED,
            "The stronger the noise, the lower the test accuracy after pruning",
        ),
        checks.compared(
            "The strongest noise loses more test accuracy through pruning than the weakest",
            None if before is None or after is None else before - after,
            None if first is None or last is None else first - last,
            "{:.4f} against {:.4f}",
            essential=False,
        ),
    )
    table = Table("CIFAR-10, type I, alpha = 1.8, n = 5,000, by noise level", columns, lines)
    return Findings((table,), (), found, lost_runs(plan, results))


ITEMS = (
    Item(
        "wan2023-table6",
        "wan2023",
        "table",
        "Table 6",
        "CIFAR-10 with noise of type I, n = 5,000: accuracy and pruned share",
        "A negative result: without noise more columns can be pruned than with noise of alpha = "
        "1.9.",
        partial(plan_of, INDICES),
        gather_indices,
    ),
    Item(
        "wan2023-table20",
        "wan2023",
        "table",
        "Table 20",
        "CIFAR-10 with noise of type I, alpha = 1.8, n = 5,000, by noise level",
        "Stronger noise makes more columns prunable and costs accuracy.",
        partial(plan_of, LEVELS),
        gather_levels,
    ),
)
