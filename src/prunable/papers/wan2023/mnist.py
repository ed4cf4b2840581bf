"""Tables 5 and 15 to 19: MNIST with type I noise, and without it pruned as far."""

from functools import partial

from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.document import Check, Convention, Scale
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import Line, Metric, TableSpec
from prunable.papers.wan2023 import panels, settings
from prunable.papers.wan2023.claims import (
    COLUMNS,
    NAME,
    NEAR_ACCURACY,
    PRUNED,
    TEST,
    Rows,
    late,
    table_item,
)
from prunable.runs.spec import Spec

NOISY = {5: 10_000, 15: 2000, 16: 5000}  # table: width
ALIKE = {17: 15, 18: 16, 19: 5}  # table: the one whose ratios it uses
LAST = 19  # the table whose point is that noise helps
ALIKE_TEST = "test_accuracy_pruned_alike"
BASE_NOTE = (
    "The learning rate is the printed step size, as in the released code. Multiplied by n, as "
    "equation (2) reads, it is 20: the first steps then move the weights so far that a network "
    "without noise is prunable by more than 20 %, against the published 10.85 %."
)


def rows_of(number: int) -> Rows:
    """The rows of a table of networks with noise."""
    return Rows(number, "type1", settings.ALPHAS, NOISY[number])


def plan_of(number: int, scale: Scale, convention: Convention) -> Plan:
    """Runs of one table."""
    width = NOISY[ALIKE.get(number, number)]
    setting = settings.mnist_setting(width, scale)
    runs: dict[str, Spec] = dict(settings.mnist_runs(width, scale))
    if number in ALIKE:
        runs |= settings.alike_runs(width, scale)
    return Plan(
        scale,
        convention,
        runs,
        setting.summary(settings.mnist_sigma(width, scale)),
        _notes(width, scale),
    )


def _notes(width: int, scale: Scale) -> tuple[str, ...]:
    if scale == "smoke":
        return (settings.SMOKE_NOTE,)
    if scale == "paper":
        return (BASE_NOTE, "Training ends after 200,000 steps at the latest.")
    setting = settings.mnist_setting(width, scale)
    return (
        BASE_NOTE,
        f"Step size {setting.lr:g} for {settings.MNIST[width][0]:g}, batches of "
        f"{setting.batch_size} for 5,000, a look at the stop rule every {setting.evaluate_every} "
        "steps: the accumulated noise depends on its level and on the step size times the steps, "
        "which the stop rule decides.",
        f"Seeds: {setting.seeds} for 5.",
    )


def _noise_helps(number: int, found: Found) -> Check:
    """Networks with noise against those without, pruned as far, beside the published gains."""
    noisy, alike = rows_of(ALIKE[number]), Rows(number, "alike", settings.ALPHAS)
    pairs, texts = [], []
    for row, condition in noisy.noisy.items():
        own, control = found.of(condition, PRUNED), found.of(alike.noisy[row], ALIKE_TEST)
        pairs.append((own, control))
        text = f"{row}: {checks.plain(own.mean)} against {checks.plain(control.mean)}"
        theirs, without = noisy.target(row, PRUNED), alike.target(row, ALIKE_TEST)
        if theirs is not None and without is not None:
            text += f" (published {100 * (theirs - without):+.2f} points)"
        texts.append(text)
    return checks.exceeds(
        "Pruned as far, networks with noise are more accurate on the test set than without, at "
        "every alpha",
        pairs,
        "; ".join(texts),
    ).aside(number != LAST)


def _falls(number: int, found: Found) -> Check:
    alike = Rows(number, "alike", tuple(reversed(settings.ALPHAS)))
    return checks.ordered(
        "Without noise, test accuracy falls as more is pruned",
        {row: found.of(condition, ALIKE_TEST) for row, condition in alike.noisy.items()},
        printed=[alike.printed.cell(row, ALIKE_TEST) for row in alike.noisy],
    ).aside(number == LAST)


def _near_printed(number: int, found: Found) -> Check:
    """Accuracies of the networks without noise, pruned as far, against the printed ones."""
    other, alike = rows_of(ALIKE[number]), Rows(number, "alike", settings.ALPHAS)
    rows = [
        (row, found.of(condition, ALIKE_TEST).mean, alike.target(row, ALIKE_TEST))
        for row, condition in alike.noisy.items()
    ]
    statement = (
        f"Pruned as far, networks without noise are within {100 * NEAR_ACCURACY:.0f} point of the "
        "published test accuracies"
    )
    return other.sized(checks.near(statement, rows, NEAR_ACCURACY), found)


def _noisy_item(number: int) -> Item:
    rows = rows_of(number)
    claims = [rows.more_prunable, rows.rising, rows.small_loss, rows.near_without_noise, rows.agree]
    if rows.target("none", TEST) is not None:
        claims.append(rows.near_accuracy)
    claims.append(rows.small_step)
    title = f"MNIST, type I, n = {rows.width:,}"
    return table_item(
        number,
        f"MNIST with noise of type I, n = {rows.width:,}: accuracy and pruned share",
        "Heavy-tailed noise makes more columns prunable than without noise, the more so the "
        "lower alpha, at a small cost in accuracy.",
        plan_of,
        Gather(
            (TableSpec(title, NAME, COLUMNS, rows.lines(), rows.printed),),
            (partial(panels.of_rows, rows, {}),),
            tuple(claims),
            (partial(late, conditions=("none", *rows.noisy.values())), rows.slips),
        ),
    )


def _alike_item(number: int) -> Item:
    other, rows = rows_of(ALIKE[number]), Rows(number, "alike", settings.ALPHAS)
    columns = (
        Metric("pruning_ratio_alike", "pruned", "%", 2),
        Metric("train_accuracy_pruned_alike", "train acc. a.p., no noise", digits=4),
        Metric(ALIKE_TEST, "test acc. a.p., no noise", digits=4),
        Metric(
            PRUNED,
            "test acc. a.p., with noise",
            digits=4,
            of=lambda condition: condition.replace("alike", "type1"),
            published=other.printed,
        ),
    )
    lines = [Line(row, condition, row) for row, condition in rows.noisy.items()]
    title = f"MNIST without noise, n = {other.width:,}, pruned as far as with type I noise"
    claim = "Without noise accuracy falls as more is pruned"
    claim += ", to below that of the networks with noise." if number == LAST else ", though little."
    return table_item(
        number,
        f"MNIST without noise, n = {other.width:,}, pruned as far as networks with noise",
        claim,
        plan_of,
        Gather(
            (TableSpec(title, NAME, columns, lines, rows.printed),),
            (partial(panels.of_alike, ALIKE_TEST, other, rows),),
            tuple(partial(claim, number) for claim in (_falls, _noise_helps, _near_printed)),
        ),
    )


ITEMS = (*map(_noisy_item, NOISY), *map(_alike_item, ALIKE))
