"""PAC-Bayes bounds on the average risk of networks drawn from a posterior.

`gibbs` is the training error averaged over the posterior, `divergence` is KL(Q || P) in nats
with the prior P fixed before the data. Sources, as cited at each function: Maurer (2004),
Seeger (2002), McAllester (1999), Thiemann et al. (2017), Catoni (2007), Perez-Ortiz et al.
(2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prunable.certify.bounds.base import (
    SUM,
    Assumption,
    BoundResult,
    Rule,
    Term,
    check_delta,
    check_n,
    check_share,
    safe_exp,
    safe_log,
)
from prunable.certify.bounds.binomial import KL_INVERSION, kl_upper
from prunable.errors import InputError

_LEAST_N_MAURER = 8
_PRIOR_DATA_FREE = Assumption(
    "the prior is fixed before the data", "holds", "mask code and Gaussian widths hold no data"
)
_INDEPENDENT = Assumption(
    "the examples are independent draws of one law",
    "unchecked",
    "no computation on the sample can prove it",
)


def gaussian_divergence(mean: NDArray[np.float64], posterior_std: float, prior_std: float) -> float:
    """KL(N(mean, s^2 I) || N(0, p^2 I)) in nats.

    Parameters
    ----------
    mean : ndarray, shape (d,)
    posterior_std, prior_std : float
        s and p, positive.

    Returns
    -------
    float
    """
    for name, value in (("posterior_std", posterior_std), ("prior_std", prior_std)):
        if not 0 < value < math.inf:
            raise InputError.parameter(name, "gaussian_divergence", "positive", value)
    ratio = (posterior_std / prior_std) ** 2
    square = float(np.square(mean / prior_std).sum())
    return 0.5 * (mean.size * (ratio - 1 - math.log(ratio)) + square)


def maurer_bound(gibbs: float, divergence: float, n: int, delta: float) -> BoundResult:
    """PAC-Bayes-kl bound with Maurer's constant: kl(r || R) <= (KL + ln(2 sqrt(n)/delta)) / n.

    Parameters
    ----------
    gibbs : float
        Average training error over the posterior, in [0, 1].
    divergence : float
        KL(Q || P) in nats, >= 0.
    n : int
        Training examples, at least 8.
    delta : float
        Probability that the bound fails, in (0, 1).

    Returns
    -------
    BoundResult
        Source: Maurer 2004, Theorem 5; Seeger 2002.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    _check(gibbs, divergence, n, delta, "maurer_bound")
    return BoundResult(
        name="PAC-Bayes-kl",
        terms=(
            Term.of("r(Q)", gibbs, "training error averaged over the posterior"),
            Term.of("n", n, "training examples"),
            _cost(divergence, n, delta),
        ),
        rule=KL_INVERSION,
        assumptions=(_PRIOR_DATA_FREE, _INDEPENDENT),
        source="Maurer 2004, Theorem 5; Seeger 2002",
        n=n,
        delta=delta,
    )


def mcallester_value(gibbs: float, divergence: float, n: int, delta: float) -> float:
    """r + sqrt((KL + ln(2 sqrt(n)/delta)) / (2n)) (McAllester 1999, Maurer's constant)."""
    _check(gibbs, divergence, n, delta, "mcallester_value")
    return gibbs + math.sqrt(_nats(divergence, n, delta) / (2 * n))


def quadratic_value(gibbs: float, divergence: float, n: int, delta: float) -> float:
    """(sqrt(r + c) + sqrt(c))^2 with c = (KL + ln(2 sqrt(n)/delta)) / (2n) (Rivasplata 2019)."""
    _check(gibbs, divergence, n, delta, "quadratic_value")
    c = _nats(divergence, n, delta) / (2 * n)
    return (math.sqrt(gibbs + c) + math.sqrt(c)) ** 2


def lambda_value(gibbs: float, divergence: float, n: int, delta: float) -> float:
    """r/(1-l/2) + (KL + ln(2 sqrt(n)/delta)) / (n l (1-l/2)) at its best l in (0, 2).

    The bound holds for all l at once (Thiemann, Igel, Wintenberger, Seldin 2017, Theorem 3),
    so that the best costs nothing more.
    """
    _check(gibbs, divergence, n, delta, "lambda_value")
    nats = _nats(divergence, n, delta)
    best = 2 / (math.sqrt(2 * n * gibbs / nats + 1) + 1)
    return gibbs / (1 - best / 2) + nats / (n * best * (1 - best / 2))


def catoni_value(gibbs: float, divergence: float, n: int, delta: float, c: float) -> float:
    """(1 - exp(-C r - (KL + ln(1/delta)) / n)) / (1 - exp(-C)), for a C fixed before the data.

    Source: Catoni 2007, Theorem 1.2.6.
    """
    _check(gibbs, divergence, n, delta, "catoni_value", least=1)
    if not 0 < c < math.inf:
        raise InputError.parameter("c", "catoni_value", "positive and finite", c)
    nats = divergence - math.log(delta)
    return -math.expm1(-c * gibbs - nats / n) / -math.expm1(-c)


