"""The library of checks: claims that numbers decide, each with one of five outcomes.

Where a claim rests on means over seeds it is decided by an interval: it holds if the interval
lies on the claimed side, is contradicted if it lies on the other, and otherwise fails or is
underpowered, by whether the design could have seen the effect that the paper reports.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import stats

from prunable.experiments.reproduce.document import Check, Outcome
from prunable.experiments.reproduce.frame import Frame
from prunable.experiments.reproduce.published import NOTHING, Printed
from prunable.experiments.reproduce.ranks import LEAST_PAIRS, pairs_for, rank_correlation

MISSING = "runs are missing"
FULL_SIZE = "the published size"
LEVEL = 0.95
STRONG = 0.7  # rank correlation that a claim of an order must at least be able to show
MOST_SEEDS = 10_000
PUBLISHED_RUNS = 5
# From the worst: what a claim about several things comes to.
_WORST: tuple[Outcome, ...] = ("contradicted", "fails", "not applicable", "underpowered", "holds")

Words = Callable[[float], str]
T = TypeVar("T")


def percent(value: float | None, digits: int = 2) -> str:
    """A share in words."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def plain(value: float | None) -> str:
    """A number in words."""
    return "-" if value is None else f"{value:.4f}"


def undecided(statement: str, why: str = MISSING) -> Check:
    """A claim without the numbers that would decide it."""
    return Check(statement, None, why, outcome="not applicable")


def underpowered(statement: str, evidence: str, needs: str) -> Check:
    """A claim that the design could not have seen; `needs` says what could."""
    return Check(statement, None, evidence, outcome="underpowered", needs=needs)


def at_reduced_size(check: Check, how: str) -> Check:
    """A comparison with the published number that a reduced size shows but cannot decide.

    An essential one remains so: an item that lacks it is incomplete.
    """
    evidence, needs = f"at reduced size ({how}): {check.evidence}", check.needs or FULL_SIZE
    return replace(
        check, holds=None, evidence=evidence, outcome="not applicable", needs=needs, printed=True
    )


def with_print(check: Check) -> Check:
    """A check that compares with numbers that the paper prints."""
    return replace(check, printed=True)


@dataclass(frozen=True)
class Judged:
    """What one comparison comes to; `seeds` would have seen an underpowered one."""

    outcome: Outcome
    seeds: int = 0


def judged(value: float, error: float | None, n: int, expected: float | None = None) -> Judged:
    """Judge the claim that a difference is positive.

    value, error : Estimate and its standard error; None where a single run does not tell.
    n : Seeds behind both; of a single one the error is that of the paper's runs.
    expected : Difference that the paper reports; by default one as large as the estimate.
    """
    if error is None:
        return Judged("underpowered", 2)
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, (n if n > 1 else PUBLISHED_RUNS) - 1))
    if value > half:
        return Judged("holds")
    if value < -half:
        return Judged("contradicted")
    effect = abs(value) if expected is None else expected
    if half < effect or error == 0:
        return Judged("holds" if value > 0 else "fails")
    return Judged("underpowered", _seeds_for(effect, error * math.sqrt(n)))


def _seeds_for(effect: float, std: float) -> int:
    """Least number of seeds whose interval is narrower than an effect."""
    for n in itertools.chain(range(2, 100), range(100, MOST_SEEDS, 100)):
        if stats.t.ppf((1 + LEVEL) / 2, n - 1) * std / math.sqrt(n) < effect:
            return n
    return MOST_SEEDS


def of_several(statement: str, found: Sequence[Judged], evidence: str) -> Check:
    """The claim that several differences are positive: the worst of their outcomes."""
    worst = min((one.outcome for one in found), key=_WORST.index)
    seeds = max(one.seeds for one in found)
    needs = ""
    if worst == "underpowered":
        needs = f"about {seeds:,} seeds" if seeds < MOST_SEEDS else "another design: no effect"
    holds = None if worst == "underpowered" else worst == "holds"
    return Check(statement, holds, evidence, outcome=worst, needs=needs)


