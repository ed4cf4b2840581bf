"""Tables 5 and 15 to 19: MNIST with type I noise, and without it pruned as far."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prunable.experiments.reproduce.items import (
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
from prunable.papers.wan2023 import checks
from prunable.papers.wan2023.published import published, slip_notes
from prunable.papers.wan2023.rows import COLUMNS, PRUNED, RATIO, TEST, Row, cells, lost_runs, row_of
from prunable.papers.wan2023.settings import (
    ALPHAS,
    MNIST,
    alike_runs,
    mnist_runs,
    mnist_setting,
    mnist_sigma,
)
from prunable.runs.spec import Spec

NOISY = {5: 10_000, 15: 2000, 16: 5000}  # table: width
ALIKE = {17: 15, 18: 16, 19: 5}  # table: the one whose ratios it uses
ALIKE_RATIO, ALIKE_TEST = "pruning_ratio_alike", "test_accuracy_pruned_alike"
ALIKE_COLUMNS = (
    Column("row", "alpha"),
    Column(ALIKE_RATIO, "pruned", "%", 2),
    Column("train_accuracy_pruned_alike", "train acc. a.p., no noise", digits=4),
    Column(ALIKE_TEST, "test acc. a.p., no noise", digits=4),
    Column(PRUNED, "test acc. a.p., with noise", digits=4),
)
BASE_NOTE = (
    "The learning rate is the printed step size, as in the released code. Multiplied by n, as "
    "equation (2) reads, it is 20: the first steps then move the weights so far that a network "
    "without noise is prunable by more than 20 %, against the published 10.85 %."
)


def plan_of(number: int, scale: Scale, convention: Convention) -> Plan:
    """Runs of one table."""
    width = NOISY[ALIKE.get(number, number)]
    setting = mnist_setting(width, scale)
    runs: dict[str, Spec] = dict(mnist_runs(width, scale))
    if number in ALIKE:
        runs |= alike_runs(width, scale)
    return Plan(
        scale,
        convention,
        runs,
        {
            "data": setting.dataset,
            "hidden units": setting.width,
            "step size": setting.lr,
            "batch": setting.batch_size or 0,
            "until training accuracy": setting.until_accuracy or 0.0,
            "most steps": setting.steps,
            "noise level": mnist_sigma(width, scale),
            "seeds": setting.seeds,
        },
        _notes(width, scale),
    )


def _notes(width: int, scale: Scale) -> tuple[str, ...]:
    if scale == "smoke":
        return ("A toy on digits: the code's whole path, no statement about the paper.",)
    if scale == "paper":
        return (BASE_NOTE, "Training ends after 200,000 steps at the latest.")
    setting = mnist_setting(width, scale)
    eta = MNIST[width][0]
    same = setting.width == width
    units = (
        ", as published"
        if same
        else (", so shares are not comparable one by one: narrower networks move more")
    )
    return (
        BASE_NOTE,
        f"Step size {setting.lr:g} for {eta:g}, batches of {setting.batch_size} for 5,000, a look "
        f"at the stop rule every {setting.evaluate_every} steps: the accumulated noise depends on "
        "its level and on the step size times the steps, which the stop rule decides.",
        f"{setting.width:,} hidden units for {width:,}{units}.",
        f"Seeds: {setting.seeds} for 5.",
    )


def _rows(plan: Plan, results: Mapping[str, Result]) -> tuple[Row, dict[float, Row]]:
    noisy = {alpha: row_of(plan, results, f"type1-{alpha:g}") for alpha in ALPHAS}
    return row_of(plan, results, "none"), noisy


def gather_noisy(number: int, plan: Plan, results: Mapping[str, Result]) -> Findings:
    """Findings of a table of networks with noise."""
    width = NOISY[number]
    full_size = plan.settings["hidden units"] == width
    plain, noisy = _rows(plan, results)
    lines = [("none", "no noise", plain)]
    lines += [(f"{alpha:g}", f"{alpha:g}", noisy[alpha]) for alpha in reversed(ALPHAS)]
    named = [(row, name) for name, _, row in lines]
    rows = tuple(cells(row, label, COLUMNS, number, name) for name, label, row in lines)
    rising = [noisy[alpha] for alpha in ALPHAS]
    found = [
        checks.more_prunable(rising, plain),
        checks.ordered(
            rising, RATIO, "The lower alpha, the more can be pruned: 1.9, 1.8, 1.75 in this order"
        ),
        checks.small_loss(noisy[1.9]),
    ]
    if full_size:
        found.append(checks.near_without_noise(plain, number))
        found.append(checks.agree(named, number))
        if published(number, "none", TEST)[0] is not None:
            found.append(checks.near_accuracy(named, number))
    notes = [*lost_runs(plan, results), *_ends(plain, noisy), *slip_notes(number)]
    title = f"MNIST, type I, n = {width:,}"
    return Findings((Table(title, COLUMNS, rows),), (), tuple(found), tuple(notes))


def gather_alike(number: int, plan: Plan, results: Mapping[str, Result]) -> Findings:
    """Findings of a table of networks without noise pruned as far as noisy ones."""
    other = ALIKE[number]
    _, noisy = _rows(plan, results)
    alike = {alpha: row_of(plan, results, f"alike-{alpha:g}") for alpha in ALPHAS}
    lines = []
    for alpha in ALPHAS:
        line = cells(alike[alpha], f"{alpha:g}", ALIKE_COLUMNS[:-1], number, f"{alpha:g}")
        beside = cells(noisy[alpha], "", (ALIKE_COLUMNS[0], ALIKE_COLUMNS[-1]), other, f"{alpha:g}")
        lines.append(line + beside[1:])
    title = f"MNIST without noise, n = {NOISY[other]:,}, pruned as far as with type I noise"
    last = number == 19
    found = (
        checks.ordered(
            [alike[alpha] for alpha in reversed(ALPHAS)],
            ALIKE_TEST,
            "Without noise, test accuracy falls as more is pruned",
            essential=not last,
        ),
        _noise_helps(number, noisy, alike, essential=last),
    )
    return Findings(
        (Table(title, ALIKE_COLUMNS, tuple(lines)),), (), found, lost_runs(plan, results)
    )


def _noise_helps(
    number: int, noisy: Mapping[float, Row], alike: Mapping[float, Row], *, essential: bool
) -> Check:
    statement = (
        "Pruned as far, networks with noise are more accurate on the test set than without, at "
        "every alpha"
    )
    texts, gains = [], []
    for alpha in ALPHAS:
        own, control = noisy[alpha].mean(PRUNED), alike[alpha].mean(ALIKE_TEST)
        if own is None or control is None:
            return Check(statement, None, "runs are missing", essential)
        gains.append(own - control)
        theirs, without = (
            published(table, f"{alpha:g}", metric)[0]
            for table, metric in ((ALIKE[number], PRUNED), (number, ALIKE_TEST))
        )
        text = f"{alpha:g}: {own:.4f} against {control:.4f}"
        if theirs is not None and without is not None:
            text += f" (published {100 * (theirs - without):+.2f} points)"
        texts.append(text)
    return Check(statement, min(gains) > 0, "; ".join(texts), essential)


def _ends(plain: Row, noisy: Mapping[float, Row]) -> list[str]:
    """Runs that did not reach the stop rule."""
    late = [
        f"{row.key}/{seed}"
        for row in (plain, *noisy.values())
        for seed, result in zip(row.seeds, row.results, strict=True)
        if not result["stopped"]
    ]
    if not late:
        return []
    return [f"{len(late)} runs ended before the training accuracy was reached: {', '.join(late)}."]


def _item(number: int) -> Item:
    noisy = number in NOISY
    width = NOISY[ALIKE.get(number, number)]
    if noisy:
        title = f"MNIST with noise of type I, n = {width:,}: accuracy and pruned share"
        claim = (
            "Heavy-tailed noise makes more columns prunable than without noise, the more so the "
            "lower alpha, at a small cost in accuracy."
        )
        gather = partial(gather_noisy, number)
    else:
        title = f"MNIST without noise, n = {width:,}, pruned as far as networks with noise"
        claim = "Without noise accuracy falls as more is pruned"
        claim += (
            ", to below that of the networks with noise." if number == 19 else ", though little."
        )
        gather = partial(gather_alike, number)
    return Item(
        f"wan2023-table{number}",
        "wan2023",
        "table",
        f"Table {number}",
        title,
        claim,
        partial(plan_of, number),
        gather,
    )


ITEMS = tuple(_item(number) for number in (*NOISY, *ALIKE))
