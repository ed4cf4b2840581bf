"""How frequent classes are: equally, where the draw of inputs explains the rest."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import expit, gammaln

from prunable.forecast.estimators.estimate import Estimate
from prunable.numerics.arrays import FloatArray

LEAST = 10  # inputs a class, below which what classes are worth cannot be told from noise


def unequal(shares: FloatArray, n: int) -> float:
    """The probability that classes of these shares (c,) among n inputs are not equally frequent.

    Beforehand equal ones are as likely as all others together, these all alike.
    """
    c = len(shares)
    others = gammaln(c) - gammaln(n + c) + gammaln(n * shares + 1).sum()
    return float(expit(others + n * np.log(c)))


def by_frequencies(estimate: Estimate, law: FloatArray) -> Estimate:
    """An estimate as it would be had the classes come as often as is to be expected of them.

    `law` (n, c) is what is believed of the inputs' classes. A copy that decides few classes is
    worth their share of the inputs, which in a few hundred is chance: the part of the estimate that
    is linear in the beliefs moves with them to the expected shares. Influences take the probability
    that they are equal as fixed.
    """
    n, c = law.shape
    if n < LEAST * c:
        return estimate
    shares = law.mean(0)
    equal = 1 - unequal(shares, n)
    apart = law - shares
    slopes = np.linalg.lstsq(apart, estimate.influence, rcond=1e-6)[0]
    return dataclasses.replace(
        estimate,
        value=estimate.value + equal * float((1 / c - shares) @ slopes),
        influence=estimate.influence - equal * (apart @ slopes),
    )