def difference(high: Frame, low: Frame) -> tuple[float, float | None, int]:
    """Difference of means, its standard error and the seeds behind it; by pairs of equal seeds."""
    assert high.mean is not None
    assert low.mean is not None
    common = [seed for seed in high.seeds if seed in low.by_seed]
    if len(common) == len(high) == len(low):
        pairs = [high.by_seed[seed] - low.by_seed[seed] for seed in common]
        error = float(np.std(pairs, ddof=1)) / math.sqrt(len(pairs)) if len(pairs) > 1 else None
        return high.mean - low.mean, error, len(pairs)
    if high.std is None or low.std is None:
        return high.mean - low.mean, None, 1
    error = math.hypot(high.std / math.sqrt(len(high)), low.std / math.sqrt(len(low)))
    return high.mean - low.mean, error, min(len(high), len(low))


def exceeds(
    statement: str,
    pairs: Sequence[tuple[Frame, Frame]],
    evidence: str,
    *,
    printed: Sequence[tuple[Printed, Printed]] = (),
) -> Check:
    """The claim that in each pair the first mean exceeds the second.

    printed : The paper's numbers: their difference is what the design must be able to see, and a
        single run of ours is taken to scatter as theirs do.
    """
    if not pairs or any(not len(frame) for pair in pairs for frame in pair):
        return undecided(statement)
    found = []
    theirs = printed or [(NOTHING, NOTHING)] * len(pairs)
    for (high, low), beside in zip(pairs, theirs, strict=True):
        value, error, n = difference(high, low)
        if error is None and any(row.std for row in beside):
            error = math.hypot(*(row.std or 0.0 for row in beside))
        found.append(judged(value, error, n, _effect(*beside)))
    return of_several(statement, found, evidence)


def _effect(high: Printed, low: Printed) -> float | None:
    """Difference that a paper reports; None where it reports none of the claimed sign."""
    if high.mean is None or low.mean is None or high.mean <= low.mean:
        return None
    return high.mean - low.mean


def ordered(
    statement: str, groups: Mapping[str, Frame], *, printed: Sequence[Printed] = ()
) -> Check:
    """The claim that means rise from group to group.

    groups : By their labels, in the claimed order.
    printed : The paper's numbers of the groups; see `exceeds`.
    """
    frames = list(groups.values())
    if any(not len(frame) for frame in frames):
        return undecided(statement)
    evidence = ", ".join(
        f"{label}: {percent(frame.mean)} (median {percent(frame.median)}, "
        f"{len(frame)} run{'s' * (len(frame) != 1)})"
        for label, frame in groups.items()
    )
    pairs = [(high, low) for low, high in itertools.pairwise(frames)]
    both = [
        (high.by_seed[seed], low.by_seed[seed])
        for high, low in pairs
        for seed in high.by_seed.keys() & low.by_seed.keys()
    ]
    evidence += (
        f"; rising in {sum(a > b for a, b in both)} of {len(both)} pairs of neighbouring rows "
        "with the same seed"
    )
    beside = [(high, low) for low, high in itertools.pairwise(printed)]
    return exceeds(statement, pairs, evidence, printed=beside)


def scatters_more(
    statement: str, high: Frame, low: Frame, words: str, *, expected: float | None = None
) -> Check:
    """The claim that one condition scatters more than another over seeds, by the F law.

    `expected` is the quotient of deviations that the paper reports; `words` has two places for
    ours.
    """
    if high.std is None or low.std is None:
        return undecided(statement)
    evidence = words.format(high.std, low.std)
    if not high.std or not low.std:
        return Check(statement, high.std > low.std, evidence)
    ratio, n = math.log(high.std / low.std), min(len(high), len(low))
    half = _ratio_interval(n)
    if abs(ratio) > half:
        outcome: Outcome = "holds" if ratio > 0 else "contradicted"
        return Check(statement, ratio > 0, evidence, outcome=outcome)
    effect = abs(ratio) if expected is None else abs(math.log(expected))
    if half < effect:
        return Check(statement, ratio > 0, evidence)
    seeds = next((k for k in range(n, MOST_SEEDS, 5) if _ratio_interval(k) < effect), MOST_SEEDS)
    return underpowered(statement, evidence, f"about {seeds:,} seeds")


