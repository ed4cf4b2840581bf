"""What the weights of a layer are, or the refusal to say so."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from prunable.numerics.measure.goodness import Goodness
from prunable.numerics.tails.base import Status, TailEstimate
from prunable.numerics.tails.hill import TailShape

MIN_WEIGHTS = 256
# A right law is refused with this probability.
LEVEL = 0.005
# Several weights beyond six standard deviations are no accident of a Gaussian.
FAR_LEVEL = 1e-4
# Estimators of a right law differ by more than so many standard errors once in 10^4.
AGREEMENT = 4.0
# The tail of a right law is less probable once in 10^4.
TAIL_LEVEL = 1e-5
# A power law of tail index 8 or more is light for every purpose.
HEAVY_FROM = 0.125
STABLE_METHODS = ("log_moment", "log_variance", "quantile", "ecf_two_point", "ecf_regression")


class Kind(StrEnum):
    """Verdicts.

    STABLE: a symmetric stable law with alpha < 2. GAUSSIAN: not told apart from a Gaussian.
    HEAVY: a power-law tail of index below 8, but no stable law. LIGHT: tails that fall like
    an exponential or faster. INCONCLUSIVE: between these. TOO_FEW: below 256 weights.
    """

    STABLE = "stable"
    GAUSSIAN = "gaussian-like"
    HEAVY = "heavy but not stable"
    LIGHT = "light-tailed"
    INCONCLUSIVE = "inconclusive"
    TOO_FEW = "too few"


@dataclass(frozen=True)
class LayerVerdict:
    """A verdict, its reason in one sentence, and the tail index that goes with it.

    That of the stable or Gaussian law, or of the Pareto tail of a heavy one; NaN where the
    verdict supports none.
    """

    kind: Kind
    alpha: float
    stderr: float
    reason: str


def judge(
    n: int,
    estimates: Mapping[str, TailEstimate],
    gaussian: Goodness | None,
    far_p_value: float,
    stable: Goodness | None,
    tail: TailShape | None,
    stable_tail: tuple[float, float] = (1.0, 1.0),
) -> LayerVerdict:
    """Weigh the tests and estimates of one layer.

    Parameters
    ----------
    n : Weights looked at, none of them zero.
    estimates : By method; those of `STABLE_METHODS` and "hill" are looked at.
    gaussian, stable : Tests of fitted laws; None if there was no fit.
    far_p_value : Probability that a Gaussian has as many weights far out.
    stable_tail : Probability and ratio of the weights in the tail of the stable law.

    Notes
    -----
    In this order: a Gaussian law is kept if neither test rejects it. A stable law is kept if
    the Anderson-Darling test does not reject it, its tail holds about as many of all the
    weights as it should, and the five estimators agree. Of the rest the extreme value index
    tells heavy from light tails, if its standard error allows.
    """
    if n < MIN_WEIGHTS or gaussian is None or tail is None:
        reason = f"{n} weights that are neither 0 nor their median; a verdict needs {MIN_WEIGHTS}."
        return _without_alpha(Kind.TOO_FEW, reason)
    ecf = estimates["ecf_regression"]
    if gaussian.p_value >= LEVEL and far_p_value >= FAR_LEVEL:
        reason = f"A Gaussian law fits (p = {gaussian.p_value:.2g}, n = {gaussian.n:,})."
        return LayerVerdict(Kind.GAUSSIAN, ecf.alpha, ecf.stderr, reason)
    stray = _stray(estimates)
    tail_fits = stable_tail[0] >= TAIL_LEVEL
    body_fits = stable is not None and stable.p_value >= LEVEL and ecf.alpha < 2
    if stable is not None and body_fits and tail_fits and not stray:
        reason = (
            f"A stable law fits (p = {stable.p_value:.2g}, n = {stable.n:,}) "
            "and all estimators agree."
        )
        return LayerVerdict(Kind.STABLE, ecf.alpha, ecf.stderr, reason)
    if stable is None:
        why = "No stable law can be fitted"
    elif stable.p_value < LEVEL:
        why = f"Neither a Gaussian nor a stable law fits (p = {stable.p_value:.1g})"
    elif body_fits and not tail_fits:
        why = (
            f"A stable law of alpha {ecf.alpha:.2f} fits the body, but its tail holds "
            f"{stable_tail[1]:.2g} times the weights it should"
        )
    elif stray:
        why = f"Estimators of one stable law disagree ({', '.join(stray)})"
    else:
        why = "No Gaussian law fits, and the fitted stable law is Gaussian"
    found = tail.extreme_value_index
    index = f"extreme value index {found:.2f} ± {tail.stderr:.2f}"
    if math.isnan(found) or abs(found - HEAVY_FROM) < tail.stderr:
        return _without_alpha(Kind.INCONCLUSIVE, f"{why}; {index} decides nothing.")
    if found > HEAVY_FROM:
        hill = estimates["hill"]
        reason = f"{why}; {index} means a power law."
        return LayerVerdict(Kind.HEAVY, hill.alpha, hill.stderr, reason)
    return _without_alpha(Kind.LIGHT, f"{why}; {index} means exponential tails or lighter.")


def _without_alpha(kind: Kind, reason: str) -> LayerVerdict:
    return LayerVerdict(kind, math.nan, math.nan, reason)


def _stray(estimates: Mapping[str, TailEstimate]) -> list[str]:
    """Stable estimators that failed or contradict the regression on the ECF."""
    anchor = estimates["ecf_regression"]
    if anchor.status != Status.OK:
        return ["ecf_regression"]
    stray = []
    for method in STABLE_METHODS:
        found = estimates[method]
        allowed = AGREEMENT * math.hypot(found.stderr, anchor.stderr)
        # a failed estimate is NaN, which is within no bound
        if not abs(found.alpha - anchor.alpha) <= allowed:
            stray.append(method)
    return stray
