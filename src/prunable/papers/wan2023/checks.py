"""The paper's claims about a table, as statements that the rows decide."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from prunable.experiments.reproduce.items import Check
from prunable.papers.wan2023.published import published, slips
from prunable.papers.wan2023.rows import PRUNED, RATIO, TEST, Row, percent, standard_error

PAPERS_RUNS = 5
STANDARD_ERRORS = 2.0
# Without noise the pruned share hangs on the initial weights alone.
NEAR_RATIO = 0.015
NEAR_ACCURACY = 0.01


def label_of(row: Row) -> str:
    """What distinguishes a row: its tail index, or no noise."""
    return "no noise" if row.key == "none" else row.key.partition("-")[2]


def ordered(rows: Sequence[Row], metric: str, statement: str, *, essential: bool = True) -> Check:
    """Check that a metric's means rise from row to row."""
    means = [row.mean(metric) for row in rows]
    known = [mean for mean in means if mean is not None]
    if len(known) < len(rows):
        return Check(statement, None, "runs are missing", essential)
    text = ", ".join(
        f"{label_of(row)}: {percent(row.mean(metric))} (median {percent(row.median(metric))}, "
        f"{len(row.seeds)} runs)"
        for row in rows
    )
    wins, pairs = 0, 0
    for low, high in itertools.pairwise(rows):
        by_seed = dict(zip(low.seeds, low.values(metric), strict=True))
        for seed, value in zip(high.seeds, high.values(metric), strict=True):
            if seed in by_seed:
                pairs += 1
                wins += value > by_seed[seed]
    text += f"; rising in {wins} of {pairs} pairs of neighbouring rows with the same seed"
    holds = all(low < high for low, high in itertools.pairwise(known))
    return Check(statement, holds, text, essential)


def more_prunable(noisy: Sequence[Row], plain: Row) -> Check:
    """Check that noise makes every row more prunable than no noise."""
    statement = "With noise more of the columns can be pruned than without"
    base = plain.mean(RATIO)
    means = [row.mean(RATIO) for row in noisy]
    if base is None or any(mean is None for mean in means):
        return Check(statement, None, "runs are missing")
    text = ", ".join(f"{label_of(row)}: {percent(row.mean(RATIO))}" for row in noisy)
    holds = all(mean is not None and mean > base for mean in means)
    return Check(statement, holds, f"{text}; no noise: {percent(base)}")


def near_without_noise(plain: Row, table: int) -> Check:
    """Check the pruned share without noise against the paper's."""
    target, _ = published(table, "none", RATIO)
    statement = (
        f"Without noise the pruned share is within {100 * NEAR_RATIO:.1f} points of the published "
        f"{percent(target)}"
    )
    mean = plain.mean(RATIO)
    if mean is None or target is None:
        return Check(statement, None, "runs are missing")
    return Check(
        statement, abs(mean - target) <= NEAR_RATIO, f"{percent(mean)}, {len(plain.seeds)} runs"
    )


def agree(
    rows: Sequence[tuple[Row, str]], table: int, metric: str = RATIO, where: str = ""
) -> Check:
    """Check that means agree with the published ones within two standard errors of both.

    Rows that the print repeats or gives no deviation for are left out. A single run is taken to
    scatter as the published ones do. `where` says, in words, of which of several readings.
    """
    statement = (
        f"The mean pruned shares agree with the published ones within two standard errors{where}"
    )
    repeated = {row for row, text in slips(table) if "repeats" in text}
    texts, inside = [], 0
    for row, name in rows:
        target, deviation = published(table, name, metric)
        count = len(row.seeds)
        own = deviation if count == 1 else row.deviation(metric)
        error = standard_error((own, count), (deviation, PAPERS_RUNS))
        mean = row.mean(metric)
        if name in repeated or error is None or error == 0 or mean is None or target is None:
            continue
        distance = (mean - target) / error
        inside += abs(distance) <= STANDARD_ERRORS
        texts.append(
            f"{name}: {percent(mean)} ± {percent(row.deviation(metric))} against "
            f"{percent(target)} ± {percent(deviation)}, {distance:+.1f} s.e."
        )
    if not texts:
        return Check(statement, None, "no row has deviations of both", essential=False)
    evidence = f"{inside} of {len(texts)} ({'; '.join(texts)})"
    return Check(statement, inside == len(texts), evidence, essential=False)


def near_accuracy(rows: Sequence[tuple[Row, str]], table: int, where: str = "") -> Check:
    """Check the test accuracies before pruning against the published ones; see `agree`."""
    statement = (
        f"Test accuracy before pruning is within {100 * NEAR_ACCURACY:.0f} point of the "
        f"published{where}"
    )
    texts, worst = [], 0.0
    for row, name in rows:
        target, _ = published(table, name, TEST)
        mean = row.mean(TEST)
        if target is not None and mean is not None:
            worst = max(worst, abs(mean - target))
            texts.append(f"{name}: {mean:.3f} against {target:.3f}")
    if not texts:
        return Check(statement, None, "runs are missing", essential=False)
    return Check(statement, worst <= NEAR_ACCURACY, "; ".join(texts), essential=False)


def small_loss(row: Row, most: float = NEAR_ACCURACY) -> Check:
    """Check that pruning costs little test accuracy."""
    statement = (
        f"At alpha = {label_of(row)} pruning costs at most {100 * most:.0f} point of test accuracy"
    )
    before, after = row.mean(TEST), row.mean(PRUNED)
    if before is None or after is None:
        return Check(statement, None, "runs are missing")
    text = f"{before:.4f} before, {after:.4f} after, {len(row.seeds)} runs"
    return Check(statement, before - after <= most, text)


def compared(
    statement: str, left: float | None, right: float | None, words: str, *, essential: bool = True
) -> Check:
    """Check that one number exceeds another; `words` names both, with two places for them."""
    if left is None or right is None:
        return Check(statement, None, "runs are missing", essential)
    return Check(statement, left > right, words.format(left, right), essential)