def _ratio_interval(n: int) -> float:
    """Half of the interval of the logarithm of a quotient of deviations over n seeds each."""
    return math.log(float(stats.f.ppf((1 + LEVEL) / 2, n - 1, n - 1))) / 2


def compared(statement: str, left: float | None, right: float | None, words: str) -> Check:
    """The claim that one number exceeds another; `words` names both, with two places for them."""
    if left is None or right is None:
        return undecided(statement)
    return Check(statement, left > right, words.format(left, right))


def at_most(
    statement: str,
    value: float | None,
    limit: float,
    evidence: str,
    *,
    error: float | None = None,
    n: int = 0,
) -> Check:
    """The claim that a number is at most a limit.

    error, n : Standard error over n seeds: a number above the limit contradicts the claim if its
        interval is above it too, and merely fails otherwise. Without them the number decides.
    """
    if value is None:
        return undecided(statement)
    if value <= limit:
        return Check(statement, True, evidence)
    half = math.inf
    if error is not None and n > 1:
        half = error * float(stats.t.ppf((1 + LEVEL) / 2, n - 1))
    outcome: Outcome = "contradicted" if value - half > limit else "fails"
    return Check(statement, False, evidence, outcome=outcome)


def at_least(
    statement: str,
    value: float | None,
    limit: float,
    evidence: str,
    *,
    error: float | None = None,
    n: int = 0,
) -> Check:
    """The claim that a number is at least a limit; see `at_most`."""
    turned = None if value is None else -value
    return at_most(statement, turned, -limit, evidence, error=error, n=n)


def every(
    statement: str,
    rows: Iterable[tuple[str, T]],
    holds: Callable[[T], bool],
    said: Callable[[T], str],
) -> Check:
    """The claim that something is true of every row; each is named with what decides it."""
    known = list(rows)
    if not known:
        return undecided(statement)
    evidence = "; ".join(f"{key}: {said(row)}" for key, row in known)
    return Check(statement, all(holds(row) for _, row in known), evidence)


def near(
    statement: str,
    rows: Iterable[tuple[str, float | None, float | None]],
    limit: float,
    *,
    words: Words = lambda value: f"{value:.3f}",
) -> Check:
    """The claim that numbers lie within a limit of the published ones: (name, ours, printed)."""
    known = [(name, a, b) for name, a, b in rows if a is not None and b is not None]
    if not known:
        return with_print(undecided(statement))
    worst = max(abs(ours - target) for _, ours, target in known)
    evidence = "; ".join(f"{name}: {words(a)} against {words(b)}" for name, a, b in known)
    return Check(statement, worst <= limit, evidence, printed=True)


def monotone(
    statement: str,
    x: Sequence[float],
    y: Sequence[float],
    *,
    rising: bool = False,
    expected: float = STRONG,
    unit: str = "networks",
) -> Check:
    """The claim that y falls (or rises) with x, by ranks.

    Holds if a random order is refuted at the one-sided 5 % level, is contradicted if it is in
    the other direction. Otherwise it fails, or is underpowered if so few pairs could not show
    a rank correlation of `expected`.
    """
    sign = -1.0 if rising else 1.0
    found = rank_correlation(x, y)
    claimed, opposite = (
        rank_correlation(x, [side * value for value in y]) for side in (sign, -sign)
    )
    if found is None or claimed is None or opposite is None:
        few = len(x) < LEAST_PAIRS
        why = f"{len(x)} {unit}" if few else f"one side is the same in all {unit}"
        needs = f"at least {pairs_for(expected)} {unit}" if few else f"{unit} that differ"
        return underpowered(statement, why, needs)
    # Where one side hardly varies, no order could be seen.
    spans = " against ".join(f"{min(side):.4g} to {max(side):.4g}" for side in (y, x))
    evidence = f"Spearman's rho {found}; {spans}"
    if claimed.is_negative:
        return Check(statement, True, evidence)
    if opposite.is_negative:
        return Check(statement, False, evidence, outcome="contradicted")
    if -claimed.critical > expected:
        needs = f"at least {pairs_for(expected)} {unit}"
        return underpowered(statement, evidence, needs)
    return Check(statement, False, evidence)
