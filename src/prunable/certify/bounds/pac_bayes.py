"""PAC-Bayes bounds on the average risk of networks drawn from a posterior.

In all of them `gibbs` is the training error averaged over the posterior, in [0, 1], and
`divergence` is KL(Q || P) >= 0 in nats, with the prior P fixed before the data. Sources, as cited
at each function: Maurer (2004), Seeger (2002), Catoni (2007), Perez-Ortiz et al. (2021).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import SUM, BoundResult, Rule, Term
from prunable.certify.bounds.binomial import KL_INVERSION, kl_upper
from prunable.certify.bounds.checks import check_delta, check_n
from prunable.certify.bounds.logs import safe_exp, safe_log
from prunable.certify.bounds.occam import INDEPENDENT
from prunable.errors import check_between, require

_PRIOR_DATA_FREE = Assumption(
    "the prior is fixed before the data", "holds", "mask code and Gaussian widths hold no data"
)


def gaussian_divergence(mean: NDArray[np.float64], posterior_std: float, prior_std: float) -> float:
    """KL(N(mean, s^2 I) || N(0, p^2 I)) in nats, s and p the posterior's and the prior's."""
    for name, value in (("posterior_std", posterior_std), ("prior_std", prior_std)):
        require(0 < value < math.inf, name, "gaussian_divergence", "positive", value)
    ratio = (posterior_std / prior_std) ** 2
    square = float(np.square(mean / prior_std).sum())
    return 0.5 * (mean.size * (ratio - 1 - math.log(ratio)) + square)


def maurer_bound(gibbs: float, divergence: float, n: int, delta: float) -> BoundResult:
    """PAC-Bayes-kl bound with Maurer's constant: kl(r || R) <= (KL + ln(2 sqrt(n)/delta)) / n.

    It is proven for n >= 8. Source: Maurer 2004, Theorem 5; Seeger 2002.
    """
    _check(gibbs, divergence, n, delta, "maurer_bound", least=8)
    confidence = Term.of(
        "ln(2 sqrt(n)/delta)", math.log(2 * math.sqrt(n) / delta), "confidence, nats"
    )
    cost = Term.made("c", SUM, "nats to pay", _divergence(divergence), confidence)
    return BoundResult(
        name="PAC-Bayes-kl",
        terms=(*_sample(gibbs, n), cost),
        rule=KL_INVERSION,
        assumptions=(_PRIOR_DATA_FREE, INDEPENDENT),
        source="Maurer 2004, Theorem 5; Seeger 2002",
        n=n,
        delta=delta,
    )


def catoni_grid_bound(
    gibbs: float, divergence: float, n: int, delta: float, *, ratio: float = 1.05
) -> BoundResult:
    """Catoni's bound, the best over a grid of constants paid for by a union bound.

    (1 - exp(-C r - (KL + ln(1/delta')) / n)) / (1 - exp(-C)) (Catoni 2007, Theorem 1.2.6), in
    which C_j = ratio^(1 - j) C_1 for j = 1, 2, ... with C_1 = 20 gets delta / (j (j + 1)); the
    grid is fixed before the data, and its weights add up to 1.

    A posterior needs the union. One decoded network does not: at its best C, with KL = L ln 2 of a
    code of L bits, the formula is kl^-1(r, (L ln 2 + ln(1/delta)) / n), the Chernoff form of
    Occam's bound, which holds without any C.
    """
    _check(gibbs, divergence, n, delta, "catoni_grid_bound")
    require(1 < ratio < math.inf, "ratio", "catoni_grid_bound", "above 1", ratio)
    largest = 20.0
    count = math.ceil(math.log(largest * 4 * n) / math.log(ratio))  # down to C = 1 / (4n)
    j = np.arange(1, count + 1)
    constants = largest * ratio ** (1.0 - j)
    nats = divergence - math.log(delta) + np.log(j * (j + 1.0))
    values = np.expm1(-constants * gibbs - nats / n) / np.expm1(-constants)
    best = int(values.argmin())
    c, place = float(constants[best]), best + 1
    union = f"union: C is number {place}, nats"
    cost = Term.made(
        "c",
        SUM,
        "nats to pay",
        _divergence(divergence),
        Term.of("ln(1/delta)", -math.log(delta), "confidence, nats"),
        Term.of("ln(j (j+1))", math.log(place * (place + 1)), union),
    )
    return BoundResult(
        name="PAC-Bayes, Catoni on a grid",
        terms=(*_sample(gibbs, n), cost, Term.of("C", c, "constant, from the grid")),
        rule=CATONI,
        assumptions=(_PRIOR_DATA_FREE, INDEPENDENT),
        source="Catoni 2007, Theorem 1.2.6",
        n=n,
        delta=delta,
    )


def _catoni(logs: Sequence[float]) -> float:
    gibbs, n, nats, c = (safe_exp(log) for log in logs)
    return safe_log(math.expm1(-c * gibbs - nats / n) / math.expm1(-c))


CATONI = Rule("(1 - exp(-t4 t1 - t3 / t2)) / (1 - exp(-t4))", _catoni)


def monte_carlo_gibbs(risks: Sequence[float], delta: float) -> float:
    """Upper limit kl^-1(mean | ln(2/delta) / m) of the posterior's training error.

    The risks are training errors of m independent networks drawn from it; `delta` adds to that
    of the bound. Source: Langford and Caruana 2001, as in Perez-Ortiz et al. 2021, divided by
    the number of draws.
    """
    where = "monte_carlo_gibbs"
    check_delta(delta, where)
    require(len(risks) > 0, "risks", where, "of at least one draw", "none")
    for risk in risks:
        check_between(risk, 0, 1, "risks", where)
    mean = math.fsum(risks) / len(risks)
    return kl_upper(mean, math.log(2 / delta) / len(risks))


def _sample(gibbs: float, n: int) -> tuple[Term, Term]:
    mean = Term.of("r(Q)", gibbs, "training error averaged over the posterior")
    return mean, Term.of("n", n, "training examples")


def _divergence(divergence: float) -> Term:
    return Term.of("KL(Q||P)", divergence, "posterior against prior, nats")


def _check(
    gibbs: float, divergence: float, n: int, delta: float, where: str, least: int = 1
) -> None:
    check_between(gibbs, 0, 1, "gibbs", where)
    check_n(n, where)
    check_delta(delta, where)
    action = "Maurer's constant is proved from there on."
    require(n >= least, "n", where, f"at least {least}", n, action)
    finite = 0 <= divergence < math.inf
    require(finite, "divergence", where, "finite and at least 0", divergence)
