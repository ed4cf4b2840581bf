"""Risk of a pruned and rounded network by counting masks and values: lemmas D.1, D.2 and D.3.

Guha, Dubey and Huo (2023), appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike
from scipy.special import erf, gammaln
from scipy.stats import binom

from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    check_delta,
    check_layers,
    require,
)
from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.pruning_moments import GAUSSIAN, SOURCE, check_strength


def masks_bound(
    margins: ArrayLike,
    sizes: Sequence[int],
    kept: Sequence[int],
    steps: Sequence[float],
    *,
    gamma: float = 0.0,
    delta: float = 0.05,
    constant: float | None = None,
    assumptions: tuple[Assumption, ...] = (),
) -> BoundResult:
    """Bound the risk by the masks and the values of kept weights: lemma D.1.

    Parameters
    ----------
    margins, gamma, delta, constant
        See `counting_bound`.
    sizes, kept
        Weights of each layer, and those kept.
    steps
        rho_l, inside (0, 1): a kept weight takes 1 / rho_l values.
    assumptions
        What else the caller knows.
    """
    where = "masks_bound"
    check_layers(where, sizes=sizes, kept=kept, steps=steps)
    parts = []
    for i, (size, count, step) in enumerate(zip(sizes, kept, steps, strict=True), 1):
        require(0 <= count <= size, "kept", where, f"in [0, {size}]", count)
        require(0 < step < 1, "steps", where, "inside (0, 1)", step)
        possible = f"ln C({size}, {count})"
        mask = Term.of(f"mask {i}", log_binomial(size, count), possible, "lemma D.1")
        values = Term.made(
            f"values {i}",
            PRODUCT,
            f"values of layer {i}",
            Term.of("alpha_l", count, "kept weights"),
            Term.of("ln(1/rho_l)", -math.log(step), "nats of a value"),
            equation="lemma D.1",
        )
        parts += [mask, values]
    return counting_bound(
        margins,
        Term.made("ln(J)", SUM, "nats of masks and values", *parts, equation="lemma D.1"),
        gamma=gamma,
        delta=delta,
        name="masks and values",
        statement="lemma D.1",
        constant=constant,
        assumptions=assumptions,
    )


def log_binomial(n: int, k: int) -> float:
    """Natural logarithm of the binomial coefficient, never below 0."""
    return max(float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)), 0.0)


def likely_share(d: float, kappa: float) -> float:
    """Share of Gaussian weights that are pruned with probability `kappa` or more.

    erf(sqrt(d ln(1/kappa) / 2)), equation (8), at strength d >= 0 of the pruning.
    """
    check_strength(d, "likely_share")
    require(0 < kappa <= 1, "kappa", "likely_share", "inside (0, 1]", kappa)
    return float(erf(math.sqrt(d * math.log(1 / kappa) / 2)))


def at_least_likely(count: int, size: int, d: float, kappa: float) -> float:
    """Probability that at least `count` of `size` weights are pruned with kappa or more: D.2.

    I_p(count, size - count + 1), p the `likely_share`: a binomial tail.
    """
    return float(binom.sf(count - 1, size, likely_share(d, kappa)))


def at_least_pruned(alpha: int, count: int, kappa: float) -> float:
    """Probability I_kappa(alpha, count - alpha + 1) that at least `alpha` of them go: D.3."""
    return float(binom.sf(alpha - 1, count, kappa))


def most_kept(
    size: int, d: float, delta: float, kappas: Sequence[float] | None = None
) -> BoundResult:
    """Bound the weights that pruning leaves, by lemmas D.2 and D.3 at the best `kappa`.

    It cannot be below the expected count, since only weights likely to go are used.

    Parameters
    ----------
    size
        Weights of the layer.
    d
        Strength of the pruning.
    delta
        Failure probability, half for each lemma.
    kappas
        Probabilities to try; the law of the weights fixes the best beforehand.
    """
    check_delta(delta, "most_kept")
    check_strength(d, "most_kept")
    require(size >= 1, "size", "most_kept", ">= 1", size)
    best = (0, 1.0, 0)
    for kappa in kappas if kappas is not None else [i / 50 for i in range(1, 50)]:
        # largest count with P(at least count) >= 1 - delta/2
        count = int(binom.ppf(delta / 2, size, likely_share(d, kappa)))
        pruned = int(binom.ppf(delta / 2, count, kappa)) if count > 0 else 0
        best = max(best, (pruned, kappa, count))
    pruned, kappa, count = best
    said = f"of {count} weights pruned with probability {kappa:g} or more {pruned} go"
    return BoundResult(
        "weights that pruning leaves",
        (Term.of("d1 d2 - alpha", size - pruned, said, "lemmas D.2, D.3"),),
        SUM,
        (GAUSSIAN,),
        f"{SOURCE}, lemmas D.2 and D.3",
        delta=delta,
        quantity="count",
    )
