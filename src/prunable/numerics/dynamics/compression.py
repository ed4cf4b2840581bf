"""How fast pruning independent stable weights becomes free, with the limits of LePage.

Sorted and divided by (C d)^(1/alpha), the largest of d stable magnitudes tend to
Gamma_i^(-1/alpha), where Gamma_i are the arrival times of a Poisson process (LePage,
Woodroofe and Zinn 1981). For p > alpha these decide the l_p norm.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln

from prunable.errors import require
from prunable.numerics.arrays import FloatArray
from prunable.numerics.checks import check_alpha
from prunable.numerics.stable import (
    StableLaw,
    absolute_moment,
    continued_moment,
    positive_transform,
    truncated_moment,
)

# Of the series at p = alpha, where it needs few.
LEPAGE_TERMS = 256


def asymptotic_exponent(alpha: float, p: float) -> float:
    """The c of relative error ~ d^c: 1/p - 1/alpha for p > alpha, else 0.

    At p = alpha the error falls like a power of log d, and the exponent is 0.
    """
    alpha = check_alpha(alpha, "asymptotic_exponent")
    return 1 / p - 1 / alpha if p > alpha and alpha < 2 else 0.0


def largest_step(n: int, alpha: float) -> float:
    """The largest step size that theorem 3.1 of Wan et al. (2023) admits: n^(-alpha/2 - 1).

    Of n columns and noise of tail index alpha in (1, 2); its table 1 takes 3e-4 at n = 2,000.

    >>> f"{largest_step(2000, 1.8):.1e}"
    '5.3e-07'
    """
    require(n >= 1, "n", "largest_step", "at least 1", n)
    return float(n ** (-check_alpha(alpha, "largest_step") / 2 - 1))


def asymptotic_errors(
    alpha: float, d: int, kappa: float, p: float, draws: int, *, rng: np.random.Generator
) -> FloatArray:
    """Draw from the limit law of the relative l_p error at dimension d, keeping ceil(kappa d).

    One a draw: for p > alpha the random error (d m / ((C d)^(p/alpha) S + d M))^(1/p), where m is
    the truncated moment, S = sum Gamma_i^(-p/alpha), and M the analytic continuation of E|X|^p,
    which is 0 at p = 2; for p < alpha, and for Gaussian weights, the constant (m / E|X|^p)^(1/p);
    at p = alpha an error that falls like log(d)^(-1/p).

    Lemma 2 and proposition 8 of Barsbey et al. (2021) say where the limit is 0 and where it
    depends on alpha; the law of large numbers for the pruned part and LePage's series for the
    rest give the rate. S has the Laplace transform exp(-Gamma(1 - a) s^a), a = alpha/p.
    """
    _check(alpha, kappa, p, "asymptotic_errors")
    pruned = truncated_moment(alpha, p, kappa)
    if alpha == 2 or p < alpha:
        whole = absolute_moment(alpha, p)
        return np.full(draws, (pruned / whole) ** (1 / p))
    tail = StableLaw(alpha).tail_constant
    if p == alpha:
        drawn = max(1, min(LEPAGE_TERMS, d // 4))
        arrivals = np.cumsum(rng.exponential(size=(draws, drawn)), axis=1)
        rest = truncated_moment(alpha, p, drawn / d)
        return np.asarray((pruned / (rest + tail * (1 / arrivals).sum(axis=1))) ** (1 / p))
    a = alpha / p
    uniforms = rng.random((2, draws))
    stable = positive_transform(1 - uniforms[0], 1 - uniforms[1], a)
    s = math.exp(float(gammaln(1 - a)) / a) * stable
    # from p = 2 alpha on the continuation has poles, and its part is negligible
    second = continued_moment(alpha, p) if p < 2 * alpha else 0.0
    total = tail ** (p / alpha) * d ** (p / alpha - 1) * s + second
    return np.asarray((pruned / np.maximum(total, pruned)) ** (1 / p))


def mean_limit_constant(alpha: float, kappa: float, p: float) -> float:
    """The K of E[relative error] ~ K d^(1/p - 1/alpha) for p > alpha, with alpha < 2.

    E S^-r = Gamma(1 + r/a) / (Gamma(1 + r) Gamma(1 - a)^(r/a)) with r = 1/p and a = alpha/p.
    """
    _check(alpha, kappa, p, "mean_limit_constant")
    require(p > alpha and alpha != 2, "p", "mean_limit_constant", f"above alpha = {alpha:g}", p)
    a, r = alpha / p, 1 / p
    log_inverse = gammaln(1 + r / a) - gammaln(1 + r) - r / a * gammaln(1 - a)
    tail = StableLaw(alpha).tail_constant
    return float(
        truncated_moment(alpha, p, kappa) ** r * tail ** (-1 / alpha) * math.exp(log_inverse)
    )


def expected_maximum_limit(alpha: float, n: int) -> float:
    """Leading term of E max of n standard stable magnitudes, Gamma(1 - 1/alpha) (C n)^(1/alpha).

    The mean of Frechet's law, 1 < alpha < 2: the exponent 1/alpha of lemma B.1 of Wan, Zaidi and
    Simsekli (2023) is exact.
    """
    _check_mean(alpha, "expected_maximum_limit")
    c = StableLaw(alpha).tail_constant
    return math.gamma(1 - 1 / alpha) * math.pow(c * n, 1 / alpha)


def expected_maximum_bound(alpha: float, n: int) -> float:
    """Bound E max |X_i| <= n^(1/alpha) (1 + B/(alpha - 1)), B = sup_t t^alpha P(|X| > t).

    Integrate P(max > t) <= min(1, n B t^-alpha), 1 < alpha < 2. The constant 8 C + 1 of lemma B.1
    of Wan, Zaidi and Simsekli (2023) takes dyadic intervals as equally long; it does not grow as
    alpha tends to 1, where the mean does.
    """
    _check_mean(alpha, "expected_maximum_bound")
    return math.pow(n, 1 / alpha) * (1 + tail_supremum(alpha) / (alpha - 1))


def printed_maximum_constant(alpha: float) -> float:
    """8 C + 1 of lemma B.1 of Wan, Zaidi and Simsekli (2023), C = lim t^alpha P(|X| > t)."""
    return 8 * StableLaw(alpha).tail_constant + 1


def printed_constant_holds(n: int | None) -> tuple[float, float]:
    """Between which tail indices (8 C + 1) n^(1/alpha) bounds E max of n magnitudes: lemma B.1.

    For n = 1, where E |X| is 2 Gamma(1 - 1/alpha) / pi, or in the limit of n (None), where it is
    Gamma(1 - 1/alpha) C^(1/alpha) n^(1/alpha); to 1e-9. Below the first index the mean grows while
    C does not; above the second of n = 1, C is too small for the body of the law. In the limit
    the bound holds up to 2.

    >>> low, high = printed_constant_holds(1)
    >>> round(low, 3), round(high, 3)
    (1.118, 1.983)
    """
    require(n in (1, None), "n", "printed_constant_holds", "1 or None", n)

    def excess(alpha: float) -> float:
        known = absolute_moment(alpha, 1) if n else expected_maximum_limit(alpha, 1)
        return known - printed_maximum_constant(alpha)

    # 8 C + 1 is well above the mean in the middle
    low = float(brentq(excess, 1.01, 1.5, xtol=1e-9))
    return low, float(brentq(excess, 1.5, 2 - 1e-9, xtol=1e-9)) if n else 2.0


def tail_supremum(alpha: float) -> float:
    """sup over t of t^alpha P(|X| > t) for the standard stable law: at least C, to 1e-4."""
    check_alpha(alpha, "tail_supremum")
    u = np.geomspace(1e-9, 1.0, 20_001)[:-1]
    return max(
        float((StableLaw(alpha).isf(u / 2) ** alpha * u).max()), StableLaw(alpha).tail_constant
    )


def _check_mean(alpha: float, where: str) -> None:
    require(
        1 < alpha < 2, "alpha", where, "between 1 and 2", alpha, "At alpha <= 1 there is no mean."
    )


def _check(alpha: float, kappa: float, p: float, where: str) -> None:
    check_alpha(alpha, where)
    require(0 < kappa < 1, "kappa", where, "between 0 and 1", kappa)
    require(0 < p < math.inf, "p", where, "positive and finite", p)
