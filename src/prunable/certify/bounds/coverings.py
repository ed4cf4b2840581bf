"""How many points cover all pruned, and all compressible, weights: lemmas 4, 6, 7 and 8.

Barsbey et al. (2021), appendices E and F: the union bounds of theorems 5 and 7 are over these
points. Values are natural logarithms.
"""

import math

from prunable.certify.bounds.checks import check_positive
from prunable.certify.bounds.rho import binary_entropy, rho
from prunable.errors import require


def log_cover_of_pruned(d: int, kept: int, radius: float, distance: float) -> float:
    """Lemma 4: exp(d h_b(kept / d)) (3 R / v)^kept points are enough.

    They come within v = `distance` <= R of every vector of d weights of which `kept` are not zero
    and whose norm is at most R = `radius`: masks by lemma 7, a ball of each by its volume.
    """
    _check(d, kept, radius, distance, "log_cover_of_pruned")
    return log_binomial_by_entropy(d, kept) + kept * math.log(3 * radius / distance)


def log_cover_of_compressible(
    d: int, kept: int, epsilon: float, radius: float, distance: float
) -> float:
    """Lemma 6: (3 rho_eps(kappa, d) R / v)^d points are enough, d > 10 and v <= eps R.

    They come within v = `distance` of every vector of d weights of norm at most R = `radius` that
    lies within eps R of one of `kept` weights that are not zero.
    """
    where = "log_cover_of_compressible"
    _check(d, kept, radius, distance, where)
    require(d > 10, "d", where, "above 10", d)
    limit = f"at most epsilon R = {epsilon * radius:g}"
    require(distance <= epsilon * radius, "distance", where, limit, distance)
    return d * math.log(3 * rho(epsilon, kept / d, d) * radius / distance)


def log_binomial_by_entropy(n: int, m: int) -> float:
    """Lemma 7: C(n, m) <= exp(n h_b(m / n)), 0 <= m <= n, n >= 1."""
    require(0 <= m <= n and n >= 1, "m", "log_binomial_by_entropy", f"in [0, n = {n}]", m)
    return n * binary_entropy(m / n)


def log_gamma_ratio_by_entropy(n: int, m: int) -> float:
    """Lemma 8: Gamma(n/2+1) / (Gamma(m/2+1) Gamma((n-m)/2+1)) for n > 10, by entropies.

    exp(N max(h_b(ceil(m/2) / N), h_b(floor(m/2) / N))), N = ceil(n/2).
    """
    where = "log_gamma_ratio_by_entropy"
    require(n > 10, "n", where, "above 10", n)
    require(0 <= m <= n, "m", where, f"in [0, n = {n}]", m)
    half = -(-n // 2)
    return half * max(binary_entropy(share / half) for share in (-(-m // 2), m // 2))


def _check(d: int, kept: int, radius: float, distance: float, where: str) -> None:
    require(0 <= kept <= d and d >= 1, "kept", where, f"in [0, d = {d}]", kept)
    check_positive(radius, "radius", where)
    check_positive(distance, "distance", where)
    require(distance <= radius, "distance", where, f"at most R = {radius:g}", distance)