def catoni_grid_bound(
    gibbs: float, divergence: float, n: int, delta: float, *, ratio: float = 1.05
) -> BoundResult:
    """Catoni's bound, the best over a grid of constants paid for by a union bound.

    C_j = ratio^(1 - j) C_1 for j = 1, 2, ... with C_1 = 20 gets delta / (j (j + 1)); the
    grid is fixed before the data, and its weights add up to 1.

    Parameters
    ----------
    gibbs, divergence, n, delta
        As `maurer_bound`; n may be any positive number.
    ratio : float
        Step of the grid, above 1.

    Returns
    -------
    BoundResult
        Source: Catoni 2007, Theorem 1.2.6.
    """
    _check(gibbs, divergence, n, delta, "catoni_grid_bound", least=1)
    if not 1 < ratio < math.inf:
        raise InputError.parameter("ratio", "catoni_grid_bound", "above 1", ratio)
    largest = 20.0
    count = math.ceil(math.log(largest * 4 * n) / math.log(ratio))  # down to C = 1 / (4n)
    j = np.arange(1, count + 1)
    constants = largest * ratio ** (1.0 - j)
    nats = divergence - math.log(delta) + np.log(j * (j + 1.0))
    values = np.expm1(-constants * gibbs - nats / n) / np.expm1(-constants)
    best = int(values.argmin())
    c, place = float(constants[best]), best + 1
    cost = Term.made(
        "c",
        SUM,
        [
            Term.of("KL(Q||P)", divergence, "posterior against prior, nats"),
            Term.of("ln(1/delta)", -math.log(delta), "confidence, nats"),
            Term.of(
                "ln(j (j+1))", math.log(place * (place + 1)), f"union: C is number {place}, nats"
            ),
        ],
        "nats to pay",
    )
    return BoundResult(
        name="PAC-Bayes, Catoni on a grid",
        terms=(
            Term.of("r(Q)", gibbs, "training error averaged over the posterior"),
            Term.of("n", n, "training examples"),
            cost,
            Term.of("C", c, "constant, from the grid"),
        ),
        rule=CATONI,
        assumptions=(_PRIOR_DATA_FREE, _INDEPENDENT),
        source="Catoni 2007, Theorem 1.2.6",
        n=n,
        delta=delta,
    )


def _catoni(logs: Sequence[float]) -> float:
    gibbs, n, nats, c = (safe_exp(log) for log in logs)
    return safe_log(math.expm1(-c * gibbs - nats / n) / math.expm1(-c))


CATONI = Rule("(1 - exp(-t4 t1 - t3 / t2)) / (1 - exp(-t4))", _catoni)


def monte_carlo_gibbs(risks: Sequence[float], delta: float) -> float:
    """Upper limit of the posterior's training error from draws of the posterior.

    Parameters
    ----------
    risks : sequence of float
        Training error, in [0, 1], of each of m independent networks drawn from it.
    delta : float
        Probability that the limit fails; it adds to that of the bound.

    Returns
    -------
    float
        kl^-1(mean | ln(2/delta) / m). Source: Langford and Caruana 2001, as in Perez-Ortiz
        et al. 2021, divided by the number of draws.

    Raises
    ------
    InputError
        If there is no draw, or a risk is outside [0, 1].
    """
    check_delta(delta, "monte_carlo_gibbs")
    if not len(risks):
        raise InputError.parameter("risks", "monte_carlo_gibbs", "of at least one draw", "none")
    for risk in risks:
        check_share(risk, "risks", "monte_carlo_gibbs")
    mean = math.fsum(risks) / len(risks)
    return kl_upper(mean, math.log(2 / delta) / len(risks))


def _nats(divergence: float, n: int, delta: float) -> float:
    return divergence + math.log(2 * math.sqrt(n) / delta)


def _cost(divergence: float, n: int, delta: float) -> Term:
    parts = [
        Term.of("KL(Q||P)", divergence, "posterior against prior, nats"),
        Term.of("ln(2 sqrt(n)/delta)", math.log(2 * math.sqrt(n) / delta), "confidence, nats"),
    ]
    return Term.made("c", SUM, parts, "nats to pay")


def _check(
    gibbs: float, divergence: float, n: int, delta: float, where: str, least: int = _LEAST_N_MAURER
) -> None:
    check_share(gibbs, "gibbs", where)
    check_n(n, where)
    check_delta(delta, where)
    if n < least:
        raise InputError.parameter(
            "n", where, f"at least {least}", n, "Maurer's constant is proved from there on."
        )
    if not 0 <= divergence < math.inf:
        raise InputError.parameter("divergence", where, "finite and at least 0", divergence)
