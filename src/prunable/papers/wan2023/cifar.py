"""Tables 6 and 20: CIFAR-10, where noise does not help."""

from functools import partial

from prunable.experiments.reproduce import checks, ordering
from prunable.experiments.reproduce.document import Check, Column, Convention, Scale
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import Line, TableSpec
from prunable.papers.wan2023 import panels, settings
from prunable.papers.wan2023.claims import (
    COLUMNS,
    NAME,
    PRUNED,
    PUBLISHED,
    RATIO,
    TEST,
    Rows,
    late,
    table_item,
)

INDICES, LEVELS = 6, 20
ROWS = Rows(INDICES, "type1", settings.CIFAR_ALPHAS, 5000)
LEVEL_ROWS = {f"{level:g}": f"sigma-{level:g}" for level in settings.CIFAR_SIGMAS}
NEAR_LEVELS = 0.05
LOWER = "The lower alpha, the more can be pruned"
ASSUMED = (
    "The paper gives neither step size nor batch size for CIFAR-10, and no noise level for table "
    f"6, which is given {settings.CIFAR_SIGMAS[0]:g}, the smallest of table 20; at full size step "
    "size 0.01 and batches of 5,000 are those of MNIST."
)


def plan_of(number: int, scale: Scale, convention: Convention) -> Plan:
    """Runs of one table."""
    setting = settings.CIFAR[scale]
    notes: tuple[str, ...] = (settings.SMOKE_NOTE,) if scale == "smoke" else (ASSUMED,)
    if scale == "laptop":
        notes += (
            f"{setting.width} hidden units for 5,000, the first {setting.train_size:,} of 50,000 "
            f"training pictures, step size {setting.lr:g}, batches of {setting.batch_size}: test "
            "accuracies are far below the published ones.",
            f"Noise levels are {settings.CIFAR_FACTORS[scale]:g} times the printed ones: training "
            "ends much earlier, and the printed ones would move nothing.",
            f"{setting.seeds} seeds; the paper prints one number each.",
        )
    return Plan(
        scale,
        convention,
        settings.cifar_runs(number, scale),
        setting.summary(settings.CIFAR_SIGMAS[0] * settings.CIFAR_FACTORS[scale]),
        notes,
    )


def _worse_with_noise(found: Found) -> Check:
    plain, mild = found.of("none", RATIO), found.of("type1-1.9", RATIO)
    return checks.exceeds(
        "Without noise more can be pruned than with noise of alpha = 1.9",
        [(plain, mild)],
        f"{checks.plain(plain.mean)} without, {checks.plain(mild.mean)} with noise",
    )


def _far_from_equal(found: Found) -> Check:
    plain = found.of("none", RATIO).mean
    return checks.at_least(
        "Without noise the columns are already far from equal: twice the 10 % of untrained "
        "weights can be pruned",
        plain,
        0.2,
        f"{checks.plain(plain)} of the columns, against 0.2",
    ).aside()


def _by_level(metric: str, statement: str, found: Found, *, falling: bool = False) -> Check:
    rows = dict(reversed(LEVEL_ROWS.items())) if falling else LEVEL_ROWS
    return ordering.rises(
        statement, {row: found.of(condition, metric) for row, condition in rows.items()}
    )


def _near_printed(found: Found) -> Check:
    """Pruned shares by level against the printed ones, which come without a deviation."""
    printed = PUBLISHED[f"table{LEVELS}"]
    rows = [
        (row, found.of(condition, RATIO).mean, printed.cell(row, RATIO).mean)
        for row, condition in LEVEL_ROWS.items()
    ]
    limit = f"{100 * NEAR_LEVELS:.0f} points"
    statement = f"The pruned shares are within {limit} of the published ones at every level"
    return ROWS.sized(checks.near(statement, rows, NEAR_LEVELS, words=checks.percent), found)


def _strongest_loses(found: Found) -> Check:
    losses = []
    for condition in (
        LEVEL_ROWS[f"{settings.CIFAR_SIGMAS[-1]:g}"],
        LEVEL_ROWS[f"{settings.CIFAR_SIGMAS[0]:g}"],
    ):
        before, after = found.of(condition, TEST).mean, found.of(condition, PRUNED).mean
        losses.append(None if before is None or after is None else before - after)
    return checks.compared(
        "The strongest noise loses more test accuracy through pruning than the weakest",
        losses[0],
        losses[1],
        "{:.4f} against {:.4f}",
    ).aside()


ITEMS = (
    table_item(
        6,
        "CIFAR-10 with noise of type I, n = 5,000: accuracy and pruned share",
        "A negative result: without noise more columns can be pruned than with noise of alpha = "
        "1.9.",
        plan_of,
        Gather(
            (TableSpec("CIFAR-10, type I, n = 5,000", NAME, COLUMNS, ROWS.lines(), ROWS.printed),),
            (partial(panels.of_rows, ROWS, {}),),
            (
                _worse_with_noise,
                _far_from_equal,
                lambda found: ROWS.rising(found, LOWER).aside(),
                ROWS.near_without_noise,
            ),
            (partial(late, conditions=("none", *ROWS.noisy.values())),),
        ),
    ),
    table_item(
        20,
        "CIFAR-10 with noise of type I, alpha = 1.8, n = 5,000, by noise level",
        "Stronger noise makes more columns prunable and costs accuracy.",
        plan_of,
        Gather(
            (
                TableSpec(
                    "CIFAR-10, type I, alpha = 1.8, n = 5,000, by noise level",
                    Column("row", "printed noise level"),
                    COLUMNS,
                    [Line(row, condition, row) for row, condition in LEVEL_ROWS.items()],
                    PUBLISHED["table20"],
                ),
            ),
            (partial(panels.of_levels, LEVEL_ROWS, LEVELS),),
            (
                partial(_by_level, RATIO, "The stronger the noise, the more can be pruned"),
                partial(
                    _by_level,
                    PRUNED,
                    "The stronger the noise, the lower the test accuracy after pruning",
                    falling=True,
                ),
                _near_printed,
                _strongest_loses,
            ),
        ),
    ),
)
