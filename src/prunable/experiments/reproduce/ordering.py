"""Whether independent groups of runs rise in a claimed order: exact rank tests, and their power.

Two groups make the test of Mann and Whitney, several that of Jonckheere and Terpstra. Neither is
moved by a giant among the runs, which a mean is.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.document import Check
from prunable.experiments.reproduce.frame import Frame
from prunable.experiments.reproduce.published import Printed

LEVEL = 0.05
SUFFICIENT = 0.8  # power from which on a claim that is not borne out fails
SIMULATED = 2000
MOST_EXACT = 80  # numbers in all; of more the normal law is near enough
SEEDS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50, 80, 120)

Expected = Sequence[np.ndarray | Printed]


def rising_pairs(groups: Sequence[Sequence[float]]) -> float:
    """Pairs of numbers of two groups that rise from the earlier to the later; ties are halves.

    Jonckheere (1954), Terpstra (1952).

    >>> rising_pairs([[1.0, 2.0], [2.0, 3.0]])
    3.5
    """
    found = 0.0
    for low, high in itertools.combinations(groups, 2):
        less = np.asarray(low)[:, None] - np.asarray(high)[None, :]
        found += float((less < 0).sum() + 0.5 * (less == 0).sum())
    return found


def chances_of(sizes: Sequence[int]) -> np.ndarray:
    """Chance of each number of rising pairs 0, 1, ... if all orders are equally likely.

    The Gaussian multinomial coefficient of the sizes, over their multinomial coefficient.

    >>> chances_of([2, 1]).round(3).tolist()
    [0.333, 0.333, 0.333]
    """
    counts = [1]
    total = 0
    for size in sizes:
        for i in range(1, size + 1):
            total += 1
            counts = _divided(_multiplied(counts, total), i)
    orders = sum(counts)
    return np.array([count / orders for count in counts])


def _multiplied(counts: list[int], power: int) -> list[int]:
    """Coefficients of a polynomial times 1 - q^power."""
    padded = counts + [0] * power
    return [now - (padded[i - power] if i >= power else 0) for i, now in enumerate(padded)]


def _divided(counts: list[int], power: int) -> list[int]:
    """Coefficients of a polynomial over 1 - q^power, which divides it."""
    found = counts[:]
    for i in range(power, len(found)):
        found[i] += found[i - power]
    return found[: len(found) - power]


def chance_of_rise(groups: Sequence[Sequence[float]]) -> float:
    """One-sided chance of as many rising pairs in a random order; exact without ties.

    With ties a half pair is rounded down, which errs on the side of no rise.

    >>> round(chance_of_rise([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]), 5)
    0.00397
    """
    return _chance([len(group) for group in groups], rising_pairs(groups))


def _chance(sizes: Sequence[int], pairs: float) -> float:
    if sum(sizes) <= MOST_EXACT:
        return float(chances_of(sizes)[math.floor(pairs) :].sum())
    mean, deviation = _moments(sizes)
    return float(stats.norm.sf((pairs - 0.5 - mean) / deviation))


def _moments(sizes: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation of the number of rising pairs in a random order."""
    n = sum(sizes)
    variance = n * n * (2 * n + 3) - sum(k * k * (2 * k + 3) for k in sizes)
    return (n * n - sum(k * k for k in sizes)) / 4, math.sqrt(variance / 72)


def _least_pairs(sizes: Sequence[int]) -> float:
    """The least number of rising pairs that is significant; infinite if none is."""
    if sum(sizes) <= MOST_EXACT:
        tails = np.cumsum(chances_of(sizes)[::-1])[::-1]
        found = np.flatnonzero(tails < LEVEL)
        return float(found[0]) if len(found) else math.inf
    mean, deviation = _moments(sizes)
    return mean + 0.5 + float(stats.norm.isf(LEVEL)) * deviation


def power_of(expected: Expected, sizes: Sequence[int]) -> float:
    """Chance that a rise is significant if each group has its expected law.

    expected : Of each group draws from its law, or a printed mean and deviation (a normal law).
    """
    least, rng = _least_pairs(sizes), np.random.default_rng(0)
    if math.isinf(least):
        return 0.0
    groups = [
        rng.choice(one, (SIMULATED, n))
        if isinstance(one, np.ndarray)
        else rng.normal(one.mean or 0.0, one.std or 0.0, (SIMULATED, n))
        for one, n in zip(expected, sizes, strict=True)
    ]
    pairs = np.zeros(SIMULATED)
    for low, high in itertools.combinations(groups, 2):
        sorted_high = np.sort(high, axis=1)
        for place in range(low.shape[1]):
            pairs += (sorted_high > low[:, place, None]).sum(axis=1)
    return float(np.mean(pairs >= least))


def rises(statement: str, groups: Mapping[str, Frame], *, expected: Expected = ()) -> Check:
    """The claim that numbers rise from group to group of independent runs.

    Holds if a random order is refuted at the one-sided 5 % level and the medians are in the
    claimed order; contradicted if the opposite order, or that of two neighbours, is significant.
    Otherwise it fails if the power was sufficient, and is underpowered if not.

    groups : By their labels, in the claimed order.
    expected : See `power_of`; by default normal laws with the groups' own means and deviations.
    """
    frames = list(groups.values())
    if any(not len(frame) for frame in frames):
        return checks.undecided(statement)
    laws = list(expected) or [Printed(frame.mean, frame.std) for frame in frames]
    sizes = [len(frame) for frame in frames]
    values = [frame.values for frame in frames]
    p, opposite = chance_of_rise(values), chance_of_rise(values[::-1])
    neighbours = list(itertools.pairwise(range(len(frames))))
    steps = [chance_of_rise([values[i], values[j]]) for i, j in neighbours]
    back = [chance_of_rise([values[j], values[i]]) for i, j in neighbours]
    power = power_of(laws, sizes)
    evidence = ", ".join(
        f"{label}: {checks.percent(frame.mean)} (median {checks.percent(frame.median)}, "
        f"{len(frame)} run{'s' * (len(frame) != 1)})"
        for label, frame in groups.items()
    )
    name = "Jonckheere-Terpstra" if len(frames) > 2 else "Mann-Whitney"
    evidence += f"; independent runs, exact {name} test: p = {p:.2g}"
    if len(frames) > 2:
        evidence += f", neighbours alone (Mann-Whitney) {', '.join(f'{one:.2g}' for one in steps)}"
    whose = "of what is predicted or printed" if expected else "of an effect as large as ours"
    evidence += f"; power {power:.2f} {whose}"
    if min(opposite, *back) < LEVEL:
        return Check(statement, False, evidence, outcome="contradicted")
    turned = [
        (i, j) for i, j in neighbours if (frames[i].median or 0.0) >= (frames[j].median or 0.0)
    ]
    if p < LEVEL and not turned:
        return Check(statement, True, evidence)
    if p < LEVEL:  # a trend, but not the order: can the neighbours be told apart?
        power = min(power_of([laws[i], laws[j]], [sizes[i], sizes[j]]) for i, j in turned)
        sought = [[laws[i], laws[j]] for i, j in turned]
    else:
        sought = [laws]
    if power >= SUFFICIENT:
        return Check(statement, False, evidence)
    enough = next(
        (n for n in SEEDS if all(power_of(some, [n] * len(some)) >= SUFFICIENT for some in sought)),
        None,
    )
    needs = f"about {enough} seeds" if enough else "another design: no effect"
    return checks.underpowered(statement, evidence, needs)
