"""Binomial tails and their inversion, in logarithms, where 2^-8000 does not underflow."""

import math
from collections.abc import Callable, Sequence

from scipy.special import bdtr, betaln

from prunable.certify.bounds.base import Rule
from prunable.certify.bounds.checks import check_n
from prunable.certify.bounds.logs import safe_exp, safe_log
from prunable.errors import check_at_least, check_between, require

_BISECTIONS = 200
_MAX_FRACTIONS = 100_000


def check_counts(errors: int, n: int, where: str) -> None:
    """Refuse an empty sample and impossible numbers of errors."""
    check_n(n, where)
    require(0 <= errors <= n, "errors", where, f"between 0 and n = {n}", errors)


def log_binomial_cdf(k: int, n: int, p: float) -> float:
    """log P[Bin(n, p) <= k]; -inf only where the probability is 0.

    Above the mean the continued fraction of the incomplete beta function converges in a few
    steps, and its factor is a sum of logarithms (Abramowitz and Stegun 26.5.8).
    """
    check_counts(k, n, "log_binomial_cdf")
    check_between(p, 0, 1, "p", "log_binomial_cdf")
    if k == n or p == 0:
        return 0.0
    if p == 1:
        return -math.inf
    a, b = float(n - k), float(k + 1)  # the cdf is I_{1-p}(a, b)
    if 1 - p > (a + 1) / (a + b + 2):
        return math.log(float(bdtr(k, n, p)))
    front = a * math.log1p(-p) + b * math.log(p) - math.log(a) - float(betaln(a, b))
    return min(0.0, front + math.log(_beta_fraction(a, b, 1 - p)))


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of I_x(a, b) by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, _MAX_FRACTIONS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + numerator / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def binomial_upper(errors: int, n: int, log_delta: float) -> float:
    """Largest p under which so few errors among n have probability delta or more.

    sup {p : P[Bin(n, p) <= errors] >= delta}, the one-sided upper confidence limit of Clopper
    and Pearson (1934), rounded up; 1 if every example is an error. `log_delta` may be far
    below -745.
    """
    where = "binomial_upper"
    check_counts(errors, n, where)
    require(-math.inf < log_delta < 0, "log_delta", where, "finite and negative", log_delta)
    if errors == n:
        return 1.0
    if errors == 0:
        return -math.expm1(log_delta / n)
    return _last_true(lambda p: log_binomial_cdf(errors, n, p) >= log_delta, errors / n)


def kl_bernoulli(q: float, p: float) -> float:
    """kl(q || p) = q ln(q/p) + (1-q) ln((1-q)/(1-p)) in nats, for q and p in [0, 1]."""
    check_between(q, 0, 1, "q", "kl_bernoulli")
    check_between(p, 0, 1, "p", "kl_bernoulli")
    total = 0.0
    for mass, other in ((q, p), (1 - q, 1 - p)):
        if mass > 0:
            if other == 0:
                return math.inf
            total += mass * (math.log(mass) - math.log(other))
    return max(total, 0.0)


def kl_upper(q: float, budget: float) -> float:
    """kl^-1(q | c) = sup {p : kl(q || p) <= c}, rounded up, for a budget of c >= 0 nats."""
    check_between(q, 0, 1, "q", "kl_upper")
    check_at_least(budget, 0, "budget", "kl_upper")
    if q == 1 or budget == math.inf:
        return 1.0
    if q == 0:
        return -math.expm1(-budget)
    return _last_true(lambda p: kl_bernoulli(q, p) <= budget, q)


def _inversion(logs: Sequence[float]) -> float:
    errors, n, cost = (safe_exp(log) for log in logs)
    return safe_log(binomial_upper(round(errors), round(n), -cost))


def _kl_inversion(logs: Sequence[float]) -> float:
    risk, n, cost = (safe_exp(log) for log in logs)
    return safe_log(kl_upper(min(risk, 1.0), cost / n))


# of the terms (errors, examples, nats), and (empirical risk, examples, nats)
BINOMIAL_INVERSION = Rule("sup{p : P[Bin(t2, p) <= t1] >= exp(-t3)}", _inversion)
KL_INVERSION = Rule("sup{p : kl(t1 || p) <= t3 / t2}", _kl_inversion)


def _last_true(holds: Callable[[float], bool], low: float) -> float:
    """Upper end of the interval [low, p] on which a condition holds, rounded up."""
    high = 1.0
    if holds(math.nextafter(1.0, 0.0)):
        return 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high
